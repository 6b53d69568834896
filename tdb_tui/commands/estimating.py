"""`estimates`: what nodes do by several estimators, beside what is measured of them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isnan

import numpy as np

from model.estimates.disagreement import Disagreement, Reason
from model.estimates.integrated import Rule
from model.estimates.remainders import Step
from model.nodes import Floats
from tdb_tui.commands.rank_words import effects_needed, read_view
from tdb_tui.commands.ranking import refuse_unpatchable, target_text
from tdb_tui.commands.table import command
from tdb_tui.effects import Effect
from tdb_tui.errors import CommandError
from tdb_tui.formats import node_label, signed
from tdb_tui.language.arguments import option_integer
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session, Snapshot
from tdb_tui.settings import setting
from tdb_tui.state import RankView
from tdb_tui.tables.estimates import CRITERIA, MARK, Inputs, Recipe, Study, editable
from tdb_tui.tables.ranking import Ranked, ranked

ROWS, STEPS = 25, 16
MOST_STEPS = 1000
MOST_MEASURED = 20_000
SHORT = {Step.NORM: "norm", Step.SOFTMAX: "softmax", Step.ACTIVATION: "gelu", Step.METRIC: "metric"}
RULES = {Rule.MIDPOINT: "midpoint rule", Rule.RIEMANN_LEFT: "left rule"}


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Columns of the answer, [row]; NaN where there is nothing to say."""

    total: Floats
    measured: Floats
    ig: Floats
    drop: Floats
    "Of absolute values, as AtP* ranks by it."
    drop_signed: Floats
    inputs: Inputs
    atp: Floats
    patched: Floats
    reasons: tuple[tuple[Disagreement | None, Disagreement | None], ...]
    "Of total against measured, and of atp against patched."


@command(
    "estimates",
    "est",
    usage="[KINDS] [by M] [@POS] [in NODES] [+|-] [where EXPR] [-n N] [--steps K] [--from zero|B]",
    group="seeing",
    options={"n": True, "steps": True, "from": True},
    complete=("kind", "pos", "node"),
    examples=("estimates -n 3", "estimates heads by direct @END -n 2 --steps 4"),
)
def estimates(session: Session, call: Call) -> Reply:
    """Estimates of what the first ranked nodes do, beside what is measured, and why the two disagree.

    total     activation x gradient, with the scales held that `set ln` says
    ig        integrated gradients: the node alone on its way to zero; more steps, nearer to
              measured (an embedding needs many)
    drop      GradDrop: mean over layers of |estimate| with that layer's gradient left out
    q k       AtP*'s QK fix: the head's query and key at that token exchanged, through the softmax exactly
    measured  the node ablated (zero) and everything after it run again
    atp       attribution patching: B's value in its place, by first order;  patched the same, run again

    ig, drop, q and k put zero in the node's place, with `--from B` its value in prompt B.  All are the target minus
    the target then, and hold no scale, `total` apart.

    ! marks an estimate that would mislead: total and measured (B: atp and patched) have different signs or are more
    than three times apart (2/3 of the larger), by over 5 % of what the metric is, and 0.02.  The reason is the
    first that holds: held scale or bias (half of the gap is there to first order), self-repair (later parts undo
    30 % of the direct change, more than foreseen), cancellation (at most 20 % of the paths' absolute sum is left),
    saturation (softmax, layer norm, gelu or the metric holds half of the gap), interaction.
    """
    snapshot, recipe, view = (
        session.snapshot,
        _recipe(session.snapshot, call),
        read_view(session.snapshot, call),
    )
    if view.per:
        raise CommandError("estimates are of single nodes: leave out per", "bad-argument")
    count = option_integer(call, "n", ROWS, "a number of rows")
    try:
        _measure_needed(session, view)
        shown = ranked(snapshot.asked, view, max(count, 1))
        rows = range(min(count, len(shown)) if count else len(shown.order))
        _measure_rows(session, shown, rows)
        study = _study(snapshot, shown, rows, recipe)
        found = _estimated(session, study)
    finally:
        session.engine.progress = ""
    return Reply(_text(snapshot, study, found), _result(snapshot, study, found), _caveats(snapshot, study))


