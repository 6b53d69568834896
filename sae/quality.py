"""How a dictionary does on one prompt: what is printed as it is loaded, so that a wrong convention shows at once."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from model.components import Component, Kind
from model.dictionaries import LETTER_OF, recorded_at
from model.edits.interventions import Ablate, Change, Mode, Sources, Span
from model.gpt2 import GPT2, wide
from model.sites import Hook, Site, Where, no_hook
from model.trace import Trace, record


@dataclass(frozen=True, slots=True)
class Quality:
    """Of one dictionary on one prompt, its first token left out where there are others."""

    l0: float
    "Active latents a token."
    explained: float
    "Of the variance of what it takes apart, over tokens: 1 - squared error / squared distance from the mean."
    recovered: float
    "Of the cross-entropy of the prompt that zeros in its place cost, the share that its output gives back."


@torch.no_grad()
def quality(model: GPT2, trace: Trace, at: Where, sources: Sources, *, also: Hook = no_hook) -> Quality:
    """Two further runs of the prompt: one with what the dictionary puts out, one with nothing, in its place."""
    dictionary = trace.dictionaries[at]
    first = 1 if len(trace.tokens) > 2 else 0
    given, target = (recorded_at(trace, where)[first:] for where in (dictionary.reads, at))
    latents = dictionary.encode(given)
    off = wide(target) - wide(dictionary.decode(latents, given))
    spread = wide(target) - wide(target).mean(0)
    letter, span = LETTER_OF[at[0]], Span(first, len(trace.tokens) - 1)
    error = Component(Kind.ERROR, at[1], None, letter)
    spliced = _loss(model, trace, (Ablate(error, span),), sources, also)
    clean, lost = (
        _loss(model, trace, (), sources, also),
        _loss(model, trace, _nothing(at, span), sources, also),
    )
    return Quality(
        float((latents != 0).sum(-1).double().mean()),
        float(1 - off.square().sum() / spread.square().sum()),
        (lost - spliced) / (lost - clean) if lost != clean else float("nan"),
    )


def _nothing(at: Where, span: Span) -> tuple[Change, ...]:
    """Zero in the place of what a dictionary takes apart."""
    kinds = {Site.MLP_OUT: Kind.MLP, Site.ATTN_OUT: Kind.ATTN, Site.MLP_POST: Kind.MLP, Site.Z: Kind.ATTN}
    kinds |= {
        Site.RESID_PRE: Kind.RESID_PRE,
        Site.RESID_MID: Kind.RESID_MID,
        Site.RESID_POST: Kind.RESID_POST,
    }
    return (Ablate(Component(kinds[at[0]], at[1]), span, mode=Mode.ZERO),)


def _loss(model: GPT2, trace: Trace, changes: tuple[Change, ...], sources: Sources, also: Hook) -> float:
    """Mean cross-entropy of the prompt's own tokens, in nats."""
    run = record(model, trace.tokens, (*trace.changes, *changes), sources, also=also, base=trace)
    logits = model.unembed(run[Site.LN_FINAL, 0][:-1])
    return float(F.cross_entropy(wide(logits), torch.tensor(trace.tokens[1:], device=logits.device)))
