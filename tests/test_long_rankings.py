"""More rows than one table should hold: the same answers, a few tokens at a time."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.nodes import NodeTable
from model.sites import Site
from tdb_tui.asked import Asked
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tdb_tui.tables.pages import LEFT_OUT, Order, keys_of
from tdb_tui.views.ranked import ranked
from tests.dictionaries import random_dictionary, write_dictionaries
from tests.sessions import SHAPE, TOKENS, begin, do, fail, load, write_model

NEURONS = SHAPE.n_layer * SHAPE.d_mlp * TOKENS
PAIRS = SHAPE.n_layer * SHAPE.n_head * TOKENS * (TOKENS + 1) // 2


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine) -> Session:
    engine.interrupt.clear()
    engine.forget()
    begun = begin(engine)
    do(begun, "set measure off")
    return begun


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything with more than some hundred rows is long."""
    monkeypatch.setattr("tdb_tui.tables.ranking.MAX_ROWS", 100)
    monkeypatch.setattr("tdb_tui.tables.ranking.MOST_WITH_LATENTS", 100)
    monkeypatch.setattr("tdb_tui.asked.BLOCK", 500)
    monkeypatch.setattr("tdb_tui.tables.long_ranking.WINDOW", 64)
    yield


def at_once(session: Session, line: str) -> dict[str, Any]:
    """The answer without the limit: what the fixture has patched is put back meanwhile."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("MAX_ROWS", "MOST_WITH_LATENTS"):
            patched.setattr(f"tdb_tui.tables.ranking.{name}", 1 << 40)
        return do(session, line).result


@pytest.fixture(scope="module")
def saes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    places = (Site.MLP_OUT, 1), (Site.ATTN_OUT, 2), (Site.Z, 0)
    made = (random_dictionary(at, SHAPE) for at in places)
    return write_dictionaries(tmp_path_factory.mktemp("saes"), made)


@pytest.mark.parametrize(
    "line",
    [
        "rank neurons by direct",
        "rank all by norm",
        "rank latents",
        "rank latents by act in M1,A2",
        "rank errors by total",
        "rank neurons per layer",
        "rank latents per component",
        "rank pairs each 7",
    ],
)
def test_every_row_is_reached_with_latents_in_other_parts_places(
    session: Session, saes: Path, short: None, line: str
) -> None:
    do(session, f"set sae {saes}", "latents mlps ;; latents heads")
    whole, long = at_once(session, f"{line} -n 0"), do(session, f"{line} -n 0").result
    names = [{row["node"] for row in each["rows"]} for each in (whole, long)]
    assert names[0] == names[1] and len(names[0]) > (3 if " per layer" in line else 8)
    by_name = [{row["node"]: row for row in each["rows"]} for each in (whole, long)]
    for name, row in by_name[0].items():
        assert numbers(by_name[1][name]) == pytest.approx(numbers(row))
    for key in ("rows", "biases", "rest", "target"):
        assert long["balance"][key] == pytest.approx(whole["balance"][key], abs=1e-9)
    if " per " not in line and " each " not in line:
        far = do(session, f"{line} -n 3 --from {len(names[0]) - 3}").result["rows"]
        assert [row["node"] for row in far] == [row["node"] for row in long["rows"][-3:]]


def numbers(row: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in row.items() if isinstance(value, int | float)}


LINES = (
    "rank neurons",
    "rank neurons by direct -",
    "rank pairs by norm",
    "rank pairs by direct +",
    "rank neurons by act in N2.3,M1",
    "rank pairs where abs(total) > 0.001 and layer == 2",
    "rank neurons each 7",
    "rank neurons per component",
    "rank pairs per layer by direct",
    "rank pairs per token where abs(total) > 0.001",
    "rank pairs per head",
)


@pytest.mark.parametrize("edits", [(), ("ablate M1@3", "ablate L2H1@END value 0.3", "ablate A0@3")])
@pytest.mark.parametrize("line", LINES)
def test_a_long_ranking_says_what_a_whole_one_does(
    session: Session, short: None, line: str, edits: tuple[str, ...]
) -> None:
    do(session, *edits)
    whole, long = at_once(session, f"{line} -n 0"), do(session, f"{line} -n 0").result
    assert len(long["rows"]) == len(whole["rows"]) > 0
    by = line.split(" by ")[1].split()[0] if " by " in line else "total"
    column = {"norm": "write_norm"}.get(by, by)
    for a, b in zip(long["rows"], whole["rows"], strict=True):
        assert abs(a[column]) == pytest.approx(abs(b[column]), rel=1e-6, abs=1e-12)
    rows = {row["node"]: row for row in whole["rows"] if row["kind"] != "attn"}
    for row in long["rows"]:
        if row["node"] in rows:
            assert numbers(row) == pytest.approx(numbers(rows[row["node"]]), rel=1e-9, abs=1e-12)
    assert {row["node"] for row in long["rows"]} == {row["node"] for row in whole["rows"]}
    assert long["balance"] == pytest.approx(whole["balance"], abs=1e-10)


@pytest.mark.parametrize("kind", ["neurons", "pairs"])
def test_pages_go_through_every_row_once_and_the_books_balance(
    session: Session, short: None, kind: str
) -> None:
    whole = at_once(session, f"rank {kind} -n 0")
    found: list[dict[str, Any]] = []
    answer = do(session, f"rank {kind}")
    for start in range(0, len(whole["rows"]), 150):
        answer = do(session, f"rank {kind} -n 150 --from {start}")
        found += answer.result["rows"]
        assert abs(answer.result["balance"]["difference"]) < 1e-9
        rows = sum(row["direct"] for row in found if row["kind"] != "bias")
        assert answer.result["balance"]["rows"] == pytest.approx(rows, abs=1e-10)
    assert len(found) == {"neurons": NEURONS, "pairs": PAIRS}[kind]
    assert len({row["node"] for row in found}) == len(found)
    values = [abs(row["total"]) for row in found]
    assert all(b <= a * (1 + 1e-6) + 1e-30 for a, b in pairwise(values))
    assert answer.more is None


def test_the_next_page_makes_no_row_again_and_never_all_at_once(
    session: Session, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    block = Asked.block

    def counted(asked: Asked, groups: tuple[str, ...], positions: range) -> NodeTable:
        table = block(asked, groups, positions)
        made.append(len(table))
        return table

    monkeypatch.setattr(Asked, "block", counted)
    do(session, "rank neurons -n 10")
    assert max(made) < NEURONS / 3 and sum(made) <= 2 * NEURONS  # its order, and the page
    made.clear()
    do(session, "rank neurons -n 10 --from 10")
    assert not made
    do(session, "rank neurons -n 10 --from 1000")
    assert sum(made) <= NEURONS  # the page: the order is kept
    asked = session.snapshot.asked
    assert all(key[0] != "neuron" for key in asked._tables)


def test_what_has_been_measured_comes_first_in_a_long_ranking(session: Session, short: None) -> None:
    do(session, "rank neurons by measured @END in M2")
    line = "rank neurons by measured in M2 where measured > 0"
    whole, long = at_once(session, f"{line} -n 0"), do(session, f"{line} -n 0").result
    assert [row["node"] for row in long["rows"]] == [row["node"] for row in whole["rows"]]
    assert all(row["measured"] > 0 for row in long["rows"]) and long["rows"]


def test_groups_of_a_long_ranking_are_measured(session: Session, short: None) -> None:
    do(session, "set measure auto")
    whole = at_once(session, "rank pairs per layer")
    session.engine.forget()
    session.go(session.state)
    long = do(session, "rank pairs per layer").result
    assert [row["measured"] for row in long["rows"]] == pytest.approx(
        [row["measured"] for row in whole["rows"]], abs=1e-9
    )


def test_the_screen_shows_the_page_that_has_been_asked_for(session: Session, short: None) -> None:
    do(session, "rank neurons -n 5 --from 700")
    view = ranked(session.snapshot)
    assert view.of == NEURONS and view.start == 640 and len(view) == 64
    assert view.node(60) == view.table.name(60, view.labels.__getitem__)
    do(session, "rank neurons -n 5")
    assert ranked(session.snapshot).start == 0


def test_too_many_rows_to_print_are_refused_in_a_sentence(
    session: Session, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tdb_tui.commands.ranking.MOST_PRINTED", 200)
    error = fail(session, "rank neurons -n 0").error
    assert error is not None and f"{NEURONS:,} rows are too many at once" in error.message
    do(session, f"rank neurons -n 0 --from {NEURONS - 50}")


def test_nothing_is_left_of_an_order_in_which_no_row_has_a_place(session: Session, short: None) -> None:
    assert do(session, "rank neurons where total > 1e9").result["rows"] == []


def test_pages_agree_with_a_stable_sort() -> None:
    draw = np.random.default_rng(0)
    values = np.round(draw.normal(size=5000), 2)  # with many ties
    first = np.where(draw.random(5000) < 0.3, np.nan, values)
    second = draw.normal(size=5000)
    keys = keys_of(first, second)
    keys[draw.random(5000) < 0.1] = LEFT_OUT
    blocks = np.split(keys, [700, 701, 3000])
    order, every = Order(blocks), np.flatnonzero(keys != LEFT_OUT)
    known, unknown = every[~np.isnan(first[every])], every[np.isnan(first[every])]
    expected = np.concatenate(
        [
            known[np.argsort(-np.abs(first[known]).astype(np.float32), kind="stable")],
            unknown[np.argsort(-np.abs(second[unknown]).astype(np.float32), kind="stable")],
        ]
    )
    assert len(order) == len(expected)
    starts = np.cumsum([0, *map(len, blocks)])
    for start, stop in ((0, 1), (0, 100), (37, 38), (1000, 1500), (len(expected) - 3, len(expected))):
        parts = list(order.page(start, stop))
        rows = np.concatenate([rows + at for (rows, _), at in zip(parts, starts, strict=False)])
        earlier = np.concatenate([np.flatnonzero(e) + at for (_, e), at in zip(parts, starts, strict=False)])
        assert set(rows) == set(expected[start:stop])
        assert set(earlier) == set(expected[:start])
