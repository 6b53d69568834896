"""Drafts of circuits: a named list of nodes and edges of one prompt.  They hold no numbers: those come from runs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from model.components import DICTIONARY, Component, Kind, Node
from model.dictionaries import place_of
from model.latent_frames import line_read, positions_read
from model.targets import Via
from model.upstream.branches import quoted
from tdb_tui import lines

if TYPE_CHECKING:  # the state holds circuits
    from tdb_tui.state import Frame, Prompt

READERS = (Kind.HEAD, Kind.ATTN, Kind.MLP, Kind.NEURON, Kind.LATENT, Kind.ERROR, Kind.UNEMBED)
ATTENDING = (Kind.HEAD, Kind.ATTN)
MOST = 2000
"""Nodes of one circuit: beyond it a list is no draft."""


@dataclass(frozen=True, slots=True)
class Edge:
    """What one node writes and a later one reads, at one token."""

    tail: Node
    head: Node
    via: Via | None = None
    "Through which of a head's inputs, where that is said."


@dataclass(frozen=True, slots=True)
class Circuit:
    name: str
    prompt: "Prompt"
    "Whose tokens the nodes are at."
    nodes: tuple[Node, ...] = ()
    "In the order added, each once."
    edges: tuple[Edge, ...] = ()
    "Between nodes of it, each once."
    saved: bool = True
    "Whether a file holds it as it is."

    def is_of(self, prompt: "Prompt") -> bool:
        return self.prompt.tokens == prompt.tokens


def adding(circuit: Circuit, nodes: Iterable[Node]) -> Circuit:
    """The circuit with more nodes.  Raises ValueError where that is too many."""
    found = tuple(dict.fromkeys((*circuit.nodes, *nodes)))
    if len(found) > MOST:
        raise ValueError(f"{len(found)} nodes are too many: a circuit holds up to {MOST}")
    return circuit if found == circuit.nodes else replace(circuit, nodes=found, saved=False)


def removing(circuit: Circuit, nodes: Sequence[Node]) -> Circuit:
    """The circuit without some nodes and all their edges.  Raises ValueError for a node that is not in it."""
    for node in nodes:
        if node not in circuit.nodes:
            raise ValueError(f"{node} is not in circuit {circuit.name}: circuit show lists its nodes")
    edges = tuple(edge for edge in circuit.edges if edge.tail not in nodes and edge.head not in nodes)
    return replace(
        circuit, nodes=tuple(node for node in circuit.nodes if node not in nodes), edges=edges, saved=False
    )


def joining(circuit: Circuit, edge: Edge, n_layer: int) -> Circuit:
    """The circuit with an edge, and with its ends.  Raises ValueError for an edge that no model has."""
    wrong = impossible(edge, n_layer)
    if wrong:
        raise ValueError(wrong)
    whole = adding(circuit, (edge.tail, edge.head))
    return whole if edge in whole.edges else replace(whole, edges=(*whole.edges, edge), saved=False)


def cutting(circuit: Circuit, edge: Edge) -> Circuit:
    """The circuit without the edges between two nodes, or without that through one input where it is said.

    Raises ValueError where there is none.
    """
    gone = [
        each
        for each in circuit.edges
        if (each.tail, each.head) == (edge.tail, edge.head) and edge.via in (None, each.via)
    ]
    if not gone:
        said = f"{edge.tail} -> {edge.head}{f' via {edge.via.value}' if edge.via else ''}"
        raise ValueError(f"circuit {circuit.name} has no edge {said}: circuit show lists its edges")
    left = tuple(each for each in circuit.edges if each not in gone)
    return replace(circuit, edges=left, saved=False)


def impossible(edge: Edge, n_layer: int) -> str:
    """Why nothing can flow along an edge, empty where it can: heads read at their query, keys and values at keys."""
    tail, head = edge.tail, edge.head
    if head.component.kind not in READERS:
        return f"{head} reads nothing: heads, attentions, MLPs, neurons, latents and U do"
    if tail.component.kind in (Kind.UNEMBED, Kind.FINAL_BIAS):
        return f"{tail} comes after everything that reads: an edge starts at an earlier node"
    if is_of_one_dictionary(tail.component, head.component):
        return f"{tail} and {head} are of one SAE: none of its parts reads another"
    if lines.line_of(tail.component, n_layer) >= _reading_line(head.component, n_layer):
        return f"{tail} does not come before {head}: an edge goes down the pass"
    if edge.via is not None and head.component.kind is not Kind.HEAD:
        return f"{head.component} has one input: only heads have q, k and v"
    read = reads(head, edge.via)
    if tail.pos not in read:
        where = f"token {read[0]}" if len(read) == 1 else f"tokens {read[0]} to {read[-1]}"
        through = f" via {edge.via.value}" if edge.via else ""
        return f"{tail} writes at token {tail.pos}, {head} reads {where}{through}: an edge joins them at one token"
    return ""


def is_of_one_dictionary(part: Component, other: Component) -> bool:
    return all(each.kind in DICTIONARY for each in (part, other)) and place_of(part) == place_of(other)


def _reading_line(part: Component, n_layer: int) -> int:
    """The line on which a part reads: what is of a place of the stream has read all before that place."""
    return line_read(part) if part.kind in DICTIONARY else lines.line_of(part, n_layer)


def reads(node: Node, via: Via | None) -> Sequence[int]:
    """The tokens at which a node reads the residual stream through an input, or through any: in order."""
    if node.component.kind in DICTIONARY:
        return positions_read(node)
    if node.component.kind not in ATTENDING or via is Via.Q:
        return (node.pos,)
    if node.key is None:
        return range(node.pos + 1)
    keys = {node.key} if via in (Via.K, Via.V) else {node.key, node.pos}
    return sorted(keys)


def keeping(
    circuit: Circuit, frames: Sequence["Frame"], asked: int, n_layer: int
) -> tuple[Circuit, tuple[str, ...]]:
    """The circuit with a trail: every frame a node, an edge to the one before, from the first to what is `asked`.

    Returns with it what is wrong with steps that are no edge, such as a frame that the one before does not read.
    """
    head, via = Node(Component(Kind.UNEMBED), asked), None
    whole = adding(circuit, (head,))
    wrong: list[str] = []
    for frame in frames:
        edge = Edge(frame.node, head, via)
        refusal = impossible(edge, n_layer)
        whole = adding(whole, (frame.node,)) if refusal else joining(whole, edge, n_layer)
        wrong += [refusal] if refusal else []
        head, via = frame.node, frame.via
    return whole, tuple(wrong)


def as_dict(circuit: Circuit) -> dict[str, Any]:
    """A circuit in plain values, for JSON; `draft_files.from_dict` reads it back."""
    return {
        "name": circuit.name,
        "prompt": {"text": circuit.prompt.text, "bos": circuit.prompt.bos},
        "nodes": [str(node) for node in circuit.nodes],
        "edges": edge_rows(circuit),
    }


def edge_rows(circuit: Circuit) -> list[dict[str, Any]]:
    return [
        {
            "from": str(edge.tail),
            "to": str(edge.head),
            "via": None if edge.via is None else edge.via.value,
        }
        for edge in circuit.edges
    ]


def as_dot(circuit: Circuit, label: Callable[[Node], str]) -> str:
    """A Graphviz digraph: nodes by address, their labels as `label` says, edges named by the input they enter."""
    said = [f"digraph {quoted(circuit.name)} {{", "  rankdir=BT;"]
    said += [f"  {quoted(str(node))} [label={quoted(label(node))}];" for node in circuit.nodes]
    for edge in circuit.edges:
        via = f" [label={quoted(edge.via.value)}]" if edge.via else ""
        said.append(f"  {quoted(str(edge.tail))} -> {quoted(str(edge.head))}{via};")
    return "\n".join([*said, "}", ""])
