"""What a person writes beside the numbers: notes, and text in the log."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace

from explanations.records import Note as StoredNote
from explanations.writing import drop_notes, put_note
from model.addresses import AddressError, parse_components, split_node
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.files.output import writes
from tdb_tui.language.arguments import at_most, integer, node_word
from tdb_tui.language.parsing import Call, Word, unquote
from tdb_tui.language.registry import Stale
from tdb_tui.names import TEXT
from tdb_tui.replies import Reply, columns, note
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import Note, State


@command(
    "note",
    usage="[NODE] TEXT | --drop N",
    group="keeping",
    stale=Stale.OF_NO_RUN,
    complete=("node", TEXT),
    options={"drop": True},
    examples=("note L1H3 copies the name", "note ask the same of a longer prompt ;; note"),
)
def note_(session: Session, call: Call) -> Reply:
    """Write down a finding, of a node where it begins with one; without a text, list what has been written down.

    Notes are saved with the session.  Those of a component are kept beyond it as well, for every later session about
    this model: in the store given with `--store`, else in one of your own beside your data, for the stores that come
    with models are never written.  `info NODE` shows them and `find` finds them.  `--drop 2` takes the second away.
    """
    state = session.state
    if (number := call.option("drop")) is not None:
        at_most(call, 0)
        at = integer(Word(number, call.options[-1].col), "a note's number", least=1)
        if at > len(state.notes):
            raise CommandError(f"no note {at}: note lists them", "no-note", col=call.options[-1].col)
        gone = state.notes[at - 1]
        _keep(session, tuple(each for each in state.notes if each is not gone))
        warnings = _in_store(session, gone, drop_notes)
        return replace(note(f"{len(session.state.notes)} notes"), warnings=warnings)
    if not call.args:
        rows = note_rows(state)
        return Reply(columns(rows) or ("No notes",), {"notes": [list(row[1:]) for row in rows]})
    node = _node(session.snapshot, call.args[0])
    text = unquote(call.rest(int(bool(node))).text)
    if not text:
        raise CommandError(f"note what about {node}: note {node} copies the name", "missing-argument")
    _keep(session, (*state.notes, Note(text, node)))
    warnings = _in_store(session, Note(text, node), put_note)
    said = f"noted{f' of {node}' if node else ''}: {text}"
    return Reply((said,), {"node": node, "text": text}, warnings)


def _in_store(
    session: Session, written: Note, act: Callable[[sqlite3.Connection, StoredNote], object]
) -> tuple[str, ...]:
    """Keep, or drop, a note of components beyond the session; what is wrong where that cannot be done."""
    if not written.node or not writes():
        return ()
    components, _, placed = written.node.partition("@")
    text = f"{written.text}  ({written.node})" if placed else written.text
    try:
        with session.engine.stores.keeping() as connection:
            for component in components.split(","):
                act(connection, StoredNote(component, text))
    except CommandError as error:
        return (f"the note is in this session only: {error}",)
    return ()


@command(
    "echo",
    usage="TEXT",
    group="keeping",
    stale=Stale.OF_NO_RUN,
    complete=(TEXT,),
    examples=("echo before the edit", "echo"),
)
def echo(session: Session, call: Call) -> Reply:
    """Print a text, in scripts to say what follows."""
    return Reply((unquote(call.rest().text),))


def note_rows(state: State) -> list[tuple[str, ...]]:
    """Number, node and text of each note."""
    return [(str(n), each.node, each.text) for n, each in enumerate(state.notes, start=1)]


def notes_of(state: State, component: str) -> list[str]:
    """What has been written down about a component or a node of it."""
    return [
        each.text + (f"  ({each.node})" if each.node != component else "")
        for each in state.notes
        if component in each.node.partition("@")[0].split(",")
    ]


def _keep(session: Session, notes: tuple[Note, ...]) -> None:
    session.go(replace(session.state, notes=notes))
    session.saved = False


def _node(snapshot: Snapshot, word: Word) -> str:
    """The node that a note begins with, normalised; empty where its first word is none."""
    if word.quoted or word.text.isdecimal() or word.text == "all":
        return ""
    try:
        part, pos, _ = split_node(word.text)
        names = parse_components(part, snapshot.info.config, snapshot.info.name)
    except AddressError:
        return ""
    if len(part) == 1 and part != str(names[0]):  # `u` is a word of English before it is the unembedding
        return ""
    if pos is not None:
        node_word(snapshot, word)  # for its complaint about the position
    return ",".join(map(str, names)) + word.text[len(part) :]
