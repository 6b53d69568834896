"""One run, recorded: everything later analysis reads, in one value that never changes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType

import torch
from torch import Tensor

from model.acts import Acts, can_be_made
from model.components import Component
from model.dictionaries import Dictionaries
from model.edits.interventions import Change, Compound, Sources, Splice, Where, first_layer, flat
from model.edits.met import Met
from model.edits.paths import hook_of
from model.edits.wiring import Wiring
from model.gpt2 import GPT2
from model.metrics import Metric, Reference
from model.probes import probe_value
from model.sites import Hook, Site, compose, no_hook

RECORDED = frozenset(Site) - {
    # Large, and one cheap step from what is kept.
    Site.SCORES,
    Site.LN1_NORMALIZED,
    Site.LN2_NORMALIZED,
    Site.LN_FINAL_NORMALIZED,
    Site.LOGITS,
}


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What one run did.  Compared by identity; any thread may read it."""

    tokens: tuple[int, ...]
    changes: tuple[Change, ...]
    "The edits that were made, in order, compound ones as their parts."
    acts: Mapping[Where, Tensor]
    "(site, layer) -> its tensor without the batch axis, after any edit."
    dictionaries: Dictionaries = field(default_factory=lambda: MappingProxyType({}))
    "Through which it can be read, by the place that each takes apart."
    spliced: Mapping[Where, Splice] = field(default_factory=lambda: MappingProxyType({}))
    "What edits made of the parts of those that they are of."
    met: Met | None = None
    "Where edges have been edited: what their readers meet."

    def added(self, reader: Component) -> Tensor | None:
        """What edited edges add to the stream that a reader alone meets, None where none do: [pos, d_model].

        None for U, too: its stream is recorded as it meets it.
        """
        return None if self.met is None else self.met.added(reader)

    def __getitem__(self, where: Where) -> Tensor:
        return self.acts[where]

    @property
    def nbytes(self) -> int:
        """Bytes held; tensors that two sites share count once, expanded ones as what they really store."""
        return bytes_of([self])


def bytes_of(traces: Iterable[Trace]) -> int:
    """Bytes held by runs together: what is shared by them, and by sites of one, counts once."""
    kept = chain.from_iterable(
        (trace.acts.kept if isinstance(trace.acts, Acts) else trace.acts).values() for trace in traces
    )
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}.values())


def recorder(into: dict[Where, Tensor], sites: Collection[Site] = RECORDED) -> Hook:
    """A hook that keeps the first row of each batch at `sites`, and changes nothing."""

    def hook(site: Site, layer: int, x: Tensor) -> Tensor:
        if site in sites:
            into[site, layer] = x[0]
        return x

    return hook


@torch.no_grad()
def record(
    model: GPT2,
    tokens: Sequence[int],
    changes: Sequence[Change | Compound] = (),
    sources: Sources = Sources(),
    *,
    also: Hook = no_hook,
    base: Trace | None = None,
    sites: Collection[Site] = RECORDED,
) -> Trace:
    """Run `tokens` with `changes` made, and keep what happened at `sites`.

    `also` runs first at every site: a hook that raises there stops the pass.  `base` is an earlier run of the
    same tokens and sources: layers before the first one in which the two differ are taken from it, bit for bit.
    The logits are not computed; they are one `unembed` away, at the positions somebody looks at.
    """
    acts: dict[Where, Tensor] = {}
    again: set[Where] = set()
    changes = flat(changes)

    def run(others: Sequence[Change]) -> Trace:
        return record(model, tokens, others, sources, also=also, base=base)

    def lean(site: Site, layer: int, x: Tensor) -> Tensor:
        again.discard((site, layer))
        if site in sites and can_be_made(acts, (site, layer), x[0]):
            del acts[site, layer]
            again.add((site, layer))
        return x

    spliced: dict[Where, Splice] = {}
    made = hook_of(model, changes, sources, base, run, spliced)
    hook = compose(also, made, recorder(acts, sites), lean)
    first = -1 if base is None else shared_layers(base, tokens, changes, model.config.n_layer)
    if base is None or first < 0:
        ids = torch.tensor([list(tokens)], device=model.wte.weight.device)
        resid = model.embed(ids, hook)
    else:
        earlier = base.acts if isinstance(base.acts, Acts) else Acts(base.acts)
        acts |= {at: x for at, x in earlier.kept.items() if _before(*at, first)}
        again |= {at for at in earlier.again if _before(*at, first)}
        spliced |= {at: parts for at, parts in base.spliced.items() if _before(*at, first)}
        resid = entering(base, first)
    resid = model.layers(resid, hook, first=max(first, 0))
    model.final_norm(resid, hook)
    kept = Acts(acts, frozenset(again))
    met = Met(made, kept) if isinstance(made, Wiring) else None
    return Trace(tuple(tokens), changes, kept, sources.dictionaries, MappingProxyType(spliced), met)


def shared_layers(base: Trace, tokens: Sequence[int], changes: Sequence[Change], n_layer: int) -> int:
    """The first layer that must be computed again when `changes` replace `base`'s: -1 from the embeddings on."""
    if base.tokens != tuple(tokens):
        return -1
    return next(
        (
            layer
            for layer in range(-1, n_layer)
            if _at(base.changes, layer, n_layer) != _at(changes, layer, n_layer)
        ),
        n_layer,
    )


def _at(changes: Sequence[Change], layer: int, n_layer: int) -> list[Change]:
    return [change for change in changes if first_layer(change, n_layer) == layer]


def _before(site: Site, layer: int, first: int) -> bool:
    if site in (Site.EMBED, Site.POS_EMBED):
        return True
    return layer < first and not site.text.startswith("ln_final")


def entering(base: Trace, layer: int) -> Tensor:
    """The residual stream that `layer` was given, before any edit to its `resid_pre`: [1, pos, d_model]."""
    if layer == 0:
        return (base[Site.EMBED, 0] + base[Site.POS_EMBED, 0])[None]
    return base[Site.RESID_POST, layer - 1][None]


@torch.no_grad()
def metric_value(model: GPT2, trace: Trace, metric: Metric) -> float:
    """The metric of a run, in its unit, unembedding only the tokens and the position that it asks about."""
    if metric.probe is not None:
        return probe_value(model, trace, metric.probe, metric.pos)
    return float(metric.of_normed(trace[Site.LN_FINAL, 0][metric.pos], model.unembedding))


@torch.no_grad()
def reference(model: GPT2, trace: Trace, pos: int) -> Reference:
    """A run's next-token distribution after token `pos`, as what another run's divergence is from."""
    return Reference(logits_at(model, trace, pos).double().log_softmax(-1))


@torch.no_grad()
def logits_at(model: GPT2, trace: Trace, pos: int) -> Tensor:
    """Logits of the whole vocabulary after token `pos`: [vocab]."""
    return model.unembed(trace[Site.LN_FINAL, 0][pos])
