"""All that the user has decided, as one small frozen value.  Everything else is derived from it by running."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType

from model.components import Component, Kind, Node
from model.edits.interventions import Change, Compound, flat
from model.effects.attribution import Treatment
from model.metrics import Metric
from model.sets.prompts import PromptSet
from model.targets import Via
from model.vocabulary import END_OF_TEXT
from tdb_tui.circuits.drafts import Circuit
from tdb_tui.language.syntax import Expr

LONGEST_NAME = 40
"Characters of what an edit or a checkpoint is called."


@dataclass(frozen=True, slots=True)
class Prompt:
    text: str
    "As it was typed."
    tokens: tuple[int, ...]
    bos: bool
    "Whether `<|endoftext|>` is to stand before the text, as token 0."
    example: int | None = None
    "Which example of the prompt set it is, from 1; None for one that is not of the set."
    template: str = ""
    "Its wording, where it is from a set that tells them apart."
    roles: tuple[tuple[str, int], ...] = ()
    "Names of its positions, likewise."

    @property
    def prepended(self) -> bool:
        """Whether it was put there, the text not having begun with it."""
        return self.bos and not self.text.startswith(END_OF_TEXT)


@dataclass(frozen=True, slots=True)
class Edit:
    """One command's changes, listed, switched and removed together."""

    number: int
    changes: tuple[Change | Compound, ...]
    text: str
    "The command that makes it."
    enabled: bool = True
    name: str = ""
    "What the user calls it."


@dataclass(frozen=True, slots=True)
class Means:
    """Where ablation takes means from, and what resampling draws from."""

    text: str
    "The words after `set means`: `positions`, `prompts.txt`, `ioi:50:7 counterfactuals per template`."
    prompts: tuple[Prompt, ...] = ()
    "Empty: the mean over the positions of the prompt itself."
    per: str = ""
    "`template` takes those of the prompt's own, `role` matches tokens by role; else they are matched by position."


@dataclass(frozen=True, slots=True)
class Examples:
    """The prompt set that is loaded."""

    text: str
    "The words after `prompts` that load it: `ioi:50:7`, `ioi.jsonl -n 20`."
    prompts: PromptSet


@dataclass(frozen=True, slots=True)
class Sae:
    """A dictionary that is loaded."""

    path: str
    "Its file or directory, absolute."
    place: str
    "What it takes apart: `mlp_out.3`."


