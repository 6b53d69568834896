"""Values from other runs: patches from prompt B, means over reference prompts."""

import torch

from model.components import Component, Kind
from model.edits.interventions import Ablate, Mode, Patch, Sources, Span, where
from model.gpt2 import GPT2
from model.sites import Site
from model.trace import record
from tests.tiny import (
    A1,
    BA1,
    BM1,
    EMBED,
    END,
    FINAL_BIAS,
    L0H1,
    L1H2,
    LAST,
    M0,
    M1,
    MIDDLE,
    N1,
    OTHER,
    POS_EMBED,
    REFERENCES,
    TOKEN_EMBED,
    TOKENS,
    sources_of,
)


def test_P_patching_from_the_same_prompt_changes_nothing(tiny: GPT2, tiny32: GPT2) -> None:
    """P: to the bit, for a patch of every kind that takes the positions it has."""
    whole = Span(0, END)
    parts = (EMBED, TOKEN_EMBED, POS_EMBED, L0H1, L1H2, A1, M0, M1, N1, BA1, BM1, FINAL_BIAS)
    changes = [Patch(part, whole, whole) for part in parts]
    changes += [Patch(L1H2, Span(4, END), Span(4, END), key, key) for key in range(4)]
    for model in (tiny, tiny32):
        clean = record(model, TOKENS)
        for change in changes:
            patched = record(model, TOKENS, [change], Sources(other=clean))
            assert torch.equal(patched[Site.LN_FINAL, 0], clean[Site.LN_FINAL, 0]), change
        patched = record(model, TOKENS, changes, Sources(other=clean))
        assert torch.equal(patched[Site.LN_FINAL, 0], clean[Site.LN_FINAL, 0])


def test_P_patching_everything_is_the_other_prompt(tiny: GPT2, tiny32: GPT2) -> None:
    """P: all embeddings alone carry the whole prompt, to the bit; so do the last layer's parts with its input."""
    whole = Span(0, END)
    for model in (tiny, tiny32):
        other = record(model, OTHER)
        patched = record(model, TOKENS, [Patch(EMBED, whole, whole)], Sources(other=other))
        for at in patched.acts.keys() - {(Site.EMBED, 0), (Site.POS_EMBED, 0)}:
            assert torch.equal(patched[at], other[at]), at
        parts = [Component(kind, layer) for layer in range(3) for kind in (Kind.ATTN, Kind.MLP)]
        late = [Patch(part, whole, whole) for part in (TOKEN_EMBED, *parts)]
        patched = record(model, TOKENS, late, Sources(other=other))
        assert torch.equal(patched[Site.LN_FINAL, 0], other[Site.LN_FINAL, 0])


def test_a_patch_takes_the_source_positions_values(tiny: GPT2, sources: Sources) -> None:
    assert sources.other is not None
    patched = record(tiny, TOKENS, [Patch(M0, Span(2, 4), Span(0, 2))], sources)
    clean = record(tiny, TOKENS)
    assert torch.equal(patched[Site.MLP_OUT, 0][2:5], sources.other[Site.MLP_OUT, 0][:3])
    assert torch.equal(patched[Site.MLP_OUT, 0][5:], clean[Site.MLP_OUT, 0][5:])


def test_one_mean_can_serve_every_position(tiny: GPT2) -> None:
    sources = sources_of(tiny)
    assert sources.means is not None
    pooled = {at: sources.means[at].mean(-2, keepdim=True) for at in record(tiny, TOKENS).acts}
    for part in (L1H2, A1, M1, N1, BA1, EMBED):
        site, layer = where(part)
        for span in (None, MIDDLE):
            edited = record(tiny, TOKENS, [Ablate(part, span, mode=Mode.MEAN)], Sources(pooled))[site, layer]
            x, mean = edited, pooled[site, layer]
            if part.kind in (Kind.HEAD, Kind.NEURON):
                x, mean = (
                    t[part.index] if part.kind is Kind.HEAD else t[:, [part.index or 0]] for t in (x, mean)
                )
            assert torch.equal(
                x[span.slice if span else slice(None)], mean.expand_as(x)[span.slice if span else slice(None)]
            )


def test_a_mean_over_a_shorter_prompt_leaves_later_tokens(tiny: GPT2) -> None:
    sources = sources_of(tiny, references=[tokens[:4] for tokens in REFERENCES])
    clean, edited = (
        record(tiny, TOKENS, changes, sources) for changes in ((), (Ablate(M0, mode=Mode.MEAN),))
    )
    assert sources.means is not None
    assert torch.equal(edited[Site.MLP_OUT, 0][:4], sources.means[Site.MLP_OUT, 0])
    assert torch.equal(edited[Site.MLP_OUT, 0][4:], clean[Site.MLP_OUT, 0][4:])
    beyond = record(tiny, TOKENS, [Ablate(M0, LAST, mode=Mode.MEAN)], sources)
    assert torch.equal(beyond[Site.LN_FINAL, 0], clean[Site.LN_FINAL, 0])
