"""`why not`: a set of nodes whose patch turns the answer over."""

import re
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from model.measured.flips import Flip, Round, smallest_flip
from model.sites import Hook, Site
from tdb_tui.commands import flipping
from tdb_tui.contract import RESULTS
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.sessions import begin, do, fail, load, said

ROOT = Path(__file__).parents[1]
PROMPT = "When Mary and John went to the store, John gave a drink to"
PROMPT_B = "When Mary and John went to the store, Mary gave a drink to"


@pytest.fixture(scope="module")
def demo() -> Engine:
    return load(ROOT / "model" / "demo" / "gpt2-demo")


@pytest.fixture
def session(demo: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(demo, PROMPT, PROMPT_B)


def test_a_small_set_turns_mary_into_john(session: Session) -> None:
    result = do(session, "why not").result
    assert set(RESULTS["whynot"]) <= set(result)
    assert result["flips"] and 1 <= len(result["rows"]) <= 4
    assert result["before"] == pytest.approx(session.snapshot.now.value, abs=1e-4)
    assert result["after"] < 0 < result["before"]
    assert (result["top"]["before"]["token"], result["top"]["after"]["token"]) == (" Mary", " John")
    assert session.state.inputs.edits == ()
    nodes = " ".join(row["node"] for row in result["rows"])
    do(session, *(f"patch {row['node']} from B" for row in result["rows"]))
    assert session.snapshot.now.value == pytest.approx(result["after"], abs=1e-4), nodes
    for at, row in enumerate(result["rows"], 1):
        do(session, f"disable i{at}")
        assert session.snapshot.now.value == pytest.approx(result["after"] - row["in_set"], abs=1e-4)
        assert session.snapshot.now.value > 0  # none of them is needless
        do(session, "undo")


@pytest.mark.parametrize("words", ["heads per component", "mlps", "heads @END", "attns mlps @END", "embeds"])
def test_applied_it_is_one_edit_that_makes_the_number(session: Session, words: str, demo: Engine) -> None:
    result = do(session, f"whynot {words} --apply").result
    (edit,) = session.state.inputs.edits
    assert edit.text == result["command"] and session.done == [edit.text]
    assert session.snapshot.now.value == pytest.approx(result["after"], abs=1e-4)
    assert session.snapshot.now.value < 0
    do(session, "save it.json")
    again = begin(demo, PROMPT, PROMPT_B)
    do(again, "load it.json")
    assert again.snapshot.now.value == session.snapshot.now.value
    do(session, "undo")
    assert session.state.inputs.edits == ()


def test_the_documented_examples_turn_mary_into_john(demo: Engine) -> None:
    swapped = "When John and Mary went to the store, Mary gave a drink to"
    for words in ("whynot heads", "whynot heads mlps per component --limit 8"):
        for other in (PROMPT_B, swapped):
            reply = do(begin(demo, PROMPT, other), words)
            top = reply.result["top"]
            assert (top["before"]["token"], top["after"]["token"]) == (" Mary", " John")
            assert (
                reply.result["method"] == "greedy, then pruned, measured" and len(reply.result["rows"]) <= 4
            )
            assert reply.lines[0].startswith("' Mary' - ' John' @END: +13.37 -> -")
            assert re.fullmatch(r"says ' Mary' \.93 -> ' John' \.\d+", reply.lines[1])
            assert "greedy, then pruned, measured" in reply.lines[-2]


def test_a_third_name_that_is_said_is_named_with_the_rank_of_the_distractor(demo: Engine) -> None:
    session = begin(demo, PROMPT, "When Mary and John went to the store, Bill gave a drink to")
    reply = do(session, "whynot heads mlps")
    after = reply.result["top"]["after"]["token"]
    assert reply.result["after"] < 0 and after not in (" Mary", " John")  # the metric's sign is what turns
    do(session, "whynot heads mlps --apply")
    rows = {row["token"]: row["rank"] for row in do(session, "logits").result["rows"]}
    assert reply.lines[1].endswith(f": ' John' has passed ' Mary' and is number {rows[' John']}")


def test_under_edits_it_looks_for_what_is_left_to_do(session: Session) -> None:
    do(session, "ablate L5H0@END scale 0.9")
    result = do(session, "why not heads").result
    assert result["before"] == pytest.approx(session.snapshot.now.value, abs=1e-4) and result["flips"]


def test_another_quantity_asks_for_the_token_that_is_said(session: Session) -> None:
    do(session, "set metric prob")
    result = do(session, "whynot").result
    assert result["flips"] and result["top"]["after"]["token"] == " John"


def test_no_flip_is_said_with_the_best_that_was_found(session: Session) -> None:
    reply = do(session, "whynot heads @1")
    assert not reply.result["flips"] and reply.result["command"] is None
    assert said(reply).startswith("no set of heads")
    error = fail(session, "whynot heads @1 --apply").error
    assert error is not None and error.message.endswith(": nothing was made")
    assert session.state.inputs.edits == ()


def test_prompts_of_different_length_are_patched_at_counterparts(session: Session) -> None:
    do(session, "prompt B When Mary and John went to the big store, Mary gave a drink to")
    result = do(session, "whynot heads @END --apply").result
    assert result["flips"] and session.snapshot.now.value == pytest.approx(result["after"], abs=1e-4)
    error = fail(session, "reset ;; whynot per component").error
    assert (
        error is not None
        and error.message == "A has 15 tokens and B has 16: per component needs as many in both"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("why not haeds", "unknown word 'haeds': did you mean 'heads'?"),
        ("whynot per head", "per what: per component"),
        ("whynot per component @END", "per component is at every token: leave the token out"),
        ("whynot --limit 0", "0 is too small: a number of nodes is at least 1"),
        ("whynot @Marry", "no token 'Marry' in the prompt: did you mean ' Mary' (2)?"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(session: Session, line: str, message: str) -> None:
    error = fail(session, line).error
    assert error is not None and error.message == message


def test_b_must_give_another_answer(session: Session) -> None:
    do(session, "prompt B When Mary and John went to the park, John gave a drink to")
    error = fail(session, "why not").error
    assert error is not None and error.message.startswith(
        "B gives no other answer: ' Mary' - ' John' @END is +"
    )
    alone = begin(session.engine, PROMPT, None)
    error = fail(alone, "why not").error
    assert error is not None and error.message == "no prompt B: set one with 'prompt B TEXT' or --prompt-b"


def test_a_search_can_be_interrupted_and_asked_again(session: Session) -> None:
    before, run = session.snapshot, session.snapshot.now.asked().run
    also, seen = run.also, [0]

    def stopping(site: Site, layer: int, x: Tensor) -> Tensor:
        seen[0] += 1
        if seen[0] == 10:
            session.engine.interrupt.set()
        return also(site, layer, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flipping, "smallest_flip", partial(_with_hook, stopping))
        assert fail(session, "why not").interrupted
    assert session.snapshot is before and session.engine.progress == ""
    assert do(session, "why not").result["flips"]


def _with_hook(hook: Hook, *args: Any, also: Hook, **options: Any) -> Generator[Round, None, Flip]:
    return smallest_flip(*args, also=hook, **options)
