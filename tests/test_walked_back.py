"""Path patching from the name mover back, as Wang et al. 2022 walk: what is measured is what gradients had found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sessions import begin, do, load

A = "When Mary and John went to the store, John gave a drink to"
ABC = "When Mary and John went to the store, Laura gave a drink to"


def heads(rows: list[dict[str, Any]], by: str) -> list[str]:
    """The heads among the senders, the largest first."""
    ordered = sorted(rows, key=lambda row: -abs(row[by]))
    return [row["sender"] for row in ordered if "H" in row["sender"]]


def test_the_circuit_is_found_backwards_by_measuring_paths_as_by_gradients() -> None:
    session = begin(load(Path(__file__).parents[1] / "model" / "demo" / "gpt2-demo"), A, ABC)
    (mover,) = do(session, "rank heads by direct @END -n 1").result["rows"]
    walk: list[str] = []
    for receivers, heard in (("U", 1), ("{}.q", 2), ("{},{}", 2)):
        line = f"path all -> {receivers.format(*walk)} from B mlps -n 0"
        rows = do(session, line).result["rows"]
        measured, estimates = ([row[by] for row in rows] for by in ("effect", "estimate"))
        assert np.corrcoef(measured, estimates)[0, 1] > 0.9, line
        walk = heads(rows, "effect")[:heard]
        assert walk == heads(rows, "estimate")[:heard], line
        assert receivers != "U" or walk == [mover["node"].partition("@")[0]]
    together = do(session, f"path {','.join(walk)} -> U from B mlps").result
    assert together["delta"] == pytest.approx(0, abs=0.5)  # they are heard through the others
    assert do(session, "undo", f"patch {','.join(walk)} from B").result["after"] < 0
