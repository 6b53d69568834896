"""What editing nodes does, measured: ablation and activation patching sweeps, against TransformerLens.

All on the checkpoint's own weights: on folded ones b_V lies elsewhere, and zero ablation means something else.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Ablate, Change, Mode, Patch, Sources, Span, Where
from model.measured.replay import measure
from model.measured.scorers import metric_scorer
from model.measured.sweeps import patch_residuals
from model.sites import Site
from model.trace import Trace, record
from tests.oracle.bridge import END, LD, ODD, Both, close, ids, peer

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore"),  # the peer's own, and those of what it imports
]

LENGTH = END + 1
HEADS = [Component(Kind.HEAD, layer, head) for layer, head in np.ndindex(ODD.n_layer, ODD.n_head)]
EVERYWHERE = Span(0, END)


def measured(both: Both, trace: Trace, changes: Sequence[Change], sources: Sources = Sources()) -> Tensor:
    """The metric with each change made alone: [change]."""
    found = dict(measure(both.model, trace, metric_scorer(both.model, LD), changes, sources))
    return torch.tensor([found[at] for at in range(len(changes))])


def ablated(both: Both, hook_name: str, edit: Callable[[Tensor], None]) -> float:
    """The peer's metric with one of its hooked tensors edited in place."""

    def hook(x: Tensor, hook: object) -> Tensor:
        x = x.clone()
        edit(x)
        return x

    with torch.no_grad():
        return float(
            both.metric_of(both.plain.run_with_hooks(ids(both.clean), fwd_hooks=[(hook_name, hook)]))
        )


def zeroing(*index: int | slice) -> Callable[[Tensor], None]:
    def edit(x: Tensor) -> None:
        x[index] = 0.0

    return edit


ALL = slice(None)


def test_zero_ablating_every_head_is_hook_z_at_zero(both: Both) -> None:
    """Convention: z is zero at every position, so the head's value bias goes too and b_O stays."""
    theirs = [
        ablated(both, f"blocks.{head.layer}.attn.hook_z", zeroing(ALL, ALL, head.index or 0))
        for head in HEADS
    ]
    close(measured(both, both.trace, [Ablate(head) for head in HEADS]), torch.tensor(theirs))


def test_zero_ablating_a_head_at_one_token_is_that_row_of_hook_z(both: Both) -> None:
    changes = [Ablate(head, Span(pos, pos)) for head in HEADS for pos in (0, 3, END)]
    theirs = [
        ablated(
            both,
            f"blocks.{change.component.layer}.attn.hook_z",
            zeroing(ALL, change.span.first if change.span else 0, change.component.index or 0),
        )
        for change in changes
    ]
    close(measured(both, both.trace, changes), torch.tensor(theirs))


def test_zero_ablating_a_pair_is_hook_pattern_at_zero_without_renormalising(both: Both) -> None:
    changes = [Ablate(head, Span(END, END), key=key) for head in HEADS for key in range(LENGTH)]
    theirs = [
        ablated(
            both,
            f"blocks.{change.component.layer}.attn.hook_pattern",
            zeroing(ALL, change.component.index or 0, END, change.key or 0),
        )
        for change in changes
    ]
    close(measured(both, both.trace, changes), torch.tensor(theirs))


@pytest.mark.parametrize(("kind", "hook"), [(Kind.ATTN, "hook_attn_out"), (Kind.MLP, "hook_mlp_out")])
def test_zero_ablating_a_sublayer_takes_its_bias_with_it(both: Both, kind: Kind, hook: str) -> None:
    changes = [Ablate(Component(kind, layer), Span(pos, END)) for layer in range(3) for pos in (0, 4, END)]
    theirs = [
        ablated(
            both,
            f"blocks.{change.component.layer}.{hook}",
            zeroing(ALL, slice(change.span.first if change.span else 0, None)),
        )
        for change in changes
    ]
    close(measured(both, both.trace, changes), torch.tensor(theirs))


def test_zero_ablating_a_neuron_is_hook_post_at_zero(both: Both) -> None:
    neurons = [Component(Kind.NEURON, layer, index) for layer in range(3) for index in range(0, ODD.d_mlp, 7)]
    theirs = [
        ablated(both, f"blocks.{part.layer}.mlp.hook_post", zeroing(ALL, ALL, part.index or 0))
        for part in neurons
    ]
    close(measured(both, both.trace, [Ablate(part) for part in neurons]), torch.tensor(theirs))


