"""What one reader of a run meets: the residual stream, and the scale that its layer norm divides it by.

All read the same stream, but for readers whose edges have been edited.
"""

import torch
from torch import Tensor

from model.components import Component
from model.gpt2 import GPT2, wide
from model.held import held_scales
from model.lines import norm_before, residual_site, scale_site
from model.trace import Trace


def stream_met(model: GPT2, trace: Trace, line: int, reader: Component | None = None) -> Tensor:
    """The residual stream before a line as a reader meets it, None being all that read it: [pos, d_model]."""
    stream = wide(trace[residual_site(line, model.config.n_layer)])
    added = None if reader is None else trace.added(reader)
    return stream if added is None else stream + added


def scale_met(model: GPT2, trace: Trace, line: int, reader: Component | None = None) -> Tensor:
    """What its layer norm divides by there, as it was in the run: [pos, 1]."""
    if reader is None or trace.added(reader) is None:
        return wide(trace[scale_site(line, model.config.n_layer)])
    held, own = held_scales(model, trace, line), _given(model, trace, line, reader)
    return own if held is None else held.of(own)


def slope_of_scale(model: GPT2, trace: Trace, line: int, reader: Component | None = None) -> Tensor:
    """How far that goes with what the stream gives, relative to both: 1, and 0 where an edit has set it.  [pos, 1]"""
    held = held_scales(model, trace, line)
    scale = scale_met(model, trace, line, reader)
    if held is None:
        return torch.ones_like(scale)
    return held.left * scale / _given(model, trace, line, reader)


def _given(model: GPT2, trace: Trace, line: int, reader: Component | None) -> Tensor:
    """The scale that the stream which a reader meets gives, before any edit of it: [pos, 1]."""
    return norm_before(model, line).scale(stream_met(model, trace, line, reader))
