"""Where we are and how we got here.  A command runs first and commits after: what fails changes nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from explanations.records import Best
from model.components import Component, Kind
from model.metrics import Metric
from model.tokenizer import Tokenizer
from tdb_tui.asked import Asked
from tdb_tui.engine import Engine, ModelInfo
from tdb_tui.errors import CommandError
from tdb_tui.fitting import arriving, refuse_unfit, without_lost_frames
from tdb_tui.likeliest import likeliest
from tdb_tui.metrics import in_other_prompt, make_metric
from tdb_tui.readings import Reading
from tdb_tui.saes import families
from tdb_tui.settings import setting
from tdb_tui.state import Inputs, Place, State
from tdb_tui.sweeps.values import Picture
from tdb_tui.tables.known import Found, Known
from tdb_tui.texts import opening, read_prompt, resolve_tokens

if TYPE_CHECKING:
    from tdb_tui.explaining.background import Background
    from tdb_tui.journal.writing import Journal


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All that a pane may look at: what was decided, what happened, and what happens without any edit."""

    state: State
    now: Reading
    base: Reading
    info: ModelInfo
    tokenizer: Tokenizer
    other: Reading | None = None
    "Prompt B's run, read as far from its end as the metric is from A's."
    known: Callable[[Inputs], float | None] = field(default=lambda inputs: None)
    "The metric of other inputs where it has been computed before."
    sweep: Picture | None = None
    "The last sweep, of this run or of one before it."
    page: Known | Found | None = None
    "What is known of the component that was asked about last, or what was searched for."
    best: Callable[[Sequence[str]], Mapping[str, Best]] = field(default=lambda nodes: {})
    "The best explanation of each component that the stores have one of."
    kept: int = 0
    "How many explanations and notes have been kept: what is shown of them is old when it has grown."
    waiting: Inputs | None = None
    "What has been decided and waits to be run, as `set autorun off` has it; None where all of it has been."

    @property
    def asked(self) -> Asked:
        """What the selected frame asks of the current run."""
        return self.now.asked(self.state.trail)

    @property
    def n_layer(self) -> int:
        return self.info.config.n_layer

    @property
    def decided(self) -> State:
        """The state with what waits to be run among its inputs: what further edits go on from."""
        return self.state if self.waiting is None else replace(self.state, inputs=self.waiting)

    @property
    def planned(self) -> "Snapshot":
        """The same snapshot around `decided`: for who reads words by it, and no number."""
        return replace(self, state=self.decided)

    @property
    def value(self) -> float | None:
        """The metric with all that has been decided, None where some of it waits to be run."""
        return self.now.value if self.waiting is None else None


@dataclass(frozen=True, slots=True)
class Step:
    """One undoable command and what was so before it."""

    text: str
    before: Inputs
    roles: Mapping[str, int] | None = field(default=None, hash=False)
    "The names of positions before it, where it changed them."


@dataclass(frozen=True, slots=True, eq=False)
class Savepoint:
    """All that a failing command must not change."""

    snapshot: Snapshot
    past: tuple[Step, ...]
    future: tuple[Step, ...]
    opening: tuple[str, ...]
    done: tuple[str, ...]
    saved: bool


