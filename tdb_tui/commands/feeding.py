"""Edges: from one node into everything that reads it, and from everything before it into one input."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from model.components import Component, Kind, Node
from model.effects import attribution
from model.effects.attribution import Treatment
from model.effects.writes import effects_of
from model.lines import written_on
from model.nodes import joined
from model.targets import Via
from model.upstream.edges import Edges, edges_from, edges_into
from model.upstream.inputs import Input, InputGradients, input_gradients
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.formats import node_label, signed, token_label
from tdb_tui.language.arguments import at_most, one_node, option_integer
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session, Snapshot

ROWS = 12
VIAS = {via.value: via for via in (Via.Q, Via.K, Via.V)}


@dataclass(frozen=True, slots=True)
class Edge:
    """One end of an edge, the other being what was asked about."""

    label: str
    address: str
    "As a command and the JSON call it."
    value: float
    "In the unit of what is asked."
    about: dict[str, Any]
    "Kind, layer, index, token and input, for the JSON."


@command(
    "feeds",
    usage="NODE | into NODE [via q|k|v]  [-n N]",
    group="tracing",
    options={"n": True},
    complete=("node", "node", "via"),
    examples=("feeds L0H1@END", "feeds into L2H1@END via q -n 5"),
)
def feeds(session: Session, call: Call) -> Reply:
    """Where a node's write goes: its edge into every input after it, queries, keys, values and MLPs apart.

    An edge is the write times the gradient of what is asked (the metric, or the frame) by way of that input alone;
    all of them together are the node's estimated total effect.  `into` turns it round: the edge from every node
    before it into one input; a value and a key are those of the head's own token, or of its key where one is named.
    `U` is what the metric reads.  `-n 0` shows every row.
    """
    if not call.args:
        raise CommandError(
            "what feeds what: feeds L0H1@END, feeds into L2H1@END via q", code="missing-argument"
        )
    if call.args[0].text == "into":
        return _into(session, call)
    at_most(call, 1)
    snapshot, word = session.snapshot, call.args[0]
    model, trace = snapshot.now.model, snapshot.now.trace
    node = one_node(snapshot, word)
    try:
        edges = edges_from(model, trace, _gradients(session), node)
    except ValueError as error:
        raise CommandError(str(error), "bad-node", col=word.col) from None
    rows = list(_out_of(snapshot, node, edges))
    total = effects_of(model, trace, snapshot.asked.gradients, node).total
    said = (
        f"{_label(snapshot, node)}  into {len(rows)} inputs after it, total effect {signed(total)} (estimate)"
    )
    return _reply(said, "input", rows, call, {"node": str(node)}, total)


def _into(session: Session, call: Call) -> Reply:
    at_most(call, 4)
    snapshot = session.snapshot
    if len(call.args) < 2:
        raise CommandError("feeds into which input: feeds into L2H1@END via q", code="missing-argument")
    to = _input(snapshot, call)
    by = _gradients(session)
    try:
        into = edges_into(snapshot.now.model, snapshot.now.trace, by, to)
    except ValueError as error:
        raise CommandError(str(error), "bad-node", col=call.args[1].col) from None
    tables = (attribution.embed_table, attribution.head_table, attribution.mlp_table, attribution.bias_table)
    table = joined([part(snapshot.now.model, snapshot.now.trace, into) for part in tables])
    effects: dict[Node, float] = {}  # the input's own biases are two rows of one name
    for row in range(len(table)):
        node = table.node(row)
        if node.pos == to.pos and _reaches(node.component, to):
            effects[node] = effects.get(node, 0.0) + float(table.direct[row])
    rows = [
        Edge(_label(snapshot, node), str(node), effect, _about(node.component, node.pos))
        for node, effect in effects.items()
    ]
    said = f"{_input_label(snapshot, to)}  from {len(rows)} nodes and biases before it"
    # with norms live, a write moves their scale too: the edges then add up to no value of the input's
    held = snapshot.state.inputs.treatment is Treatment.ALL or to.component.kind is Kind.UNEMBED
    return _reply(said, "node", rows, call, {"input": str(to)}, into.target.value if held else None)


def _gradients(session: Session) -> InputGradients:
    """Of what is asked, by every input: one forward and one backward pass, which an interrupt stops."""
    snapshot = session.snapshot
    asked, run = snapshot.asked, snapshot.now
    return input_gradients(
        run.model,
        run.trace,
        asked.target,
        asked.run.sources,
        snapshot.state.inputs.treatment,
        also=session.engine.stop_here,
    )


def _input(snapshot: Snapshot, call: Call) -> Input:
    """The input that `into NODE via q` names.  Raises CommandError."""
    word, others = call.args[1], call.args[2:]
    node = one_node(snapshot, word)
    part = node.component
    if part.kind is Kind.UNEMBED and snapshot.state.trail:
        raise CommandError("the frame is read before U: u goes back to the metric", "bad-node", col=word.col)
    if part.kind is not Kind.HEAD:
        if others:
            raise CommandError(
                f"{part} has one input: only heads have q, k and v", "bad-argument", col=others[0].col
            )
        return Input(part, node.pos)
    if len(others) != 2 or others[0].text != "via" or others[1].text not in VIAS:
        message = f"{part} reads through q, k or v: name one, as in feeds into {word.text} via q"
        raise CommandError(message, "bad-argument", col=(others[-1] if others else word).col)
    via = VIAS[others[1].text]
    at = node.pos if via is Via.Q or node.key is None else node.key
    return Input(part, at, via)


def _out_of(snapshot: Snapshot, node: Node, edges: Edges) -> Iterator[Edge]:
    """Every input after a node, in the order of the pass; last what is asked itself, where it reads this token."""
    config, target = snapshot.info.config, snapshot.asked.target
    own = written_on(node.component)
    for layer in range(config.n_layer):
        if own < 1 + 2 * layer < target.line:
            heads = (Component(Kind.HEAD, layer, index) for index in range(config.n_head))
            yield from (
                _edge(snapshot, Input(head, node.pos, via), edges) for head in heads for via in VIAS.values()
            )
        if own < 2 + 2 * layer < target.line:
            yield _edge(snapshot, Input(Component(Kind.MLP, layer), node.pos), edges)
    if own < target.line and any(read.pos == node.pos for read in target.reads):
        to = _reading(snapshot, node.pos)
        yield Edge(_input_label(snapshot, to), str(to), edges.final, _about(to.component, to.pos, to.via))


def _edge(snapshot: Snapshot, to: Input, edges: Edges) -> Edge:
    return Edge(_input_label(snapshot, to), str(to), edges.into(to), _about(to.component, to.pos, to.via))


def _reading(snapshot: Snapshot, pos: int) -> Input:
    """What is asked, as an input: `U` for the metric, the traced node for a frame."""
    trail = snapshot.state.trail
    if not trail:
        return Input(Component(Kind.UNEMBED), pos)
    return Input(trail[-1].node.component, pos, trail[-1].via)


def _reaches(part: Component, to: Input) -> bool:
    """Whether a node writes before an input reads, or is the bias that the input itself adds."""
    if part.kind in (Kind.FINAL_BIAS, Kind.TARGET_BIAS):
        return True
    return to.component.kind is Kind.UNEMBED or written_on(part) < written_on(to.component)


def _about(part: Component, pos: int, via: Via | None = None) -> dict[str, Any]:
    return {
        "kind": part.kind.group,
        "layer": part.layer if part.kind.has_layer else None,
        "index": part.index,
        "pos": pos,
        "via": None if via is None else via.value,
    }


def _reply(
    said: str, name: str, rows: list[Edge], call: Call, result: dict[str, Any], target: float | None
) -> Reply:
    """The strongest rows, and their books: all of them together, against what they should add up to."""
    count = option_integer(call, "n", ROWS, "a number of rows") or len(rows)
    ordered = sorted(rows, key=lambda row: -abs(row.value))
    total = sum(row.value for row in rows)
    shown = sum(row.value for row in ordered[:count])
    cells = [(name, "edge"), *((row.label, signed(row.value)) for row in ordered[:count])]
    if len(rows) > count:
        cells.append((f"{len(rows) - count} more", signed(total - shown)))
    cells.append(("sum", signed(total)))
    if target is not None:
        cells.append(("difference", signed(total - target)))
    balance = {
        "rows": shown,
        "rest": total - shown,
        "sum": total,
        "target": target,
        "difference": None if target is None else total - target,
    }
    plain = [{name: row.address, **row.about, "edge": row.value} for row in ordered[:count]]
    return Reply((said, *columns(cells, "-r")), {**result, "rows": plain, "balance": balance})


def _label(snapshot: Snapshot, node: Node) -> str:
    return node_label(node, snapshot.state.inputs.prompt.tokens, snapshot.tokenizer)


def _input_label(snapshot: Snapshot, to: Input) -> str:
    at = token_label(to.pos, snapshot.state.inputs.prompt.tokens, snapshot.tokenizer)
    return str(to).replace(f"@{to.pos}", f"@{at}")
