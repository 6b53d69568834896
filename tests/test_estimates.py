"""Estimates beside measurements: the same numbers by other commands, limits that are known, marks where they are due."""

from collections.abc import Mapping
from math import isclose
from typing import Any

import pytest
from torch import Tensor

from model.estimates.estimators import attribution_patching
from model.estimates.remainders import Step
from model.estimates.swap import Swap
from model.sites import Site
from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tdb_tui.tables.estimates import MARK
from tdb_tui.tables.ranked_rows import LEGEND
from tests.sessions import PROMPT, begin, do, fail, load, said, write_model

ROWS = 4


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), dtype="float64")


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def rows_of(session: Session, line: str) -> list[dict[str, Any]]:
    return do(session, line).result["rows"]


def apart(session: Session, row: Mapping[str, float], estimate: str, measured: str) -> bool:
    """Of different signs or three times apart, by 5 % of what is asked about."""
    small, large = sorted((row[estimate], row[measured]), key=abs)
    least = max(0.02, 0.05 * abs(session.snapshot.asked.value))
    return abs(large - small) > least and small / large < 1 / 3


@pytest.mark.parametrize("kinds", ["heads", "mlps", "neurons @END", "pairs @END", "parts"])
def test_rows_are_the_rankings_and_measured_ones_what_single_edits_do(session: Session, kinds: str) -> None:
    ranked = rows_of(session, f"rank {kinds} by total -n {ROWS}")
    found = rows_of(session, f"estimates {kinds} by total -n {ROWS} --steps 1")
    assert [row["node"] for row in found] == [row["node"] for row in ranked]
    assert [row["total"] for row in found] == [row["total"] for row in ranked]
    for row in found:
        edit = do(session, f"ablate {row['node']}").result
        assert row["measured"] == pytest.approx(-edit["delta"], abs=1e-9)
        do(session, "undo")
        if row["patched"] is None:
            assert row["kind"] == "bias"
            continue
        place = row["node"].partition("@")[2]
        edit = do(session, f"patch {row['node']} from B@{place}").result
        assert row["patched"] == pytest.approx(-edit["delta"], abs=1e-9)
        do(session, "undo")


@pytest.mark.parametrize("source", ["zero", "B"])
@pytest.mark.parametrize("made", ["w", "ablate L1H1", "trace N3.5@END"], ids=["alone", "edited", "frame"])
def test_integrated_gradients_go_to_what_is_measured(session: Session, source: str, made: str) -> None:
    """A midpoint sum's error falls to a quarter with twice the steps; an embedding's zero is where a norm breaks."""
    do(session, made)
    coarse, fine = (
        rows_of(session, f"estimates heads by total -n {ROWS} --steps {steps} --from {source}")
        for steps in (8, 16)
    )
    column = "measured" if source == "zero" else "patched"
    for few, many in zip(coarse, fine, strict=True):
        assert abs(many["ig"] - many[column]) <= 0.3 * abs(few["ig"] - few[column]) + 1e-9
    assert any(abs(row[column]) > 1e-3 for row in fine)


def test_a_prompt_b_that_is_the_prompt_changes_nothing(session: Session) -> None:
    do(session, f'prompt B "{PROMPT}"')
    for row in rows_of(session, f"estimates -n {ROWS} --steps 2 --from B"):
        values = [
            row[name] for name in ("atp", "patched", "ig", "drop", "q", "k", "v") if row[name] is not None
        ]
        assert values == pytest.approx([0.0] * len(values), abs=1e-12)
        assert row["reason_b"] is None


def test_patching_estimates_are_attribution_patchings_with_live_norms(session: Session) -> None:
    snapshot = session.snapshot
    assert snapshot.other is not None
    swap = Swap(snapshot.now.model, snapshot.now.trace, snapshot.other.trace, snapshot.now.metric)
    expected = attribution_patching(swap)
    for row in rows_of(session, f"estimates heads by total -n {ROWS} --steps 1"):
        head, _, pos = row["node"].removeprefix("L").replace("H", "@").rpartition("@")
        layer, index = map(int, head.split("@"))
        assert row["atp"] == pytest.approx(-float(expected.heads[layer, index, int(pos)]), abs=1e-12)


def test_the_heads_inputs_are_estimated_and_other_rows_have_none(session: Session) -> None:
    found = rows_of(session, "estimates all by total -n 15 --steps 1")
    for row in found:
        assert (row["q"] is None) == (row["kind"] != "head")
    heads = [row for row in found if row["kind"] == "head"]
    assert any(not isclose(row["q"], row["q_linear"], rel_tol=0.05) for row in heads)


