"""Snapshot -> the token strip: the prompt, the token cursor, and where the shown head looks from it."""

from model.components import Component
from tdb_tui.formats import signed
from tdb_tui.session import Snapshot
from tdb_tui.views.data import TokensView
from tdb_tui.views.title import UNITS


def tokens(snapshot: Snapshot, head: Component) -> TokensView:
    pos = snapshot.state.pos
    texts = tuple(snapshot.tokenizer.display(token) for token in snapshot.state.inputs.prompt.tokens)
    weights = snapshot.now.pattern(head)[pos]
    at = "END" if pos == snapshot.state.end else str(pos)
    shades = tuple(float(weight) for weight in weights)
    return TokensView(texts, pos, shades, f"attn {head}@{at}", *_other(snapshot))


def _other(snapshot: Snapshot) -> tuple[tuple[str, ...], str]:
    """Prompt B's tokens, and the metric that it answers with."""
    other = snapshot.state.inputs.prompt_b
    if other is None or snapshot.other is None:
        return (), ""
    texts = tuple(snapshot.tokenizer.display(token) for token in other.tokens)
    return texts, f"prompt B: {UNITS[snapshot.other.metric.quantity]} {signed(snapshot.other.value)}"
