"""Names in commands: what `$x`, `$_rank`, `$marks` and `.` stand for when a command is carried out."""

from typing import Any

from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.language.evaluation import NodeText, Value
from tdb_tui.language.expansion import with_values
from tdb_tui.language.parsing import Call, TakesValue, quote
from tdb_tui.language.registry import Command
from tdb_tui.session import Session

TEXT, EXPRESSION, LINE, FILE = "text", "expr", "line", "file"
"Kinds of arguments (`Command.complete`) in which some names stay as they are."

MARKS = "$marks"
ANSWERS = {
    "$_": "the last value printed",
    "$_node": "the last node asked about, or the first of the last table",
    "$_rank": "the nodes of the last table, in its order",
    MARKS: "the nodes that are marked",
}


def spelled_out(session: Session, command: Command, call: Call, takes_value: TakesValue) -> Call:
    """The command with the values of names in it.  Raises CommandError for a name without one.

    In expressions a name that stands for a value stays: it has the value of the moment, whenever that is.  In free
    text what is no name is text.
    """
    keeps, free = EXPRESSION in command.complete, TEXT in command.complete
    known = {**session.answers, **session.state.variables}

    def value(name: str, before: str) -> str | None:
        if name == ".":
            return None if {TEXT, LINE, FILE} & set(command.complete) else _pointed(session, call)
        if name == MARKS:
            return ",".join(session.state.marked) or _none_marked(call)
        if name not in known:
            return None if keeps or free else _unknown(session, name, call)
        found = known[name]
        dynamic = keeps and name in session.state.variables and before not in "@<:"
        return None if dynamic and not isinstance(found, NodeText) else written(found)

    return with_values(call, value, takes_value, first=2 if command.name == "set" else 1)


def written(value: Value) -> str:
    """A value as it is typed."""
    match value:
        case NodeText():
            return str(value)
        case bool():
            return "1 == 1" if value else "1 == 0"
        case str():
            return quote(value)
        case float() if not value.is_integer() or abs(value) >= 1e15:
            return repr(value)
        case _:
            return str(int(value))


def answered(session: Session, result: dict[str, Any]) -> None:
    """Remember what an answer says, for `$_`, `$_node` and `$_rank`."""
    rows = result.get("rows")
    nodes = [row["node"] for row in rows if _is_node(row)] if isinstance(rows, list) else []
    if nodes:
        session.answers |= {"$_node": NodeText(nodes[0]), "$_rank": NodeText(",".join(nodes))}
    match result:
        case {"value": {"node": str(node)}} | {"head": str(node)}:
            session.answers["$_node"] = NodeText(node)
        case {"value": bool() | int() | float() | str() as value}:
            session.answers["$_"] = value
        case _:
            pass


def _is_node(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("node"), str)
        and row.get("kind") not in ("layer", "token")
    )


def _pointed(session: Session, call: Call) -> str:
    if "." not in session.pointed:
        right = f"'.' is the row under the cursor of a screen: {call.name.text} L1H2 names one"
        raise CommandError(f"no row is selected, {right}", "no-row")
    return session.pointed["."]


def _none_marked(call: Call) -> str:
    col = call.typed(call.col + call.text.find(MARKS))
    raise CommandError("nothing is marked: mark L1H2, or Space on a screen", "no-row", col=col)


def _unknown(session: Session, name: str, call: Call) -> None:
    known = (*session.state.variables, *ANSWERS)
    right = did_you_mean(name, known) or f": give it a value with 'set {name} = L9H9' or 'set {name} = 2'"
    col = call.typed(call.col + call.text.find(name))
    raise CommandError(f"no variable {name}{right}", "no-variable", col=col)
