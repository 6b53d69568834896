"""The frozen values that panes draw.  Nothing heavy is imported: the screen is there before numpy and torch are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from model.components import Component
    from model.nodes import NodeTable
    from tdb_tui.views.branches import TreeView
    from tdb_tui.views.heat import HeatView

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TitleView:
    """Row 1, from the indispensable to what only a wide screen has room for."""

    model: str
    metric: str
    "`' Mary' - ' John' @END`."
    value: str
    "`ld +3.36`, or `ld +3.36 → +1.93 (Δ -1.43)` under edits."
    device: str = ""
    probability: str = ""
    "`p .71`, or `p .71 → .38`."
    counts: str = ""
    "`1 iv 2 bp`."
    spelled: str = ""
    "`1 intervention · 2 breakpoints`."
    frame: int = 0
    "Which frame the panes read for; 0 is the metric."
    prompt: str = ""
    "As it was typed."
    mark: str = ""
    "What follows the values where they are of another run than the one that has been decided."


@dataclass(frozen=True, slots=True)
class TokensView:
    texts: tuple[str, ...]
    "As displayed, leading space kept."
    cursor: int
    shades: tuple[float, ...] = ()
    "0 to 1, one a token; none and there is nothing to shade."
    caption: str = ""
    "What the shades are."
    others: tuple[str, ...] = ()
    "Prompt B's tokens, none without one."
    other: str = ""
    "What that prompt answers: `prompt B: ld -3.29`."


@dataclass(frozen=True, slots=True)
class ListingRow:
    number: str
    "`19`, or `.3` for a row of an opened line."
    name: str
    delta: float
    value: float
    executed: bool
    arrow: bool = False
    largest: bool = False
    "Whether no line of the pass moves the metric more."
    stop: str = ""
    "Name of the stop before this line (`b1`)."
    stop_enabled: bool = True
    edited: bool = False
    circuit: bool = False
    "Whether the circuit in use has a node of it."
    top: str = ""
    "The most likely token after it."
    node: str = ""
    "What a command can call it; empty for sums of parts."
    line: str = ""
    "The line that it is, or belongs to."


@dataclass(frozen=True, slots=True)
class ListingView:
    rows: tuple[ListingRow, ...]
    arrow: int
    "Row of the arrow; the number of rows once the pass has finished."
    scale: float
    "What a full bar stands for: the largest |delta| among them, or as `set scale` has it."
    unit: str = "ld"
    root: bool = False
    "Whether bars are as long as the square root of what they stand for."
    inside: str = ""
    "What an opened line is opened into: `heads of A3`, `latents of Fm3`."


@dataclass(frozen=True, slots=True, eq=False)
class RankedView:
    """Columns and an order; a row becomes text only when it is on the screen."""

    table: NodeTable
    order: Ints
    "Rows of the table, best first."
    measure: Floats
    "What the order is by, NaN where it has not been measured yet: [row]."
    direct: Floats
    measured: Floats
    "The target minus the target with the node edited, NaN where it has not been measured: [row]."
    marked: NDArray[np.bool_]
    "Whether the estimate and what was measured disagree: [row]."
    circuit: NDArray[np.bool_]
    "Whether the circuit in use has it: [row]."
    reads: Ints
    "The key that a head attends to most, -1 for what reads no token: [row]."
    labels: tuple[str, ...]
    "One a position: `END`, `Mary`, `John#2`."
    keys: tuple[str, ...]
    "Token texts, one a position."
    title: str
    by: str
    "The measure's name as `rank by` takes it."
    scale: float
    "What a full bar stands for."
    root: bool = False
    "Whether bars are as long as the square root of what they stand for."
    said: Mapping[str, str] = field(default_factory=dict[str, str])
    "Component -> its best explanation, the score before it; of the first rows, as far as the stores have one."
    start: int = 0
    "The place of the first row in the whole ranking, of which this may be a page ..."
    of: int | None = None
    "... and how many rows that has; None where all are here."

    def __len__(self) -> int:
        return len(self.order)

    def node(self, at: int) -> str:
        """The node at a place in the order, as a command calls it: `L9H9@END`."""
        return self.table.name(int(self.order[at]), self.labels.__getitem__)

    def fitted(self, at: int, cells: int) -> str:
        """The same where it has no more cells, else with its tokens by number: cut short it would be another node's."""
        name = self.node(at)
        return name if len(name) <= cells else self.table.name(int(self.order[at]))

    def component(self, at: int) -> str:
        row = int(self.order[at])
        return str(self.table.component(row) or self.table.name(row).partition("@")[0])

    def kind(self, at: int) -> str:
        """`head`, `mlp`, `embed`, ...; `layer`, `token` or `component` for the sum of several nodes."""
        row = int(self.order[at])
        group = self.table.group(row)
        return "component" if self.table.pos[row] < 0 and group not in ("layer", "token") else group

    def place_of(self, other: RankedView, at: int) -> int:
        """Where the node in place `at` of another ranking stands in this one; the same place if it is not here."""
        row = int(other.order[at])
        same = self.table.kind[self.order] == other.table.kind[row]
        for column in ("site", "layer", "index", "pos", "key"):
            same &= getattr(self.table, column)[self.order] == getattr(other.table, column)[row]
        found = same.nonzero()[0]
        return int(found[0]) if len(found) else at

    def head(self, at: int) -> Component | None:
        """The head at a place in the order; None for another kind of node."""
        row = int(self.order[at])
        return self.table.component(row) if self.table.group(row) in ("head", "pair") else None


