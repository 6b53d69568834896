"""Names of the user's own: aliases for commands, variables for nodes and values."""

import re
from dataclasses import replace
from types import MappingProxyType

from model.addresses import split_list
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.language.arguments import at_most, node_words
from tdb_tui.language.evaluation import NodeText, Value
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Stale
from tdb_tui.names import ANSWERS
from tdb_tui.replies import Reply, note
from tdb_tui.scope import shown, typed_value
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import State

KEPT = ("alias", "unalias", "commands", "quit")
"Commands that keep their meaning, so that there is a way out."

_NAME = re.compile(r"[^\W\d][\w-]*")


@command(
    "alias",
    usage="[NAME [COMMAND]]",
    group="keeping",
    stale=Stale.OF_NO_RUN,
    complete=("alias", "command"),
    examples=("alias look attn %1 ;; p %1@END", "alias"),
)
def alias(session: Session, call: Call) -> Reply:
    """A word of your own for commands; without COMMAND, what it stands for; without NAME, all of them.

    `%1` to `%9` are the words typed after it, `%*` is all of them.  All that follows the name belongs to it, `;;` too.
    `alias look attn %1 ;; p %1@END`, then `look L1H3`.
    """
    aliases = session.state.aliases
    if not call.args:
        rows = [f"{name} = {body}" for name, body in aliases.items()]
        return Reply(tuple(rows) or ("No aliases",), {"aliases": dict(aliases)})
    typed, col = call.args[0].text, call.args[0].col
    name, body = (part.strip() for part in (*typed.split(maxsplit=1), "")[:2])
    if not body:
        found = _known(session.state, name, col)
        return note(f"{name} = {found}", aliases={name: found})
    if not _NAME.fullmatch(name):
        raise CommandError(f"{name!r} is no name for an alias: a word, such as look", "bad-alias", col=col)
    if name in KEPT:
        raise CommandError(f"{name} keeps its meaning: choose another name", "bad-alias", col=col)
    session.go(replace(session.state, aliases=MappingProxyType({**aliases, name: body})))
    return note(f"{name} = {body}", aliases={name: body})


@command(
    "unalias",
    usage="NAME",
    group="keeping",
    stale=Stale.OF_NO_RUN,
    complete=("alias",),
    examples=("unalias look", "unalias nn"),
)
def unalias(session: Session, call: Call) -> Reply:
    """Forget an alias."""
    at_most(call, 1)
    if not call.args:
        raise CommandError("unalias which name: alias lists them", code="missing-argument")
    name = call.args[0].text
    _known(session.state, name, call.args[0].col)
    kept = {each: body for each, body in session.state.aliases.items() if each != name}
    session.go(replace(session.state, aliases=MappingProxyType(kept)))
    return note(f"{name} is no alias any more", name=name)


def set_variable(session: Session, call: Call) -> Reply:
    """`set $x = VALUE`, `set $x NODES`, `set $x none`: a variable."""
    first = call.args[0]
    name, _, glued = first.text.partition("=")
    if not re.fullmatch(r"\$[^\W\d]\w*", name):
        message = f"{name!r} is no name for a variable: $ and a word, as in $heads"
        raise CommandError(message, "bad-variable", col=first.col)
    if name in ANSWERS:
        raise CommandError(f"{name} is {ANSWERS[name]}: choose another name", "bad-variable", col=first.col)
    rest = Word(glued, first.col + len(name) + 1) if glued else _after_equals(call.rest(1))
    if not rest.text:
        return _value_of(session, name, first.col)
    state, known = session.state, dict(session.state.variables)
    if rest.text == "none":
        _value_of(session, name, first.col)
        del known[name]
        session.go(replace(state, variables=MappingProxyType(known)))
        return note(f"{name} has no value any more")
    value = _value(session.snapshot, rest)
    session.go(replace(state, variables=MappingProxyType({**known, name: value})))
    return note(f"{name} = {_shown(value)}", name=name, value=value)


def variable_rows(session: Session) -> list[tuple[str, ...]]:
    """Each variable, and what the last answers left, with its value."""
    marked = {"$marks": NodeText(",".join(session.state.marked))} if session.state.marks else {}
    rows = {**session.state.variables, **session.answers, **marked}
    return [(name, _shown(value), ANSWERS.get(name, "")) for name, value in rows.items()]


def alias_rows(state: State) -> list[tuple[str, ...]]:
    return list(state.aliases.items())


def _known(state: State, name: str, col: int) -> str:
    if name not in state.aliases:
        right = did_you_mean(name, state.aliases) or (
            ": alias NAME COMMAND makes one" if not state.aliases else ""
        )
        raise CommandError(f"Unknown alias {name!r}{right}", "no-alias", col=col)
    return state.aliases[name]


def _value_of(session: Session, name: str, col: int) -> Reply:
    known = session.state.variables
    if name not in known:
        raise CommandError(
            f"{name} has no value: set {name} = L9H9 or set {name} = 2", "no-variable", col=col
        )
    return note(f"{name} = {_shown(known[name])}", name=name, value=known[name])


def _after_equals(word: Word) -> Word:
    if not word.text.startswith("=") or word.quoted:
        return word
    text = word.text[1:].lstrip()
    return Word(text, word.col + len(word.text) - len(text))


def _value(snapshot: Snapshot, word: Word) -> Value:
    """Nodes where the text names some, else the value of an expression.  Raises CommandError."""
    text = ",".join(split_list(word.text))
    if not re.fullmatch(r"[-+0-9.e]+", text) and not word.quoted:
        try:
            node_words(snapshot, Word(text, word.col))
            return NodeText(text)
        except CommandError:
            if re.match(r"[LAMNFX]\d|E@|U@", text):
                raise
    return typed_value(snapshot, word)


def _shown(value: Value) -> str:
    return str(value) if isinstance(value, NodeText) else shown(value)
