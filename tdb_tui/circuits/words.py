"""Words of the `circuit` command -> nodes, edges and names."""

import re
from collections.abc import Sequence
from itertools import chain

from model.components import Node
from model.targets import Via
from tdb_tui.circuits.drafts import MOST, Edge
from tdb_tui.circuits.files import NAME
from tdb_tui.errors import CommandError
from tdb_tui.language.arguments import NodeWord, node_words, one_node, refuse_places
from tdb_tui.language.parsing import Call, Word
from tdb_tui.session import Snapshot

ARROW = "->"
VIAS = {via.value: via for via in Via}

_EDGE = re.compile(rf"(?P<tail>\S.*?)\s*{ARROW}\s*(?P<head>\S+)(?:\s+via\s+(?P<via>\S+))?", re.DOTALL)


def name_of(words: Sequence[Word], act: str) -> str:
    """A circuit's name.  Raises CommandError."""
    if not words:
        raise CommandError(f"{act} which circuit: circuit {act} NAME", code="missing-argument")
    if len(words) > 1:
        raise CommandError(f"unexpected {words[1].text!r}: a name is one word", col=words[1].col)
    if not re.fullmatch(NAME, words[0].text):
        message = f"{words[0].text!r} cannot be a name: up to 40 letters, digits, - _ and ."
        raise CommandError(message, "bad-circuit", col=words[0].col)
    return words[0].text


def nodes_of(snapshot: Snapshot, words: Sequence[Word], act: str) -> tuple[Node, ...]:
    """Every node that words name, one for each part and token, each once.  Raises CommandError."""
    if not words:
        raise CommandError(f"{act} which nodes: circuit {act} L1H3@END", code="missing-argument")
    return tuple(dict.fromkeys(chain.from_iterable(_nodes(snapshot, word) for word in words)))


def _nodes(snapshot: Snapshot, word: Word) -> list[Node]:
    return list(chain.from_iterable(_placed(snapshot, word, found) for found in node_words(snapshot, word)))


def _placed(snapshot: Snapshot, word: Word, found: NodeWord) -> list[Node]:
    for part in found.components:
        refuse_places(part, word)
    positions = _positions(snapshot, found)
    count = len(found.components) * len(positions)
    if count > MOST:
        message = f"{word.text} is {count} nodes: a circuit holds up to {MOST}"
        raise CommandError(message, "bad-circuit", col=word.col)
    return [Node(part, pos, found.key) for part in found.components for pos in positions]


def _positions(snapshot: Snapshot, found: NodeWord) -> Sequence[int]:
    """The tokens written, the cursor's where none are."""
    if not found.placed:
        return (snapshot.state.pos,)
    if found.span is None:
        return range(snapshot.state.end + 1)
    return range(found.span.first, found.span.last + 1)


def edge_of(snapshot: Snapshot, call: Call, act: str) -> Edge:
    """The edge that `edge A -> B via q` names.  Raises CommandError."""
    typed = call.rest(1)
    match = _EDGE.fullmatch(typed.text)
    if match is None:
        message = f"{act} needs two nodes: circuit {act} L0H1@END {ARROW} L2H1@END via q"
        raise CommandError(message, "missing-argument", col=typed.col)
    tail, head = (
        one_node(snapshot, Word(match[end], typed.col + match.start(end))) for end in ("tail", "head")
    )
    for end, node in (("tail", tail), ("head", head)):
        refuse_places(node.component, Word(match[end], typed.col + match.start(end)))
    via = match["via"]
    if via is not None and via not in VIAS:
        message = f"unknown input {via!r}: q, k, qk or v"
        raise CommandError(message, "bad-argument", col=typed.col + match.start("via"))
    return Edge(tail, head, None if via is None else VIAS[via])
