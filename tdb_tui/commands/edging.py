"""Edits of edges: what one node writes, changed for some of its readers alone, and circuits of edges."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from model.components import Component, Kind
from model.edits.changes import Change
from model.edits.edges import NODE_CHANGES, Carried, EdgeChange, EdgeKeep
from model.edits.interventions import Span, place
from model.edits.links import Link, readers_of
from tdb_tui.circuits.drafts import Circuit, Edge
from tdb_tui.circuits.tables import elsewhere
from tdb_tui.commands.link_words import arrows_of, carried_of, changed, checked, links_of
from tdb_tui.commands.table import command
from tdb_tui.edits.editing import make
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import signed
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import Edit

ACTS = ("ablate", "patch", "keep", "cut")
EXAMPLE = "edge ablate L0H1 -> L2H1.q"
EVERYWHERE = "E"
"What stands for every sender where all edges but some are replaced."


@command(
    "edge",
    usage="ablate|patch|keep A -> B, C -> D [MODE|from B] | keep|cut circuit NAME [MODE|from B] | keep none",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    options={"seed": True},
    complete=("node",),
    examples=("edge ablate L0H1 -> L2H1.q, M0 -> U", "edge patch L0H1@END -> L2H1 from B"),
)
def edge(session: Session, call: Call) -> Reply:
    """Change what a node writes for some of its readers alone, all edges in one pass.

    edge ablate A -> B, C -> D zero    B reads the stream without A's write, D without C's: modes as `ablate` has them
    edge patch A -> B from B           B reads it with what A writes in prompt B's run
    edge keep A -> B, C -> D from B    every edge but these carries prompt B's (or zero, mean, ...): `keep none` is all
    edge keep circuit NAME mean        every edge that is not in the circuit is replaced
    edge cut circuit NAME              the circuit's own edges are

    Readers are a head's L2H1.q, .k and .v (L2H1 is all three), an MLP, an attention's heads (A2) and U; they read
    through their layer norm as it is then.  A position is the token at which an edge is.  Other edits are made first
    where they change what a node writes, and after where they change the reader's own q, k or v.  Of two edits of one
    edge the later counts.  `keep` replaces the writes of E, heads and MLPs; the biases of attention stay.

    Estimates (rank, trace) hold what edges carry and leave out the edges that a sender has lost; `by measured` runs.
    """
    changes = edge_changes(session.snapshot.planned, call)
    before, (change, *_) = session.snapshot, changes
    reply = make(session, changes)
    return _with_faith(session, before, change, reply) if isinstance(change, EdgeKeep) else reply


def edge_changes(snapshot: Snapshot, call: Call) -> tuple[Change, ...]:
    """The change that an `edge` command stands for.  Raises CommandError."""
    if not call.args:
        raise CommandError(f"edit which edges: {EXAMPLE}, edge keep circuit NAME", code="missing-argument")
    act, words = call.args[0], list(call.args[1:])
    if act.text not in ACTS:
        guess = did_you_mean(act.text, ACTS) or f": {', '.join(ACTS)}"
        raise CommandError(f"edge has no {act.text!r}{guess}", "bad-argument", col=act.col)
    if words and words[0].text == "circuit" and act.text in ("keep", "cut"):
        return (_of_circuit(snapshot, call, act, words[1:]),)
    if act.text == "cut":
        raise CommandError(
            f"cut is of a circuit: edge cut circuit NAME, or {EXAMPLE}", "bad-argument", col=act.col
        )
    if act.text == "keep":
        return (_keeping(snapshot, call, words),)
    arrows, manner = arrows_of(words, EXAMPLE.replace("ablate", act.text))
    manner = _manner(act, manner)
    carried = chain.from_iterable(carried_of(snapshot, call, each, manner) for each in arrows)
    return (EdgeChange(tuple(dict.fromkeys(carried))),)


def _manner(act: Word, words: list[Word]) -> list[Word]:
    """How the edges are changed: `from B` after patch where nothing is said."""
    if act.text == "patch" and not words:
        return [Word("from", act.col), Word("B", act.col)]
    if words and (words[0].text == "from") != (act.text == "patch"):
        right = "edge patch A -> B from B" if act.text == "patch" else "edge ablate A -> B zero"
        raise CommandError(f"unexpected {words[0].text!r}: {right}", "bad-argument", col=words[0].col)
    return words


def _keeping(snapshot: Snapshot, call: Call, words: list[Word]) -> EdgeKeep:
    if words and words[0].text == "none":
        return EdgeKeep((), _like(snapshot, call, words[1:]))
    arrows, manner = arrows_of(words, EXAMPLE.replace("ablate", "keep"))
    links = chain.from_iterable(links_of(snapshot, each) for each in arrows)
    return EdgeKeep(tuple(dict.fromkeys(links)), _like(snapshot, call, manner))


def _like(snapshot: Snapshot, call: Call, manner: Sequence[Word]) -> NODE_CHANGES:
    """How the edges that are not kept are changed."""
    (change,) = changed(snapshot, call, Word(EVERYWHERE, call.name.col), manner)
    return change


def _of_circuit(snapshot: Snapshot, call: Call, act: Word, words: Sequence[Word]) -> EdgeKeep | EdgeChange:
    """The edges of a draft kept, or cut."""
    if not words:
        raise CommandError(f"{act.text} which circuit: edge {act.text} circuit NAME", code="missing-argument")
    found = _named(snapshot, words[0])
    links = tuple(dict.fromkeys(_links(snapshot, found, words[0])))
    if act.text == "keep":
        return EdgeKeep(links, _like(snapshot, call, words[1:]))
    carried: list[Carried] = []
    for link in links:
        tail = Word(place(link.tail, link.span, link.key), words[0].col)
        made = changed(snapshot, call, tail, words[1:])
        carried += (Carried(change, link.head) for change in made)
    return EdgeChange(tuple(carried))


def _named(snapshot: Snapshot, word: Word) -> Circuit:
    state = snapshot.state
    found = next((each for each in state.circuits if each.name == word.text), None)
    if found is None:
        guess = did_you_mean(word.text, [each.name for each in state.circuits]) or ": circuit list names them"
        raise CommandError(f"no circuit {word.text}{guess}", "bad-circuit", col=word.col)
    if not found.is_of(state.inputs.prompt):
        raise CommandError(elsewhere(found), "other-prompt", col=word.col)
    if not found.edges:
        message = f"circuit {found.name} has no edges: circuit edge A -> B joins two of its nodes"
        raise CommandError(message, "bad-circuit", col=word.col)
    return found


def _links(snapshot: Snapshot, circuit: Circuit, word: Word) -> Iterator[Link]:
    """A draft's edges as the inputs that they go through, each at the token of its sender."""
    for each in circuit.edges:
        try:
            heads = readers_of(each.head.component, snapshot.info.config.n_head)
        except ValueError as error:
            raise CommandError(str(error), "bad-circuit", col=word.col) from None
        for head in heads:
            if _goes_through(each, head):
                checked(snapshot, each.tail.component, head, word)
                yield Link(each.tail.component, head, Span(each.tail.pos, each.tail.pos), each.tail.key)


