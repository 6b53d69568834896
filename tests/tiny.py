"""A random GPT-2 on which a wrong convention shows, a prompt pair, and one edit of every kind.

With the usual initial values attention is even, layer norms are the identity and biases are zero, which hides
most mistakes.  Here matrices are eight times larger, layer-norm weights vary and no bias is zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Ablate, Change, Mode, Patch, Sources, Span, Where
from model.gpt2 import GPT2, Config
from model.metrics import Metric, Quantity
from model.trace import record

TINY = Config(n_layer=3, n_head=4, d_model=48, d_mlp=192, n_ctx=32, n_vocab=113)

TOKENS = (5, 17, 17, 80, 2, 111, 42)
OTHER = (6, 17, 33, 80, 3, 110, 42)
"Prompt B, as long."
END = len(TOKENS) - 1
REFERENCES = ((1, 2, 3, 4, 5, 6, 7), (70, 60, 50, 40, 30, 20, 10), (9, 9, 8, 8, 100, 101, 55))
"Prompts that means are taken over, as long."

LD = Metric(Quantity.LOGIT_DIFF, (41, 7), (98,), END)
EARLY = replace(LD, pos=4)
"The same, asked before the last token."

EMBED, TOKEN_EMBED, POS_EMBED, FINAL_BIAS = (
    Component(kind) for kind in (Kind.EMBED, Kind.TOKEN_EMBED, Kind.POS_EMBED, Kind.FINAL_BIAS)
)
L0H1, L1H2, L2H0 = (Component(Kind.HEAD, layer, index) for layer, index in ((0, 1), (1, 2), (2, 0)))
A0, A1, A2 = (Component(Kind.ATTN, layer) for layer in range(3))
M0, M1, M2 = (Component(Kind.MLP, layer) for layer in range(3))
N0, N1, N2 = (Component(Kind.NEURON, layer, 11) for layer in range(3))
BA1, BM1 = Component(Kind.ATTN_BIAS, 1), Component(Kind.MLP_BIAS, 1)

LAST, MIDDLE = Span(END, END), Span(2, 4)

EDITS: Mapping[str, tuple[Change, ...]] = {
    "none": (),
    "head zero everywhere": (Ablate(L1H2),),
    "head zero at some": (Ablate(L1H2, MIDDLE),),
    "last layer's head": (Ablate(L2H0, LAST),),
    "head mean": (Ablate(L1H2, LAST, mode=Mode.MEAN),),
    "head value": (Ablate(L0H1, MIDDLE, mode=Mode.VALUE, amount=0.7),),
    "head scale": (Ablate(L0H1, mode=Mode.SCALE, amount=-1.5),),
    "head scale at the end": (Ablate(L1H2, LAST, mode=Mode.SCALE, amount=2.0),),
    "head patch": (Patch(L1H2, Span(4, 6), Span(1, 3)),),
    "pair zero": (Ablate(L1H2, LAST, key=1),),
    "pair value": (Ablate(L1H2, LAST, key=3, mode=Mode.VALUE, amount=0.9),),
    "pair negative value": (Ablate(L2H0, LAST, key=3, mode=Mode.VALUE, amount=-0.4),),
    "pair value everywhere": (Ablate(L1H2, key=3, mode=Mode.VALUE, amount=0.9),),
    "pair scale": (Ablate(L2H0, Span(2, END), key=2, mode=Mode.SCALE, amount=2.5),),
    "pair patch": (Patch(L1H2, LAST, Span(5, 5), key=1, source_key=2),),
    "pair patch over a span": (Patch(L1H2, Span(0, 2), Span(4, 6), key=1, source_key=2),),
    "attn zero": (Ablate(A1, MIDDLE),),
    "attn zero at the end": (Ablate(A2, LAST),),
    "attn mean": (Ablate(A1, mode=Mode.MEAN),),
    "attn scale": (Ablate(A1, mode=Mode.SCALE, amount=0.5),),
    "attn patch": (Patch(A1, LAST, LAST),),
    "mlp zero": (Ablate(M0, MIDDLE),),
    "mlp zero at the end": (Ablate(M2, LAST),),
    "mlp value": (Ablate(M1, LAST, mode=Mode.VALUE, amount=0.1),),
    "mlp mean": (Ablate(M1, mode=Mode.MEAN),),
    "mlp patch": (Patch(M1, MIDDLE, MIDDLE),),
    "neuron zero": (Ablate(N1),),
    "neuron mean": (Ablate(N1, mode=Mode.MEAN),),
    "neuron value": (Ablate(N1, LAST, mode=Mode.VALUE, amount=3.0),),
    "neuron scale": (Ablate(N2, LAST, mode=Mode.SCALE, amount=-4.0),),
    "neuron patch": (Patch(N0, MIDDLE, MIDDLE),),
    "attention bias": (Ablate(BA1),),
    "mlp bias": (Ablate(BM1, MIDDLE, mode=Mode.SCALE, amount=3.0),),
    "final bias": (Ablate(FINAL_BIAS, LAST, mode=Mode.VALUE, amount=0.3),),
    "embedding zero": (Ablate(EMBED, Span(2, 2)),),
    "embedding mean": (Ablate(EMBED, mode=Mode.MEAN),),
    "embedding patch": (Patch(EMBED, Span(4, 4), Span(4, 4)),),
    "token embedding": (Ablate(TOKEN_EMBED, LAST),),
    "position embedding": (Ablate(POS_EMBED, MIDDLE, mode=Mode.VALUE, amount=0.2),),
    "head inside an edited attention": (Ablate(L1H2), Ablate(A1, LAST)),
    "pair inside an edited head": (Ablate(L1H2, LAST, key=2), Ablate(L1H2, LAST, mode=Mode.SCALE, amount=2)),
    "neuron inside an edited mlp": (Ablate(N1), Ablate(M1, MIDDLE, mode=Mode.SCALE, amount=0.5)),
    "many": (
        Ablate(EMBED, Span(1, 1), mode=Mode.SCALE, amount=2.0),
        Ablate(L0H1, mode=Mode.MEAN),
        Patch(N0, LAST, Span(3, 3)),
        Ablate(A1, MIDDLE),
        Ablate(L1H2, LAST, key=0),
        Ablate(BM1, LAST),
        Ablate(M2, LAST, mode=Mode.SCALE, amount=0.3),
        Ablate(FINAL_BIAS),
    ),
}
"One edit of every kind, place and mode, and some together."


def random_model(config: Config = TINY, seed: int = 0, dtype: torch.dtype = torch.float64) -> GPT2:
    """Weights drawn from `seed`, the same in every dtype but for rounding, wanting no gradients."""
    generator = torch.Generator().manual_seed(seed)
    model = GPT2(config).double().requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if parameter.ndim > 1:
            parameter.copy_(8 * 0.02 * noise)
        elif name.endswith("bias"):
            parameter.copy_(0.2 * noise)
        else:
            parameter.copy_(1 + 0.3 * noise)
    return model.to(dtype)


def in_float64(model: GPT2) -> GPT2:
    """The same weights, to the bit, as another model that computes in float64."""
    copy = GPT2(model.config).double().requires_grad_(False)
    copy.load_state_dict({name: x.double() for name, x in model.state_dict().items()})
    return copy


def sources_of(
    model: GPT2, other: Sequence[int] = OTHER, references: Sequence[Sequence[int]] = REFERENCES
) -> Sources:
    """Prompt B's run, and each site's mean over `references`, position by position."""
    runs = [record(model, tokens) for tokens in references]
    means: dict[Where, Tensor] = {at: torch.stack([run[at] for run in runs]).mean(0) for at in runs[0].acts}
    return Sources(means=means, other=record(model, other))
