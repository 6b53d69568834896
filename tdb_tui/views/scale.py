"""What a full bar stands for, as `set scale` has it."""

from tdb_tui.session import Snapshot
from tdb_tui.settings import setting


def scale_of(snapshot: Snapshot, largest: float) -> tuple[float, bool]:
    """The value of a full bar, and whether bars are as long as the square root of what they stand for."""
    kind, _, size = setting(snapshot.state, "scale").partition(" ")
    return (float(size) if kind == "fixed" else largest), kind == "sqrt"
