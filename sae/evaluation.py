"""How good a dictionary is: how sparse, what it leaves out, and what the model loses when it runs on what is put out.

A dictionary's place is overwritten, at every token, with what the dictionary puts out (nothing is added back), with
zero, and with the mean; the rest of the pass is run again.  "Recovered" is 1 where the model does as well as untouched
and 0 where it does as badly as with the ablation that is named.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from model.edits.sources import Where
from model.gpt2 import GPT2
from model.sites import Hook, Site
from sae.activations import keeper
from sae.autoencoder import Autoencoder
from sae.reading import place_text

DENSE = 0.1
"""A latent active on more than this share of tokens is dense."""
ABLATIONS = ("zero", "mean")


@dataclass(frozen=True, slots=True)
class Damage:
    """What one replacement does to the next-token predictions, in nats a token."""

    ce: float
    """Cross-entropy of the text."""
    kl: float
    """Divergence from the untouched model's distribution: KL(untouched || replaced)."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """One dictionary on so many tokens."""

    name: str
    tokens: int
    l0: float
    fvu: float
    """Fraction of variance unexplained: squared error over squared distance from the mean."""
    clean_ce: float
    spliced: Damage
    zero: Damage
    mean: Damage
    density: Tensor
    """[latent] the share of tokens on which each is active."""
    similarity: Tensor
    """[latent] the cosine similarity of its decoder row and the nearest other one."""

    @property
    def dead(self) -> int:
        """Latents that were never active."""
        return int((self.density == 0).sum())

    @property
    def dense(self) -> int:
        return int((self.density > DENSE).sum())

    def ce_recovered(self, ablation: str) -> float:
        """Of the cross-entropy that `ablation` costs, the share that the dictionary gives back."""
        worst = self._ablated(ablation).ce
        return recovered(self.spliced.ce - self.clean_ce, worst - self.clean_ce)

    def kl_recovered(self, ablation: str) -> float:
        return recovered(self.spliced.kl, self._ablated(ablation).kl)

    def _ablated(self, ablation: str) -> Damage:
        return {"zero": self.zero, "mean": self.mean}[ablation]


def recovered(left: float, lost: float) -> float:
    """1 where nothing is left of what an ablation loses, 0 where all is; not a number where it loses nothing."""
    return 1 - left / lost if lost else float("nan")


def evaluate(
    model: GPT2,
    dictionaries: Sequence[Autoencoder],
    batches: Iterable[Tensor],
    means: Mapping[Where, Tensor],
    skip: int = 0,
    rerun: int | None = None,
) -> Iterator[tuple[Report, ...]]:
    """Reports on the batches so far, after each: batches of tokens [batch, pos].

    `means` are those of `mean_activations`.  Positions before `skip` are left as they are and are not counted.
    With `rerun`, the model is run on what is put out, and on ablations, for the first so many batches alone.
    """
    tallies = [_Tally(dictionary, nearest(dictionary.w_dec)) for dictionary in dictionaries]
    for number, tokens in enumerate(batches):
        again = rerun is None or number < rerun
        _add_batch(model, tallies, tokens.to(model.wte.weight.device), means if again else None, skip)
        yield tuple(_report(tally) for tally in tallies)


@torch.no_grad()
def mean_activations(
    model: GPT2, places: Iterable[Where], batches: Iterable[Tensor], skip: int = 0
) -> dict[Where, Tensor]:
    """The mean over tokens of what is at each place: [d] each."""
    sums: dict[Where, Tensor] = {}
    count, wanted = 0, tuple(places)
    for tokens in batches:
        kept = _clean_pass(model, tokens.to(model.wte.weight.device), wanted)[0]
        for place in wanted:
            total = kept[place][:, skip:].double().sum((0, 1))
            sums[place] = sums[place] + total if place in sums else total
        count += tokens[:, skip:].numel()
    return {place: (total / count).to(model.wte.weight.dtype) for place, total in sums.items()}


def nearest(w_dec: Tensor, rows: int = 1024) -> Tensor:
    """The cosine similarity of each decoder row [latent, d] and the nearest other one: [latent]."""
    unit = F.normalize(w_dec.float(), dim=1)
    found = []
    for first in range(0, len(unit), rows):
        block = unit[first : first + rows] @ unit.T
        own = torch.arange(len(block), device=block.device)
        block[own, first + own] = -1.0
        found.append(block.amax(1))
    return torch.cat(found)


@dataclass(slots=True, eq=False)
class _Tally:
    """Sums over the tokens so far."""

    dictionary: Autoencoder
    similarity: Tensor
    tokens: int = 0
    predictions: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    total: Tensor | None = None
    """[d_out] of what should be put out."""
    fired: Tensor | None = None
    """[latent]"""

    def add(self, name: str, amount: float | Tensor) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + float(amount)

    def mean(self, name: str) -> float:
        """Over the predictions, not a number where the model was never run on what is put out."""
        return self.sums[name] / self.predictions if self.predictions else float("nan")


