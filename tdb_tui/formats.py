"""How numbers, tokens and addresses are written on screen: each in one place."""

from collections.abc import Sequence

from model.components import Node
from model.metrics import Metric, Quantity
from model.probes import Activation, Direction, Probe
from model.tokenizer import Tokenizer
from tdb_tui.state import Frame

BOS = "⊢"


def signed(x: float) -> str:
    """`+3.36`, `-0.40`: effects and differences always show their sign."""
    return f"{x:+.2f}" if abs(x) < 1e5 else f"{x:+.2e}"


def plain(x: float) -> str:
    return f"{x:.4g}"


def probability(p: float) -> str:
    """`.71`, `1.0`, `.003`: short, and never a false zero."""
    if p >= 0.995:
        return "1.0"
    if p >= 0.01:
        return f"{p:.2f}".removeprefix("0")
    return f"{p:.0e}" if p < 0.0005 else f"{p:.3f}".removeprefix("0")


def quoted(tokenizer: Tokenizer, token: int) -> str:
    """A token between quotes, safe for a terminal: `' Mary'`."""
    return f"'{tokenizer.display(token)}'"


def metric_text(metric: Metric, tokenizer: Tokenizer, end: int) -> str:
    """`' Mary' - ' John' @END`."""
    targets = ",".join(quoted(tokenizer, token) for token in metric.targets)
    at = "@END" if metric.pos == end else f"@{metric.pos}"
    match metric.quantity:
        case Quantity.LOGIT_DIFF:
            return f"{targets} - {','.join(quoted(tokenizer, token) for token in metric.distractors)} {at}"
        case Quantity.KL:
            return f"kl(baseline || now) {at}"
        case Quantity.DIRECTION | Quantity.ACTIVATION:
            return f"{metric.quantity.value} {_probe_text(metric.probe, at)}"
        case _:
            return f"{metric.quantity.value} {targets} {at}"


def _probe_text(probe: Probe | None, at: str) -> str:
    """`" Mary" - " John" at A3 @END`, `N1.5@END`, `L9H9@END<2`."""
    match probe:
        case Direction():
            return f"{probe.text} {at}"
        case Activation():
            return f"{probe.component}{at}" + ("" if probe.key is None else f"<{probe.key}")
        case None:
            return at


def token_label(pos: int, tokens: Sequence[int], tokenizer: Tokenizer) -> str:
    """A position as one would type it: `END`, `Mary`, `John#2`, or its number where its text is no word."""
    if pos == len(tokens) - 1:
        return "END"
    text = tokenizer.text(tokens[pos]).strip()
    if not text.isalpha():
        return str(pos)
    same = [at for at, token in enumerate(tokens) if tokenizer.text(token).strip() == text]
    return text if len(same) == 1 else f"{text}#{same.index(pos) + 1}"


def node_label(node: Node, tokens: Sequence[int], tokenizer: Tokenizer) -> str:
    """A node with its tokens named: `L9H9@END<Mary`."""
    key = "" if node.key is None else f"<{token_label(node.key, tokens, tokenizer)}"
    return f"{node.component}@{token_label(node.pos, tokens, tokenizer)}{key}"


def frame_label(frame: Frame, tokens: Sequence[int], tokenizer: Tokenizer) -> str:
    """A step of tracing: `L9H9@END<Mary via q`."""
    return node_label(frame.node, tokens, tokenizer) + (f" via {frame.via.value}" if frame.via else "")
