"""`prompts`: a set of prompts, and one of them at a time."""

from dataclasses import replace
from typing import Any

from model.printable import printable
from model.sets.files import COLUMNS, row_of
from model.sets.generators import TASKS
from model.sets.prompts import Example, roles_of
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import metric_text, quoted, signed
from tdb_tui.language.arguments import at_most, integer, option_integer
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session
from tdb_tui.sets.prompt_sets import at_example, current, encode_all, encoded, load_examples, loaded

LISTED = 8
TURNS = ("show", "use", "next", "prev")


@command(
    "prompts",
    usage="[FILE|TASK[:N[:SEED]]] | show N | use N | next | prev",
    group="changing",
    repeat=Repeat.CONTINUE,
    options={"n": True, "seed": True, "from": True, "bos": False, "no-bos": False},
    complete=("prompts",),
    examples=("prompts induction:3 ;; prompts", "prompts induction:3:7 ;; prompts use 2"),
)
def prompts(session: Session, call: Call) -> Reply:
    """A set of prompts with roles: load one, list it, take one of it as the prompt.

    prompts ioi:200:7     200 examples drawn with seed 7; also greater-than, docstring, pronoun, agreement, induction
    prompts FILE          JSONL or CSV: prompt, targets, distractors, roles, counterfactual, template, one a row
    prompts use 17        example 17 becomes the prompt, its counterfactual prompt B, its roles names of positions
    prompts next          the one after; prev the one before

    Each target and distractor must be one token; generators take only names that are.  Edits follow the role of
    their token.  `--out FILE.jsonl` writes the set.  `over` makes tables of all of it.
    """
    if not call.args:
        return _listed(session, call)
    word = call.args[0]
    at_most(call, 2 if word.text in ("show", "use") else 1)
    match word.text:
        case "show":
            return _shown(session, _number(session, call))
        case "use" | "next" | "prev":
            return _used(session, call, _number(session, call))
        case _:
            return _loaded(session, call, word)


def _loaded(session: Session, call: Call, word: Word) -> Reply:
    count = option_integer(call, "n", 0, "a number of prompts", least=1) or None
    seed = option_integer(call, "seed", 0, "a seed") if call.has("seed") else None
    known = (*TASKS, *TURNS)
    if (
        (guess := did_you_mean(word.text, known))
        and not word.text.startswith(tuple(TASKS))
        and "." not in word.text
    ):
        raise CommandError(f"no prompts {word.text!r}{guess}", "bad-prompts", col=word.col)
    try:
        found = load_examples(session.engine, word.text, count, seed, session.state.inputs.prompt.bos)
    except CommandError as error:
        raise CommandError(error.message, error.code, col=word.col) from None
    session.go(replace(session.state, examples=found))
    return replace(_listed(session, call), more=None, script=f"prompts {found.text}")


def _number(session: Session, call: Call) -> int:
    """The example that is meant, from 1.  Raises CommandError."""
    count, now, word = len(loaded(session.state).prompts), current(session.state), call.args[0]
    if word.text == "next" and now == count:
        raise CommandError(f"example {count} is the last: prompts use 1, prompts prev", code="bad-prompts")
    if word.text == "prev" and now in (None, 1):
        raise CommandError("there is no example before: prompts next, prompts use N", code="bad-prompts")
    if word.text in ("next", "prev"):
        return (now or 0) + (1 if word.text == "next" else -1)
    if len(call.args) < 2:
        raise CommandError(
            f"prompts {word.text} which example: prompts {word.text} 1", code="missing-argument"
        )
    number = integer(call.args[1], "an example", least=1)
    if number > count:
        raise CommandError(
            f"no example {number}: the set has 1 to {count}", "bad-prompts", col=call.args[1].col
        )
    return number