@torch.no_grad()
def _add_batch(
    model: GPT2, tallies: Sequence[_Tally], tokens: Tensor, means: Mapping[Where, Tensor] | None, skip: int
) -> None:
    places = {place for tally in tallies for place in (tally.dictionary.reads, tally.dictionary.writes)}
    kept, resid = _clean_pass(model, tokens, places)
    clean = None if means is None else _clean(model.unembed(model.final_norm(resid)), tokens, skip)
    for tally in tallies:
        dictionary = tally.dictionary
        put_out, latents = dictionary.forward(kept[dictionary.reads])
        target = kept[dictionary.writes]
        _count(tally, put_out[:, skip:], latents[:, skip:], target[:, skip:])
        if means is None or clean is None:
            continue
        tally.predictions += len(clean.right)
        tally.add("clean ce", clean.ce(clean.log))
        mean = means[dictionary.writes].expand_as(target)
        replacements = {"spliced": put_out, "zero": torch.zeros_like(target), "mean": mean}
        for name, value in replacements.items():
            value = torch.cat([target[:, :skip], value[:, skip:]], dim=1)
            log = _predictions(_replaced(model, kept, dictionary.writes, value), skip)
            tally.add(f"{name} ce", clean.ce(log))
            tally.add(f"{name} kl", clean.kl(log))


def _clean_pass(model: GPT2, tokens: Tensor, places: Iterable[Where]) -> tuple[dict[Where, Tensor], Tensor]:
    """What is at `places` and enters their layers, and the residual stream at the end."""
    kept: dict[Where, Tensor] = {}
    wanted = {at for place in places for at in (place, (Site.RESID_PRE, place[1]))}
    return kept, model.layers(model.embed(tokens), keeper(kept, wanted))


def _count(tally: _Tally, put_out: Tensor, latents: Tensor, target: Tensor) -> None:
    """Add one batch to what is said of the dictionary alone: each [batch, pos, ...]."""
    active = (latents > 0).flatten(0, 1)
    wide = target.double()
    tally.tokens += len(active)
    tally.add("error", (put_out.double() - wide).square().sum())
    tally.add("square", wide.square().sum())
    total, fired = wide.sum((0, 1)), active.sum(0)
    tally.total = total if tally.total is None else tally.total + total
    tally.fired = fired if tally.fired is None else tally.fired + fired


def _replaced(model: GPT2, kept: Mapping[Where, Tensor], place: Where, value: Tensor) -> Tensor:
    """Logits [batch, pos, vocab] of the run with `value` [batch, pos, d] at a place."""
    layer = place[1]
    resid = model.layers(kept[Site.RESID_PRE, layer], _put(place, value), first=layer)
    return model.unembed(model.final_norm(resid))


def _put(place: Where, value: Tensor) -> Hook:
    """A hook that puts `value` [batch, pos, d] at a place; at `z` its numbers are dealt out to the heads."""

    def hook(site: Site, layer: int, x: Tensor) -> Tensor:
        if (site, layer) != place:
            return x
        return value.unflatten(2, (x.shape[1], -1)).transpose(1, 2) if site is Site.Z else value

    return hook


@dataclass(frozen=True, slots=True, eq=False)
class _Clean:
    """The untouched model's predictions at positions from `skip` on, one row each."""

    right: Tensor
    """The tokens that come next: [row]."""
    log: Tensor
    """Log-probabilities: [row, vocab]."""
    chances: Tensor
    own: Tensor
    """What its own predictions say of each row, chances x log-probabilities: [row]."""

    def ce(self, log: Tensor) -> Tensor:
        """Cross-entropy of predictions, summed: []."""
        return -log.gather(1, self.right[:, None]).double().sum()

    def kl(self, log: Tensor) -> Tensor:
        """KL(untouched || other), summed: []."""
        return (self.own - self._weighed(log)).sum()

    def _weighed(self, log: Tensor) -> Tensor:
        return torch.linalg.vecdot(self.chances, log).double()


def _clean(logits: Tensor, tokens: Tensor, skip: int) -> _Clean:
    log = _predictions(logits, skip)
    chances = log.exp()
    right = tokens[:, skip + 1 :].flatten()
    return _Clean(right, log, chances, torch.linalg.vecdot(chances, log).double())


def _predictions(logits: Tensor, skip: int) -> Tensor:
    """Log-probabilities of the predictions that are made at positions from `skip` on: [row, vocab]."""
    return logits[:, skip:-1].flatten(0, 1).float().log_softmax(-1)


def _report(tally: _Tally) -> Report:
    assert tally.total is not None and tally.fired is not None
    sums, n = tally.sums, tally.tokens
    variance = sums["square"] - float(tally.total.square().sum()) / n
    made = {
        name: Damage(tally.mean(f"{name} ce"), tally.mean(f"{name} kl")) for name in ("spliced", *ABLATIONS)
    }
    density = tally.fired.double() / n
    return Report(
        place_text(tally.dictionary.writes),
        n,
        float(density.sum()),
        sums["error"] / variance if variance else float("nan"),
        tally.mean("clean ce"),
        made["spliced"],
        made["zero"],
        made["mean"],
        density.float(),
        tally.similarity,
    )
