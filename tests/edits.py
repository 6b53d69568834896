"""Hypothesis strategies for edits and metrics of `tests/tiny.py`'s model and prompt."""

from hypothesis import strategies as st

from model.components import Component, Kind
from model.edits.interventions import Ablate, Change, Mode, Patch, Span
from model.metrics import Metric, Quantity
from tests.tiny import END, TINY

EDITABLE = (
    Kind.EMBED, Kind.TOKEN_EMBED, Kind.POS_EMBED, Kind.HEAD, Kind.ATTN, Kind.MLP, Kind.NEURON,
    Kind.ATTN_BIAS, Kind.MLP_BIAS, Kind.FINAL_BIAS,
)  # fmt: skip
POSITIONS = st.integers(0, END)
LAYERS = st.integers(0, TINY.n_layer - 1)
TOKEN_IDS = st.integers(0, TINY.n_vocab - 1)


@st.composite
def components(draw: st.DrawFn) -> Component:
    kind = draw(st.sampled_from(EDITABLE))
    layer = draw(LAYERS) if kind.has_layer else 0
    match kind:
        case Kind.HEAD:
            return Component(kind, layer, draw(st.integers(0, TINY.n_head - 1)))
        case Kind.NEURON:
            return Component(kind, layer, draw(st.integers(0, TINY.d_mlp - 1)))
        case _:
            return Component(kind, layer)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    first, last = sorted((draw(POSITIONS), draw(POSITIONS)))
    return Span(first, last)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """An ablation of any mode or a patch, of any component, at any span, of one key where it is a head."""
    component, span = draw(components()), draw(spans())
    keyed = component.kind is Kind.HEAD and draw(st.booleans())
    key = draw(POSITIONS) if keyed else None
    if draw(st.booleans()):
        first = draw(st.integers(0, END + 1 - len(span)))
        source = Span(first, first + len(span) - 1)
        return Patch(component, span, source, key, draw(POSITIONS) if keyed else None)
    modes = [Mode.ZERO, Mode.VALUE, Mode.SCALE] + [Mode.MEAN] * (not keyed)
    amount = draw(st.floats(-3, 3, width=32))
    return Ablate(component, draw(st.sampled_from((span, None))), key, draw(st.sampled_from(modes)), amount)


CHANGES = st.lists(changes(), max_size=5).map(tuple)


@st.composite
def linear_metrics(draw: st.DrawFn) -> Metric:
    tokens = st.lists(TOKEN_IDS, min_size=1, max_size=4).map(tuple)
    quantity = draw(st.sampled_from((Quantity.LOGIT_DIFF, Quantity.LOGIT)))
    return Metric(quantity, draw(tokens), draw(tokens), draw(POSITIONS))
