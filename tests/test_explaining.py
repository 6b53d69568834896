"""`explain` in a session: from the store, from data, by a language model; and what is wrong, in a sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tdb_tui.contract import RESULTS
from tdb_tui.engine import Engine, load_engine
from tdb_tui.language.parsing import quote
from tdb_tui.machine.models import find_model
from tdb_tui.session import Session
from tests.explaining.language_model import serving
from tests.explaining.stores import planted
from tests.explaining.test_explain import PLANTED, SENTENCE, words_of
from tests.explanations.models import knows
from tests.sessions import begin, do, fail, said


@pytest.fixture(scope="module")
def engine() -> Engine:
    found = find_model(None)
    return load_engine(found.directory, found.name, found.why, "cpu")


@pytest.fixture
def session(engine: Engine, tmp_path: Path) -> Iterator[Session]:
    before = engine.stores.paths
    engine.stores.use([planted(tmp_path / "planted.store", PLANTED)])
    yield begin(engine, "When Mary and John went to the store, John gave a drink to", None)
    engine.stores.use(before)


def rows(session: Session, line: str) -> list[dict[str, Any]]:
    return do(session, line).result["rows"]


def test_the_answer_holds_the_keys_of_the_contract(session: Session) -> None:
    assert set(do(session, "explain N0.1").result) == set(RESULTS["explain"])


def test_what_was_not_explained_is_explained_from_its_examples(session: Session) -> None:
    found = rows(session, "explain N0.1")
    assert found[0]["text"].startswith("active right after ")
    assert (found[0]["method"], found[0]["model"]) == ("preceding token", "")
    assert found[0]["score"] == pytest.approx(1, abs=0.02)
    assert found[0]["n"] >= 8 and set(found[0]["scores"]) >= {
        "correlation",
        "r2",
        "auc",
        "detection",
        "fuzzing",
    }
    assert session.engine.stores.explanations("N0.1") == ()
    assert "made just now" in said(do(session, "explain N0.1"))


def test_a_typed_sentence_is_scored_without_a_language_model(session: Session) -> None:
    [wrong] = rows(session, "explain N0.1 \"active on zebras and ' to'\"")
    found = rows(session, "explain N0.1")[0]
    [right] = rows(session, f"explain N0.1 {quote(found['text'])}")
    assert right["score"] > 0.5 > wrong["score"]
    assert set(right["scores"]) >= {"correlation", "r2", "auc", "detection", "fuzzing"}
    assert (right["method"], right["model"]) == ("person", "")


def test_a_language_model_explains_and_the_users_store_keeps_it(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(knows(words_of(), SENTENCE)) as server:
        monkeypatch.setenv("TDB_EXPLAINER_URL", server.url)
        found = rows(session, "explain N0.0 --by fake-1")
        assert (found[0]["text"], found[0]["model"]) == (f"{SENTENCE}.", "fake-1")
        assert found[0]["score"] == pytest.approx(1, abs=0.02)
        wrong = rows(session, 'explain N0.0 "verbs of movement" --by fake-1')
        assert (wrong[0]["text"], wrong[0]["score"]) == ("verbs of movement", 0)
    kept = rows(session, "explain N0.0")
    assert [row["text"] for row in kept] == [f"{SENTENCE}.", "verbs of movement"]


def test_an_interrupted_question_keeps_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(number: int, body: dict[str, Any]) -> float:
        session.engine.interrupt.set()
        return 0.5

    with serving(knows(words_of(), SENTENCE), hang) as server:
        monkeypatch.setenv("TDB_EXPLAINER_URL", server.url)
        assert fail(session, "explain N0.0 --by fake-1").interrupted
    assert session.engine.stores.explanations("N0.0") == ()
    assert session.engine.progress == ""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("explain", "explain which node"),
        ("explain N5.5", "no explanation of N5.5, and no examples"),
        ("explain N0.0 unheardof", "nothing in it is a token of this model"),
        ("explain N0.0 --by m", "set TDB_EXPLAINER_URL"),
        ("explain N0.99999", "out of range"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    session: Session, line: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TDB_EXPLAINER_URL", raising=False)
    error = fail(session, line).error
    assert error is not None and why in error.message and "\n" not in error.message