class Session:
    def __init__(self, engine: Engine, state: State) -> None:
        self.engine = engine
        self.past: list[Step] = []
        self.future: list[Step] = []
        self.history: list[str] = []
        "Every line executed, failed ones too."
        self.done: list[str] = []
        "Commands that succeeded, in order: the session as a script."
        self.scripts: list[Path] = []
        "Those under way, the outermost first."
        self.depth = 0
        "How many stops' commands are under way, one led to by the other."
        self.python_names: dict[str, object] = {}
        "What `!` has set."
        self.at_terminal = False
        "Whether a person sits there who can be given a prompt of another program."
        self.answers: dict[str, float | bool | str] = {}
        "`$_`, `$_node`, `$_rank`: what the last answers were; nodes are NodeText."
        self.pointed: Mapping[str, str] = {}
        "`.` and `$marks`: what a screen has under its cursor and what is marked there."
        self.listed: tuple[Place, int] | None = None
        "Where the pass stood when lines were listed last, and the line after them."
        self.options: tuple[tuple[str, str, str], ...] = ()
        "What the program was started with: option, value, and whether default, file, env or flag says so."
        self.journal: Journal | None = None
        "Where lines are written down as they are carried out."
        self.cells: Mapping[str, Mapping[int, float]] = {}
        "What the journal that is gone on with has of sweeps."
        self._saved = True
        "Whether a file holds what has been changed, circuits apart."
        self.page: Known | Found | None = None
        self.background: Background | None = None
        "Where language models are asked while other commands are carried out; None where each is waited for."
        self.found: Found | None = None
        "What was searched for last."
        self.sweep: Picture | None = None
        "The last one, which snapshots show until there is another."
        self.snapshot: Snapshot = self._arrive(state)
        self.opening = opening(state.inputs, engine.tokenizer)
        "The commands that a script of the session starts with."
        self.streamed: Callable[[Snapshot], None] | None = None
        "Called now and then while a table fills, with the snapshot that shows what there is of it."
        self.said: Callable[[Sequence[str]], object] | None = None
        "Called with the lines that an answer has so far, while it is being made."

    @property
    def state(self) -> State:
        """What the panes show, its inputs those of the last run."""
        return self.snapshot.state

    @property
    def decided(self) -> State:
        """The same with the edits that wait to be run."""
        return self.snapshot.decided

    @property
    def saved(self) -> bool:
        """Whether quitting now would lose nothing."""
        return self._saved and all(circuit.saved for circuit in self.state.circuits)

    @saved.setter
    def saved(self, saved: bool) -> None:
        self._saved = saved

    def keep(self) -> None:
        """A file now holds the whole session."""
        circuits = tuple(replace(circuit, saved=True) for circuit in self.state.circuits)
        if circuits != self.state.circuits:
            self.go(replace(self.state, circuits=circuits))
        self._saved = True

    def go(self, to: State) -> Snapshot:
        """Make `to` the present.  Raises before anything has changed where its run fails or is interrupted.

        What waits to be run waits on where the inputs of `to` are those that have been run; with others nothing waits.
        """
        ran = self.state.inputs
        if to.inputs.prompt.tokens != ran.prompt.tokens and to.marks == self.state.marks:
            to = replace(to, marks=())  # they name tokens of the other prompt
        waiting = self.snapshot.waiting if to.inputs == ran else None
        self.snapshot = replace(self._arrive(to), waiting=waiting)
        return self.snapshot

    def decide(self, to: State, at_once: bool = False) -> Snapshot:
        """Go there; with `set autorun off`, what differs by edits alone waits to be run, unless `at_once`."""
        if at_once or not self._waits(to):
            self.snapshot = replace(self.go(to), waiting=None)
            return self.snapshot
        refuse_unfit(to.inputs, self.engine.info)
        self.go(replace(to, inputs=self.state.inputs))
        self.snapshot = replace(self.snapshot, waiting=to.inputs)
        return self.snapshot

    def _waits(self, to: State) -> bool:
        ran, wanted = self.state.inputs, to.inputs
        alike = replace(wanted, edits=ran.edits, means=ran.means, examples=ran.examples) == ran
        return setting(to, "autorun") == "off" and alike and wanted.changes != ran.changes

    def change(
        self, inputs: Inputs, text: str, state: State | None = None, at_once: bool = False
    ) -> Snapshot:
        """Go to new inputs in one undoable step, which `text` names; `at_once` as `decide` has it."""
        before = self.decided
        arrived = self.decide(replace(state or self.state, inputs=inputs), at_once)
        named = None if arrived.state.roles == before.roles else before.roles
        self.past.append(Step(text, before.inputs, named))
        self.future.clear()
        self._saved = False
        return arrived

    def savepoint(self) -> Savepoint:
        return Savepoint(
            self.snapshot, tuple(self.past), tuple(self.future), self.opening, tuple(self.done), self._saved
        )

    def back_to(self, point: Savepoint) -> None:
        """As if nothing had happened since `point`."""
        self.snapshot, self.past, self.future = point.snapshot, list(point.past), list(point.future)
        self.sweep, self.page = point.snapshot.sweep, point.snapshot.page
        self.opening, self.done, self._saved = point.opening, list(point.done), point.saved

    def undo(self) -> Step:
        """Back to the inputs before the last change.  Raises CommandError where there is none."""
        if not self.past:
            raise CommandError("nothing to undo", code="nothing-to-undo")
        step = self.past[-1]
        after = self._opposite(step)
        self.decide(self._fitting(step))
        self.past.pop()
        self.future.append(after)
        self._saved = False
        return step

    def redo(self) -> Step:
        """Forward again after an undo.  Raises CommandError where there is nothing to redo."""
        if not self.future:
            raise CommandError("nothing to redo", code="nothing-to-redo")
        step = self.future[-1]
        before = self._opposite(step)
        self.decide(self._fitting(step))
        self.future.pop()
        self.past.append(before)
        self._saved = False
        return step

    def _opposite(self, step: Step) -> Step:
        """What takes back the taking back of a step."""
        return Step(step.text, self.decided.inputs, None if step.roles is None else self.state.roles)

    def _fitting(self, step: Step) -> State:
        """The state with a step's inputs."""
        return arriving(self.state, step.before, self.state.roles if step.roles is None else step.roles)

    def _arrive(self, state: State) -> Snapshot:
        refuse_unfit(state.inputs, self.engine.info)
        now = self.engine.reading(state.inputs)
        state = without_lost_frames(state, now.trace.dictionaries)
        self.engine.stores.saes = families(state.inputs.saes)
        base = self.engine.reading(replace(state.inputs, edits=()))
        other = self._other(state.inputs, base.metric)
        info, tokenizer = self.engine.info, self.engine.tokenizer
        kept = (
            self.engine.known_value,
            self.sweep,
            self.page,
            partial(_best, self.engine),
            self.engine.stores.kept,
        )
        arrived = Snapshot(state, now, base, info, tokenizer, other, *kept)
        if state.place.inside is None:
            return arrived
        from tdb_tui.stepping import within  # which knows sessions

        return replace(arrived, state=state.at(within(arrived)))

    def _other(self, inputs: Inputs, metric: Metric) -> Reading | None:
        """Prompt B read through the metric of A's baseline, so that a divergence is from that."""
        if inputs.prompt_b is None:
            return None
        end, other_end = (len(prompt.tokens) - 1 for prompt in (inputs.prompt, inputs.prompt_b))
        metric = in_other_prompt(metric, end, other_end)
        return self.engine.reading(Inputs(inputs.prompt_b, metric, saes=inputs.saes))


