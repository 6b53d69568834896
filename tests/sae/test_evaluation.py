"""What is said of a dictionary, against numpy by hand: the pass with its place overwritten, and every count."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pytest import approx

from model.edits.sources import Where
from model.gpt2 import GPT2
from model.sites import Site
from sae.activations import side_by_side
from sae.autoencoder import Autoencoder
from sae.evaluation import Report, evaluate, mean_activations, nearest, recovered
from sae.nonlinearities import TopK
from sae.places import width
from tests.tiny import TINY

GENERATOR = torch.Generator().manual_seed(0)
BATCHES = [torch.randint(0, 113, (2, 9), generator=GENERATOR) for _ in range(3)]
TOKENS = torch.cat(BATCHES)
SKIP = 2


def dictionary(reads: Where, writes: Where, n: int = 30) -> Autoencoder:
    """Random, but near enough to reconstruct something; one latent that never fires, and one that always does."""
    rng = torch.Generator().manual_seed(1)
    d_in, d_out = width(reads[0], TINY), width(writes[0], TINY)
    w_enc = torch.randn(d_in, n, generator=rng, dtype=torch.float64) / 7
    w_dec = torch.randn(n, d_out, generator=rng, dtype=torch.float64) / 7
    b_enc = 0.1 * torch.randn(n, generator=rng, dtype=torch.float64)
    b_enc[0], b_enc[1] = -1e3, 1e3
    w_dec[1] *= 1e-3
    b_dec = torch.randn(d_out, generator=rng, dtype=torch.float64) / 5
    return Autoencoder(w_enc, b_enc, w_dec, b_dec, reads, writes, TopK(7), pre_bias=reads == writes)


DICTIONARIES = (
    dictionary((Site.MLP_OUT, 1), (Site.MLP_OUT, 1)),
    dictionary((Site.Z, 2), (Site.Z, 2)),
    dictionary((Site.RESID_POST, 0), (Site.RESID_POST, 0)),
    dictionary((Site.LN2_NORMALIZED, 1), (Site.MLP_OUT, 1)),
)


def reports(model: GPT2, dictionaries: Sequence[Autoencoder] = DICTIONARIES) -> list[tuple[Report, ...]]:
    means = mean_activations(model, {ae.writes for ae in dictionaries}, BATCHES, SKIP)
    return list(evaluate(model, dictionaries, BATCHES, means, SKIP))


def kept(model: GPT2, place: Where) -> torch.Tensor:
    """What is at a place: [batch, pos, d]."""
    found = []

    def hook(site: Site, layer: int, x: torch.Tensor) -> torch.Tensor:
        found.extend([side_by_side(site, x)] if (site, layer) == place else [])
        return x

    model(TOKENS, hook)
    return found[0]


def log_probs(model: GPT2, place: Where | None = None, value: torch.Tensor | None = None) -> np.ndarray:
    """Of the whole pass, with `value` [batch, pos, d] at a place from position SKIP on."""

    def hook(site: Site, layer: int, x: torch.Tensor) -> torch.Tensor:
        if (site, layer) != place or value is None:
            return x
        new = x.clone()
        if site is Site.Z:
            heads = value.reshape(*value.shape[:2], TINY.n_head, TINY.d_head)
            for head in range(TINY.n_head):
                new[:, head, SKIP:] = heads[:, SKIP:, head]
        else:
            new[:, SKIP:] = value[:, SKIP:]
        return new

    logits = model(TOKENS, hook).numpy()
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def ce_and_kl(clean: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    ce, kl = [], []
    for row in range(len(TOKENS)):
        for pos in range(SKIP, TOKENS.shape[1] - 1):
            ce.append(-other[row, pos, int(TOKENS[row, pos + 1])])
            kl.append((np.exp(clean[row, pos]) * (clean[row, pos] - other[row, pos])).sum())
    return float(np.mean(ce)), float(np.mean(kl))


@pytest.mark.parametrize("at", range(len(DICTIONARIES)))
def test_the_model_with_a_place_overwritten_by_hand_loses_what_the_report_says(tiny: GPT2, at: int) -> None:
    report, ae = reports(tiny)[-1][at], DICTIONARIES[at]
    here = kept(tiny, ae.writes)
    mean = here[:, SKIP:].reshape(-1, here.shape[2]).numpy().mean(0)
    clean = log_probs(tiny)
    put_out = ae.forward(kept(tiny, ae.reads))[0]
    for damage, value in (
        (report.spliced, put_out),
        (report.zero, torch.zeros_like(here)),
        (report.mean, torch.from_numpy(mean).expand_as(here)),
    ):
        ce, kl = ce_and_kl(clean, log_probs(tiny, ae.writes, value))
        assert (damage.ce, damage.kl) == (approx(ce, rel=1e-5), approx(kl, rel=1e-4, abs=1e-6))
    assert report.clean_ce == approx(ce_and_kl(clean, clean)[0], rel=1e-5)


@pytest.mark.parametrize("at", range(len(DICTIONARIES)))
def test_sparsity_error_and_density_are_those_counted_by_hand(tiny: GPT2, at: int) -> None:
    report, ae = reports(tiny)[-1][at], DICTIONARIES[at]
    x, y = kept(tiny, ae.reads)[:, SKIP:].flatten(0, 1), kept(tiny, ae.writes)[:, SKIP:].flatten(0, 1).numpy()
    put_out, latents = ae.forward(x)
    active = latents.numpy() > 0
    error = ((put_out.numpy() - y) ** 2).sum()
    assert report.tokens == len(y) == 6 * 7
    assert report.l0 == approx(active.sum(1).mean()) and report.density.tolist() == approx(
        list(active.mean(0))
    )
    assert report.fvu == approx(error / ((y - y.mean(0)) ** 2).sum())
    assert report.dead == (active.sum(0) == 0).sum() >= 1
    assert report.dense == (active.mean(0) > 0.1).sum() >= 1


def test_recovered_is_one_for_a_perfect_dictionary_and_zero_for_an_ablation(tiny: GPT2) -> None:
    d = TINY.d_model
    eye = torch.eye(d, dtype=torch.float64)
    none = torch.zeros(2 * d, dtype=torch.float64)
    place = (Site.MLP_OUT, 1)
    perfect = Autoencoder(torch.cat([eye, -eye], 1), none, torch.cat([eye, -eye]), none[:d], place, place)
    nothing = Autoencoder(0 * perfect.w_enc, none, perfect.w_dec, none[:d], place, place)
    whole, zero = reports(tiny, (perfect, nothing))[-1]
    for ablation in ("zero", "mean"):
        assert whole.ce_recovered(ablation) == approx(1) and whole.kl_recovered(ablation) == approx(1)
    assert zero.ce_recovered("zero") == approx(0) and zero.kl_recovered("zero") == approx(0)
    assert whole.fvu == approx(0, abs=1e-12) and zero.l0 == 0 and zero.dead == 2 * d


def test_each_report_is_about_the_batches_so_far(tiny: GPT2) -> None:
    assert [report[0].tokens for report in reports(tiny)] == [14, 28, 42]


def test_the_model_may_be_rerun_on_the_first_batches_alone(tiny: GPT2) -> None:
    means = mean_activations(tiny, {ae.writes for ae in DICTIONARIES}, BATCHES, SKIP)
    all_of, first = (list(evaluate(tiny, DICTIONARIES, BATCHES, means, SKIP, rerun=n)) for n in (None, 1))
    for whole, begun, mixed in zip(all_of[-1], all_of[0], first[-1], strict=True):
        assert (mixed.tokens, mixed.l0, mixed.fvu) == (whole.tokens, whole.l0, whole.fvu)
        assert (mixed.spliced, mixed.zero, mixed.clean_ce) == (begun.spliced, begun.zero, begun.clean_ce)


def test_recovery_is_a_share_of_what_an_ablation_loses() -> None:
    assert recovered(0.25, 1.0) == 0.75
    assert np.isnan(recovered(0.1, 0.0))


def test_the_nearest_other_row_is_found_across_blocks() -> None:
    rows = torch.randn(11, 4, generator=torch.Generator().manual_seed(3))
    unit = (rows / rows.norm(dim=1, keepdim=True)).numpy()
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1)
    assert nearest(rows, rows=4).numpy() == approx(cosines.max(1), abs=1e-6)