@dataclass(frozen=True, slots=True)
class Inputs:
    """What decides a run and its numbers; undo goes back over these."""

    prompt: Prompt
    metric: Metric
    prompt_b: Prompt | None = None
    edits: tuple[Edit, ...] = ()
    means: Means | None = None
    treatment: Treatment = Treatment.TARGET
    "Which layer norms' scales the estimated total effect holds."
    examples: tuple[Prompt, ...] = ()
    "Those of a prompt set that patches take values from, each with its number."
    saes: tuple[Sae, ...] = ()
    "Each of a place of its own."

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes in force, in order, each of one place."""
        return flat(change for edit in self.edits if edit.enabled for change in edit.changes)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Inputs under a name, to go back to and to compare with."""

    name: str
    inputs: Inputs
    roles: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    "The names of positions at the time."


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pass stands: before `line`, or before row `inside` of that line where it has been stepped into."""

    line: int = 0
    "From 0 (`E`); the number of lines once the pass has finished."
    inside: int | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """A breakpoint (stop before a line) or a watch (stop after the line that changed an expression)."""

    number: int
    watch: bool
    expression: str = ""
    "A breakpoint's condition, or what is watched."
    line: int | None = None
    "A breakpoint's line; None is any."
    by: float | None = None
    "How much a watched number must change; None means its sign."
    temporary: bool = False
    enabled: bool = True
    ignore: int = 0
    "Crossings still to be passed over."
    hits: int = 0
    commands: tuple[str, ...] = ()
    "Carried out each time it stops the pass."

    @property
    def name(self) -> str:
        return f"{'w' if self.watch else 'b'}{self.number}"


@dataclass(frozen=True, slots=True)
class Display:
    number: int
    expression: str
    last: str = ""
    "What was printed last: printed again only when it differs."
    enabled: bool = True

    @property
    def name(self) -> str:
        return f"d{self.number}"


@dataclass(frozen=True, slots=True)
class Note:
    """What the user wrote down."""

    text: str
    node: str = ""
    "What it is about, as a command calls it; empty for the session as a whole."


@dataclass(frozen=True, slots=True)
class Lesson:
    """How far the reader of the lesson has come."""

    step: int
    "From 0; the number of steps once it is over."
    on: bool
    head: str
    "The head that it is about."


@dataclass(frozen=True, slots=True)
class Frame:
    """A step of tracing: a scalar inside the model that is asked about in its turn."""

    node: Node
    via: Via | None = None

    @property
    def text(self) -> str:
        """The command that pushes it."""
        return f"trace {self.node}" + (f" via {self.via.value}" if self.via else "")

    @property
    def unit(self) -> str:
        """What kind of number it is, in a word or two."""
        if self.node.component.kind is not Kind.HEAD:
            return "pre-activation"
        names = {Via.Q: "score via q", Via.K: "score via k", Via.QK: "2 x score via q and k", Via.V: "value"}
        return names[self.via or Via.QK]

    @property
    def word(self) -> str:
        """The same in one word, for narrow places."""
        if self.node.component.kind is not Kind.HEAD:
            return "pre"
        return {Via.V: "value", Via.QK: "2score"}.get(self.via or Via.QK, "score")


class Weighed(Enum):
    """What the attention pane shows of a head, or that it shows every head of a layer."""

    WEIGHTS = "weights"
    VALUES = "values"
    EFFECT = "effect"
    LAYER = "layer"


@dataclass(frozen=True, slots=True)
class RankView:
    """What the ranked components show."""

    kinds: tuple[str, ...] = ("head", "mlp", "embed")
    by: str = "total"
    pos: int | None = None
    "Only this token's nodes; None is every token's."
    within: tuple[Component, ...] = ()
    "Only these components and their parts; empty is all."
    sign: str = ""
    "Only values of this sign, `+` or `-`."
    per: str = ""
    "Rows added up per `component`, `head`, `layer` or `token`; empty is every node by itself."
    where: Expr | None = None
    "Only rows, or groups of them, of which it is true."
    each: int | None = None
    "Only so many of each kind, the first in order."
    latents: frozenset[str] = frozenset()
    "What latents stand in the places of: `mlps`, `heads`, `stream`."
    first: int = 0
    "Of a ranking too long to be at hand as a whole, the place from which on it is shown."


@dataclass(frozen=True, slots=True)
class Tree:
    """What the tree upstream shows."""

    depth: int = 2
    "How many steps from the root."
    top: int = 4
    "How many of each node's, the largest by absolute effect."
    threshold: float = 0.0
    neurons: bool = False
    turned: frozenset[tuple[tuple[Frame, ...], tuple[Node, ...]]] = frozenset()
    "Branches opened and closed by hand: the frames that they are upstream of, the nodes from the root to each."


@dataclass(frozen=True, slots=True)
class State:
    inputs: Inputs
    place: Place = Place()
    pos: int = 0
    "The token cursor: where lens, logits and listing are read."
    head: Component = Component(Kind.HEAD, 0, 0)
    "Whose attention is shown."
    weighed: Weighed = Weighed.WEIGHTS
    rank: RankView = RankView()
    tree: Tree = Tree()
    frames: tuple[Frame, ...] = ()
    "What has been traced, each for the one before; the first for the metric."
    frame: int = 0
    "Which of them the panes read for: 0 the metric, 1 the first frame."
    marks: tuple[str, ...] = ()
    "Nodes picked out by hand, as a command calls them: `L5H0@END`, `M3`.  `$marks` stands for them."
    stops: tuple[Stop, ...] = ()
    displays: tuple[Display, ...] = ()
    roles: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    "Names of positions: the example's roles, and those that the user gave with `set pos IO=2`."
    examples: Examples | None = None
    "What `over` makes its tables from, and `prompts use` takes its prompts from."
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    "Only those that differ from their default."
    variables: Mapping[str, float | bool | str] = field(default_factory=lambda: MappingProxyType({}))
    "`$x` -> its value; nodes are NodeText."
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    "A word -> the commands that it stands for."
    notes: tuple[Note, ...] = ()
    lesson: Lesson | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    "In the order in which they were made."
    circuits: tuple[Circuit, ...] = ()
    "Drafts, in the order in which they were begun."
    circuit: str = ""
    "The name of the one that commands are about and that the listing marks; empty where there is none."
    next_stop: int = 1
    next_edit: int = 1
    next_display: int = 1

    @property
    def end(self) -> int:
        """The last token of the prompt."""
        return len(self.inputs.prompt.tokens) - 1

    @property
    def marked(self) -> tuple[str, ...]:
        """What is marked, in an order for one argument: a token holds for all before it, so those without come last."""
        return tuple(sorted(self.marks, key=lambda node: "@" not in node))

    @property
    def roles_b(self) -> Mapping[str, int]:
        """Names of prompt B's positions; where it is as long as the prompt, the prompt's names hold too."""
        other = self.inputs.prompt_b
        if other is None:
            return {}
        same = len(other.tokens) == len(self.inputs.prompt.tokens)
        return {**(self.roles if same else {}), **dict(other.roles)}

    @property
    def draft(self) -> Circuit | None:
        """The circuit that commands are about and that the listing marks."""
        return next((each for each in self.circuits if each.name == self.circuit), None)

    @property
    def trail(self) -> tuple[Frame, ...]:
        """The frames up to the one that the panes read for."""
        return self.frames[: self.frame]

    def at(self, place: Place) -> "State":
        return replace(self, place=place)
