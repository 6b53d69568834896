"""What heads do, by probing: on random tokens said twice, or on a prompt, where they look and what they copy.

Where a head looks, as attention averaged over the queries that have such a key (0 to 1):

    previous-token   the token just before                               (Wang et al. 2022)
    duplicate-token  earlier tokens equal to the query's                 (Wang et al. 2022)
    induction        tokens just after those: "prefix matching"          (Olsson et al. 2022)
    first-token      the first one, where heads rest

The first token is not counted for the others, nor for copying.  The names are those of TransformerLens' head
detector, whose "mul" score divides by all queries, and here by those that have such a key.  What a head does there:

    copying          correlation, over the text's tokens, of how much the head attends to each and of its direct
                     effect on that token's logit (-1 to 1); below zero it is negative copying.  Queries are pooled,
                     attention and effect taken from their means over the tokens.

Wang et al., "Interpretability in the Wild"; Olsson et al., "In-context Learning and Induction Heads".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from model.about.reads import untrained
from model.about.role_scores import NEEDED, Role, Score, copied, correlated, keys_of, looking, pooled
from model.components import Component, Kind
from model.gpt2 import GPT2
from model.sites import Hook, no_hook
from model.trace import Trace, record

ATTENTION, CORRELATION, RAISED = 0.3, 0.5, 0.1
"""From where on a head is said to have a role: mean attention; for copying, |correlation| and |logits| both."""


@dataclass(frozen=True, slots=True, eq=False)
class Roles:
    """The scores of every head on some texts."""

    sequences: tuple[tuple[int, ...], ...]
    scores: Mapping[Role, Score]
    raised: NDArray[np.float64]
    """Mean over queries of attention x direct effect on the token's logit, over the mean token's: [layer, head].

    The size of what copying gives the sign and the purity of: where this is next to nothing, so is that.
    """


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A role that a head seems to have; `str` says so with its other scores."""

    head: Component
    role: str
    "A role's name, or `negative-copying`."
    score: float
    beside: tuple[tuple[str, float], ...]
    "The head's other scores, in the order of roles."

    def __str__(self) -> str:
        rest = ", ".join(f"{name} {_short(value)}" for name, value in self.beside)
        return f"{self.head}: {self.role} {_short(self.score)}" + (f" ({rest})" if rest else "")


@torch.no_grad()
def probe(
    model: GPT2,
    seed: int = 0,
    length: int = 25,
    batch: int = 8,
    *,
    allowed: Sequence[int] | None = None,
    start: int | None = None,
    also: Hook = no_hook,
) -> Roles:
    """The scores on `repeated_sequences`.  `also` may raise to stop."""
    texts = repeated_sequences(model, seed, length, batch, allowed=allowed, start=start)
    return roles_of(model, [record(model, text, also=also, sites=NEEDED) for text in texts])


def repeated_sequences(
    model: GPT2,
    seed: int = 0,
    length: int = 25,
    batch: int = 8,
    *,
    allowed: Sequence[int] | None = None,
    start: int | None = None,
) -> list[tuple[int, ...]]:
    """`batch` sequences of `length` random tokens, all different, said twice, after `start` if given.

    Tokens are drawn from `allowed`, by default all but those that `untrained` finds.
    Raises ValueError, one sentence, where the sequences do not fit.
    """
    ids = np.flatnonzero(~untrained(model.wte.weight)).tolist() if allowed is None else list(allowed)
    ids = sorted(set(ids) - {start})
    first = () if start is None else (start,)
    if not 3 <= length <= len(ids):
        raise ValueError(f"length {length} does not fit: 3 to {len(ids)} different tokens can be drawn")
    if len(first) + 2 * length > model.config.n_ctx:
        raise ValueError(f"length {length} said twice does not fit: the context is {model.config.n_ctx}")
    if batch < 1:
        raise ValueError(f"batch {batch} is too small: 1 or more")
    generator = torch.Generator().manual_seed(seed)
    halves = (torch.randperm(len(ids), generator=generator)[:length].tolist() for _ in range(batch))
    return [(*first, *(ids[at] for at in half), *(ids[at] for at in half)) for half in halves]


@torch.no_grad()
def on_prompt(model: GPT2, trace: Trace) -> Roles:
    """The same scores on what was recorded, edits included."""
    return roles_of(model, [trace])


@torch.no_grad()
def roles_of(model: GPT2, traces: Sequence[Trace]) -> Roles:
    """The scores on some recorded texts together; runs need the sites in `NEEDED` only."""
    keys = [keys_of(trace.tokens) for trace in traces]
    scores = {
        role: pooled([looking(model, trace, each[role]) for trace, each in zip(traces, keys, strict=True)])
        for role in Role
        if role is not Role.COPYING
    }
    scores[Role.COPYING], raised = correlated([copied(model, trace) for trace in traces])
    sequences = tuple(trace.tokens for trace in traces)
    return Roles(sequences, MappingProxyType(scores), raised)


def suggest(roles: Roles) -> list[Suggestion]:
    """Each head's main role, where it has one (see ATTENTION): best first, those that only rest at the end."""
    n_layer, n_head = roles.raised.shape
    heads = (Component(Kind.HEAD, layer, index) for layer in range(n_layer) for index in range(n_head))
    found = [best for head in heads if (best := _best(roles, head))]
    return sorted(found, key=lambda each: (each.role == Role.FIRST.value, -abs(each.score)))


def _best(roles: Roles, head: Component) -> Suggestion | None:
    at = (head.layer, head.index or 0)
    scores = {role: float(each.score[at]) for role, each in roles.scores.items()}
    copies = abs(scores[Role.COPYING]) >= CORRELATION and abs(roles.raised[at]) >= RAISED
    shown = {role for role in scores if (copies if role is Role.COPYING else scores[role] >= ATTENTION)}
    # where a head looks says more than what it copies, and both more than that it rests
    for some in ((Role.PREVIOUS, Role.DUPLICATE, Role.INDUCTION), (Role.COPYING,), (Role.FIRST,)):
        if best := max(shown & set(some), key=scores.__getitem__, default=None):
            rest = ((_spell(role, x), x) for role, x in scores.items() if role is not best and x == x)
            return Suggestion(head, _spell(best, scores[best]), scores[best], tuple(rest))
    return None


def _spell(role: Role, score: float) -> str:
    return "negative-copying" if role is Role.COPYING and score < 0 else role.value


def _short(score: float) -> str:
    return f"{score:.2f}".replace("0.", ".", 1)
