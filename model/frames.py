"""Frames of tracing: the scalar that any node can be traced by."""

from model.components import Kind, Node
from model.gpt2 import GPT2
from model.latent_frames import latent_target
from model.targets import Target, Via, trace_target
from model.trace import Trace


def frame_target(
    model: GPT2, trace: Trace, node: Node, via: Via | None = None, of: Target | None = None
) -> Target:
    """What tracing `node` asks about: a latent's pre-activation, or what `targets.trace_target` says.

    Raises ValueError, one sentence, where a node cannot be traced so.
    """
    if node.component.kind is Kind.LATENT:
        return latent_target(model, trace, node)
    return trace_target(model, trace, node, via, of)
