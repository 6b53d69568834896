"""A circuit as text and as plain values: its nodes with what they do in this run, its edges, its drawing."""

from collections.abc import Sequence
from typing import Any

from model.components import DICTIONARY, Component, Kind, Node
from model.dictionaries import place_of
from tdb_tui.circuits.drafts import Circuit, Edge, as_dict, as_dot
from tdb_tui.formats import metric_text, node_label, plain, signed
from tdb_tui.replies import Reply, columns
from tdb_tui.scope import measures
from tdb_tui.session import Snapshot

MUTE = (Kind.UNEMBED, Kind.TARGET_BIAS)
"Kinds that write nothing, and so have no effect of their own."


def size(circuit: Circuit) -> str:
    """`3 nodes, 1 edge`."""
    nodes, edges = len(circuit.nodes), len(circuit.edges)
    return f"{nodes} node{'s' * (nodes != 1)}, {edges} edge{'s' * (edges != 1)}"


def summary(circuit: Circuit) -> str:
    return f"circuit {circuit.name}: {size(circuit)}"


def elsewhere(circuit: Circuit) -> str:
    """What a person should know of a circuit of another prompt."""
    return f"circuit {circuit.name} is of another prompt: its nodes have no effects here"


def result(circuit: Circuit) -> dict[str, Any]:
    """A circuit in the JSON of every command about it."""
    data = as_dict(circuit)
    return {
        "circuit": data["name"],
        **{key: data[key] for key in ("prompt", "nodes", "edges")},
        "saved": circuit.saved,
    }


def shown(snapshot: Snapshot, circuit: Circuit) -> Reply:
    """A circuit's nodes and what they do in this run, and its edges.  Effects are the metric's."""
    here = circuit.is_of(snapshot.state.inputs.prompt)
    rows = [_row(snapshot, node, here) for node in circuit.nodes]
    cells: list[tuple[str, ...]] = [("node", "direct", "total", "act")]
    for node, row in zip(circuit.nodes, rows, strict=True):
        effects = ("" if row[key] is None else signed(row[key]) for key in ("direct", "total"))
        cells.append((label(snapshot, node, here), *effects, "" if row["act"] is None else plain(row["act"])))
    said = [f"{summary(circuit)}{'' if circuit.saved else '   in no file yet'}", *columns(cells, "-rrr")]
    said += [f"  {edge_text(snapshot, edge, here)}" for edge in circuit.edges]
    dot = as_dot(circuit, lambda node: _drawn(snapshot, node, here))
    warnings = () if here else (elsewhere(circuit),)
    return Reply(tuple(said), {**result(circuit), "rows": rows, "dot": dot}, warnings, script="")


def listed(snapshot: Snapshot) -> Reply:
    """Every circuit, `>` before the one that commands are about."""
    state = snapshot.state
    cells = [
        (
            ">" if each.name == state.circuit else "",
            each.name,
            size(each),
            "" if each.saved else "in no file yet",
            "" if each.is_of(state.inputs.prompt) else "another prompt",
        )
        for each in state.circuits
    ]
    rows = [
        {"circuit": each.name, "nodes": len(each.nodes), "edges": len(each.edges), "saved": each.saved}
        for each in state.circuits
    ]
    said = columns(cells) or ("No circuits: circuit new NAME begins one",)
    return Reply(said, {"circuit": state.circuit or None, "rows": rows}, script="")


def names(snapshot: Snapshot, nodes: Sequence[Node], most: int = 4) -> str:
    """The first few nodes by name, and how many more."""
    named = ", ".join(label(snapshot, node) for node in nodes[:most])
    return named if len(nodes) <= most else f"{named} and {len(nodes) - most} more"


def edge_text(snapshot: Snapshot, edge: Edge, here: bool = True) -> str:
    tail, head = (label(snapshot, node, here) for node in (edge.tail, edge.head))
    return f"{tail} -> {head}{f' via {edge.via.value}' if edge.via else ''}"


def label(snapshot: Snapshot, node: Node, here: bool = True) -> str:
    """A node with its tokens named, by number where they are those of another prompt."""
    if not here:
        return str(node)
    return node_label(node, snapshot.state.inputs.prompt.tokens, snapshot.tokenizer)


def _drawn(snapshot: Snapshot, node: Node, here: bool) -> str:
    """A node's label in a drawing: what the metric reads is named after it."""
    metric = snapshot.state.inputs.metric
    if here and node.component.kind is Kind.UNEMBED and node.pos == metric.pos:
        return metric_text(metric, snapshot.tokenizer, snapshot.state.end)
    return label(snapshot, node, here)


def _is_loaded(snapshot: Snapshot, part: Component) -> bool:
    """Whether a part is the model's own, or of an SAE that is there."""
    if part.kind not in DICTIONARY:
        return True
    found = snapshot.now.trace.dictionaries.get(place_of(part))
    return found is not None and (part.index or 0) < found.n_latent


def _row(snapshot: Snapshot, node: Node, here: bool) -> dict[str, Any]:
    part = node.component
    row: dict[str, Any] = {
        "node": str(node),
        "kind": part.kind.group,
        "layer": part.layer if part.kind.has_layer else None,
        "index": part.index,
        "pos": node.pos,
        "key": node.key,
        "direct": None,
        "total": None,
        "act": None,
    }
    if here and part.kind not in MUTE and _is_loaded(snapshot, part):
        found = measures(snapshot.now, node)
        row |= {"direct": found.direct, "total": found.total, "act": found.act}
    return row
