"""What editing each node alone would do, estimated by first order: attribution patching and AtP*'s GradDrop.

Every estimate is (other - own) x gradient, the gradient taken on the run that is edited, so that it estimates
metric(edited run) - metric(run) as `replay.measure` measures it; a `Swap` says of which run, with which values.

Nanda 2022, "Attribution patching"; Kramar et al. 2024, "AtP*" (2403.00745).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from model.effects.backward import Pulled, final_gradient, graph, sweep
from model.estimates.swap import NODE_SITES, Estimates, Swap, nothing
from model.sites import Site


def attribution_patching(swap: Swap) -> Estimates:
    """(other - own) . gradient on the edited run, for every node at every token."""
    found = nothing(swap)
    for layer, by in sweep(swap.rerun(), NODE_SITES):
        found.add(swap.products(layer, by), layer)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class GradDrop:
    """AtP*'s GradDrop: the average over passes in which the gradient through one layer is dropped."""

    signed: Estimates
    "Of the estimates themselves."
    absolute: Estimates
    "Of their absolute values, AtP*'s ranking: opposite paths cannot cancel in every pass."

    def add(self, products: Mapping[Site, Tensor], layer: int, factor: float) -> None:
        """Adds one pass's products to both averages, in place."""
        self.signed.add(products, layer, factor)
        self.absolute.add({site: x.abs() for site, x in products.items()}, layer, factor)


def graddrop(swap: Swap) -> GradDrop:
    """One forward, and a backward for each layer in which nothing comes back through what that layer writes.

    In its own layer's pass a node has no gradient; the average is over the others, 1 / (layers - 1), and over
    all passes for the embedding.  Passes are alike until their layer is met, so they share the way there.
    """
    run, found = swap.rerun(), GradDrop(nothing(swap), nothing(swap))
    n_layer, read = swap.model.config.n_layer, run.end // 2  # layers, and those of them that the target reads
    shared, begun, others = final_gradient(run), list[Pulled](), max(1, n_layer - 1)
    for layer in reversed(range(read)):
        own = shared  # through this layer in its own pass, the residual stream alone carries it
        for line in range(min(2 + 2 * layer, run.end - 1), 2 * layer, -1):
            here = graph(run, line, NODE_SITES)
            for at, gradient in enumerate(begun):
                begun[at], by = here.pull(gradient, again=True)
                found.add(swap.products(layer, by), layer, 1 / others)
            shared, by = here.pull(shared)
            found.add(swap.products(layer, by), layer, (layer + n_layer - read) / others)
        begun.append(own)
    for gradient, passes in [*((each, 1) for each in begun), (shared, n_layer - read)]:
        found.add(swap.products(0, {Site.RESID_PRE: gradient.embedding}), 0, passes / n_layer)
    return found