@pytest.mark.parametrize(
    "made", ["w", "ablate M1@END", "set metric logprob", "set ln none", "trace N2.7@END"]
)
def test_rows_are_marked_and_given_a_reason_where_they_are_apart_and_nowhere_else(
    session: Session, made: str
) -> None:
    do(session, made)
    reply = do(session, "estimates by total -n 6 --steps 1")
    seen = {True: 0, False: 0}
    for row, line in zip(reply.result["rows"], reply.lines[1:], strict=False):
        expected = apart(session, row, "total", "measured")
        assert (row["reason"] is not None) == expected == (row["evidence"] is not None)
        assert (row["reason_b"] is not None) == apart(session, row, "atp", "patched")
        assert (f"  {MARK}  " in line) == (expected or row["reason_b"] is not None)
        seen[expected] += 1
        for evidence, estimate, measured in (
            (row["evidence"], "total", "measured"),
            (row["evidence_b"], "atp", "patched"),
        ):
            if evidence is not None:
                assert (evidence["estimate"], evidence["measured"]) == (-row[estimate], -row[measured])
                assert sum(evidence["shares"].values()) == pytest.approx(evidence["gap"], abs=1e-9)
        if row["evidence_b"] is not None:  # it is the first order, every norm live
            assert row["evidence_b"]["shares"][Step.HELD.value] == pytest.approx(0, abs=1e-8)
    assert seen[True]


def test_a_ranking_marks_the_rows_that_are_measured_to_be_otherwise(engine: Engine) -> None:
    engine.forget()
    session = begin(engine)
    do(session, "set measure off")
    reply = do(session, "rank heads -n 5")
    assert {row["disagrees"] for row in reply.result["rows"]} == {None} and LEGEND not in reply.lines
    do(session, "set measure auto")
    reply = do(session, "rank heads -n 25")
    titles, *lines = reply.lines[: reply.lines.index(LEGEND)]
    assert titles.split()[:5] == ["#", "node", "total", "direct", "measured"]
    for row, line in zip(reply.result["rows"], lines, strict=True):
        assert row["disagrees"] == apart(session, row, "total", "measured") == (MARK in line.split())
    assert len({row["disagrees"] for row in reply.result["rows"]}) == 2


def test_without_a_prompt_b_as_long_its_columns_are_left_out_with_a_note(engine: Engine) -> None:
    session = begin(engine, prompt_b=None)
    reply = do(session, "estimates -n 2 --steps 1")
    assert reply.warnings == ("no prompt B: atp and patched are left out",)
    assert "atp" not in reply.lines[0] and {row["patched"] for row in reply.result["rows"]} == {None}
    error = fail(session, "estimates --from B").error
    assert error is not None and error.message.startswith("no prompt B: ")
    reply = do(session, "prompt B Mary went", "estimates -n 2 --steps 1")
    assert reply.warnings == ("prompt B has 3 tokens and the prompt 14: atp and patched are left out",)


def test_steps_rule_and_source_are_printed(session: Session) -> None:
    assert "ig 3 steps, midpoint rule, from B; drop, q, k from B" in said(
        do(session, "estimates -n 1 --steps 3 --from B")
    )
    assert "ig 16 steps, midpoint rule, from zero" in said(do(session, "estimates -n 1"))


def test_estimates_decide_nothing_and_without_measuring_say_so(session: Session) -> None:
    before, known = session.state, rows_of(session, "rank -n 3")
    do(session, "estimates heads by direct @END -n 2 --steps 1")
    assert session.state.rank == before.rank and session.engine.progress == "" and known
    do(session, "set measure off", "ablate L0H0")
    for row in rows_of(session, "estimates -n 3 --steps 1"):
        assert row["measured"] is row["patched"] is row["reason"] is None and row["ig"] is not None


def test_ordering_by_measurement_measures_every_row_first(session: Session) -> None:
    found = rows_of(session, "estimates mlps by measured -n 3 --steps 1")
    every = rows_of(session, "rank mlps by measured -n 0")
    assert [row["node"] for row in found] == [row["node"] for row in every[:3]]


@pytest.mark.parametrize("after", [0, 100, 500, 1000])
def test_an_interrupt_ends_it_at_any_stage(
    session: Session, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, stop_here, sites = session.engine, session.engine.stop_here, [0, 10**9]

    def counting(site: Site, layer: int, x: Tensor) -> Tensor:
        sites[0] += 1
        if sites[0] > sites[1]:
            engine.interrupt.set()
        return stop_here(site, layer, x)

    monkeypatch.setattr(engine, "stop_here", counting)
    engine.forget()
    do(session, "run")
    before, sites[1] = session.snapshot, sites[0] + after
    done = execute(session, "estimates heads -n 30")[0]
    sites[1] = 10**9
    assert done.interrupted and engine.progress == "" and session.snapshot is before
    assert do(session, "estimates heads -n 2 --steps 1").result["rows"]
