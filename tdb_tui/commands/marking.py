"""Nodes picked out by hand, so that one command can be about all of them."""

from collections.abc import Iterator
from dataclasses import replace

from model.components import Node
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.formats import node_label
from tdb_tui.language.arguments import NodeWord, at_most, node_words
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot


@command(
    "mark",
    usage="[NODES] [--clear]",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.OF_NO_RUN,
    options={"clear": False},
    complete=("node",),
    examples=("mark L1H3@END ;; mark M1", "mark --clear"),
)
def mark(session: Session, call: Call) -> Reply:
    """Pick nodes out, or let go of those that are: `$marks` then stands for them, and the keys x P f act on them.

    Without a node, the marks there are.  A node keeps its token where it is written with one; a change of prompt
    takes all marks away.
    """
    at_most(call, 1)
    marks = session.state.marks
    if call.has("clear"):
        if call.args:
            raise CommandError(
                "--clear takes every mark away: write it alone", "bad-argument", col=call.args[0].col
            )
        marks = ()
    for label in _labels(session.snapshot, node_words(session.snapshot, call.args[0])) if call.args else ():
        marks = tuple(each for each in marks if each != label) if label in marks else (*marks, label)
    if marks != session.state.marks:
        session.go(replace(session.state, marks=marks))
    said = f"marked: {', '.join(marks)}" if marks else "nothing is marked"
    return Reply((said,), {"marks": list(marks)})


def _labels(snapshot: Snapshot, words: tuple[NodeWord, ...]) -> Iterator[str]:
    """Every node that the words name, spelled as a command takes it."""
    tokens, tokenizer = snapshot.state.inputs.prompt.tokens, snapshot.tokenizer
    for word in words:
        for component in word.components:
            if not word.placed or word.span is None:
                yield str(component)
                continue
            for pos in range(word.span.first, word.span.last + 1):
                yield node_label(Node(component, pos, word.key), tokens, tokenizer)
