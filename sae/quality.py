"""How a dictionary does on one prompt: what is printed as it is loaded, so that a wrong convention shows at once."""

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean cross-entropies of a prompt's own tokens, in nats."""

    clean: float
    spliced: float
    "With what dictionaries put out in the place of what they take apart."
    zeroed: float
    "With zeros there."

    @property
    def recovered(self) -> float:
        """Of what zeros cost, the share that the dictionaries give back; NaN where they cost nothing."""
        cost = self.zeroed - self.clean
        return (self.zeroed - self.spliced) / cost if cost else float("nan")


@torch.no_grad()
def quality(model: GPT2, trace: Trace, at: Where, sources: Sources, *, also: Hook = no_hook) -> Quality:
    """Two further runs of the prompt: one with what the dictionary puts out, one with nothing, in its place."""
    dictionary = trace.dictionaries[at]
    first = _first(trace)
    given, target = (recorded_at(trace, where)[first:] for where in (dictionary.reads, at))
    latents = dictionary.encode(given)
    off = wide(target) - wide(dictionary.decode(latents, given))
    spread = wide(target) - wide(target).mean(0)
    return Quality(
        float((latents != 0).sum(-1).double().mean()),
        float(1 - off.square().sum() / spread.square().sum()),
        losses(model, trace, [at], sources, also=also).recovered,
    )


@torch.no_grad()
def losses(
    model: GPT2, trace: Trace, places: Sequence[Where], sources: Sources, *, also: Hook = no_hook
) -> Losses:
    """Of a run, and of two more: with what all of these dictionaries put out, with nothing, in their places."""
    span = Span(_first(trace), len(trace.tokens) - 1)
    errors = tuple(Ablate(Component(Kind.ERROR, at[1], None, LETTER_OF[at[0]]), span) for at in places)
    nothing = tuple(change for at in places for change in _nothing(at, span))
    return Losses(*(_loss(model, trace, changes, sources, also) for changes in ((), errors, nothing)))


def _first(trace: Trace) -> int:
    """The first token that counts: the prepended one is like no other."""
    return 1 if len(trace.tokens) > 2 else 0


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
