"""Sweeps: which grid is meant, on the run at hand or on every prompt of the set, and measuring it.

A sweep belongs to a run and what is asked of it.  Its values are kept by the engine, so that asking again, or going
on after an interruption, computes only what is missing.
"""

import math
from collections.abc import Generator, Hashable, Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np

from model.edits.interventions import ChangeError, text_of
from model.measured.scorers import unchanged
from model.measured.sweeps import (
    Grid,
    measure_grid,
)
from model.nodes import Floats
from model.sets.prompts import END, OTHER, roles_of
from tdb_tui.commands.patching import exchanged
from tdb_tui.edits.editing import provided
from tdb_tui.effects import Progress
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError, ComputeFailed
from tdb_tui.metrics import in_other_prompt
from tdb_tui.session import Session, Snapshot
from tdb_tui.sets.moves import START
from tdb_tui.sets.prompt_sets import each_example, encode_all
from tdb_tui.state import Edit, Inputs
from tdb_tui.sweeps.plans import Sweep, planned
from tdb_tui.sweeps.spots import source_prompt
from tdb_tui.sweeps.values import Values


def roles_over(session: Session, sweep: Sweep) -> tuple[str, ...]:
    """The roles of the set that a sweep is over, in the order of the prompt; none for one run."""
    if not sweep.over:
        return ()
    examples = encode_all(session)
    places = [{START: 0, **example.roles} for example in examples]
    named = {role: place[role] for place in reversed(places) for role in place}
    roles = sorted(dict.fromkeys((START, *roles_of(examples))), key=lambda role: (role == END, named[role]))
    return (*roles, OTHER)


def key_of(session: Session, sweep: Sweep) -> Hashable:
    """What a sweep's values are kept by: all that decides them."""
    state = session.state
    inputs = replace(state.inputs, edits=tuple(Edit(0, (change,), "") for change in state.inputs.changes))
    named = tuple(sorted(state.roles.items()))
    return replace(sweep, words=""), inputs, state.trail, named, state.examples


def start_of(session: Session, sweep: Sweep) -> Snapshot:
    """The run whose grid is shown: the session's own, or that of B with A's values in it."""
    return _ready(session.engine, session.snapshot, sweep)


def values_of(session: Session, sweep: Sweep, grid: Grid) -> Values:
    """What is known of a sweep, to be added to."""
    count = len(encode_all(session)) if sweep.over else 1
    shape = count, len(grid.rows), len(grid.columns)
    return session.engine.sweeps.of(key_of(session, sweep), shape)


def fill(session: Session, sweep: Sweep, values: Values) -> Iterator[Progress]:
    """Measure what is not known yet.  Raises CommandError naming an example, ComputeFailed, Interrupted."""
    roles, done = roles_over(session, sweep), 0
    with closing(_runs(session, sweep)) as runs:
        for number, snapshot in runs:
            plan = planned(snapshot, sweep, roles)
            cells = len(plan.grid.places())
            _fill_ends(session.engine, snapshot, sweep, values, number)
            for here in _fill_one(snapshot, plan.grid, values.values[number]):
                yield Progress(done + here, done + cells * (len(values.values) - number))
            done += cells


def _fill_ends(engine: Engine, snapshot: Snapshot, sweep: Sweep, values: Values, number: int) -> None:
    """What is asked about without the edits, and in the other run; of that only the metric can be asked."""
    asked, inputs = snapshot.asked, snapshot.state.inputs
    values.baseline[number] = unchanged(asked.run.model, asked.run.trace, asked.scorer)
    if not sweep.patches or snapshot.state.trail:
        return
    other = source_prompt(inputs, sweep.example)
    end, end_b = snapshot.state.end, len(other.tokens) - 1
    values.other[number] = engine.reading(
        Inputs(other, in_other_prompt(snapshot.base.metric, end, end_b))
    ).value


def _fill_one(snapshot: Snapshot, grid: Grid, into: Floats) -> Iterator[int]:
    """Measure one run's grid, and yield how many of its cells are known."""
    asked = snapshot.asked
    run = asked.run
    missing = np.isnan(into)
    known = int((~missing).sum())
    found = measure_grid(
        run.model,
        run.trace,
        asked.scorer,
        grid,
        run.sources,
        lambda row, column: bool(missing[row, column]),
        also=run.also,
    )
    try:
        for count, (row, column, value) in enumerate(found, 1):
            if not math.isfinite(value):
                changed = text_of(grid.cells[row][column])
                message = f"the metric is not finite after {changed}: the sweep stops there"
                raise ComputeFailed(message, code="not-finite")
            into[row, column] = value
            yield known + count
    except ChangeError as error:
        raise CommandError(str(error), code="bad-edit") from None


def _runs(session: Session, sweep: Sweep) -> Generator[tuple[int, Snapshot]]:
    """The runs that a sweep is made on, one after the other, with their numbers from 0."""
    if not sweep.over:
        yield 0, start_of(session, sweep)
        return
    with closing(each_example(session, counterfactuals=sweep.patches, counted=False)) as runs:
        for number, snapshot in enumerate(runs):
            if sweep.patches and snapshot.state.inputs.prompt_b is None:
                message = f"example {number + 1} has no counterfactual: patching takes its values from one"
                raise CommandError(message, code="bad-prompts")
            yield number, _ready(session.engine, snapshot, sweep)


def _ready(engine: Engine, snapshot: Snapshot, sweep: Sweep) -> Snapshot:
    """The run that is edited, with what its edits take from elsewhere: of B, where values of A are put into B."""
    state = exchanged(snapshot) if sweep.into_b else snapshot.state
    inputs = provided(replace(snapshot, state=state), sweep.changes)
    if state is snapshot.state and inputs == state.inputs:
        return snapshot
    return Session(engine, replace(state, inputs=inputs)).snapshot
