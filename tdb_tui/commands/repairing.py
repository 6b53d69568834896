"""`repair`: who changed after the edits in force, and what several edits do together that each alone does not."""

from collections.abc import Sequence

from model.effects.backward import Question, value_of
from model.measured.repair import Joint, Place, Shift, shifts, single_effects
from tdb_tui.commands.ranking import target_text
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.formats import node_label, signed
from tdb_tui.language.arguments import at_most, option_integer
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session, Snapshot

ROWS = 12
NUMBERS = ("before", "after", "change", "own", "scale")


@command(
    "repair",
    usage="[-n N]",
    group="tracing",
    options={"n": True},
    examples=("ablate L1H3 ;; repair", "ablate L0H1,L1H3 ;; repair -n 5"),
)
def repair(session: Session, call: Call) -> Reply:
    """Who makes up for the edits in force: each component's change of direct effect, largest first.

    before, after  its direct effect in the run without edits, and in this one
    own            the change with the reading layer norm's scale held: what the component itself did
    scale          the rest of the change: what that layer norm's new scale did to it

    All changes, biases and the edited components' among them, add up to the change of the metric (or of the selected
    frame), and the difference is printed.  Components after the edit (downstream) that move against the edited ones
    repair it.  Several changes in force are also made one by one: together minus their sum is what only the set does.
    """
    at_most(call, 0)
    snapshot = session.snapshot
    if not snapshot.state.inputs.changes:
        raise CommandError("no edit is in force: ablate or patch something first", code="no-edits")
    asked = _question(snapshot)
    before, after = snapshot.base.trace, snapshot.now.trace
    rows = shifts(snapshot.now.model, before, after, asked)
    values = [value_of(snapshot.now.model, trace, asked) for trace in (before, after)]
    set_of = _joint(session, asked, values[1] - values[0])
    count = option_integer(call, "n", ROWS, "a number of rows") or len(rows)
    return Reply(
        (*_table(snapshot, rows, count), _footer(rows, values), *_joint_lines(snapshot, set_of, count)),
        _result(snapshot, rows[:count], _by_place(rows), values, set_of),
        _caveats(snapshot),
    )


def _question(snapshot: Snapshot) -> Question:
    """The metric, or the selected frame as the run without edits asks it."""
    trail = snapshot.state.trail
    return snapshot.base.asked(trail).target if trail else snapshot.now.metric


def _joint(session: Session, asked: Question, together: float) -> Joint | None:
    """The changes in force against each alone; None for one."""
    snapshot, engine = session.snapshot, session.engine
    changes = snapshot.state.inputs.changes
    if len(changes) < 2:
        return None
    run, found = snapshot.base.asked().run, dict[int, float]()
    try:
        for at, effect in single_effects(
            run.model, run.trace, asked, changes, snapshot.asked.run.sources, also=run.also
        ):
            found[at] = effect
            engine.progress = f"{len(found)}/{len(changes)}"
    finally:
        engine.progress = ""
    return Joint(together, tuple(found[at] for at in range(len(changes))))


def _numbers(rows: Sequence[Shift]) -> dict[str, float]:
    """Columns of rows, added up."""
    return {
        name: float(sum(getattr(row, "frozen" if name == "own" else name) for row in rows))
        for name in NUMBERS
    }


def _by_place(rows: Sequence[Shift]) -> dict[str, dict[str, float]]:
    parts = {place.value: _numbers([row for row in rows if row.place is place]) for place in Place}
    return {**parts, "sum": _numbers(rows)}


def _table(snapshot: Snapshot, rows: Sequence[Shift], count: int) -> tuple[str, ...]:
    tokens = snapshot.state.inputs.prompt.tokens
    cells: list[tuple[str, ...]] = [("node", *NUMBERS, "")]
    for row in rows[:count]:
        label = node_label(row.node, tokens, snapshot.tokenizer)
        cells.append((label, *map(signed, _numbers([row]).values()), row.place.value))
    for name, numbers in _by_place(rows).items():
        cells.append((f"= {name}", *map(signed, numbers.values()), _given_back(rows, name)))
    return columns(cells, "-rrrrr-")


def _given_back(rows: Sequence[Shift], name: str) -> str:
    """How much of the edited components' own change the later ones undo."""
    parts = _by_place(rows)
    taken, given = parts[Place.EDITED.value]["own"], parts[Place.DOWNSTREAM.value]["own"]
    return (
        f"undoes {-given / taken:.0%} of that" if name == Place.DOWNSTREAM.value and taken * given < 0 else ""
    )


def _footer(rows: Sequence[Shift], values: Sequence[float]) -> str:
    before, after = values
    off = _numbers(rows)["change"] - (after - before)
    return f"{signed(before)} -> {signed(after)}, change {signed(after - before)}, difference {off:.1e}"


def _joint_lines(snapshot: Snapshot, found: Joint | None, count: int) -> tuple[str, ...]:
    if found is None:
        return ()
    apart = f"one by one {signed(sum(found.singles))}, together minus sum {signed(found.excess)}"
    cells = [
        (str(change), signed(effect))
        for change, effect in zip(snapshot.state.inputs.changes, found.singles, strict=True)
    ]
    more = (f"{len(cells) - count} more: repair -n 0",) if len(cells) > count else ()
    return (f"together {signed(found.together)}, {apart}", *columns(cells[:count], "-r"), *more)


def _caveats(snapshot: Snapshot) -> tuple[str, ...]:
    metric = snapshot.now.metric
    if metric.linear or snapshot.state.trail:
        return ()
    return (f"{metric.quantity.value} is not linear: changes add up to its linear part's",)


def _result(
    snapshot: Snapshot,
    rows: Sequence[Shift],
    sums: dict[str, dict[str, float]],
    values: Sequence[float],
    found: Joint | None,
) -> dict[str, object]:
    before, after = values
    change = after - before
    return {
        "target": {"text": target_text(snapshot), "before": before, "after": after, "change": change},
        "rows": [{"node": str(row.node), "place": row.place.value, **_numbers([row])} for row in rows],
        "sums": sums,
        "difference": sums["sum"]["change"] - change,
        "joint": None if found is None else _joint_result(snapshot, found),
    }


def _joint_result(snapshot: Snapshot, found: Joint) -> dict[str, object]:
    pairs = zip(snapshot.state.inputs.changes, found.singles, strict=True)
    return {
        "together": found.together,
        "singles": [{"change": str(change), "effect": effect} for change, effect in pairs],
        "sum": sum(found.singles),
        "excess": found.excess,
    }
