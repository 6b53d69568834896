"""The prompt set of a session: how it is named and loaded, and what a session is at one of its examples."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType

from model.edits.interventions import Patch
from model.metrics import Metric
from model.probes import Activation
from model.sets.files import read_prompts
from model.sets.generators import TASKS, generate
from model.sets.prompts import END, Encoded, Example, PromptError, encode
from tdb_tui import lines
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.fitting import fitting
from tdb_tui.language.parsing import quote
from tdb_tui.metrics import make_metric
from tdb_tui.session import Session, Snapshot, start
from tdb_tui.sets.moves import START, Move
from tdb_tui.state import Examples, Place, Prompt, State
from tdb_tui.texts import Knows, read_prompt

COUNT = 50
"Examples of a generator, where no number is given."
FILES = (".jsonl", ".ndjson", ".csv")


def load_examples(
    engine: Knows, text: str, count: int | None = None, seed: int | None = None, bos: bool = True
) -> Examples:
    """`ioi`, `ioi:200`, `ioi:200:7` or a file's path -> the set.  Raises CommandError, one sentence.

    `count` and `seed` are those of options; a file has no seed, and `count` takes the first of its rows.
    """
    try:
        if Path(text).suffix.lower() in FILES:
            found = _from_file(engine, text, count, seed)
        else:
            found = _generated(engine, text, count, seed)
    except PromptError as error:
        raise CommandError(str(error), code="bad-prompts") from None
    for number, example in enumerate(found.prompts.examples, 1):
        _refuse_long(engine, number, example, bos)
    return found


def _from_file(engine: Knows, text: str, count: int | None, seed: int | None) -> Examples:
    if seed is not None:
        raise PromptError(f"{text} is not drawn: a seed is for {', '.join(TASKS)}")
    found = read_prompts(Path(text).expanduser(), engine.tokenizer)
    words = text if text.isprintable() and not set(text) & set(" \"'\\;") else quote(text)
    if count is None:
        return Examples(words, found)
    return Examples(f"{words} -n {count}", replace(found, examples=found.examples[:count]))


def _generated(engine: Knows, text: str, count: int | None, seed: int | None) -> Examples:
    task, *numbers = text.split(":")
    if task not in TASKS:
        guess = did_you_mean(task, TASKS) or f": a .jsonl or .csv file, or {', '.join(TASKS)}"
        raise PromptError(f"no prompts {text!r}{guess}")
    if len(numbers) > 2 or not all(number.isdecimal() and len(number) < 10 for number in numbers):
        raise PromptError(
            f"{text!r} is no prompt set: write {task}, {task}:200 or {task}:200:7 (count and seed)"
        )
    given = [int(number) for number in numbers]
    count = count if count is not None else given[0] if given else COUNT
    seed = seed if seed is not None else given[1] if len(given) > 1 else 0
    return Examples(f"{task}:{count}:{seed}", generate(task, engine.tokenizer, count, seed))


def _refuse_long(engine: Knows, number: int, example: Example, bos: bool) -> None:
    limit = engine.info.config.n_ctx
    for what, text in (("", example.text), ("the counterfactual of ", example.counterfactual)):
        length = 0 if text is None else len(engine.tokenizer.encode(text)) + bos
        if length > limit:
            message = f"{what}example {number} has {length} tokens: {engine.info.name} reads at most {limit}"
            raise CommandError(message, code="bad-prompts")


def loaded(state: State) -> Examples:
    """The set.  Raises CommandError where none is loaded."""
    if state.examples is None:
        raise CommandError(
            "no prompt set: prompts ioi:50, prompts FILE.jsonl, or --prompts", code="no-prompts"
        )
    return state.examples


def current(state: State) -> int | None:
    """Which example of the set prompt A is, from 1; None where it is none."""
    number, examples = state.inputs.prompt.example, state.examples
    if number is None or examples is None or not 1 <= number <= len(examples.prompts):
        return None
    return number if examples.prompts.examples[number - 1].text == state.inputs.prompt.text else None


def encoded(engine: Knows, example: Example, bos: bool) -> Encoded:
    """The example in tokens.  Raises CommandError."""
    try:
        return encode(example, engine.tokenizer, bos)
    except PromptError as error:
        raise CommandError(str(error), code="bad-prompts") from None


def prompt_of(engine: Knows, example: Example, number: int | None, bos: bool, other: bool = False) -> Prompt:
    """An example, or the `other` prompt that is its counterfactual, with its template and roles.

    A counterfactual has the example's roles where it has as many tokens.  Raises CommandError.
    """
    found = encoded(engine, example, bos)
    text = example.counterfactual if other and example.counterfactual is not None else example.text
    prompt = replace(read_prompt(engine, text, bos), example=number, template=example.template)
    same = len(prompt.tokens) == len(found.tokens)
    return replace(prompt, roles=tuple(found.roles.items())) if same else prompt


def at_example(engine: Engine, state: State, number: int, bos: bool | None = None) -> State:
    """The state with an example as prompt A, its counterfactual as prompt B, its answers, its roles as names.

    Edits follow the role of their token.  Raises CommandError where one cannot.
    """
    examples = loaded(state).prompts.examples
    if not 1 <= number <= len(examples):
        raise CommandError(f"no example {number}: the set has 1 to {len(examples)}", code="bad-prompts")
    example, inputs = examples[number - 1], state.inputs
    bos = inputs.prompt.bos if bos is None else bos
    found = encoded(engine, example, bos)
    prompt = prompt_of(engine, example, number, bos)
    other = None if example.counterfactual is None else prompt_of(engine, example, None, bos, other=True)
    move = Move.between(state, found.roles, len(prompt.tokens), None if other is None else len(other.tokens))
    metric = _metric(inputs.metric, found, move)
    edits = tuple(move.edit(edit) for edit in inputs.edits)
    roles = {role: pos for role, pos in found.roles.items() if role not in (START, END)}
    state = replace(
        state,
        inputs=replace(inputs, prompt=prompt, metric=metric, prompt_b=other, edits=edits),
        roles=MappingProxyType(roles),
        pos=len(prompt.tokens) - 1,
        frames=(),
        frame=0,
    )
    return fitting(state)


def _metric(old: Metric, example: Encoded, move: Move) -> Metric:
    """What is asked of an example: its own tokens, at the same role, by the quantity that was asked for."""
    metric = make_metric(example.targets, example.distractors, move.pos(old.pos, "the metric"))
    usual = make_metric(old.targets, old.distractors, old.pos).quantity
    if old.quantity is usual:
        return metric
    probe = old.probe
    if isinstance(probe, Activation) and probe.key is not None:
        probe = replace(probe, key=move.pos(probe.key, "the metric"))
    return replace(old, targets=metric.targets, distractors=metric.distractors, pos=metric.pos, probe=probe)


def encode_all(session: Session) -> Sequence[Encoded]:
    """Every example in tokens, as the session's prompt is: with or without `<|endoftext|>` before it."""
    bos = session.state.inputs.prompt.bos
    return [encoded(session.engine, each, bos) for each in loaded(session.state).prompts.examples]