def _used(session: Session, call: Call, number: int) -> Reply:
    bos = None if not call.has("bos") and not call.has("no-bos") else call.has("bos")
    state = at_example(session.engine, session.decided, number, bos)
    before = session.state.inputs.metric
    snapshot = session.change(state.inputs, call.text, state)
    metric = metric_text(snapshot.now.metric, snapshot.tokenizer, state.end)
    said = f"example {number} of {len(loaded(state).prompts)}: {len(state.inputs.prompt.tokens)} tokens"
    told = (f"{said}, {metric} {signed(snapshot.now.value)}", *_example_lines(session, number)[:1])
    result = {"example": number, "value": snapshot.now.value, "roles": dict(state.roles)}
    kept = (
        ()
        if before.quantity is snapshot.now.metric.quantity
        else (f"metric is {snapshot.now.metric.quantity.value}",)
    )
    more = "prompts next" if call.args[0].text == "next" else None
    return Reply(told, result, kept, more=more)


def _shown(session: Session, number: int) -> Reply:
    example = loaded(session.state).prompts.examples[number - 1]
    return Reply(tuple(_example_lines(session, number)), {"example": number, "rows": [_row(example)]})


def _example_lines(session: Session, number: int) -> list[str]:
    """An example as text: its tokens with their roles, its answers, its counterfactual."""
    tokenizer, state = session.snapshot.tokenizer, session.state
    example = loaded(state).prompts.examples[number - 1]
    found = encoded(session.engine, example, state.inputs.prompt.bos)
    role = {pos: f"[{name}]" for name, pos in found.roles.items()}
    tokens = [
        f"{tokenizer.display(token).strip()}{role.get(pos, '')}" for pos, token in enumerate(found.tokens)
    ]
    said = [" ".join(tokens)]
    for what, ids in (("target", found.targets), ("distractor", found.distractors)):
        if ids:
            more = "" if len(ids) <= 8 else f" and {len(ids) - 8} more"
            said.append(f"{what:<15}" + " ".join(quoted(tokenizer, id) for id in ids[:8]) + more)
    if example.counterfactual is not None:
        said.append(f"{'counterfactual':<15}{tokenizer.display(example.counterfactual)}")
    return [*said, *([f"{'template':<15}{printable(example.template)}"] if example.template else [])]


def _row(example: Example) -> dict[str, Any]:
    """Every column, so that rows are alike; what a set has not is None."""
    return {**dict.fromkeys(COLUMNS), **row_of(example)}


def _listed(session: Session, call: Call) -> Reply:
    if session.state.examples is None and not call.args:
        return Reply(("No prompt set: prompts ioi:50, prompts FILE.jsonl, or --prompts",), {"rows": []})
    found, now = loaded(session.state), current(session.state)
    all_of = encode_all(session)
    first = option_integer(call, "from", 0, "a number of rows")
    count = LISTED if call.args else option_integer(call, "n", LISTED, "a number of rows") or len(all_of)
    last = min(first + count, len(all_of))
    cells = []
    for number in range(first + 1, last + 1):
        example = found.prompts.examples[number - 1]
        text = session.snapshot.tokenizer.display(example.text)
        answers = quoted(session.snapshot.tokenizer, all_of[number - 1].targets[0])
        more = len(all_of[number - 1].targets) - 1
        cells.append(
            (
                ">" if number == now else "",
                str(number),
                _cut(text, 58),
                answers + (f" +{more}" if more else ""),
            )
        )
    roles = roles_of(all_of)
    lengths = sorted({len(each.tokens) for each in all_of})
    size = f"{counted(len(all_of), 'prompt')} of {_span(lengths)} tokens"
    head = f"{found.text}  {size}, roles {' '.join(roles) or 'none'}"
    foot = [f"shown {first + 1} to {last} of {len(all_of)}"] if last - first < len(all_of) else []
    return Reply(
        (printable(head), *columns(cells, "-r--"), *foot),
        {
            "set": set_result(session),
            "current": now,
            "roles": list(roles),
            "lengths": [lengths[0], lengths[-1]],
            "rows": [_row(example) for example in found.prompts.examples],
        },
        more=f"prompts --from {last}" + (f" -n {count}" if count != LISTED else "")
        if last < len(all_of)
        else None,
    )


def set_result(session: Session) -> dict[str, object]:
    found = loaded(session.state)
    return {
        "text": found.text,
        "name": found.prompts.name,
        "seed": found.prompts.seed,
        "count": len(found.prompts),
    }


def _cut(text: str, width: int) -> str:
    """The end of a long text: what the answer follows."""
    return text if len(text) <= width else f"…{text[1 - width :]}"


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _span(values: list[int]) -> str:
    return f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"
