"""The lesson of `tutor`: an investigation in steps, each of which waits until its reader has done it.

What has been done is seen from the session, not from the words that did it: a key, an alias or another command will do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from model.components import Component
from model.edits.interventions import Ablate, Patch
from tdb_tui.formats import metric_text, quoted, signed
from tdb_tui.language.parsing import quote
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import Lesson
from tdb_tui.stepping import finished


@dataclass(frozen=True, slots=True)
class Done:
    """What a line has led to."""

    snapshot: Snapshot
    names: tuple[str, ...]
    "The commands carried out."
    result: dict[str, Any]
    "What the last of them answered."

    def edited(self, kind: type) -> bool:
        """Whether the lesson's head is ablated, or patched."""
        lesson = self.snapshot.state.lesson
        found = (c for c in self.snapshot.state.inputs.changes if isinstance(c, kind))
        return lesson is not None and any(str(getattr(c, "component", "")) == lesson.head for c in found)


@dataclass(frozen=True, slots=True)
class Step:
    title: str
    text: str
    "Its {fields} are filled from the session."
    line: str
    "One command that does it."
    hint: str
    done: Callable[[Done], bool]


def _named(*names: str) -> Callable[[Done], bool]:
    return lambda done: bool(set(names) & set(done.names))


def _looked(done: Done) -> bool:
    state = done.snapshot.state
    return "attn" in done.names and state.lesson is not None and str(state.head) == state.lesson.head


def _traced(done: Done) -> bool:
    state = done.snapshot.state
    return bool(state.trail) and str(state.trail[-1].node.component) == (
        state.lesson.head if state.lesson else ""
    )


def _drafted(done: Done) -> bool:
    state = done.snapshot.state
    held = state.draft.nodes if state.draft else ()
    return state.lesson is not None and any(str(node.component) == state.lesson.head for node in held)


STEPS: tuple[Step, ...] = (
    Step(
        "the question",
        "{model} has read the prompt once, and every number of that pass is kept.  The question: why {question}?  "
        "The metric, {metric}, is {value}.  First look at what the model was given.",
        "args",
        "a (args) lists model, tokens and targets.",
        _named("args"),
    ),
    Step(
        "the answer",
        "What would it say next?  Targets and distractors are always in the list.",
        "logits @END 5",
        "logits lists the likeliest tokens; lens does so after every line.",
        _named("logits", "lens"),
    ),
    Step(
        "stepping",
        "The pass is a program of {lines} lines: E, A0, M0, A1, ... U.  Execute some: Δ is what a line adds to the "
        "metric as the lens reads it.  N steps back; s steps into a line.",
        "n 3",
        "n (next) executes a line, n 3 three of them.",
        lambda done: done.snapshot.state.place.line > 0,
    ),
    Step(
        "to the end",
        "c runs to the next stop, or to the end.  Then ll lists every line; >> marks the one with the largest change.",
        "c",
        "c (continue); b A3 would stop before A3.",
        lambda done: finished(done.snapshot, done.snapshot.state.place),
    ),
    Step(
        "who did it",
        "Which attention heads write the answer?  Their direct effects are what the final layer norm reads of each.",
        "rank heads by direct",
        "rank heads by direct.  On the screen: o changes the order of pane 2.",
        lambda done: done.snapshot.state.rank.by == "direct" and done.snapshot.state.rank.kinds == ("head",),
    ),
    Step(
        "where it looks",
        "{head} comes first.  Where does it look?  A name mover looks at the name that it copies.",
        "attn {head}",
        "attn {head} shows its pattern; in pane 2 the cursor does so too.",
        _looked,
    ),
    Step(
        "what it writes",
        "And what does it write there?  The tokens whose logits it pushes up, and down.",
        "top {head}@{pos}",
        "top, ov or pp say what a head is about.",
        _named("top", "ov", "pp", "print"),
    ),
    Step(
        "why it looks there",
        "Ask about its query instead of the metric: a frame is pushed, as in pdb, and every pane reads for it.  What "
        "ranks first now made {head} look where it does.",
        "trace {head}@{pos} via q",
        "trace {head}@{pos} via q; on the screen Enter on its row, and again on its page.",
        _traced,
    ),
    Step(
        "back",
        "u goes to the older frame, towards the metric; d to the newer.  w shows the trail.",
        "up",
        "u (up), until frame 0.",
        lambda done: done.snapshot.state.frame == 0,
    ),
    Step(
        "is it so?",
        "An effect is an estimate until it is tested: take {head} away and run again.",
        "ablate {head}",
        "ablate {head}, or x on its row.",
        lambda done: done.edited(Ablate),
    ),
    Step(
        "undo",
        "Everything that changes the run can be taken back.",
        "undo",
        "undo, or the key z; redo brings it back.",
        lambda done: not done.edited(Ablate),
    ),
    Step(
        "a counterfactual",
        "Ablation says that {head} matters; patching says what for.  Give a prompt B that differs in one thing.",
        "prompt B {other}",
        'prompt B "..." sets it; --prompt-b does so at the start.',
        lambda done: done.snapshot.state.inputs.prompt_b is not None,
    ),
    Step(
        "patching",
        "Put {head}'s value from B into this run: how much of the answer comes along?",
        "patch {head}@{pos} from B",
        "patch {head}@{pos} from B, or P on its row.",
        lambda done: done.edited(Patch),
    ),
    Step(
        "a circuit",
        "Keep what was found: a circuit is a list of nodes under a name.",
        "reset ;; circuit add {head}@{pos}",
        "circuit add {head}@{pos}; trace further and add what you find.",
        _drafted,
    ),
    Step(
        "how much is it?",
        "A circuit is a claim: everything else can go.  How much of the metric does it keep?  One head is not all of "
        "it: what it reads has to be there too.",
        "circuit eval",
        "circuit eval ablates all other heads.",
        lambda done: "faithfulness" in done.result,
    ),
)
END = (
    "That is the method: rank, look, trace, test, keep.  save FILE keeps the session, export FILE.py makes a script "
    "of it, h lists all commands."
)


