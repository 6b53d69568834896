"""The main numbers once more at GPT-2 small's size, weights drawn at random, float64 on both sides."""

import numpy as np
import pytest
import torch

from model.components import Component, Kind
from model.edits.interventions import Ablate, Patch, Sources, Span
from model.effects import attribution
from model.estimates.estimators import attribution_patching
from model.estimates.swap import Direction, Swap
from model.lens import read, residuals
from model.measured.replay import measure
from model.measured.scorers import metric_scorer
from model.metrics import Metric, Quantity
from model.sites import Site
from tests.oracle.bridge import FOLDED, SMALL, Both, close, ids, peer, run, small_checkpoint

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the peer's own, and those of what it imports
]

CLEAN, CORRUPT = (50256, 2215, 5335, 290, 1757, 1816), (50256, 2215, 5335, 290, 6035, 1816)
END = len(CLEAN) - 1
LD = Metric(Quantity.LOGIT_DIFF, (5335,), (1757,), END)
HEADS = [Component(Kind.HEAD, layer, head) for layer, head in np.ndindex(SMALL.n_layer, SMALL.n_head)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(small_checkpoint(tmp_path_factory.mktemp("small")), LD, CLEAN, CORRUPT)


def test_logits_and_patterns_are_those_of_the_plain_bridge(both: Both) -> None:
    close(both.model(ids(CLEAN)), run(both.plain, CLEAN)[0])
    for layer in range(SMALL.n_layer):
        close(both.trace[Site.PATTERN, layer], both.cache["pattern", layer][0])


def test_the_lens_is_logit_lens(both: Both) -> None:
    theirs = peer("tools.analysis").logit_lens(both.plain, ids(CLEAN), incl_mid=True)
    after = residuals(both.trace, SMALL.n_layer, END)[:-1]
    close(both.model.unembed(read(both.model, both.trace, after, END)), theirs.readout.values[:, 0])


def test_heads_are_those_of_direct_logit_attribution(both: Both) -> None:
    """Conventions: folded in float32, without `fold_value_biases`."""
    theirs = peer("tools.analysis").direct_logit_attribution(
        both.folded, ids(CLEAN), answer_tokens=5335, incorrect_tokens=1757, unit="head"
    )
    by = attribution.gradients(both.model, both.trace, LD)
    table = attribution.head_table(both.model, both.trace, by)
    ours = torch.from_numpy(table.direct[table.pos == END])
    close(ours, theirs.attribution[: len(HEADS), 0], FOLDED)
    del both.folded  # a gigabyte


def test_zero_ablating_every_head_is_hook_z_at_zero(both: Both) -> None:
    theirs: list[float] = []
    for head in HEADS:

        def edit(x: torch.Tensor, hook: object, at: int = head.index or 0) -> torch.Tensor:
            x = x.clone()
            x[:, :, at] = 0.0
            return x

        name = f"blocks.{head.layer}.attn.hook_z"
        with torch.no_grad():
            theirs.append(
                float(both.metric_of(both.plain.run_with_hooks(ids(CLEAN), fwd_hooks=[(name, edit)])))
            )
    found = dict(
        measure(both.model, both.trace, metric_scorer(both.model, LD), [Ablate(head) for head in HEADS])
    )
    close(torch.tensor([found[at] for at in range(len(HEADS))]), torch.tensor(theirs))


def test_patching_every_head_is_attn_head_out_all_pos(both: Both) -> None:
    with torch.no_grad():
        theirs = peer("patching").get_act_patch_attn_head_out_all_pos(
            both.plain, ids(CORRUPT), both.cache, both.metric_of
        )
    changes = [Patch(head, Span(0, END), Span(0, END)) for head in HEADS]
    sources = Sources(other=both.trace)
    found = dict(measure(both.model, both.other, metric_scorer(both.model, LD), changes, sources))
    ours = torch.tensor([found[at] for at in range(len(HEADS))]).view(SMALL.n_layer, SMALL.n_head)
    close(ours, theirs)
    assert torch.count_nonzero((ours - ours[0, 0]).abs() > 1e-6) > len(HEADS) // 2


def test_attribution_patching_is_attribution_patch(both: Both) -> None:
    """Convention: denoising, gradient on the corrupted run."""
    tools = peer("tools.analysis.attribution_patching")
    config = tools.EdgeAttributionConfig("node")
    scores = tools.attribution_patch(both.plain, ids(CLEAN), ids(CORRUPT), both.metric_of, config).node_scores
    edited, other = Direction.DENOISING.pair(both.trace, both.other)
    ours = attribution_patching(Swap(both.model, edited, other, LD))
    theirs = {(node.kind, node.layer, node.head, node.position): score for node, score in scores.items()}
    heads = torch.tensor([theirs["attn_head_out", head.layer, head.index, END] for head in HEADS])
    close(ours.heads[:, :, END].flatten(), heads)
    layers = range(SMALL.n_layer)
    close(ours.mlp[:, 4], torch.tensor([theirs["mlp_out", layer, None, 4] for layer in layers]))
    close(ours.embed, torch.tensor([theirs["embed", None, None, pos] for pos in range(END + 1)]))
