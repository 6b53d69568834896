"""What the fields of a key's command mean at the moment it is pressed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from tdb_tui.views.branches import TreeRow
from tdb_tui.views.data import AttentionView, ListingRow, Look, PageView

MEASURES = ("total", "direct", "measured", "norm", "act")
"In the order of the `o` key."


WEIGHED = ("weights", "values", "effect", "layer")
"What a map of attention shows, likewise."

PAGED = ("head", "pair", "mlp", "neuron", "latent")
"Kinds of rows that have a page."

NODES = ("code", "rank", "tree", "heat", "attn")
"Panes that show nodes."


class Unavailable(Exception):
    """The key means nothing here; one sentence says why."""


@dataclass(frozen=True, slots=True)
class Selection(Mapping[str, str]):
    """Fields of `Key.command`.  Raises Unavailable for what nothing is selected for."""

    look: Look
    pane: str
    "The active pane."
    row: ListingRow | None
    "The selected row of the listing."
    ranked: int
    "The selected row of the ranked components."
    listed: str | None = None
    "`i1`, `b2`, `d1`: the selected row of the short table that is active."
    branch: TreeRow | None = None
    "The selected row of the tree."
    cell: tuple[str, str] = ("", "")
    "The selected cell of the sweep: what it edits, and the command that makes the edit."
    page: PageView | None = None
    "The page, where it is laid open or has the keys."
    other: str = ""
    "The component that its selected row leads to."
    pointed: str = "code"
    "The pane whose cursor last pointed at a node: what a node is taken from where the active pane has none."

    def __getitem__(self, field: str) -> str:
        fields: dict[str, Callable[[], str]] = {
            "line": self._line,
            "node": self._node,
            "placed": self._placed,
            "to": self._to,
            "component": self._component,
            "toggle_stop": self._toggle_stop,
            "toggle_edit": self._toggle_edit,
            "toggle_freeze": self._toggle_freeze,
            "nodes": lambda: ",".join(self._chosen(self._node)),
            "mark": self._mark,
            "edit_later": lambda: self._move("down"),
            "edit_earlier": lambda: self._move("up"),
            "enter": self._enter,
            "order": self._order,
            "before": lambda: self._beside("before", 0, -1),
            "after": lambda: self._beside("after", 0, 1),
            "below": lambda: self._beside("below", -1, 0),
            "above": lambda: self._beside("above", 1, 0),
            "up": self._up,
            "shown": lambda: self.look.attention.head,
            "token_left": lambda: self._token(-1),
            "token_right": lambda: self._token(1),
        }
        return fields[field]()

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def _line(self) -> str:
        if self.row is None:
            raise Unavailable("no line is selected")
        return self.row.line

    def _node(self) -> str:
        """With its position where the ranked components say one."""
        if self.page is not None:
            return self._of_page()
        if self._pointing == "rank" and len(self.look.ranked):
            return self.look.ranked.node(self.ranked)
        if self._pointing == "heat":
            return self._cell()
        return self._branch().node if self._pointing == "tree" else self._component()

    @property
    def _pointing(self) -> str:
        return self.pane if self.pane in NODES else self.pointed

    def _placed(self) -> str:
        """With a position in any case, the token cursor's where nothing says another."""
        node = self._node()
        return node if "@" in node else f"{node}@{self.look.tokens.cursor}"

    def _branch(self) -> TreeRow:
        if self.branch is None:
            raise Unavailable("no branch is selected")
        return self.branch

    def _cell(self) -> str:
        if not self.cell[0]:
            raise Unavailable(
                "there is no sweep: sweep patch resid_pre" if self.look.heat is None else "no cell"
            )
        return self.cell[0]

    def _component(self) -> str:
        pane = self._pointing
        if self.page is not None:
            return self._of_page()
        if pane == "heat":
            return self._cell().partition("@")[0]
        if pane == "rank" and len(self.look.ranked):
            return self.look.ranked.component(self.ranked)
        if pane == "tree":
            return self._branch().component
        if pane == "attn":
            return self.look.attention.head
        if self.row is None or not self.row.node:
            raise Unavailable("the selected row is no one component: select another, or a row of pane 2")
        return self.row.node

    def _toggle_stop(self) -> str:
        if self.pane == "stops" and self.listed is not None:
            return f"clear {self.listed[1:]}"
        if self.row is not None and self.row.stop:
            return f"clear {self.row.stop[1:]}"
        return f"break {self._line()}"

    def _mark(self) -> str:
        """Space: mark a node; in a list, switch its row."""
        if self.pane not in ("edits", "stops"):
            return f"mark {self._node()}"
        if self.listed is None:
            raise Unavailable("no edit or stop is selected: there are none")
        return f"toggle {self.listed}"

    def _move(self, where: str) -> str:
        if self.pane != "edits" or self.listed is None:
            raise Unavailable("no edit is selected: 5 goes to them")
        return f"move {self.listed} {where}"

    def _chosen(self, selected: Callable[[], str]) -> list[str]:
        """What is marked, else what is selected."""
        return list(self.look.marks) or [selected()]

    def _toggle_edit(self) -> str:
        return self._toggled("ablate", self.look.edits_of)

    def _toggle_freeze(self) -> str:
        return self._toggled("freeze", self.look.frozen)

    def _toggled(self, word: str, made: Mapping[str, tuple[int, ...]]) -> str:
        """A command for what is marked or selected; where it has been given for all of that, what takes it back."""
        if self.pane == "edits" and self.listed is not None:
            return f"delete {self.listed}"
        nodes = self._chosen(self._component)
        numbers = [made.get(node.partition("@")[0], ()) for node in nodes]
        if all(numbers):
            return "delete " + " ".join(f"i{number}" for number in sorted(set(chain(*numbers))))
        return f"{word} {','.join(nodes)}"

    def _to(self) -> str:
        """`t`: as far as the selected line; from the tree, along the branch."""
        if self.pane != "tree":
            return f"until {self._line()}"
        if not self._branch().trace:
            raise Unavailable(
                f"{self._branch().node} has nothing upstream to trace: heads, neurons and MLPs have"
            )
        return self._branch().trace

    def _of_page(self) -> str:
        assert self.page is not None  # asked for what it shows
        if not (self.other or self.page.node):
            raise Unavailable("no component is selected: find WORDS looks for some")
        return self.other or self.page.node

    def _upstream(self) -> str:
        """The next question about the page's component: of the ranked node, where that is selected."""
        assert self.page is not None  # asked for from it
        part = self.page.node
        if len(self.look.ranked) and self.look.ranked.component(self.ranked) == part:
            return self._follow(self.look.ranked.node(self.ranked))
        return f"trace {part}@{self.look.tokens.cursor}{' via q' if part.startswith('L') else ''}"

    def _beside(self, where: str, layers: int, heads: int) -> str:
        """The head, or the page's component, beside the one that is shown."""
        if self.page is None:
            return f"attn {self._head(layers, heads)}{'' if self.look.attention.causal else ' --by layer'}"
        if where not in self.page.beside:
            raise Unavailable(f"there is nothing beside {self.page.title}")
        return f"info {self.page.beside[where]}"

    def _up(self) -> str:
        if self.page is None:
            return "up"
        if not self.page.back:
            raise Unavailable("no search led here: Esc closes the page")
        return self.page.back

    def _enter(self) -> str:
        if self.page is not None:
            return f"info {self.other}" if self.other else self._upstream()
        if self.pane == "rank" and len(self.look.ranked):
            node = self._node()
            return f"info {node}" if self.look.ranked.kind(self.ranked) in PAGED else self._follow(node)
        if self.pane == "tree":
            branch = self._branch()
            return self._end(branch.node) or f"fold {branch.id}"
        if self.pane == "heat":
            if self._cell() and not self.cell[1]:
                raise Unavailable("no one command makes this cell's edit: it is many tokens of many prompts")
            return self.cell[1]
        if self.pane == "strips":
            return f"rank @{self.look.tokens.cursor}"
        if self.pane == "attn":
            return f"trace {self._placed()} via q"
        if self.pane == "code" and self.row is not None:
            if self.row.number.startswith("."):
                component = self._component()
                return f"attn {component}" if component.startswith("L") else f"print {component}"
            return (
                f"jump {self.row.line}" if self.row.executed or self.row.arrow else f"until {self.row.line}"
            )
        raise Unavailable("nothing to open here: Enter opens rows of panes 0, 1 and 2")

    def _follow(self, node: str) -> str:
        """What asks the next question about a node.

        Of a head that the metric reads: why does it look there.  Of one that informs a frame: what does it bring.
        What is not read by the frame itself acts through others: of such a head the question is the first again, and
        before such an MLP come those that are read.
        """
        view = self.look.ranked
        read = bool(view.direct[view.order[self.ranked]])
        match view.kind(self.ranked):
            case "head" | "pair":
                return f"trace {node} via {'v' if self.look.title.frame and read else 'q'}"
            case "mlp" if not read and view.by != "direct":
                return "rank by direct"
            case "mlp" | "neuron" | "latent":
                return f"trace {node}"
            case "layer" | "token" | "component":
                raise Unavailable(f"{node} is several nodes: rank per no group to trace one")
            case _:
                return self._end(node) or f"print {node}"

    @staticmethod
    def _end(node: str) -> str:
        """Where a trail ends: `trace` then says at which token.  Empty for what is no embedding."""
        return f"trace {node}" if node.partition("@")[0] in ("E", "WTE", "WPE") else ""

    def _order(self) -> str:
        """`o`: the next measure; of attention, how it is weighed; of a sweep, fractions or what they are of."""
        heat, shown = self.look.heat, self.look.attention
        if self.pane == "attn":
            return f"attn {shown.head} --by {WEIGHED[(WEIGHED.index(shown.by) + 1) % len(WEIGHED)]}"
        if self.pane == "heat":
            if heat is None:
                raise Unavailable("there is no sweep: sweep patch resid_pre")
            if not heat.scalable:
                raise Unavailable("no fractions: only a patch has another run to go to")
            return f"sweep show {'raw' if heat.normalised else 'normalised'}"
        by = self.look.ranked.by
        return f"rank by {MEASURES[(MEASURES.index(by) + 1) % len(MEASURES) if by in MEASURES else 0]}"

    def _head(self, layers: int, heads: int) -> str:
        shown: AttentionView = self.look.attention
        n_layer, n_head = shown.heads
        return f"L{(shown.layer + layers) % n_layer}H{(shown.index + heads) % n_head}"

    def _token(self, by: int) -> str:
        pos = self.look.tokens.cursor + by
        if not 0 <= pos < len(self.look.tokens.texts):
            raise Unavailable("the first token" if by < 0 else "the last token")
        return str(pos)
