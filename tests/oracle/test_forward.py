"""Logits, every site of the pass, and the logit lens, against TransformerLens on the checkpoint's own weights."""

import pytest
import torch
from torch import Tensor

from model.lens import lens, read, residuals
from model.sites import Site
from model.trace import Trace, record
from tests.oracle.bridge import END, ODD, Both, close, ids, peer, run

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore"),  # the peer's own, and those of what it imports
]

HOOKS = {
    Site.EMBED: "hook_embed",
    Site.POS_EMBED: "hook_pos_embed",
    Site.RESID_PRE: "blocks.{}.hook_resid_pre",
    Site.LN1_SCALE: "blocks.{}.ln1.hook_scale",
    Site.LN1_NORMALIZED: "blocks.{}.ln1.hook_normalized",
    Site.Q: "blocks.{}.attn.hook_q",
    Site.K: "blocks.{}.attn.hook_k",
    Site.V: "blocks.{}.attn.hook_v",
    Site.SCORES: "blocks.{}.attn.hook_attn_scores",
    Site.PATTERN: "blocks.{}.attn.hook_pattern",
    Site.Z: "blocks.{}.attn.hook_z",
    Site.ATTN_OUT: "blocks.{}.hook_attn_out",
    Site.RESID_MID: "blocks.{}.hook_resid_mid",
    Site.LN2_SCALE: "blocks.{}.ln2.hook_scale",
    Site.LN2_NORMALIZED: "blocks.{}.ln2.hook_normalized",
    Site.MLP_PRE: "blocks.{}.mlp.hook_pre",
    Site.MLP_POST: "blocks.{}.mlp.hook_post",
    Site.MLP_OUT: "blocks.{}.hook_mlp_out",
    Site.RESID_POST: "blocks.{}.hook_resid_post",
    Site.LN_FINAL_SCALE: "ln_final.hook_scale",
    Site.LN_FINAL_NORMALIZED: "ln_final.hook_normalized",
    Site.LN_FINAL: "ln_final.hook_out",
}
PER_HEAD = (Site.Q, Site.K, Site.V, Site.Z)
"The peer keeps these as [pos, head, d_head]."


def test_logits_are_those_of_the_plain_bridge(both: Both) -> None:
    """No convention: the checkpoint's weights on both sides."""
    close(both.model(ids(both.clean)), run(both.plain, both.clean)[0])


def test_log_probabilities_are_those_of_the_folded_bridge(both: Both) -> None:
    """Convention: centring W_U shifts all logits of a token alike, so log-probabilities are compared."""
    theirs = run(both.folded, both.clean)[0].log_softmax(-1)
    close(both.model(ids(both.clean)).log_softmax(-1), theirs, 1e-5)


@pytest.fixture(scope="module")
def everything(both: Both) -> Trace:
    return record(both.model, both.clean, sites=frozenset(Site))


@pytest.mark.parametrize("site", HOOKS, ids=str)
def test_a_site_is_the_hook_of_its_name(both: Both, everything: Trace, site: Site) -> None:
    """Conventions: the peer's heads come after positions; its scores are masked, ours seen before the mask."""
    for layer in range(ODD.n_layer if "{}" in HOOKS[site] else 1):
        theirs: Tensor = both.cache[HOOKS[site].format(layer)][0]
        ours = everything[site, layer]
        if site in PER_HEAD:
            theirs = theirs.transpose(0, 1)
        if site is Site.SCORES:
            ours, theirs = ours.tril(), theirs.tril().nan_to_num(0.0, 0.0, 0.0)
        close(ours, theirs)


def test_the_bias_sites_are_the_biases_of_the_bridge(both: Both, everything: Trace) -> None:
    for layer in range(ODD.n_layer):
        close(everything[Site.ATTN_BIAS, layer][END], both.plain.b_O[layer])
        close(everything[Site.MLP_BIAS, layer][END], both.plain.b_out[layer])


def test_every_other_site_has_a_hook() -> None:
    """Biases are parameters there, and logits have a test of their own."""
    assert set(Site) - set(HOOKS) == {Site.ATTN_BIAS, Site.MLP_BIAS, Site.LN_FINAL_BIAS, Site.LOGITS}


@pytest.mark.parametrize("pos", [0, 3, END])
def test_the_lens_is_logit_lens(both: Both, pos: int) -> None:
    """Convention: the final norm's scale is computed anew after each line, its bias included (`logit_lens`)."""
    logit_lens = peer("tools.analysis").logit_lens
    target = both.metric.targets[0]
    theirs = logit_lens(both.plain, ids(both.clean), incl_mid=True, positions=pos)
    after = residuals(both.trace, ODD.n_layer, pos)[:-1]  # U changes nothing
    close(both.model.unembed(read(both.model, both.trace, after, pos)), theirs.readout.values[:, 0])
    ours = lens(both.model, both.trace, both.metric, pos)
    ranks = logit_lens(both.plain, ids(both.clean), incl_mid=True, positions=pos, targets=target)
    assert ours.target_rank[:-1].tolist() == ranks.readout.target_ranks.flatten().tolist()
    tops = logit_lens(both.plain, ids(both.clean), incl_mid=True, positions=pos, top_k=3).readout
    assert ours.top[:-1].tolist() == tops.top_ids.reshape(-1, 3).tolist()
    assert torch.isfinite(tops.values).all()