def _recipe(snapshot: Snapshot, call: Call) -> Recipe:
    steps = option_integer(call, "steps", STEPS, "a number of steps", least=1)
    if steps > MOST_STEPS:
        raise CommandError(f"{steps} steps are too many: at most {MOST_STEPS}", "bad-number")
    given = next((option for option in reversed(call.options) if option.name == "from"), None)
    if given is None or given.value == "zero":
        return Recipe(steps=steps)
    if given.value != "B":
        raise CommandError(f"nothing to take from {given.value!r}: zero or B", "bad-option", col=given.col)
    refuse_unpatchable(snapshot)
    return Recipe(Effect.PATCHED, steps)


def _measure_needed(session: Session, view: RankView) -> None:
    """Measure what the order or the filter needs.  Raises CommandError for too much."""
    for effect in effects_needed(view):
        if effect is Effect.PATCHED:
            refuse_unpatchable(session.snapshot)
        whole = RankView(kinds=view.kinds, pos=view.pos, within=view.within)
        every = ranked(session.snapshot.asked, whole, MOST_MEASURED)
        if len(every) > MOST_MEASURED:
            hint = "give a position (@END), components (in L2), or a kind with fewer"
            raise CommandError(f"{len(every):,} nodes are too many to measure: {hint}", code="too-many")
        _measure(session, every, range(len(every)), effect)


def _measure_rows(session: Session, shown: Ranked, rows: range) -> None:
    if setting(session.state, "measure") == "auto":
        for effect in Effect:
            if effect is Effect.ABLATED or _as_long(session.snapshot):
                _measure(session, shown, rows, effect)


def _measure(session: Session, shown: Ranked, rows: range, effect: Effect) -> None:
    for progress in shown.measure(session.snapshot.asked, rows, effect):
        session.engine.progress = f"{effect.value} {progress.done}/{progress.of}"


def _as_long(snapshot: Snapshot) -> bool:
    return snapshot.other is not None and snapshot.other.length == snapshot.now.length


def _study(snapshot: Snapshot, shown: Ranked, rows: range, recipe: Recipe) -> Study:
    other = snapshot.other.trace if snapshot.other is not None and _as_long(snapshot) else None
    asked = snapshot.asked
    question = asked.target if snapshot.state.trail else snapshot.now.metric
    return Study(asked, question, shown.table.take(shown.rows(rows)), other, recipe)


def _estimated(session: Session, study: Study) -> Found:
    """Each column in its turn, then the reasons of rows that are marked."""
    engine, count = session.engine, len(study.table)
    measured, patched = (study.asked.measured(study.table, effect) for effect in Effect)
    for row in range(count):
        if not editable(study.table.node(row), Effect.PATCHED):
            patched[row] = np.nan
    engine.progress = "first order"
    atp, inputs, (signs, sizes) = study.patching, study.inputs, study.dropped
    ig: list[float] = []
    for value in study.integrated():
        ig.append(value)
        engine.progress = f"ig {len(ig)}/{count}"
    reasons: list[tuple[Disagreement | None, Disagreement | None]] = []
    for row in range(count):
        engine.progress = f"reasons {row + 1}/{count}"
        ablating = study.reason(row, Effect.ABLATED, float(study.table.total[row]), float(measured[row]))
        patching = study.reason(row, Effect.PATCHED, float(atp[row]), float(patched[row]))
        reasons.append((ablating, patching))
    total = study.table.total
    return Found(total, measured, np.array(ig), sizes, signs, inputs, atp, patched, tuple(reasons))


