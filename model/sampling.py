"""Generation under interventions, one token at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.edits.interventions import Change, Sources
from model.edits.paths import hook_of
from model.gpt2 import GPT2
from model.sites import Hook, compose, no_hook
from model.trace import Trace, record


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A token that was taken."""

    token: int
    logits: Tensor
    "What it was taken from, before temperature and top-k: [vocab], float64 on the CPU."


@torch.no_grad()
def generate(
    model: GPT2,
    tokens: Sequence[int],
    count: int,
    changes: Sequence[Change] = (),
    sources: Sources = Sources(),
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
    also: Hook = no_hook,
) -> Iterator[Step]:
    """Yield up to `count` tokens after `tokens`, stopping at the end of the context.

    Temperature 0 takes the most likely token.  The pass is repeated whole for each token, so an edit of every
    position reaches the generated ones as well; an edit of named positions, or of a path, stays where it is.
    """

    def run(others: Sequence[Change]) -> Trace:
        return record(model, tokens, others, sources, also=also)

    hook = compose(also, hook_of(model, changes, sources, run=run))
    random = torch.Generator().manual_seed(seed)
    so_far = list(tokens)
    for _ in range(min(count, model.config.n_ctx - len(so_far))):
        ids = torch.tensor([so_far], device=model.wte.weight.device)
        normed = model.final_norm(model.layers(model.embed(ids, hook), hook), hook)
        logits = model.unembed(normed[0, -1]).double().cpu()
        if temperature == 0:
            token = int(logits.argmax())
        else:
            kept = logits
            if top_k is not None:
                least = logits.topk(min(top_k, len(logits))).values[-1]
                kept = logits.masked_fill(logits < least, -torch.inf)
            token = int(torch.multinomial((kept / temperature).softmax(-1), 1, generator=random))
        so_far.append(token)
        yield Step(token, logits)
