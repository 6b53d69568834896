"""Snapshot -> the tree upstream of the selected frame."""

from model.components import Kind
from tdb_tui.formats import node_label, token_label
from tdb_tui.session import Snapshot
from tdb_tui.tables import trees
from tdb_tui.views.branches import TreeRow, TreeView
from tdb_tui.views.scale import scale_of

TRACED = (Kind.HEAD, Kind.MLP, Kind.NEURON, Kind.LATENT)


def tree(snapshot: Snapshot) -> TreeView:
    root = trees.tree_of(snapshot)
    rows = tuple(_row(snapshot, row) for row in trees.rows(root))
    scale, curved = scale_of(snapshot, max((abs(row.effect) for row in rows), default=0.0))
    return TreeView(rows, root.effect, scale, snapshot.state.frame, curved)


def _row(snapshot: Snapshot, row: trees.Row) -> TreeRow:
    tokens, tokenizer = snapshot.state.inputs.prompt.tokens, snapshot.tokenizer
    return TreeRow(
        id=row.id,
        guide=row.guide,
        sign=row.sign,
        node=node_label(row.node, tokens, tokenizer),
        component=str(row.node.component),
        at=f"@{token_label(row.node.pos, tokens, tokenizer)}",
        via=row.branch.via.value if row.branch.via else "",
        effect=row.branch.effect,
        trace=_trace(snapshot, row),
    )


def _trace(snapshot: Snapshot, row: trees.Row) -> str:
    """A `trace` for each node on the way; a head that is not open yet is asked for its query first, then its value."""
    tokens, tokenizer = snapshot.state.inputs.prompt.tokens, snapshot.tokenizer
    if row.node.component.kind not in TRACED or row.sign == trees.LEAF:
        return ""
    steps: list[str] = []
    for node, via in row.way:
        through = via.value if via else "v" if steps or snapshot.state.frame else "q"
        head = node.component.kind is Kind.HEAD
        steps.append(f"trace {node_label(node, tokens, tokenizer)}" + (f" via {through}" if head else ""))
    return " ;; ".join(steps)
