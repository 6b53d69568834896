"""A table of nodes in columns.  36,864 neurons are 36,864 rows and not one object."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.components import DICTIONARY_SITES, Component, Kind, Node

KINDS = tuple(Kind)
NONE = -1
MOST_LATENTS = (1 << 20) - 2
"Of one dictionary: what has a number in `NodeTable.codes`."
WORDS: dict[Kind, str] = {Kind.TOKEN_EMBED: "wte", Kind.POS_EMBED: "wpe"}
"What tables call kinds that share a group with another."

SITES = ("", *DICTIONARY_SITES)
"The dictionaries that a layer may have, none first."
GROUPS = (*(WORDS.get(kind, kind.group) for kind in KINDS), "pair", "token", "layer")
"The words for what a row is, those of `KINDS` first."
NUMBERS = np.array([GROUPS.index(word) for word in GROUPS])
"Kinds with the same word have the same number."

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class NodeTable:
    """Columns of equal length; `index` and `key` are -1 where a node has none.

    A row may stand for several nodes together (see `groups.py`): what they do not share is -1, or NaN.
    """

    kind: NDArray[np.int8]
    "Place in `KINDS`."
    site: NDArray[np.int8]
    "Place in `SITES`: which dictionary it is of."
    layer: Ints
    index: Ints
    pos: Ints
    key: Ints
    act: Floats
    "Of a pair its weight after the softmax, of a neuron after GELU, of a latent its own; 1 for whole vectors."
    write_norm: Floats
    "L2 norm of the write, in residual-stream units; never negative."
    direct: Floats
    "In the metric's unit."
    total: Floats
    "Estimated total effect (activation x gradient), in the metric's unit."

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def node(self, row: int) -> Node:
        """Raises ValueError for a row of several nodes."""
        component = self.component(row)
        if component is None or self.pos[row] == NONE:
            raise ValueError(f"{self.name(row)} is several nodes: name one")
        return Node(component, int(self.pos[row]), None if self.key[row] == NONE else int(self.key[row]))

    def component(self, row: int) -> Component | None:
        """None for several components together: a layer, a token."""
        if self.kind[row] == NONE:
            return None
        index = None if self.index[row] == NONE else int(self.index[row])
        return Component(KINDS[self.kind[row]], int(self.layer[row]), index, SITES[self.site[row]])

    def name(self, row: int, position: Callable[[int], str] = str) -> str:
        """`L9H9@14<2`; of several nodes together `L9H9@*`, `L9@*` or `@14`.  `position` writes tokens in words."""
        part = self.component(row)
        layer = f"L{self.layer[row]}" if self.layer[row] != NONE else ""
        at = "*" if self.pos[row] == NONE else position(int(self.pos[row]))
        key = "" if self.key[row] == NONE else f"<{position(int(self.key[row]))}"
        return f"{layer if part is None else part}@{at}{key}"

    def group(self, row: int) -> str:
        """The word for a row's kind: embed wte wpe head pair attn mlp neuron bias; layer or token for several."""
        return GROUPS[self.take(np.array([row])).group_numbers()[0]]

    def groups(self) -> NDArray[np.str_]:
        """The word for every row's kind: [row]."""
        return np.array(GROUPS)[self.group_numbers()]

    def group_numbers(self) -> Ints:
        """The first place of that word in `GROUPS`: [row]."""
        one = np.where(self.key != NONE, GROUPS.index("pair"), self.kind)
        several = np.where(self.layer == NONE, GROUPS.index("token"), GROUPS.index("layer"))
        return NUMBERS[np.where(self.kind == NONE, several, one)]

    def is_bias(self) -> NDArray[np.bool_]:
        return np.isin(self.kind, [KINDS.index(kind) for kind in KINDS if kind.group == "bias"])

    def codes(self) -> Ints:
        """One number a row, the same for the same node in any table: [row]."""
        kind, site = (each.astype(np.int64) for each in (self.kind, self.site))
        return _packed(kind, site, self.layer, self.index, self.pos, self.key)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "NodeTable":
        return NodeTable(*(getattr(self, field.name)[rows] for field in fields(self)))

    def at(self, positions: Sequence[int]) -> "NodeTable":
        """The rows at these tokens."""
        return self.take(np.isin(self.pos, positions))

    @staticmethod
    def grid(
        kind: Kind,
        layer: int,
        act: Tensor,
        write_norm: Tensor,
        direct: Tensor,
        total: Tensor,
        positions: Sequence[int] | None = None,
        index: int | None = None,
        site: str = "",
    ) -> "NodeTable":
        """Rows of one layer from [index, pos] tensors; `index` names the only one, `positions` the columns."""
        count, length = total.shape
        indexed = kind in (Kind.HEAD, Kind.NEURON)
        first = index if index is not None else (0 if indexed else NONE)
        pos = np.arange(length) if positions is None else np.asarray(positions, dtype=np.int64)
        rows = count * length
        return NodeTable(
            np.full(rows, KINDS.index(kind), dtype=np.int8),
            np.full(rows, SITES.index(site), dtype=np.int8),
            np.full(rows, layer),
            np.repeat(np.arange(count) + first, length) if indexed else np.full(rows, NONE),
            np.tile(pos, count),
            np.full(rows, NONE),
            *(_floats(column) for column in (act, write_norm, direct, total)),
        )

    @staticmethod
    def pairs(
        layer: int,
        act: Tensor,
        write_norm: Tensor,
        direct: Tensor,
        total: Tensor,
        queries: Sequence[int] | None = None,
    ) -> "NodeTable":
        """Rows of one layer's heads from [head, query, key] tensors, keys after the query left out.

        `queries` names the tokens of the query axis, each once.
        """
        n_head, count, length = act.shape
        at = np.arange(count) if queries is None else np.asarray(queries, dtype=np.int64)
        seen = np.broadcast_to(np.arange(length) <= at[:, None], (n_head, count, length))
        head, query, key = np.nonzero(seen)
        keep = seen.ravel()
        rows = len(head)
        return NodeTable(
            np.full(rows, KINDS.index(Kind.HEAD), dtype=np.int8),
            np.zeros(rows, dtype=np.int8),
            np.full(rows, layer),
            head,
            at[query],
            key,
            *(_floats(column)[keep] for column in (act, write_norm, direct, total)),
        )

    @staticmethod
    def empty() -> "NodeTable":
        """No rows."""
        none, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
        kind = np.zeros(0, dtype=np.int8)
        return NodeTable(kind, kind, none, none, none, none, nothing, nothing, nothing, nothing)

    @staticmethod
    def latents(
        site: str,
        layer: int,
        pos: Tensor,
        index: Tensor,
        act: Tensor,
        norm: Tensor,
        direct: Tensor,
        total: Tensor,
    ) -> "NodeTable":
        """Rows of the active latents of one dictionary, from columns of equal length."""
        rows = len(pos)
        return NodeTable(
            np.full(rows, KINDS.index(Kind.LATENT), dtype=np.int8),
            np.full(rows, SITES.index(site), dtype=np.int8),
            np.full(rows, layer),
            index.cpu().numpy(),
            pos.cpu().numpy(),
            np.full(rows, NONE),
            *(_floats(column) for column in (act, norm, direct, total)),
        )


def joined(tables: Sequence[NodeTable]) -> NodeTable:
    """One table after the other."""
    if len(tables) == 1:
        return tables[0]
    return NodeTable(
        *(np.concatenate([getattr(t, field.name) for t in tables]) for field in fields(NodeTable))
    )


def code_of(node: Node) -> int:
    """The number that `NodeTable.codes` gives a node."""
    part = node.component
    index, key = (NONE if each is None else each for each in (part.index, node.key))
    kind, site = np.int64(KINDS.index(part.kind)), SITES.index(part.site)
    return int(_packed(kind, site, part.layer, index, node.pos, key))


def _packed(
    kind: Ints | np.int64,
    site: Ints | int,
    layer: Ints | int,
    index: Ints | int,
    pos: Ints | int,
    key: Ints | int,
) -> Ints:
    code = ((kind + 1) << 3) | site
    for column, bits in ((layer, 7), (index, 20), (pos, 14), (key, 14)):
        code = (code << bits) | (column + 1)
    return np.asarray(code, dtype=np.int64)


def _floats(column: Tensor) -> Floats:
    return column.detach().double().cpu().numpy().ravel()
