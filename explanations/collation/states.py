"""A collation's state as one file, written whole: what it goes on from after Ctrl-C, a crash, or kill -9."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from explanations.collation import kept as kept_rows
from explanations.collation import tallies
from explanations.collation.collecting import CollationError, Collected, Collector
from explanations.collation.reading import Mark

SCHEMA = "tdb-collation/3"
Arrays = dict[str, NDArray[np.generic]]


def save_state(path: Path, collected: Collected, told: Mapping[str, Any]) -> None:
    """Write the state; `told` is what another run must be told as well to go on from it."""
    part = path.with_name(f"{path.name}.part")
    counts = {"done": collected.done, "sequences": collected.sequences, "tokens": collected.tokens}
    metadata = {
        "schema": SCHEMA,
        "told": json.dumps(told, sort_keys=True),
        "counts": json.dumps(counts),
        "mark": json.dumps(asdict(collected.mark)),
    }
    try:
        save_file(to_arrays(collected), part, metadata)  # pyright: ignore[reportArgumentType]
        part.replace(path)
    except OSError as error:
        raise CollationError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


def load_state(path: Path, collector: Collector, told: Mapping[str, Any]) -> Collected:
    """Raises CollationError where the file is no such state, or one of a run that was told otherwise."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, OSError) as error:
        raise CollationError(
            f"cannot read {path}: {str(error).rstrip('.')}; delete it to start again"
        ) from error
    if metadata.get("schema") != SCHEMA:
        raise CollationError(f"{path} is not a collation's state of this version: delete it to start again")
    before = json.loads(metadata["told"])
    if different := sorted(key for key in {*before, *told} if before.get(key) != told.get(key)):
        others = " and ".join(different)
        raise CollationError(
            f"{path} is of a run with another {others}: repeat that, or delete it to start again"
        )
    collected = from_arrays(arrays, collector)
    for name, count in json.loads(metadata["counts"]).items():
        setattr(collected, name, count)
    mark = json.loads(metadata["mark"])
    collected.mark = Mark(**mark | {"held": tuple(mark["held"])})
    return collected


def to_arrays(collected: Collected) -> Arrays:
    """All but the counts, by name."""
    found: Arrays = {"random": collected.random}
    for number, tally in enumerate(collected.tallies):
        found |= {f"{number}.{name}": array for name, array in tallies.to_arrays(tally).items()}
    return found | {f"kept.{name}": array for name, array in kept_rows.to_arrays(collected.kept).items()}


def from_arrays(arrays: Arrays, collector: Collector) -> Collected:
    def below(prefix: str) -> Arrays:
        start = f"{prefix}."
        return {name.removeprefix(start): each for name, each in arrays.items() if name.startswith(start)}

    found = [tallies.from_arrays(below(str(at)), collector.device) for at in range(len(collector.groups))]
    return Collected(found, kept_rows.from_arrays(below("kept")), arrays["random"])  # pyright: ignore[reportArgumentType]
