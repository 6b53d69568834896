"""The tree upstream of what is asked about, as far as the user has it opened, row by row."""

from collections.abc import Iterator
from dataclasses import dataclass

from model.components import Node
from model.sites import Hook
from model.targets import Via
from model.upstream.branches import Branch
from model.upstream.tree import Path, Pruning
from tdb_tui.session import Snapshot
from tdb_tui.state import State
from tdb_tui.tables.ranking import letters_of

CLOSED, OPENED, LEAF = "+", "-", " "
ROOT = "0"


@dataclass(frozen=True, slots=True)
class Row:
    """A branch below the root, in the order of the tree."""

    id: str
    "The way from the root: `0.2.1` is the second child of the third."
    guide: str
    "`│ ├ `: which branches go on beside it."
    branch: Branch
    way: tuple[tuple[Node, Via | None], ...]
    "Nodes from below the root to it, and through what each was opened."

    @property
    def node(self) -> Node:
        return self.way[-1][0]

    @property
    def sign(self) -> str:
        """`+` can be opened, `-` is open."""
        return OPENED if self.branch.children else CLOSED if self.branch.opens else LEAF


def pruning(state: State) -> Pruning:
    """What the state's tree shows of the selected frame."""
    shown = state.tree
    turned = frozenset(path for trail, path in shown.turned if trail == state.trail)
    letters = frozenset(letters_of(state.rank.latents))
    return Pruning(shown.depth, shown.top, shown.threshold, shown.neurons, letters, turned)


def tree_of(snapshot: Snapshot, also: Hook | None = None) -> Branch:
    """The tree of the selected frame.  `also` may raise to stop, in place of the run's own."""
    return snapshot.asked.upstream(pruning(snapshot.state), also)


def rows(root: Branch) -> Iterator[Row]:
    """Every branch below the root, parents before children."""
    yield from _rows(root, ROOT, "", ())


def _rows(branch: Branch, id: str, indent: str, way: tuple[tuple[Node, Via | None], ...]) -> Iterator[Row]:
    for at, child in enumerate(branch.children):
        last = at == len(branch.children) - 1
        assert child.node is not None  # only the root has none
        there = (*way, (child.node, child.via))
        yield Row(f"{id}.{at}", f"{indent}{'└' if last else '├'} ", child, there)
        yield from _rows(child, f"{id}.{at}", indent + ("  " if last else "│ "), there)


def path_to(root: Branch, id: str) -> tuple[Path, Branch]:
    """The nodes that an id leads through, and the branch.  Raises ValueError, one sentence."""
    first, *steps = id.split(".")
    if first != ROOT or not all(step.isascii() and step.isdigit() for step in steps):
        raise ValueError(
            f"{id!r} is no branch: 0 is the root, 0.2 its third branch, 0.2.1 the second of that"
        )
    path, branch = (), root
    for depth, step in enumerate(steps, start=1):
        if int(step) >= len(branch.children):
            at, count = ".".join([first, *steps[: depth - 1]]), len(branch.children)
            has = f"branches 0 to {count - 1}" if count else "no branches open"
            raise ValueError(f"no branch {id}: {at} has {has}")
        branch = branch.children[int(step)]
        assert branch.node is not None  # only the root has none
        path = (*path, branch.node)
    return path, branch
