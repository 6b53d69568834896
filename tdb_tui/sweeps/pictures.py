"""A sweep as a picture: its axes, what its cells are called, and the line that makes each of them so."""

from model.edits.changes import how
from model.edits.interventions import Ablate, Patch
from model.measured.sweeps import Cell
from model.sets.prompts import OTHER
from tdb_tui.commands.ranking import target_text
from tdb_tui.formats import quoted
from tdb_tui.language.arguments import span_of
from tdb_tui.session import Session, Snapshot
from tdb_tui.sweeps.plans import Plan, Sweep
from tdb_tui.sweeps.spots import counterparts, label_of, source_prompt
from tdb_tui.sweeps.values import Picture, Values


def picture(session: Session, sweep: Sweep, start: Snapshot, plan: Plan, values: Values) -> Picture:
    """What there is of a sweep; `start` is the run whose grid `plan` is."""
    inputs, metric = start.state.inputs, session.state.inputs.metric
    other = source_prompt(inputs, sweep.example) if sweep.patches and not sweep.over else inputs.prompt
    same = len(other.tokens) == len(inputs.prompt.tokens)
    rows, columns = range(len(plan.grid.rows)), range(len(plan.grid.columns))
    positions = _positions(plan) if not sweep.over else []
    ends = ("A", "B" if sweep.example is None else f"example {sweep.example}")
    if not sweep.patches or (session.state.trail and not sweep.over):
        ends = ("A", "")
    return Picture(
        words=str(sweep),
        rows=plan.grid.rows,
        columns=plan.grid.columns,
        nodes=tuple(
            tuple(
                plan.place(row, column) if sweep.over or plan.grid.cells[row][column] else ""
                for column in columns
            )
            for row in rows
        ),
        commands=tuple(
            tuple(
                _command(sweep, plan.grid.cells[row][column], plan.place(row, column), same)
                for column in columns
            )
            for row in rows
        ),
        found=values,
        ends=(ends[1], ends[0]) if sweep.into_b else ends,
        target=target_text(session.snapshot) if not sweep.over else f"{metric.quantity.value} of each prompt",
        of=session.state.inputs,
        positions=tuple(positions),
        left_out=_left_out(start, sweep) if sweep.patches and not sweep.over else (),
        legend=tuple(quoted(start.tokenizer, inputs.prompt.tokens[pos]) for pos in positions),
    )


def _command(sweep: Sweep, cell: Cell, place: str, same: bool) -> str:
    """The line that makes a cell's changes, on a prompt that has its tokens; empty where no one line does."""
    before = "swap ;; " if sweep.into_b else ""
    change = sweep.changes[0] if sweep.over else cell[0] if cell else None
    if change is None or (sweep.over and OTHER in place.partition("@")[2].split("<")):
        return ""
    if len(cell) > 1 and not sweep.over:
        return before + " ;; ".join(map(str, cell))
    match change:
        case Patch():
            key = "" if change.source_key is None else f"<{change.source_key}"
            where = "" if sweep.over or (same and change.span == change.source) else f"@{change.source}{key}"
            return f"{before}patch {place} from {change.origin}{where}"
        case Ablate():
            return f"ablate {place} {how(change.mode, change.amount, change.seed)}"
        case _:
            return str(change)


def _left_out(start: Snapshot, sweep: Sweep) -> tuple[str, ...]:
    """Tokens without a counterpart in the other prompt, which nothing can be patched at."""
    partner = counterparts(start, sweep.example)
    span = None if sweep.at is None else span_of(start, sweep.at)
    wanted = range(len(partner)) if span is None else range(span.first, span.last + 1)
    return tuple(label_of(start, pos) for pos in wanted if partner[pos] < 0)


def _positions(plan: Plan) -> list[int]:
    """The token of each column, where columns are tokens."""
    if plan.grid.columns.name not in ("position", "key"):
        return []
    return [spot.here[0] for spot in plan.spots.spots if spot is not None]
