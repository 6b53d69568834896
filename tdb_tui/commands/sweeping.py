"""`sweep`: one edit after the other over a grid, as a heat table."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tdb_tui.commands.sweep_words import read_sweep
from tdb_tui.commands.table import command
from tdb_tui.effects import Progress
from tdb_tui.errors import CommandError, Interrupted
from tdb_tui.formats import signed
from tdb_tui.language.arguments import at_most, option_integer
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply
from tdb_tui.session import Session
from tdb_tui.settings import seed_of
from tdb_tui.sweeps.heat import ends_text, heat_table, scale_text, top_cells
from tdb_tui.sweeps.keeping import Written
from tdb_tui.sweeps.latents import strongest
from tdb_tui.sweeps.pictures import picture
from tdb_tui.sweeps.plans import Plan, Sweep, planned
from tdb_tui.sweeps.sweeps import fill, key_of, roles_over, start_of, values_of
from tdb_tui.sweeps.values import Picture

CELLS, HEADS = 8, 12
STREAM_SECONDS = 0.3
MOST = 200_000
"Runs at once: GPT-2 small does some hundreds a second."


@command(
    "sweep",
    "sw",
    usage="patch|ablate SITES|heads|q|k|v|pattern|latents|pairs HEAD [@POS] [by position] [in NODES] [MODE|from B]"
    " [into B] [over prompts] | steer NODE += -4:4 * DIRECTION | show [raw|normalised]",
    group="changing",
    repeat=Repeat.NOTHING,
    options={"n": True, "raw": False, "top": True, "seed": True, "resamples": True},
    complete=("sweep", "grid", "pos"),
    examples=("sweep patch resid_pre", "sweep ablate heads @END scale 0.5"),
)
def sweep(session: Session, call: Call) -> Reply:
    """Make one edit after the other, each alone on top of those in force, and draw what becomes of the metric.

    sweep patch resid_pre         layer x position; also resid_mid, resid_post, attn_out, mlp_out
    sweep patch heads             layer x head, every token together; also q, k, v, pattern; @END that token alone
    sweep patch heads by position the strongest heads (--top 12) or those `in L9,L10H0`, token by token
    sweep patch pairs L9H9        query x key of a head's attention
    sweep patch latents           latent x position: the strongest (--top 12) of the SAEs that are swapped in, of all
                                  where none is; or those `in Fm3.{4,17},A2`
    sweep ablate heads mean       the same grids, ablated: zero, mean, ... as `ablate` takes them
    sweep steer resid_pre.6@END += -4:4 * dir(" Mary" - " John")
                                  a coefficient; -4:4:9 says in how many steps

    Patches put B's values into A: 0 is A's metric, 1 is B's.  `into B` puts A's values into B (denoising): 0 is B's,
    1 is A's.  `over prompts` does it on every prompt of the set and its counterfactual, tokens laid over each other
    by role: means, and an interval by bootstrap; a fraction is then a ratio of means.

    An edit changes nothing before its line and its token, so only what follows is run again, many in a batch.  What
    is stopped is kept and goes on when asked again.  --out FILE writes .tsv, .json or .svg.
    """
    if not call.args:
        return _shown(session, call)
    if call.args[0].text == "show":
        at_most(call, 2)
        return _shown(session, call, call.args[1].text if len(call.args) > 1 else "")
    wanted = read_sweep(session, call)
    wanted = _with_parts(session, wanted, call)
    start = start_of(session, wanted)
    plan = planned(start, wanted, roles_over(session, wanted))
    found = _measured(session, wanted, plan)
    return _answer(session, call, replace(found, normalised=not call.has("raw")))


def _with_parts(session: Session, wanted: Sweep, call: Call) -> Sweep:
    """The sweep with its rows found where they are not all of the model's."""
    if wanted.what == "latents":
        count = option_integer(call, "top", HEADS, "a number of latents", 1)
        found = strongest(start_of(session, wanted), wanted, count)
        if not found:
            raise CommandError("no latent there is active, in this run or in B", code="no-latents")
        return replace(wanted, parts=found)
    if wanted.by_token and not wanted.parts:
        return _with_top_heads(session, wanted, option_integer(call, "top", HEADS, "a number of heads", 1))
    return wanted


def _with_top_heads(session: Session, wanted: Sweep, count: int) -> Sweep:
    """The sweep of the heads that do most at all tokens together."""
    first = replace(wanted, by_token=False, at=None)
    plan = planned(start_of(session, first), first, roles_over(session, first))
    found = _measured(session, first, plan)
    cells = found.top(count) or [(0, 0)]
    return replace(wanted, parts=tuple(plan.parts[row][column] for row, column in cells))