def each_example(
    session: Session, counterfactuals: bool = False, counted: bool = True
) -> Generator[Snapshot]:
    """What there is to see of the session at one example after the other.  Close and raises as `each_session`.

    Nothing here holds an example's run while the next one is made; whoever loops should not either.
    """
    with closing(each_session(session, counterfactuals, counted)) as run:
        yield from map(attrgetter("snapshot"), run)


def each_session(session: Session, counterfactuals: bool = False, counted: bool = True) -> Generator[Session]:
    """The session at one example after the other, under the edits in force; each run is forgotten after it.

    How many have been done is the engine's progress, unless who asks counts something else.  Close it when done.
    Raises CommandError naming the example, ComputeFailed, Interrupted.
    """
    engine, state = session.engine, _bare(session.state, session.engine.info.config.n_layer)
    count = len(loaded(state).prompts)
    try:
        for number in range(1, count + 1):
            with engine.runs.unkept():
                yield _session(engine, state, number, counterfactuals)
            engine.progress = f"{number}/{count}" if counted else engine.progress
    finally:
        engine.progress = ""


def _bare(state: State, n_layer: int) -> State:
    """The state at the end of the pass, without what would cost time or be refused for nothing."""
    edits = tuple(edit for edit in state.inputs.edits if edit.enabled)
    return replace(state, inputs=replace(state.inputs, edits=edits), place=Place(lines.count(n_layer)))


def _session(engine: Engine, state: State, number: int, other: bool) -> Session:
    try:
        there = at_example(engine, state, number)
        if not other and not any(isinstance(change, Patch) for change in there.inputs.changes):
            there = replace(there, inputs=replace(there.inputs, prompt_b=None))
        return Session(engine, there)
    except CommandError as error:
        error.message = f"example {number}: {error.message}"
        raise


def start_session(
    engine: Engine,
    prompt: str | None,
    targets: Sequence[str] = (),
    distractors: Sequence[str] = (),
    prompt_b: str | None = None,
    bos: bool = True,
    prompts: str | None = None,
) -> tuple[Session, list[str]]:
    """A session and its notes; with a prompt set and no prompt of its own, at the first example.

    Raises CommandError as `start` and `load_examples` do.
    """
    examples = None if prompts is None else load_examples(engine, prompts, bos=bos)
    if prompt is not None or examples is None:
        session, notes = start(engine, prompt or "", targets, distractors, prompt_b, bos)
        if examples is not None:
            session.go(replace(session.state, examples=examples))
            session.opening = (f"prompts {examples.text}", *session.opening)
        return session, notes
    example = examples.prompts.examples[0]
    session, _ = start(engine, example.text, example.targets, example.distractors, None, bos)
    session.go(at_example(engine, replace(session.state, examples=examples), 1))
    session.opening = (f"prompts {examples.text}", f"prompts use 1 {'--bos' if bos else '--no-bos'}")
    return session, []
