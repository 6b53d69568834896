"""`tdb-tui explain`: planted components are explained, from data and by a model; what is done is kept, whatever happens."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explanations.asking.requests import Request
from explanations.records import Explanation
from explanations.store import open_store
from tdb_tui.machine.patience import Patience
from tests.explaining.language_model import Behave, serving
from tests.explaining.stores import planted
from tests.explanations.models import Speak, knows
from tests.explanations.test_hypotheses import NAMES, after_name, at_start, on_names, reads_names
from tests.programs import tdb_tui
from tests.test_import_hygiene import ROOT

SENTENCE = "active on the names seven and eleven"
SILENT = "N1.7"
PLANTED = {"N0.0": on_names, "N0.1": after_name, "N0.2": at_start, "L0H0": reads_names}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    nothing = {SILENT: lambda tokens: np.zeros(len(tokens), np.float32)}
    return planted(tmp_path / "planted.store", {**PLANTED, **nothing})


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "tdb_tui", "explain", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def explain(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return tdb_tui("explain", *words, **more)


def best(store: Path, node: str) -> Explanation | None:
    found = open_store(store).explanations(node)
    return found[0] if found else None


def score(store: Path, node: str) -> float:
    found = best(store, node)
    assert found is not None and found.score is not None
    return found.score


def words_of() -> set[str]:
    from model.tokenizer import load_tokenizer
    from tdb_tui.machine.models import find_model

    tokenizer = load_tokenizer(find_model(None).directory)
    return {tokenizer.text(name) for name in NAMES}


def test_everything_in_a_store_is_explained_from_data_without_a_network(store: Path) -> None:
    run = explain("--store", store, TDB_EXPLAINER_URL="http://127.0.0.1:9")
    assert run.returncode == 0, run.stderr
    assert "4 of 5 components explained, median score 1.00" in run.stdout
    assert {node: found.method for node in PLANTED if (found := best(store, node))} == {
        "N0.0": "token",
        "N0.1": "preceding token",
        "N0.2": "position",
        "L0H0": "key token",
    }
    assert best(store, SILENT) is None
    again = explain("N0.0", "--store", store)
    assert again.returncode == 0, again.stderr
    texts = [each.text for each in open_store(store).explanations("N0.0")]
    assert len(texts) == len(set(texts)) == 3


def test_a_model_behind_an_endpoint_explains_simulates_and_is_scored(store: Path) -> None:
    with serving(knows(words_of(), SENTENCE)) as server:
        run = explain("n0.0", "N0.2", "--store", store, "--explainer", "fake-1", TDB_EXPLAINER_URL=server.url)
        assert run.returncode == 0, run.stderr
        before = len(server.bodies)
        again = explain("N0.0", "N0.2", "--store", store, "--explainer", "fake-1", "--url", server.url)
        assert len(server.bodies) == before, "what is explained is not asked for again"
    assert "2 components" in run.stdout and "2 of 2 components explained" in run.stdout
    assert again.stdout == "fake-1 has explained all 2 components already: --again asks once more\n"
    found = best(store, "N0.0")
    assert found is not None
    assert (found.text, found.model, found.method) == (f"{SENTENCE}.", "fake-1", "explained by a model")
    assert found.score == pytest.approx(1, abs=0.01)
    assert abs(score(store, "N0.2")) < 0.3, "the same sentence about a component that does something else"


def test_an_estimate_asks_nothing(store: Path) -> None:
    words = ("--estimate", "--price", "2", "--url", "http://127.0.0.1:9")
    run = explain("N0.0", "--store", store, "--explainer", "m", *words)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("1 components, ") and "at most in money" in run.stdout


def bad_at_times(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes] | None:
    faults = ((429, {"Retry-After": "0"}, b"slow"), (500, {}, b"oops"), (200, {}, b"{"))
    return faults[number // 5 % 3] if number % 5 == 4 else None


def hostile(request: Request) -> str:
    return "This neuron is \x1b[2J\x07 active." if "Say in one" in request.messages[0].content else "{}"


def test_an_endpoint_that_fails_at_times_is_endured_and_hostile_words_are_escaped(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Patience.__init__, "__defaults__", (6, 60.0, 0.01, 0.05))
    with serving(knows(words_of(), SENTENCE), bad_at_times) as server:
        run = explain("N0.0", "--store", store, "--explainer", "m", "--url", server.url)
    assert run.returncode == 0, run.stderr
    assert score(store, "N0.0") == pytest.approx(1, abs=0.01)
    with serving(hostile) as server:
        run = explain("N0.1", "--store", store, "--explainer", "m", "--no-judged", "--url", server.url)
    assert run.returncode == 0, run.stderr
    found = best(store, "N0.1")
    assert found is not None and found.text.isprintable()
    assert found.score is None, "no simulation could be read: there is no score, and none of zero"
    assert "questions given up" in run.stdout


@pytest.mark.parametrize(
    ("speak", "behave", "words", "said"),
    [
        (hostile, lambda n, b: (401, {}, b'{"error": {"message": "no key"}}'), (), "refused: 401 no key"),
        (
            knows(set(), SENTENCE),
            lambda n, b: None,
            ("--budget", "3000"),
            "the budget of 3,000 tokens is spent",
        ),
    ],
)
def test_what_ends_a_run_is_one_sentence(
    store: Path, speak: Speak, behave: Behave, words: tuple[str, ...], said: str
) -> None:
    with serving(speak, behave) as server:
        run = explain("--store", store, "--explainer", "m", "--url", server.url, *words)
    assert run.returncode == 1
    assert said in run.stderr and len(run.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "say which store"),
        (("--store", "none.store"), 1, "no store none.store"),
        (("N9.9", "--store", "{store}"), 1, "N9.9 is not in"),
        (("N0.0", "--store", "{store}", "--explainer", "m"), 1, "set TDB_EXPLAINER_URL"),
        (("N0.0", "--store", "{store}", "--model", "nowhere"), 3, "nowhere"),
    ],
)
def test_wrong_words_are_one_sentence(store: Path, words: tuple[str, ...], code: int, said: str) -> None:
    run = explain(*(word.format(store=store) for word in words))
    assert run.returncode == code
    assert run.stderr.startswith("*** ") and said in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(store: Path) -> None:
    begun: list[int] = []

    def stuck(number: int, body: dict[str, Any]) -> float | None:
        if "Say in one" in body["messages"][0]["content"]:
            begun.append(number)
        return 20.0 if len(begun) == 2 else None

    words = ("N0.0", "N0.1", "--store", store, "--explainer", "m", "--at-once", "1", "--url")
    with serving(knows(words_of(), SENTENCE), stuck) as server:
        running = subprocess.Popen(
            command(*words, server.url),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while len(begun) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
        assert running.returncode == 130, said
        assert said.strip() == "*** stopped: what is explained is kept, and the same command goes on"
        assert best(store, "N0.0") is not None and best(store, "N0.1") is None
    with serving(knows(words_of(), SENTENCE)) as server:
        run = explain(*words, server.url)
    assert run.returncode == 0 and run.stdout.startswith("1 components"), run.stderr
    assert best(store, "N0.1") is not None
