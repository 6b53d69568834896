"""The last sweep in a session file: its axes, what its cells are called, and every value that was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.measured.sweeps import Axis
from model.nodes import Floats
from tdb_tui.files.saved_values import as_number, as_text, as_truth, as_whole
from tdb_tui.state import Inputs
from tdb_tui.sweeps.values import Picture, Values


def as_saved_sweep(found: Picture, now: Inputs) -> dict[str, Any]:
    """For JSON; numbers that are not known are null."""
    return {
        "words": found.words,
        "axes": [{"name": axis.name, "labels": list(axis.labels)} for axis in (found.rows, found.columns)],
        "nodes": [list(row) for row in found.nodes],
        "commands": [list(row) for row in found.commands],
        "values": [[_numbers(row) for row in each] for each in found.found.values],
        "baseline": _numbers(found.found.baseline),
        "other": _numbers(found.found.other),
        "ends": list(found.ends),
        "target": found.target,
        "positions": list(found.positions),
        "legend": list(found.legend),
        "left_out": list(found.left_out),
        "normalised": found.normalised,
        "seed": found.seed,
        "resamples": found.resamples,
        "of_this_run": found.of == now,
    }


def saved_sweep(saved: Mapping[str, Any], now: Inputs) -> Picture:
    """Raises KeyError, TypeError, ValueError for what is no sweep."""
    rows, columns = (Axis(as_text(axis["name"]), _texts(axis["labels"])) for axis in saved["axes"])
    shape = len(rows), len(columns)
    values = np.array([[_known(row) for row in each] for each in saved["values"]], dtype=np.float64)
    ends, (first, second) = (_known(saved[name]) for name in ("baseline", "other")), _texts(saved["ends"])
    baseline, other = ends
    if values.ndim != 3 or values.shape[1:] != shape or not len(values) == len(baseline) == len(other):
        raise ValueError("the sweep's values do not fit its axes")
    nodes, commands = (tuple(map(_texts, saved[name])) for name in ("nodes", "commands"))
    if any((len(grid), *{len(row) for row in grid}) != shape for grid in (nodes, commands)):
        raise ValueError("the sweep's cells do not fit its axes")
    positions, legend = tuple(map(as_whole, saved["positions"])), _texts(saved["legend"])
    if len(positions) not in (0, len(columns)) or len(legend) != len(positions):
        raise ValueError("the sweep's tokens do not fit its axes")
    return Picture(
        as_text(saved["words"]),
        rows,
        columns,
        nodes,
        commands,
        Values(values, baseline, other),
        (first, second),
        as_text(saved["target"]),
        now if as_truth(saved["of_this_run"]) else None,
        positions,
        legend,
        _texts(saved["left_out"]),
        as_truth(saved["normalised"]),
        as_whole(saved["seed"]),
        as_whole(saved["resamples"]),
    )


def _numbers(values: Floats) -> list[float | None]:
    return [None if value != value else float(value) for value in values]


def _known(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else as_number(value) for value in values], dtype=np.float64)


def _texts(values: Sequence[object]) -> tuple[str, ...]:
    return tuple(map(as_text, values))
