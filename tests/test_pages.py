"""Pages of components: typed texts and sentences, notes that outlast a session, what a search leads to, the ranking."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from explanations.records import Explanation, Score
from explanations.writing import put_explanations
from tdb_tui.engine import Engine
from tdb_tui.machine.yours import your_stores
from tdb_tui.session import Session
from tdb_tui.stores import Stores
from tdb_tui.tables.known import Found, Known
from tdb_tui.views.data import PageView, ShadedRow, TextRow
from tdb_tui.views.page import page
from tdb_tui.views.ranked import ranked
from tests.sessions import begin, do, fail, load, said, write_model
from tests.test_exampling import make_store


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    found = load(write_model(tmp_path_factory.mktemp("model")))
    found.stores.use([make_store(found, tmp_path_factory.mktemp("store") / "tiny.store")])
    yield found


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def view_of(session: Session) -> PageView:
    found = page(session.snapshot)
    assert found is not None
    return found


def labelled(session: Session, label: str) -> list[str]:
    rows = view_of(session).rows
    return [row.text for row in rows if isinstance(row, TextRow) and row.label == label]


def test_a_typed_text_is_run_and_shown_as_the_prompt_would_be(session: Session, engine: Engine) -> None:
    result = do(session, 'info N1.5 " Anna Smith went"').result
    [tried] = result["tried"]
    act = do(begin(engine, " Anna Smith went"), "p N1.5@END").result["value"]["act"]
    assert tried["activations"][-1] == pytest.approx(act, rel=1e-5)
    assert len(labelled(session, "typed")) == 1
    do(session, 'info N1.5 "the drink"')
    assert len(labelled(session, "typed")) == 2, "the page keeps what was typed before"
    do(session, "info N1.6")
    assert not labelled(session, "typed"), "of this component alone"


def test_a_text_that_cannot_be_read_leaves_the_page(session: Session) -> None:
    do(session, "info N1.5")
    before = session.page
    error = fail(session, f'info N1.5 "{"went " * 2000}"').error
    assert error is not None and "reads at most" in error.message
    assert session.page is before


def test_a_typed_sentence_is_scored_by_the_tokens_that_it_names_and_kept(session: Session) -> None:
    do(session, "info N1.7")
    reply = do(session, "explain N1.7 \"active on ' drink'\"")
    assert reply.lines[0] == "N1.7  read as: ' drink'"
    [row] = reply.result["rows"]
    assert (row["text"], row["method"], row["model"]) == ("active on ' drink'", "person", "")
    assert isinstance(session.page, Known) and session.page.scored is not None
    assert [each.text for each in session.engine.stores.explanations("N1.7")] == ["active on ' drink'"]
    assert row in do(session, "explain N1.7").result["rows"]


def test_a_note_of_a_component_outlasts_its_session(session: Session, engine: Engine) -> None:
    do(session, "note L1H3 looks at zebras")
    do(session, "note L1H3@END looks at zebras")
    other = begin(engine)
    lines = said(do(other, "info L1H3"))
    assert "note: looks at zebras" in lines and "note: looks at zebras  (L1H3@END)" in lines
    assert do(other, "find zebras").result["rows"][0]["node"] == "L1H3"
    do(session, "note --drop 2")
    do(session, "note --drop 1")
    assert "zebras" not in said(do(begin(engine), "info L1H3"))


def test_what_is_noted_without_a_store_is_in_ones_own(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    def stores() -> Stores:
        return Stores(engine.weights_hash, (), your_stores("random"))

    first = stores()
    assert first.opened() == ()
    with first.keeping() as connection:
        put_explanations(
            connection, [Explanation("N0.1", "mine", "person", scores=(Score("correlation", 0.5),))]
        )
    assert first.kept == 1
    assert [each.text for each in first.explanations("N0.1")] == ["mine"]
    assert [each.text for each in stores().explanations("N0.1")] == ["mine"], "the next session has it too"
    assert stores().opened()[0].path.name == f"random-{engine.weights_hash()}.store"


def test_a_search_is_a_page_that_leads_to_others_and_back(session: Session) -> None:
    reply = do(session, "find zebra")
    assert isinstance(session.page, Found) and reply.view == "page"
    [row] = [row for row in view_of(session).rows if isinstance(row, TextRow) and row.node]
    assert (row.label, row.node, row.text) == ("N1.5", "N1.5", " 0.62  the word zebra")
    assert reply.result["rows"][0]["explanation"] == "the word zebra"
    do(session, f"info {row.node}")
    assert view_of(session).back == "find"
    assert do(session, "find").lines == reply.lines
    do(session, "mark $_rank")
    assert session.state.marked == ("N1.5",)
    assert str(fail(begin(session.engine), "find").error) == "find which words: find Mary"


def test_neighbours_and_arrows_name_components_of_the_same_kind(session: Session) -> None:
    do(session, "info L1H0")
    view, count = view_of(session), session.snapshot.info.config.n_head
    assert view.beside["before"] == f"L1H{count - 1}" and view.beside["after"] == "L1H1"
    assert view.beside["below"] == "L0H0"
    near = [row.node for row in view.rows if isinstance(row, TextRow) and row.node]
    assert near and all(node.startswith("L") and node != "L1H0" for node in near)


def rows_of(session: Session, line: str) -> list[dict[str, Any]]:
    return do(session, line).result["rows"]


def test_ranked_rows_carry_the_best_explanation_and_its_score(session: Session) -> None:
    reply = do(session, "rank neurons -n 0")
    told = [row for row in reply.result["rows"] if row["explanation"] is not None]
    assert {row["node"].partition("@")[0] for row in told} >= {"N1.5"}
    said_of = next(row for row in told if row["node"].startswith("N1.5@"))
    assert (said_of["explanation"], said_of["score"]) == ("the word zebra", 0.625)
    assert "says" in reply.lines[0] and "0.62 the word zebra" in "\n".join(reply.lines)
    assert ranked(session.snapshot).said["N1.5"] == "0.62 the word zebra"
    mlps = do(session, "rank mlps -n 1")
    assert "says" not in mlps.lines[0], "no column where nothing is known"


def test_a_shaded_row_is_as_long_as_its_tokens(session: Session) -> None:
    for node in ("N1.5", "L1H2", "M1"):
        do(session, f"info {node}")
        for row in view_of(session).rows:
            if isinstance(row, ShadedRow):
                assert row.acts.shape in ((len(row.texts),), (len(row.texts),) * 2)
