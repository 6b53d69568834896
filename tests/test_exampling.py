"""`examples`, `find` and `info` on a store of the tiny session model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from explanations.collation.collecting import Collector, collect
from explanations.collation.corpus import Row
from explanations.collation.finishing import write
from explanations.collation.groups import model_groups
from explanations.collation.plans import Plan
from explanations.records import Explanation, Histogram, Moments, Note, Sampling, Score, Statistics
from explanations.schema import Identity
from explanations.store import open_store
from explanations.writing import put_explanations, put_note, writing
from model.sites import Site
from tdb_tui.contract import RESULTS
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError
from tdb_tui.session import Session
from tdb_tui.tables.acts import activations, by_token
from tdb_tui.tables.examples import histogram_line
from tdb_tui.tables.known import Known
from tdb_tui.views.data import PageView, ShadedRow, TextRow
from tdb_tui.views.page import page
from tests.sessions import PROMPT, PROMPT_B, begin, do, fail, load, said, write_model

PLAN = Plan(length=8, batch=4, top=3, active=3, random=2)
TEXTS = (
    PROMPT,
    PROMPT_B,
    " Anna Smith went to the store",
    " then John gave a drink to Mary and went",
    " the drink",
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    found = load(write_model(tmp_path_factory.mktemp("model")))
    found.stores.use([make_store(found, tmp_path_factory.mktemp("store") / "tiny.store")])
    yield found


def make_store(engine: Engine, path: Path) -> Path:
    collector: Collector = engine.collector(PLAN, model_groups)
    rows = [
        Row(number, tuple(engine.tokenizer.encode(text))[: PLAN.length], 0, number, 0)
        for number, text in enumerate(TEXTS)
    ]
    collected = collector.nothing()
    for _ in collect(collector, collected, iter(rows)):
        pass
    with writing(path, Identity("tiny", engine.weights_hash())) as connection:
        for _ in write(connection, collector, collected, engine.tokenizer, {"files": [{"name": "a.txt"}]}):
            pass
        score = Score("correlation", 0.625)
        put_explanations(connection, [Explanation("N1.5", "the word zebra", "person", scores=(score,))])
        put_note(connection, Note("N1.5", "seen in giraffes"))
    return path


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def test_examples_hold_tokens_and_activations_of_the_model_itself(session: Session, engine: Engine) -> None:
    result = do(session, "examples N1.5 -n 1").result
    assert (result["node"], result["sampling"]) == ("N1.5", "top")
    row = result["rows"][0]
    assert row["value"] == result["max"] == pytest.approx(max(row["activations"]), rel=1e-6)
    again = begin(engine, "".join(row["tokens"]))
    act = do(again, f"p N1.5@{row['peak'] + 1}").result["value"]["act"]
    assert act == pytest.approx(row["value"], rel=1e-4)


def test_a_heads_example_is_a_matrix_whose_peak_is_what_it_moves(session: Session, engine: Engine) -> None:
    row = do(session, "examples L1H2 -n 1").result["rows"][0]
    assert row["activations"][row["peak"]][row["key"]] == pytest.approx(row["value"], rel=1e-6)
    again = begin(engine, "".join(row["tokens"]))
    norm = do(again, f"p L1H2@{row['peak'] + 1}<{row['key'] + 1}").result["value"]["write_norm"]
    assert norm == pytest.approx(row["value"], rel=1e-4)


def test_the_peak_is_marked_in_the_line(session: Session) -> None:
    reply = do(session, "examples N1.5 random -n 0")
    assert len(reply.lines) == 1 + PLAN.random
    assert all(line.count("[") == 1 for line in reply.lines[1:])
    assert len(do(session, "examples N1.5 quantile").result["rows"]) <= PLAN.active


def test_find_names_components_that_can_be_used_at_once(session: Session) -> None:
    assert do(session, "find zebra").result["rows"][0]["node"] == "N1.5"
    assert do(session, "find giraffe").result["rows"][0]["field"] == "note"
    found = do(session, "find drink -n 2").result
    assert found["words"] == "drink"
    assert len(found["rows"]) == 2
    assert do(session, "find unheardof").lines == ("nothing is found by 'unheardof'",)


def test_info_ends_with_what_the_store_knows(session: Session) -> None:
    lines = said(do(session, "info N1.5"))
    assert "  0.62  the word zebra  (person)" in lines
    assert "note: seen in giraffes" in lines
    assert "over " in lines and "max " in lines
    assert all(sampling.value in lines for sampling in Sampling)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("examples", "examples of which node: examples N3.17"),
        ("examples N1.5 tpo", "unknown sampling 'tpo': did you mean 'top'?"),
        ("examples A1", "no examples of A1 (looked in tiny.store)"),
        ("find", "find which words: find Mary"),
    ],
)
def test_mistakes_are_said(session: Session, line: str, complaint: str) -> None:
    assert str(fail(session, line).error) == complaint


def test_without_a_store_the_way_to_one_is_said(tmp_path: Path) -> None:
    session = begin(load(write_model(tmp_path / "bare")))
    complaint = "no store is loaded: start with --store FILE, made with tdb-tui collate or tdb-tui published"
    assert str(fail(session, "examples N1.5").error) == complaint


def test_a_store_of_another_model_is_refused_and_the_one_before_stays(engine: Engine, tmp_path: Path) -> None:
    other = tmp_path / "other.store"
    with writing(other, Identity("other", "00ff")):
        pass
    before = engine.stores.paths
    with pytest.raises(CommandError, match="is about other with weights 00ff"):
        engine.stores.use([other])
    assert engine.stores.paths == before
    assert open_store(before[0]).statistics("N1.5") is not None


@pytest.mark.parametrize(("name", "line"), [("examples", "examples N1.5"), ("find", "find zebra")])
def test_an_answer_holds_the_keys_of_the_contract(session: Session, name: str, line: str) -> None:
    assert set(RESULTS[name]) <= set(do(session, line).result)


def texts_of(view: PageView) -> list[str]:
    return [f"{row.label} {row.text}".strip() for row in view.rows if isinstance(row, TextRow)]


def shaded(view: PageView) -> list[ShadedRow]:
    return [row for row in view.rows if isinstance(row, ShadedRow)]


def test_the_page_shows_what_is_known_and_the_examples(session: Session, engine: Engine) -> None:
    assert page(session.snapshot) is None
    do(session, "info N1.5")
    view = page(session.snapshot)
    assert view is not None and view.title == "N1.5"
    assert view.what == "MLP neuron 5 of layer 1"
    assert texts_of(view)[:2] == ["says  0.62  the word zebra", SCORED]
    assert "note seen in giraffes" in texts_of(view)
    top = engine.stores.examples("N1.5", Sampling.TOP)
    rows = shaded(view)[1 : 1 + len(top)]
    assert [row.label for row in rows] == [f"{each.value:.4g}" for each in top]
    assert [row.peak for row in rows] == [each.peak for each in top]
    labels = [row.label for row in view.rows]
    assert {"says", "prompt", "top", "effect", "for", "against", "driven by", "near", "corpus"} <= set(labels)


SCORED = "correlation; by person"


def test_the_page_of_a_head_has_what_asks_and_what_is_found(session: Session) -> None:
    do(session, "info L1H2")
    view = page(session.snapshot)
    assert view is not None
    assert {"asked by", "found in"} <= {row.label for row in view.rows}
    pairs = [row for row in shaded(view) if row.key is not None]
    assert pairs and all(row.acts.ndim == 2 for row in pairs)
    assert all(row.acts[row.peak, row.key] == row.acts.max() for row in pairs if row.label)
    [here] = [row for row in pairs if not row.label]
    assert here.acts[here.peak, here.key] == here.acts[1:, 1:].max(), (
        "<|endoftext|> counts in no corpus, nor here"
    )


def test_the_prompts_own_activations_on_the_page_are_those_of_the_run(
    session: Session, engine: Engine
) -> None:
    for name in ("N1.5", "L1H2", "M1"):
        do(session, f"info {name}")
        assert isinstance(session.page, Known)
        run = session.snapshot.now
        acts = activations(run.model, run.trace, session.page.component)
        assert acts is not None
        acts = by_token(acts)
        node = do(session, f"p {name}@END").result["value"]
        if name == "N1.5":
            assert acts[-1] == pytest.approx(node["act"], rel=1e-5)
        elif name == "M1":
            out = session.snapshot.now.trace[Site.MLP_OUT, 1][
                -1
            ]  # with its bias, which is a row of its own in rankings
            assert acts[-1] == pytest.approx(float(out.norm()), rel=1e-4)
        else:
            pairs = [
                do(session, f"p {name}@END<{key}").result["value"]["write_norm"] for key in range(len(acts))
            ]
            assert acts[-1] == pytest.approx(max(pairs), rel=1e-4)


@pytest.mark.parametrize(
    ("edges", "counts", "line"),
    [
        ([1, 1.25, 1.5, 1.75, 2], [10, 0, 0, 1], "1 █  ▃ 2  (log counts)"),
        ([-0.5, -0.25, 0.25, 0.5], [1, 2, 1], "-0.5 ████ 0.5  (log counts)"),
        ([2.0, 2.5], [3], ""),
        ([-np.inf, -1.0, 0.0, 1.0, np.inf], [4, 4, 4, 4], "-2 ████ 2  (log counts)"),
    ],
)
def test_a_histogram_is_a_row_of_bars(edges: list[float], counts: list[int], line: str) -> None:
    moments = Moments(1, 0.0, 1.0, 0.0, 3.0)
    histogram = Histogram(np.array(edges, dtype=np.float64), np.array(counts))
    found = histogram_line(Statistics(moments, 1.0, None, histogram), columns=4)
    assert found == line
