"""The tree upstream as plain values, a row a branch.  Nothing heavy is imported."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TreeRow:
    id: str
    "As `fold` takes it: `0.2.1`."
    guide: str
    "`│ ├ `: which branches go on beside it."
    sign: str
    "`+` closed, `-` open, a space where there is nothing to open."
    node: str
    "As a command calls it: `L3H5@END<John#2`."
    component: str
    at: str
    "Its token, as a command calls it: `@END`."
    via: str
    "Through which input of a head it is opened; empty where it has one, or is closed."
    effect: float
    "On the root."
    trace: str
    "Commands that lead there, a frame for every step; empty for an embedding, or what was edited."


@dataclass(frozen=True, slots=True)
class TreeView:
    rows: tuple[TreeRow, ...]
    value: float
    "Of the root: the metric, or the selected frame."
    scale: float
    "Largest |effect| among the rows: the length of a full bar."
    frame: int
    "Which frame is the root; 0 is the metric."
    root: bool = False
    "Whether bars are as long as the square root of what they stand for."
