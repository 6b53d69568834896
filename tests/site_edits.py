"""Edits of every place of the pass and of every mode, for `tests/tiny.py`'s model, and what they take values from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from model.components import Component, Kind
from model.edits.directions import Direction
from model.edits.interventions import (
    Ablate,
    Change,
    Freeze,
    Mode,
    Patch,
    Reference,
    Sources,
    Span,
    Steer,
    Way,
)
from model.gpt2 import GPT2
from model.trace import record
from tests.tiny import (
    A1,
    END,
    L0H1,
    L1H2,
    L2H0,
    LAST,
    M0,
    M1,
    MIDDLE,
    N1,
    REFERENCES,
    TINY,
    TOKENS,
    sources_of,
)

PRE1, PRE2, MID1, POST1, POST2 = (
    Component(kind, layer)
    for kind, layer in (
        (Kind.RESID_PRE, 1), (Kind.RESID_PRE, 2), (Kind.RESID_MID, 1), (Kind.RESID_POST, 1), (Kind.RESID_POST, 2),
    )
)  # fmt: skip
PRE0 = Component(Kind.RESID_PRE, 0)
Q1, K1, V1, PATTERN1 = (Component(kind, 1, 2) for kind in (Kind.Q, Kind.K, Kind.V, Kind.PATTERN))
EVERY_Q, EVERY_PATTERN = Component(Kind.Q, 2), Component(Kind.PATTERN, 2)
LN1, LN2, LN_FINAL = (
    Component(Kind.LN1_SCALE, 1),
    Component(Kind.LN2_SCALE, 1),
    Component(Kind.LN_FINAL_SCALE),
)
WHOLE = Span(0, END)
ALONG = Direction("a direction", tuple(1.0 + 0.1 * n for n in range(TINY.d_model)))
NARROW = Direction("a narrow one", tuple(1.0 - 0.2 * n for n in range(TINY.d_head)))
EXAMPLE = 17
"The number under which `full_sources` has prompt `REFERENCES[1]`."

SITE_EDITS: Mapping[str, tuple[Change, ...]] = {
    "resid_pre zero": (Ablate(PRE1, MIDDLE),),
    "resid_pre of the first layer": (Ablate(PRE0, MIDDLE, mode=Mode.SCALE, amount=2.0),),
    "resid_pre patch": (Patch(PRE2, LAST, Span(3, 3)),),
    "resid_mid mean": (Ablate(MID1, MIDDLE, mode=Mode.MEAN),),
    "resid_mid patch": (Patch(MID1, LAST, LAST),),
    "resid_post scale": (Ablate(POST1, LAST, mode=Mode.SCALE, amount=0.5),),
    "resid_post patch": (Patch(POST1, MIDDLE, MIDDLE),),
    "last resid_post value": (Ablate(POST2, LAST, mode=Mode.VALUE, amount=0.3),),
    "query zero": (Ablate(Q1, LAST),),
    "query patch": (Patch(Q1, LAST, Span(2, 2)),),
    "key patch": (Patch(K1, MIDDLE, MIDDLE),),
    "key mean": (Ablate(K1, Span(1, 1), mode=Mode.MEAN),),
    "value patch": (Patch(V1, MIDDLE, Span(0, 2)),),
    "value scale": (Ablate(V1, mode=Mode.SCALE, amount=-1.0),),
    "every query of a layer": (Ablate(EVERY_Q, mode=Mode.SCALE, amount=0.5),),
    "pattern patch": (Patch(PATTERN1, MIDDLE, MIDDLE),),
    "pattern mean": (Ablate(PATTERN1, mode=Mode.MEAN),),
    "every pattern of a layer": (Patch(EVERY_PATTERN, WHOLE, WHOLE),),
    "pair mean": (Ablate(L1H2, LAST, key=2, mode=Mode.MEAN),),
    "pair cut": (Ablate(L1H2, LAST, key=0, mode=Mode.CUT),),
    "pair cut everywhere": (Ablate(L2H0, Span(1, END), key=1, mode=Mode.CUT),),
    "scale of a norm": (Ablate(LN1, MIDDLE, mode=Mode.VALUE, amount=2.0),),
    "scale before the MLP": (Patch(LN2, LAST, LAST),),
    "final scale": (Patch(LN_FINAL, LAST, Span(2, 2)),),
    "patch from an example": (Patch(M0, MIDDLE, MIDDLE, example=EXAMPLE),),
    "resampled head": (Ablate(L1H2, LAST, mode=Mode.RESAMPLE, seed=3),),
    "resampled stream": (Ablate(PRE1, MIDDLE, mode=Mode.RESAMPLE, seed=1),),
    "resampled pair": (Ablate(L1H2, LAST, key=1, mode=Mode.RESAMPLE, seed=2),),
    "noisy embedding": (Ablate(Component(Kind.TOKEN_EMBED), MIDDLE, mode=Mode.NOISE, amount=0.5, seed=7),),
    "noisy head": (Ablate(L0H1, mode=Mode.NOISE, amount=0.3, seed=1),),
    "noisy neuron": (Ablate(N1, LAST, mode=Mode.NOISE, amount=2.0),),
    "noisy queries": (Ablate(EVERY_Q, LAST, mode=Mode.NOISE, amount=1.0),),
    "noisy pair": (Ablate(L1H2, LAST, key=2, mode=Mode.NOISE, amount=0.2),),
    "frozen behind an edit": (Ablate(L0H1), Freeze(M0), Freeze(MID1, LAST)),
    "frozen pattern": (Ablate(M0), Freeze(Component(Kind.PATTERN, 1)), Freeze(Component(Kind.PATTERN, 2), MIDDLE)),
    "frozen pair": (Ablate(M0), Freeze(L1H2, LAST, key=1)),
    "frozen scales": (Ablate(M0), Freeze(LN1), Freeze(LN2, MIDDLE), Freeze(LN_FINAL)),
    "steered stream": (Steer(PRE1, LAST, amount=0.7, direction=ALONG),),
    "steered everywhere": (Steer(MID1, None, amount=-0.2, direction=ALONG),),
    "steered output": (Steer(M1, MIDDLE, amount=0.4, direction=ALONG),),
    "steered head": (Steer(L1H2, LAST, amount=2.0, direction=NARROW),),
    "steered query": (Steer(Q1, LAST, amount=2.0, direction=NARROW),),
    "added to a neuron": (Steer(N1, LAST, amount=3.0),),
    "set neuron": (Steer(N1, MIDDLE, way=Way.SET, amount=5.0),),
    "clamped neuron": (Steer(N1, None, way=Way.CLAMP, amount=-0.05, high=0.1),),
    "set pair": (Steer(L1H2, LAST, key=1, way=Way.SET, amount=0.8),),
    "stream and what is before it": (Ablate(M0, LAST), Steer(POST1, LAST, amount=0.3, direction=ALONG), Ablate(A1)),
    "stream replaced and steered": (Patch(POST1, LAST, LAST), Steer(PRE2, LAST, amount=0.5, direction=ALONG)),
}  # fmt: skip


def full_sources(model: GPT2, tokens: Sequence[int] = TOKENS) -> Sources:
    """Everything that edits may take values from."""
    runs = [record(model, each) for each in REFERENCES]
    places = tuple(range(len(tokens)))
    return replace(
        sources_of(model),
        base=record(model, tokens),
        examples={EXAMPLE: runs[1]},
        references=tuple(Reference(places, lambda run=run: run) for run in runs),
    )
