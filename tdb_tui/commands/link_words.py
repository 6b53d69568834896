"""Words that name edges and paths, `A -> B, C -> D` -> changes of tails, readers and how they are joined."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from model.components import Component
from model.edits.changes import Span
from model.edits.compounds import flat
from model.edits.edges import NODE_CHANGES, Carried, narrowed, node_change
from model.edits.links import ARROW, Link, check_link, readers_of
from tdb_tui.commands.ablating import ablations
from tdb_tui.commands.patching import patches
from tdb_tui.errors import CommandError
from tdb_tui.language.arguments import NodeWord, node_words, refuse_latents
from tdb_tui.language.parsing import Call, Word
from tdb_tui.session import Snapshot

COMMA = ","


@dataclass(frozen=True, slots=True)
class Arrow:
    """One `A -> B` as it is typed."""

    tail: Word
    head: Word


@dataclass(frozen=True, slots=True)
class Reader:
    """An input that a word names, and at which tokens."""

    head: Component
    placed: bool
    span: Span | None


def arrows_of(words: Sequence[Word], example: str) -> tuple[list[Arrow], list[Word]]:
    """The edges at the front of some words, and the words after them.  Raises CommandError."""
    left, found = list(_pieces(words)), list[Arrow]()
    while True:
        if len(left) < 3 or left[1].text != ARROW or {left[0].text, left[2].text} & {ARROW, COMMA}:
            at = left[0] if left else words[-1] if words else None
            message = f"an edge has a sender and a reader: {example}"
            raise CommandError(message, "missing-argument", col=None if at is None else at.col)
        found.append(Arrow(left[0], left[2]))
        left = left[3:]
        if not left or left[0].text != COMMA:
            break
        left = left[1:]
    for word in left:
        if word.text in (ARROW, COMMA):
            message = f"edges are separated by a comma and a space: {example}, M0 {ARROW} U"
            raise CommandError(message, "bad-argument", col=word.col)
    return found, left


def _pieces(words: Sequence[Word]) -> Iterator[Word]:
    """Words with arrows and the commas after words on their own."""
    for word in words:
        if word.quoted:
            yield word
            continue
        for match in re.finditer(rf"{ARROW}|(?:(?!{ARROW}).)+", word.text, re.DOTALL):
            text, col = match[0], word.col + match.start()
            ends = text.endswith(COMMA) and len(text) > 1
            yield Word(text.removesuffix(COMMA) if ends else text, col)
            if ends:
                yield Word(COMMA, col + len(text) - 1)


def changed(snapshot: Snapshot, call: Call, tail: Word, manner: Sequence[Word]) -> tuple[NODE_CHANGES, ...]:
    """What `ablate TAIL zero` or `patch TAIL from B` would change.  Raises CommandError."""
    verb, parse = ("patch", patches) if manner and manner[0].text == "from" else ("ablate", ablations)
    own = replace(call, name=Word(verb, call.name.col), args=(tail, *manner))
    try:
        return tuple(node_change(change) for change in flat(parse(snapshot, own)))
    except ValueError as error:
        raise CommandError(str(error), "bad-argument", col=tail.col) from None


def readers(snapshot: Snapshot, word: Word) -> list[Reader]:
    """`L2H1.q`, `L2H1` for its q, k and v, `M2`, `U`, each with a position perhaps.  Raises CommandError."""
    found: list[Reader] = []
    for group in node_words(snapshot, word):
        if group.key is not None:
            message = f"{group.component} reads through q, k or v at one token: write {group.component}.k@{group.key}"
            raise CommandError(message, "bad-node", col=word.col)
        found += (Reader(head, group.placed, group.span) for head in _inputs(snapshot, group, word))
    return found


def _inputs(snapshot: Snapshot, group: NodeWord, word: Word) -> Iterator[Component]:
    for part in group.components:
        refuse_latents(part, word)
        try:
            yield from readers_of(part, snapshot.info.config.n_head)
        except ValueError as error:
            raise CommandError(str(error), "bad-node", col=word.col) from None


def carried_of(snapshot: Snapshot, call: Call, arrow: Arrow, manner: Sequence[Word]) -> Iterator[Carried]:
    """The edges of an arrow, each with what it is to carry.  Raises CommandError."""
    heads = readers(snapshot, arrow.head)
    for change in changed(snapshot, call, arrow.tail, manner):
        for reader in heads:
            checked(snapshot, change.component, reader.head, arrow.tail)
            here = narrowed(change, reader.span if reader.placed else None)
            if here is None:
                raise _apart(f"{change.place} writes", f"{reader.head}@{reader.span} reads", arrow.tail)
            yield Carried(here, reader.head)


def links_of(snapshot: Snapshot, arrow: Arrow) -> Iterator[Link]:
    """The edges of an arrow.  Raises CommandError."""
    heads = readers(snapshot, arrow.head)
    for group in node_words(snapshot, arrow.tail):
        for part in group.components:
            refuse_latents(part, arrow.tail)
            for reader in heads:
                checked(snapshot, part, reader.head, arrow.tail)
                span = _common(group, reader, part, arrow.tail)
                yield Link(part, reader.head, span, group.key)


def _common(group: NodeWord, reader: Reader, part: Component, word: Word) -> Span | None:
    """The tokens that both ends name."""
    a, b = group.span, reader.span
    if a is None or b is None:
        return a or b
    if max(a.first, b.first) > min(a.last, b.last):
        raise _apart(f"{part}@{a} writes", f"{reader.head}@{b} reads", word)
    return Span(max(a.first, b.first), min(a.last, b.last))


def checked(snapshot: Snapshot, tail: Component, head: Component, word: Word) -> None:
    """Raises CommandError for an edge that no model has."""
    try:
        check_link(tail, head, snapshot.n_layer)
    except ValueError as error:
        raise CommandError(str(error), "bad-edge", col=word.col) from None


def _apart(writes: str, reads: str, word: Word) -> CommandError:
    return CommandError(
        f"{writes} and {reads} other tokens: an edge is at one token", "bad-edge", col=word.col
    )