def _best(engine: Engine, nodes: Sequence[str]) -> Mapping[str, Best]:
    """Nothing where a store cannot be read: rankings do without, and whoever asks about one component is told.

    Not a method of the session: what there is to see would hold the session, and that what there is to see.
    """
    try:
        return engine.stores.best(nodes)
    except CommandError:
        return {}


def start(
    engine: Engine,
    prompt: str,
    targets: Sequence[str],
    distractors: Sequence[str] = (),
    prompt_b: str | None = None,
    bos: bool = True,
) -> tuple[Session, list[str]]:
    """A session at the start of the pass, and what a person should be told about how their words were read.

    Without targets the likeliest next token is it, and the runner-up the distractor.  Raises CommandError.
    """
    read = read_prompt(engine, prompt, bos)
    target_ids, notes = resolve_tokens(engine.tokenizer, targets, "target", prompt)
    distractor_ids, more = resolve_tokens(engine.tokenizer, distractors, "distractor", prompt)
    end = len(read.tokens) - 1
    if not target_ids:
        target_ids, distractor_ids, said = likeliest(engine, read, distractor_ids)
        more.append(said)
    metric = make_metric(target_ids, distractor_ids, end)
    other = None if prompt_b is None else read_prompt(engine, prompt_b, bos)
    state = State(Inputs(read, metric, other), pos=end, head=Component(Kind.HEAD, 0, 0))
    return Session(engine, state), notes + more