def _goes_through(edge: Edge, head: Component) -> bool:
    """Whether an edge enters by an input: a query at the node's own token, keys and values at those it attends to."""
    if head.kind not in (Kind.Q, Kind.K, Kind.V):
        return True
    named = edge.via is None or head.kind.letters in edge.via.value
    own = edge.tail.pos == edge.head.pos
    return named and (own if head.kind is Kind.Q else edge.head.key in (None, edge.tail.pos))


def _with_faith(session: Session, before: Snapshot, change: EdgeKeep, reply: Reply) -> Reply:
    """What the kept edges keep of the metric, between none of them and all."""
    if session.snapshot.waiting is not None:
        return reply
    whole, kept = before.now.value, session.snapshot.now.value
    empty = Edit(0, (EdgeKeep((), change.like),), "edge keep none")
    inputs = session.state.inputs
    none = session.engine.reading(replace(inputs, edits=(*before.state.inputs.edits, empty))).value
    way = None if abs(whole - none) < 1e-9 else (kept - none) / (whole - none)
    count = len(change.kept)
    said = f"{count} edge{'s' * (count != 1)} kept: metric {signed(kept)}"
    said += f", with all {signed(whole)}, with none {signed(none)}"
    if way is not None:
        said += f"   {100 * way:.0f} % of the way"
    found = {"edges": count, "kept": kept, "whole": whole, "none": none, "faithfulness": way}
    return replace(reply, lines=(*reply.lines, said), result={**reply.result, "circuit": found})
