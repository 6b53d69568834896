"""`assert` and `commands`: a finding becomes a test, and a stop does what it is told."""

import re
from collections.abc import Iterator
from dataclasses import replace

from model.addresses import QUOTED
from tdb_tui.commands.stops import numbered_stop, replace_stop
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.language.evaluation import Value
from tdb_tui.language.expressions import parse_expression
from tdb_tui.language.parsing import Call, Word, unquote
from tdb_tui.language.registry import Stale
from tdb_tui.language.syntax import Binary, Compare, Expr, Number, Text, Unary
from tdb_tui.replies import Reply, columns, note
from tdb_tui.scope import shown, typed_value, value_of
from tdb_tui.session import Session
from tdb_tui.state import Stop
from tdb_tui.stop_commands import checked

_PART = re.compile(
    rf"(?P<quoted>(?<!\w)(?:{QUOTED}))|(?P<open>[(\[{{])|(?P<close>[)\]}}])|(?P<comma>,)", re.DOTALL
)
_HEAD = re.compile(r"(?P<stop>[bw]?[0-9]+)?\s*(?P<colon>:|;;)?\s*(?P<body>.*)", re.DOTALL)


@command(
    "assert",
    usage="EXPR [, MESSAGE]",
    group="stops",
    stale=Stale.REFUSED,
    complete=("expr",),
    examples=("assert final > base(final) - 1", "ablate L1H3 ;; assert final < 100, 'L1H3 carries it'"),
)
def assert_(session: Session, call: Call) -> Reply:
    """Fail unless an expression is true; say nothing where it is.

    In a batch a failed one ends the script with exit code 5.  `final` is the metric; `ld` is what the lens reads of
    it where the pass stands, 0 at its start.  `base(final)` is the metric without edits.
    """
    if not call.args:
        raise CommandError("assert what: assert final > 2", code="missing-argument")
    typed = call.rest()
    text, message = split_message(typed.text)
    value = typed_value(session.snapshot, Word(text, typed.col))
    if not isinstance(value, bool):
        sort = "text" if isinstance(value, str) else "a number"
        raise CommandError(f"assert needs true or false: {text} is {sort}", "bad-expression", col=typed.col)
    parts = {str(part): value_of(session.snapshot, str(part)) for part in operands(parse_expression(text))}
    if not value:
        found = ", ".join(f"{part} = {_shown(each)}" for part, each in parts.items())
        facts = "; ".join([text, found] if message and found else [found] if found else [])
        failed = f"{message or text} ({facts})" if facts else message or text
        raise CommandError(f"assertion failed: {failed}", code="assertion")
    return Reply((), {"expression": text, "message": message, "values": parts})


@command(
    "commands",
    usage="[[NUM]: COMMAND [;; COMMAND]...]",
    group="stops",
    stale=Stale.OF_NO_RUN,
    complete=("stop", "command"),
    examples=("b A2 ;; commands 1: p ld ;; p dld", "b M1 ;; commands 2: c"),
)
def commands(session: Session, call: Call) -> Reply:
    """What a breakpoint or a watch does when it has stopped the pass; without a number, what each does.

    All that follows the colon belongs to the stop, `;;` too; without a number before it, to the stop set last.
    Nothing after the colon takes its commands away.
    `silent` first: the stop is not announced.  A command that moves on (n s r c unt j rn rs rc) ends the list.  In a
    script the commands may stand below it, one a line:

    commands 1
    silent
    assert ld > 2
    c
    end
    """
    rest = call.args[0] if call.args else Word("", call.col)
    if not rest.text:
        rows = [(stop.name, " ;; ".join(stop.commands)) for stop in session.state.stops if stop.commands]
        return Reply(columns(rows) or ("No stop has commands",), {"commands": dict(rows)})
    match = _HEAD.fullmatch(rest.text)
    if match is None or not (match["stop"] or match["colon"]):
        message = "which stop's commands: commands 1: p ld ;; c"
        raise CommandError(message, "missing-argument", col=rest.col)
    stop = _named(session, match["stop"], rest.col)
    if match["colon"] is None:
        example = f"commands {stop.number}: p ld ;; c"
        message = f"which commands: {example} (in a script also one a line, and then end)"
        raise CommandError(message, "missing-argument", col=rest.col + match.end("stop"))
    try:
        lines = checked(match["body"].splitlines(), session.state.aliases)
    except CommandError as error:
        col = None if error.col is None else rest.col + match.start("body") + error.col
        raise CommandError(error.message, error.code, error.hint, col) from None
    replace_stop(session, stop, replace(stop, commands=lines))
    name = f"{'watch' if stop.watch else 'breakpoint'} {stop.number}"
    said = f"Commands of {name}: {' ;; '.join(lines)}" if lines else f"No commands for {name}"
    block = "\n".join([f"commands {stop.number}", *lines, "end"])
    return replace(note(said, stop=stop.name, lines=list(lines)), script=block)


def _named(session: Session, number: str | None, col: int) -> Stop:
    """The stop of that number, or the one set last.  Raises CommandError."""
    if number is not None:
        return numbered_stop(session.snapshot, Word(number, col))
    if not session.state.stops:
        raise CommandError("no stop to give commands to: b A3 sets one", code="bad-stop")
    return max(session.state.stops, key=lambda stop: stop.number)


def split_message(typed: str) -> tuple[str, str]:
    """`ld > 2, 'too small'` -> the expression and the message, which may be missing."""
    depth = 0
    for match in _PART.finditer(typed):
        depth += (match["open"] is not None) - (match["close"] is not None)
        if match["comma"] and depth == 0:
            return typed[: match.start()].strip(), unquote(typed[match.end() :].strip())
    return typed.strip(), ""


def operands(tree: Expr) -> Iterator[Expr]:
    """What is compared in an expression, numbers and texts themselves left out."""
    match tree:
        case Binary("and" | "or", left, right):
            yield from operands(left)
            yield from operands(right)
        case Unary("not", operand):
            yield from operands(operand)
        case Compare(first, rest):
            for each in (first, *(side for _, side in rest)):
                if not isinstance(each, Number | Text):
                    yield each
        case _:
            pass


def _shown(value: Value) -> str:
    return f"{value:+.4g}" if isinstance(value, float) else shown(value)
