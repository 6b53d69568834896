"""Prompts whose values ablations put in the place of this one's: their tokens matched with its own, and their means.

Prompts as long as this one are matched position by position, others by role (`START` and `END` are roles of all).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from model.edits.interventions import Where
from model.edits.means import Matched, MeanActs
from model.sets.prompts import END
from model.trace import Trace
from tdb_tui.sets.moves import START
from tdb_tui.state import Means, Prompt


@dataclass(frozen=True, slots=True, eq=False)
class LazyRun:
    """A run that is made when something of it is asked for."""

    run: Callable[[], Trace]

    def __getitem__(self, where: Where, /) -> Tensor:
        return self.run()[where]


def matched(means: Means, prompt: Prompt, run: Callable[[Prompt], Trace]) -> tuple[Matched, ...]:
    """The reference prompts that fit a prompt, each with its tokens' counterparts."""
    return tuple(
        Matched(places_in(prompt, other, means.per), partial(run, other), other.example)
        for other in prompts_for(means, prompt)
    )


def prompts_for(means: Means, prompt: Prompt) -> tuple[Prompt, ...]:
    """Those of the reference prompts that are used in a prompt."""
    if means.per != "template":
        return means.prompts
    return tuple(each for each in means.prompts if prompt.template and each.template == prompt.template)


def mean_acts(means: Means, prompt: Prompt, run: Callable[[Prompt], Trace], eos: int | None) -> MeanActs:
    """The means that ablation uses in a prompt."""
    found = matched(means, prompt, run)
    none = "mean needs reference prompts: 'set means FILE', 'set means set' or 'set means positions'"
    if means.per == "template":
        none = "no mean per template: the prompt has none, and prompts use N goes to one that has"
        if prompt.template:
            none = f"no mean per template: no prompt of {means.text} has this one's, {prompt.template!r}"
    if not means.prompts:
        found = (Matched(tuple(range(len(prompt.tokens))), partial(run, prompt), None),)
    same = all(len(each.tokens) == len(prompt.tokens) for each in means.prompts)
    begins = all(each.tokens[0] == eos and len(each.tokens) > 1 for each in means.prompts or (prompt,))
    return MeanActs(found, not means.per and not (means.prompts and same), int(begins), none)


class KeptMeans:
    """Those used last, within a bound in bytes: prompts of one template and length share theirs."""

    def __init__(self, most: int = 1 << 28) -> None:
        self._most = most
        self._kept: OrderedDict[object, MeanActs] = OrderedDict()

    def of(self, means: Means, prompt: Prompt, run: Callable[[Prompt], Trace], eos: int | None) -> MeanActs:
        found = mean_acts(means, prompt, run, eos)
        prompts = prompts_for(means, prompt) if means.prompts else (prompt,)
        key = prompts, tuple(each.places for each in found.references), found.pooled, found.skip
        if not prompts:
            return found  # which says so when it is asked
        kept = self._kept.setdefault(key, found)
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(each.nbytes for each in self._kept.values()) > self._most:
            self._kept.popitem(last=False)
        return kept

    def clear(self) -> None:
        self._kept.clear()


def places_in(prompt: Prompt, other: Prompt, per: str = "") -> tuple[int, ...]:
    """Each token's counterpart in another prompt, -1 where it has none."""
    if per != "role" and len(prompt.tokens) == len(other.tokens):
        return tuple(range(len(prompt.tokens)))
    there = {**dict(other.roles), START: 0, END: len(other.tokens) - 1}
    here = {pos: name for name, pos in (*prompt.roles, (START, 0), (END, len(prompt.tokens) - 1))}
    return tuple(there.get(here.get(pos, ""), -1) for pos in range(len(prompt.tokens)))