def _measured(session: Session, wanted: Sweep, plan: Plan) -> Picture:
    """Measure what is missing.  Interrupted, what there is is kept and shown."""
    values, start = values_of(session, wanted, plan.grid), start_of(session, wanted)
    cells = len(plan.grid.places()) * len(values.values)
    if cells > MOST:
        message = (
            f"{cells:,} runs are too many: name tokens (@END), heads or layers (in L9), or fewer prompts"
        )
        raise CommandError(message, code="too-many")

    def drawn() -> Picture:
        return picture(session, wanted, start, plan, values.copy())

    written = Written(session, key_of(session, wanted), values.values)
    progress: Progress | None = None
    streamed = time.monotonic()
    try:
        for progress in fill(session, wanted, values):
            session.engine.progress = f"{progress.done}/{progress.of}"
            if time.monotonic() - streamed > STREAM_SECONDS:
                written.write()
                if session.streamed is not None:
                    session.streamed(replace(session.snapshot, sweep=drawn()))
                streamed = time.monotonic()
    except Interrupted:
        if progress is None:
            raise
        _keep(session, drawn())
        said = f"{progress.done:,} of {progress.of:,} cells are measured and kept"
        message = f"interrupted: {said}, the same command goes on from there"
        raise CommandError(message, code="interrupted", partial=True) from None
    finally:
        session.engine.progress = ""
        written.write()
    return drawn()


def _keep(session: Session, found: Picture) -> None:
    session.sweep = found
    session.go(session.state)


def _shown(session: Session, call: Call, how: str = "") -> Reply:
    """The last sweep again, as fractions or as it is."""
    if session.sweep is None:
        message = (
            "sweep what: sweep patch resid_pre, sweep ablate heads, sweep steer NODE += -4:4 * DIRECTION"
        )
        raise CommandError(message, code="missing-argument")
    if how not in ("", "raw", "normalised"):
        message = f"unexpected {how!r}: sweep show raw, sweep show normalised"
        raise CommandError(message, "bad-argument", col=call.args[1].col)
    found = session.sweep if not how else replace(session.sweep, normalised=how == "normalised")
    if how == "normalised" and not found.scalable:
        why = (
            "A and B have the same metric" if found.ends[1] else "only a patch from B has a scale of 0 and 1"
        )
        raise CommandError(f"nothing to normalise by: {why}", "bad-argument", col=call.args[1].col)
    return _answer(session, call, found)


def _answer(session: Session, call: Call, found: Picture) -> Reply:
    found = replace(
        found,
        seed=option_integer(call, "seed", seed_of(session.state), "a seed"),
        resamples=option_integer(call, "resamples", 1000, "a number of resamples", least=1),
    )
    count = option_integer(call, "n", CELLS, "a number of cells")
    _keep(session, found)
    title = f"{found.words}: {found.rows.name} x {found.columns.name}"
    how = f"{'normalised' if found.is_normalised else 'raw'}: {ends_text(found)}"
    set_of = f", mean of {len(found.found.values)} prompts" if found.many else ""
    lines = (
        f"{title}   {found.target}",
        f"{how}{set_of}",
        *heat_table(found),
        scale_text(found),
        *top_cells(found, count or found.values.size),
        _footer(found),
    )
    result = sweep_result(found)
    return Reply(lines, result, _notes(session, found), view="heat")


def _notes(session: Session, found: Picture) -> tuple[str, ...]:
    said: list[str] = []
    if found.of != session.state.inputs:
        said.append("it is of the run as it was before: the same command measures this one")
    if found.left_out:
        said.append(f"no counterpart in {found.ends[1] or 'B'}, and so left out: {', '.join(found.left_out)}")
    if found.many and session.state.trail:
        said.append("over a set the question is the metric, not the selected frame")
    return tuple(said)


def _footer(found: Picture) -> str:
    """What is said where the map itself is in a pane."""
    known, of = found.done, sum(bool(node) for row in found.nodes for node in row)
    if found.many:
        known, of = int((~np.isnan(found.found.baseline)).sum()), len(found.found.baseline)
    said = f"{'' if known == of else f'{known} of '}{of} {'prompts' if found.many else 'cells'}"
    return f"{said}, {ends_text(found)}" + "".join(
        f", largest {found.nodes[row][column]} {signed(float(found.shown[row, column]))}"
        for row, column in found.top(1)
    )


def sweep_result(found: Picture) -> dict[str, Any]:
    """A picture as JSON."""
    spread = found.spread if found.many else None
    how = f"{'normalised' if found.is_normalised else 'raw'}: {ends_text(found)}"
    set_of = f", mean of {len(found.found.values)} prompts" if found.many else ""
    return {
        "title": f"{found.words}: {found.rows.name} x {found.columns.name}",
        "scale": f"{how}{set_of}",
        "axes": [{"name": axis.name, "labels": list(axis.labels)} for axis in (found.rows, found.columns)],
        "values": _listed(found.values),
        "effects": _listed(found.effects),
        "normalised": None if found.fractions is None else _listed(found.fractions),
        "baseline": found.baseline,
        "other": found.other if found.ends[1] else None,
        "ends": {"0": found.ends[0], "1": found.ends[1] or None},
        "shown": "normalised" if found.is_normalised else "effects",
        "nodes": [list(row) for row in found.nodes],
        "commands": [list(row) for row in found.commands],
        "prompts": len(found.found.values),
        "low": None if spread is None else _listed(spread.low),
        "high": None if spread is None else _listed(spread.high),
        "n": None if spread is None else spread.n.tolist(),
        "bootstrap": {"resamples": found.resamples, "seed": found.seed, "level": 0.95} if spread else None,
    }


def _listed(values: Sequence[Sequence[float]] | Any) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]