def begin(session: Session) -> Lesson:
    """A lesson about this session's metric: its head is the one with the largest direct effect on it."""
    return Lesson(0, True, str(_strongest(session.snapshot)))


def page(session: Session) -> tuple[str, ...]:
    """The current step, or that the lesson is over."""
    lesson = session.state.lesson
    assert lesson is not None  # it has begun
    if lesson.step >= len(STEPS):
        return "── lesson · the end ", END
    step = STEPS[lesson.step]
    heading = f"── lesson {lesson.step + 1}/{len(STEPS)} · {step.title} "
    return (
        heading,
        filled(session, step.text),
        f"Try: {line(session)}      (tutor hint, tutor skip, tutor stop)",
    )


def line(session: Session) -> str:
    """A command that does the current step; empty at the end."""
    lesson = session.state.lesson
    return filled(session, STEPS[lesson.step].line) if lesson and lesson.step < len(STEPS) else ""


def hint(session: Session) -> str:
    lesson = session.state.lesson
    return filled(session, STEPS[lesson.step].hint) if lesson and lesson.step < len(STEPS) else END


def followed(session: Session, names: Sequence[str], result: dict[str, Any]) -> tuple[str, ...]:
    """Go on to the next step where the current one has been done: its page, or nothing."""
    lesson = session.state.lesson
    if lesson is None or not lesson.on or lesson.step >= len(STEPS) or "tutor" in names:
        return ()
    if not STEPS[lesson.step].done(Done(session.snapshot, tuple(names), result)):
        return ()
    session.go(replace(session.state, lesson=replace(lesson, step=lesson.step + 1)))
    return page(session)


def filled(session: Session, text: str) -> str:
    snapshot, lesson = session.snapshot, session.state.lesson
    assert lesson is not None  # it has begun
    inputs, metric = snapshot.state.inputs, snapshot.now.metric
    fields = {
        "model": snapshot.info.name,
        "question": _question(snapshot),
        "metric": metric_text(metric, snapshot.tokenizer, session.state.end),
        "value": signed(snapshot.now.value),
        "lines": 2 * snapshot.n_layer + 2,
        "head": lesson.head,
        "pos": "END" if metric.pos == session.state.end else metric.pos,
        "other": quote(_counterfactual(snapshot, inputs.prompt.text)),
    }
    return text.format(**fields)


def _strongest(snapshot: Snapshot) -> Component:
    """The head that writes most of the metric."""
    table = snapshot.now.asked().table("head")
    found = table.component(int(table.direct.argmax()))
    assert found is not None  # a table of heads has heads
    return found


def _question(snapshot: Snapshot) -> str:
    """`' Mary' and not ' John'`."""
    metric, tokenizer = snapshot.now.metric, snapshot.tokenizer
    said, other = (
        ", ".join(quoted(tokenizer, t) for t in tokens) for tokens in (metric.targets, metric.distractors)
    )
    return f"{said} and not {other}" if other else said


def _counterfactual(snapshot: Snapshot, text: str) -> str:
    """The prompt with its last distractor become a target, `... Mary gave a drink to`; else another first word."""
    metric, tokenizer = snapshot.now.metric, snapshot.tokenizer
    if metric.targets and metric.distractors:
        new, old = (tokenizer.text(tokens[0]).strip() for tokens in (metric.targets, metric.distractors))
        before, found, after = text.rpartition(old)
        if found and new:
            return before + new + after
    first, space, rest = text.partition(" ")
    return f"{'Then' if first != 'Then' else 'When'}{space}{rest}"