def _text(snapshot: Snapshot, study: Study, found: Found) -> tuple[str, ...]:
    tokens = snapshot.state.inputs.prompt.tokens
    every = {
        "total": found.total, "ig": found.ig, "drop": found.drop, "q": found.inputs.q, "k": found.inputs.k,
        "measured": found.measured, "atp": found.atp, "patched": found.patched,
    }  # fmt: skip
    named = [(name, values) for name, values in every.items() if not np.isnan(values).all()]
    cells = [("#", "node", *(name for name, _ in named), "", "")]
    for row in range(len(study.table)):
        label = node_label(study.table.node(row), tokens, snapshot.tokenizer)
        numbers = (_number(float(values[row]), name) for name, values in named)
        why = "; ".join(_why(found.reasons[row]))
        cells.append((str(row + 1), label, *numbers, MARK if why else "", why))
    return (*columns(cells, "r-" + "r" * len(named) + "--"), *_footer(study))


def _number(value: float, name: str) -> str:
    if isnan(value):
        return ""
    return f"{value:.2f}" if name == "drop" else signed(value)


def _why(reasons: tuple[Disagreement | None, Disagreement | None]) -> Iterator[str]:
    for found, prefix in zip(reasons, ("", "B: "), strict=True):
        if found is not None:
            step = f" ({SHORT[found.step]})" if found.reason is Reason.SATURATION else ""
            yield f"{prefix}{found.reason.value}{step}"


def _footer(study: Study) -> Iterator[str]:
    recipe, held = study.recipe, study.asked.treatment.value
    yield f"ig {recipe.steps} steps, {RULES[recipe.rule]}, from {recipe.source}; drop, q, k from {recipe.source}"
    yield f"total holds layer norms: {held}; the others none"
    size = f"{CRITERIA.share:.0%} of the target and {CRITERIA.absolute}"
    yield f"{MARK} another sign or more than three times apart, by over {size}"


def _caveats(snapshot: Snapshot, study: Study) -> tuple[str, ...]:
    if study.other is not None:
        return ()
    if snapshot.other is None:
        return ("no prompt B: atp and patched are left out",)
    lengths = f"{snapshot.other.length} tokens and the prompt {snapshot.now.length}"
    return (f"prompt B has {lengths}: atp and patched are left out",)


def _result(snapshot: Snapshot, study: Study, found: Found) -> dict[str, object]:
    recipe = study.recipe
    return {
        "target": target_text(snapshot),
        "recipe": {"steps": recipe.steps, "rule": recipe.rule.value, "from": recipe.source},
        "criteria": asdict(CRITERIA),
        "rows": [_row(study, found, row) for row in range(len(study.table))],
    }


def _row(study: Study, found: Found, row: int) -> dict[str, object]:
    node, inputs = study.table.node(row), found.inputs
    values = {
        "total": found.total, "measured": found.measured, "ig": found.ig, "drop": found.drop,
        "drop_signed": found.drop_signed, "q": inputs.q, "k": inputs.k, "v": inputs.v,
        "q_linear": inputs.q_linear, "k_linear": inputs.k_linear, "atp": found.atp, "patched": found.patched,
    }  # fmt: skip
    ablating, patching = found.reasons[row]
    return {
        "node": str(node),
        "kind": study.table.group(row),
        **{name: None if isnan(column[row]) else float(column[row]) for name, column in values.items()},
        "reason": None if ablating is None else ablating.reason.value,
        "reason_b": None if patching is None else patching.reason.value,
        "evidence": _evidence(ablating),
        "evidence_b": _evidence(patching),
    }


def _evidence(found: Disagreement | None) -> dict[str, object] | None:
    """What the reason was read off, as changes of the target: minus what the columns say."""
    if found is None:
        return None
    given = found.evidence
    numbers = {
        name: getattr(given, name)
        for name in ("estimate", "measured", "gap", "direct", "downstream", "gross")
    }
    return {
        "step": found.step.value,
        **numbers,
        "shares": {step.value: x for step, x in given.shares.items()},
    }
