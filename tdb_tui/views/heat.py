"""A sweep as plain values, for the pane that draws it.  Nothing heavy is imported."""

from dataclasses import dataclass

Grid = tuple[tuple[float, ...], ...]
"[row][column], NaN where nothing has been measured."


@dataclass(frozen=True, slots=True)
class HeatView:
    title: str
    "The command without `sweep`."
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    heads: tuple[str, ...]
    "The columns in as few letters as name them: a token's number."
    shown: Grid
    "Fractions, or what is added to the metric, with their sign."
    metric: Grid
    "The metric after the edit."
    nodes: tuple[tuple[str, ...], ...]
    commands: tuple[tuple[str, ...], ...]
    "The line that makes a cell's edit, empty where there is none."
    scale: float
    "The largest absolute value shown."
    ends: str
    "`0 = A +3.36, 1 = B -2.91`, or the baseline."
    normalised: bool
    scalable: bool
    "Whether there are fractions."
    old: bool
    "Whether it is of the run as it was before."
