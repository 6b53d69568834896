"""What one reader of a run meets: the residual stream, and the scale that its layer norm divides it by.

All read the same stream, but for readers whose edges have been edited.
"""

import torch
from torch import Tensor

from model.components import Component
from model.gpt2 import GPT2, wide
from model.held import held_tokens
from model.lines import norm_before, residual_site, scale_site
from model.trace import Trace


def stream_met(model: GPT2, trace: Trace, line: int, reader: Component | None = None) -> Tensor:
    """The residual stream before a line as a reader meets it, None being all that read it: [pos, d_model]."""
    stream = wide(trace[residual_site(line, model.config.n_layer)])
    added = None if reader is None else trace.added(reader)
    return stream if added is None else stream + added


def scale_met(model: GPT2, trace: Trace, line: int, reader: Component | None = None) -> Tensor:
    """What its layer norm divides by there, as it was in the run: [pos, 1]."""
    n_layer = model.config.n_layer
    scale = wide(trace[scale_site(line, n_layer)])
    if reader is None or trace.added(reader) is None:
        return scale
    own = norm_before(model, line).scale(stream_met(model, trace, line, reader))
    return torch.where(held_tokens(trace, line, n_layer)[:, None], scale, own)
