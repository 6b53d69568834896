"""Snapshot -> all that there is to say about the selected node in a pane: what it is, reads, writes, is edited by."""

from collections.abc import Iterator

from model.about import reads
from model.about.reads import Unit
from model.components import Component, Kind, Node
from model.edits.interventions import flat
from model.effects.writes import effects_of
from tdb_tui import lines
from tdb_tui.errors import CommandError
from tdb_tui.formats import node_label, plain, probability, quoted, signed, token_label
from tdb_tui.language.arguments import one_node
from tdb_tui.language.parsing import Word
from tdb_tui.session import Snapshot
from tdb_tui.tables.promoted import promoted, rare
from tdb_tui.views.data import RowsView

LABEL = 9
"Cells of what a row is about."
TOKENS, KEYS = 4, 4
MANY = ("layer", "token", "component")
"Rows of a ranking that are several nodes."


def inspect(snapshot: Snapshot, selected: str) -> RowsView:
    """`selected` is a node as a command calls it; of several nodes, or of nothing, there is nothing to say."""
    try:
        node = one_node(snapshot, Word(selected, 0)) if selected else None
    except CommandError as error:
        return RowsView("inspect", (), empty=str(error))
    if node is None:
        return RowsView("inspect", (), empty="select a component in pane 1, 2 or 0")
    title = f"inspect {node_label(node, snapshot.state.inputs.prompt.tokens, snapshot.tokenizer)}"
    rows = tuple(f"{label:<{LABEL}} {text}" for label, text in _rows(snapshot, node))
    return RowsView(title, rows)


def _rows(snapshot: Snapshot, node: Node) -> Iterator[tuple[str, str]]:
    yield "kind", _kind(node.component)
    if node.component.kind is Kind.HEAD:
        yield "reads", _read(snapshot, node)
    if node.component.kind.writes:
        yield from _written(snapshot, node)
    yield from _passed(snapshot, node)
    yield from _changed(snapshot, node)


def _kind(part: Component) -> str:
    words = {Kind.HEAD: "attention head", Kind.MLP: "MLP", Kind.ATTN: "all heads and their bias"}
    said = words.get(part.kind, part.kind.group)
    if part.kind.has_layer:
        said += f", layer {part.layer}"
    return said if part.index is None else f"{said}, number {part.index}"


def _read(snapshot: Snapshot, node: Node) -> str:
    """The keys that a head reads most."""
    weights = snapshot.now.pattern(node.component)[node.pos]
    best = (-weights).argsort(kind="stable")[:KEYS]
    tokens = snapshot.state.inputs.prompt.tokens
    named = ((token_label(int(key), tokens, snapshot.tokenizer), float(weights[key])) for key in best)
    return " · ".join(f"{name} {probability(weight)}" for name, weight in named if weight >= 0.01)


def _written(snapshot: Snapshot, node: Node) -> Iterator[tuple[str, str]]:
    """Its effects on what is asked about, and the tokens that it speaks for and against."""
    run = snapshot.now
    found = effects_of(run.model, run.trace, snapshot.asked.gradients, node)
    yield "direct", signed(found.direct)
    yield "total", f"{signed(found.total)} (estimate)"
    yield "size", f"write norm {plain(found.write_norm)}, activation {plain(found.act)}"
    if not found.write_norm:
        return
    ends = reads.top_tokens(promoted(run, node, Unit.LOGIT), TOKENS, rare(snapshot))
    for label, end in (("for", ends.top), ("against", ends.bottom)):
        yield label, "  ".join(f"{quoted(snapshot.tokenizer, id)} {signed(score)}" for id, score in end)


def _passed(snapshot: Snapshot, node: Node) -> Iterator[tuple[str, str]]:
    """What the lens says before and after its line."""
    if node.component.line is None:
        return
    values = snapshot.asked.through_lens(snapshot.state.pos)
    line = lines.line_of(node.component, snapshot.n_layer)
    before = f"before {signed(float(values[line - 1]))}  " if line else ""
    yield "lens", f"{before}after {lines.name(line, snapshot.n_layer)} {signed(float(values[line]))}"


def _changed(snapshot: Snapshot, node: Node) -> Iterator[tuple[str, str]]:
    state = snapshot.state
    for edit in snapshot.decided.inputs.edits:
        if any(change.component == node.component for change in flat(edit.changes)):
            yield "edited", f"i{edit.number} {edit.text}" + ("" if edit.enabled else "  (off)")
    for circuit in state.circuits:
        if node in circuit.nodes:
            yield "circuit", circuit.name
    if node_label(node, state.inputs.prompt.tokens, snapshot.tokenizer) in state.marks:
        yield "marked", "x P f act on it"