def test_mean_ablating_a_head_is_the_mean_of_z_over_prompts_at_each_position(both: Both) -> None:
    prompts = [both.corrupt, both.clean[::-1], both.corrupt[::-1]]
    caches = [both.plain.run_with_cache(ids(prompt))[1] for prompt in prompts]
    runs = [record(both.model, prompt) for prompt in prompts]
    means: dict[Where, Tensor] = {
        (Site.Z, layer): torch.stack([run[Site.Z, layer] for run in runs]).mean(0) for layer in range(3)
    }
    theirs: list[float] = []
    for head in HEADS:
        mean = torch.stack([cache["z", head.layer][0, :, head.index] for cache in caches]).mean(0)

        def edit(x: Tensor, at: int = head.index or 0, mean: Tensor = mean) -> None:
            x[:, :, at] = mean

        theirs.append(ablated(both, f"blocks.{head.layer}.attn.hook_z", edit))
    changes = [Ablate(head, mode=Mode.MEAN) for head in HEADS]
    close(measured(both, both.trace, changes, Sources(means=means)), torch.tensor(theirs))


def patches(both: Both, changes: Sequence[Change]) -> Tensor:
    """The corrupted run's metric as it takes the clean run's values, one patch at a time."""
    return measured(both, both.other, changes, Sources(other=both.trace))


def swept(both: Both, name: str) -> Tensor:
    """The peer's sweep of that name: the corrupted run takes clean values."""
    with torch.no_grad():
        sweep = getattr(peer("patching"), f"get_act_patch_{name}")
        return sweep(both.plain, ids(both.corrupt), both.cache, both.metric_of)


def one(pos: int) -> Span:
    return Span(pos, pos)


def test_patching_heads_everywhere_is_attn_head_out_all_pos(both: Both) -> None:
    ours = patches(both, [Patch(head, EVERYWHERE, EVERYWHERE) for head in HEADS])
    close(ours.view(ODD.n_layer, ODD.n_head), swept(both, "attn_head_out_all_pos"))


def test_patching_heads_by_token_is_attn_head_out_by_pos(both: Both) -> None:
    """Convention: its axes are [layer, pos, head]."""
    changes = [Patch(head, one(pos), one(pos)) for head in HEADS for pos in range(LENGTH)]
    ours = patches(both, changes).view(ODD.n_layer, ODD.n_head, LENGTH)
    close(ours.transpose(1, 2), swept(both, "attn_head_out_by_pos"))


@pytest.mark.parametrize(("kind", "name"), [(Kind.ATTN, "attn_out"), (Kind.MLP, "mlp_out")])
def test_patching_sublayers_by_token_is_the_sweep_of_their_output(both: Both, kind: Kind, name: str) -> None:
    parts = [Component(kind, layer) for layer in range(ODD.n_layer)]
    ours = patches(both, [Patch(part, one(pos), one(pos)) for part in parts for pos in range(LENGTH)])
    close(ours.view(ODD.n_layer, LENGTH), swept(both, name))


def test_the_residual_sweep_is_resid_pre_at_every_layer_and_token(both: Both) -> None:
    """Convention: the corrupted run goes on with the clean run's residual stream at one token."""
    theirs = swept(both, "resid_pre")
    ours = torch.zeros(ODD.n_layer, LENGTH)
    for layer, pos, value in patch_residuals(
        both.model, both.other, both.trace, metric_scorer(both.model, LD)
    ):
        ours[layer, pos] = value
    close(ours, theirs)
    embedding = [Patch(Component(Kind.EMBED), one(pos), one(pos)) for pos in range(LENGTH)]
    close(patches(both, embedding), theirs[0])


def test_patching_a_whole_pattern_is_attn_head_pattern_all_pos(both: Both) -> None:
    """Convention: the pattern alone moves, values stay; ours is every pair of the head at once, by rerunning."""
    ours: list[float] = []
    for head in HEADS:
        changes = [
            Patch(head, one(query), one(query), key, key)
            for query in range(LENGTH)
            for key in range(query + 1)
        ]
        run = record(both.model, both.corrupt, changes, Sources(other=both.trace))
        ours.append(float(LD.of(both.model.unembed(run[Site.LN_FINAL, 0][END]))))
    close(torch.tensor(ours).view(ODD.n_layer, ODD.n_head), swept(both, "attn_head_pattern_all_pos"))