@dataclass(frozen=True, slots=True, eq=False)
class AttentionView:
    layer: int
    index: int
    heads: tuple[int, int]
    "Layers of the model, and heads of a layer."
    by: str
    "`weights`, `values`, `effect`, or `layer` for every head of it."
    values: Floats
    "A row a query, of a layer a row a head: [row, key]."
    scale: float
    "The value that is drawn as full."
    labels: tuple[str, ...]
    "Token texts, one a position."
    rows: tuple[str, ...]
    "What each row is."
    row: int
    "Of the token cursor, or of the head shown."
    query: int
    "The token cursor."
    summary: str = ""
    "The keys read most: `Mary .62 · ⊢ .11`."

    @property
    def causal(self) -> bool:
        """Whether row n has n + 1 keys; a row of a layer has those of the token cursor."""
        return self.by != "layer"

    @property
    def signed(self) -> bool:
        return self.by == "effect"

    @property
    def head(self) -> str:
        return f"L{self.layer}H{self.index}"


@dataclass(frozen=True, slots=True, eq=False)
class HeadsView:
    """Every head of a layer, from the token cursor."""

    layer: int
    index: int
    "The head whose map is shown."
    values: Floats
    "Weights: [head, key]."
    query: int
    where: str
    "`END`, or the number of the token."


@dataclass(frozen=True, slots=True)
class TrajectoryView:
    values: tuple[float, ...]
    "The metric through the lens after each line."
    baseline: tuple[float, ...]
    "The same without edits; empty where there are none."
    executed: int
    "How many lines have been executed."
    labels: tuple[str, ...] = ()
    title: str = "logit diff (lens) after each line"


@dataclass(frozen=True, slots=True)
class Strip:
    name: str
    "`embed`, `mlp`, `query` or `key`."
    caption: str
    values: tuple[float, ...]
    "One a token, in the unit of what is asked about."
    levels: tuple[int, ...]
    "One a token, from -4 to 4: the share of the strip's largest absolute value, with its sign."
    total: float


@dataclass(frozen=True, slots=True)
class StripsView:
    texts: tuple[str, ...]
    "Tokens as displayed, leading space kept."
    cursor: int
    "The token cursor."
    strips: tuple[Strip, ...]
    title: str
    "`total`, `direct`, or which frame they are of."


@dataclass(frozen=True, slots=True)
class RowsView:
    """A short table that is text already."""

    title: str
    rows: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    "What a command calls each row."
    empty: str = ""
    "Shown, dim, where there are no rows."
    partial: bool = False
    "Whether some of it is not known yet."


@dataclass(frozen=True, slots=True)
class TextRow:
    """A line of a page; where it is longer than the page is wide, it goes on below."""

    label: str
    text: str
    dim: bool = False
    node: str = ""
    "The component that it is about, where it is another one than the page's."


@dataclass(frozen=True, slots=True, eq=False)
class ShadedRow:
    """Some tokens, shaded by what a component does at each."""

    label: str
    texts: tuple[str, ...]
    acts: NDArray[np.float32]
    "[pos]; of a head [query, key]"
    top: float
    "The activation that is drawn as full."
    peak: int
    key: int | None
    "Of a head, what is read at the peak."


PageRow = TextRow | ShadedRow


@dataclass(frozen=True, slots=True)
class PageView:
    """What is known of one component, or which ones a search has found."""

    title: str
    rows: tuple[PageRow, ...]
    what: str = ""
    "The title in words."
    node: str = ""
    "The component; empty for what a search has found."
    beside: dict[str, str] = field(default_factory=dict[str, str], hash=False)
    "`before` and `after` in its layer, `below` and `above` in others."
    back: str = ""
    "The command that leads back to where one came from."


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Everything on the screen that comes from the session, at one moment."""

    title: TitleView
    tokens: TokensView
    listing: ListingView
    ranked: RankedView
    attention: AttentionView
    heads: HeadsView
    trajectory: TrajectoryView
    edits: RowsView
    stops: RowsView
    displays: RowsView
    tops: RowsView
    "Next tokens."
    tree: TreeView | None = None
    "What is upstream; None where it has not been computed, for nobody sees it."
    strips: StripsView | None = None
    "Likewise."
    heat: HeatView | None = None
    "The last sweep."
    page: PageView | None = None
    "The component that was asked about last."
    inspect: RowsView | None = None
    "The selected node; None where it has not been computed, for nobody sees it."
    edits_of: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    "Component -> numbers of the edits that change it."
    frozen: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    "Component -> numbers of the edits that hold it as it was."
    marks: tuple[str, ...] = ()
    "Nodes picked out by hand, in the order in which they were."
    unsaved: bool = False
    "Whether quitting now would lose something."
