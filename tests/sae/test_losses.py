"""Each term of the loss against numpy written out by hand, and its gradients against the published formulas."""

import numpy as np
import pytest
import torch
from pytest import approx
from torch import Tensor

from sae.nonlinearities import BatchTopK as TrainedBatchTopK
from sae.training import rules
from sae.training.losses import Jump, Step, aux_k, l0, l1, squared_error

GENERATOR = torch.Generator().manual_seed(0)
PRE = torch.randn(6, 5, generator=GENERATOR, dtype=torch.float64)
W_DEC = torch.randn(5, 3, generator=GENERATOR, dtype=torch.float64)
THRESHOLD = torch.tensor([0.1, 0.4, 0.02, 1.0, 0.3], dtype=torch.float64)
NONE = torch.zeros(5, dtype=torch.float64)


def test_the_squared_error_is_summed_over_dimensions() -> None:
    a, b = PRE.numpy(), PRE.numpy()[::-1].copy()
    wanted = [
        sum((x - y) ** 2 for x, y in zip(left, right, strict=True)) for left, right in zip(a, b, strict=True)
    ]
    assert squared_error(PRE, PRE.flip(0)).tolist() == approx(wanted)


def test_l1_weighs_each_latent_by_its_decoder_norm() -> None:
    latents = PRE.relu().numpy()
    norms = [np.sqrt((row**2).sum()) for row in W_DEC.numpy()]
    wanted = np.mean([sum(z * norm for z, norm in zip(row, norms, strict=True)) for row in latents])
    assert float(l1(PRE.relu(), W_DEC)) == approx(wanted)
    penalty = rules.L1(0.3).penalty(PRE, PRE.relu(), W_DEC, NONE)
    assert float(penalty) == approx(0.3 * wanted)


def test_l0_counts_and_its_gradient_is_the_kernel_estimate() -> None:
    threshold = THRESHOLD.clone().requires_grad_()
    loss = l0(PRE, threshold, 0.5)
    assert float(loss.detach()) == approx((PRE.numpy() > THRESHOLD.numpy()).sum() / 6)
    loss.backward()
    near = np.abs(PRE.numpy() - THRESHOLD.numpy()) < 0.25
    assert threshold.grad is not None and near.any()
    assert threshold.grad.tolist() == approx(list(-near.sum(0) / 6 / 0.5))


def test_jumprelu_and_both_its_gradients() -> None:
    pre, threshold = PRE.clone().requires_grad_(), THRESHOLD.clone().requires_grad_()
    made: Tensor = Jump.apply(pre, threshold, 0.5)  # pyright: ignore[reportAssignmentType]
    z, theta = PRE.numpy(), THRESHOLD.numpy()
    assert made.detach().numpy() == approx(np.where(z > theta, z, 0.0))
    upstream = torch.arange(30, dtype=torch.float64).view(6, 5)
    (made * upstream).sum().backward()
    assert pre.grad is not None and threshold.grad is not None
    assert pre.grad.numpy() == approx(upstream.numpy() * (z > theta))
    kernel = (np.abs((z - theta) / 0.5) < 0.5).astype(float)
    assert threshold.grad.numpy() == approx((-(theta / 0.5) * kernel * upstream.numpy()).sum(0))


def test_the_expected_loss_falls_where_the_estimated_gradients_say() -> None:
    """Over many inputs the kernel's estimate is the derivative of the mean, which a single input's is not."""
    pre = torch.randn(400_000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    at, step = torch.tensor([0.4], dtype=torch.float64, requires_grad=True), 0.05
    estimate = torch.autograd.grad(Jump.apply(pre, at, 0.1).square().sum(-1).mean() + l0(pre, at, 0.1), at)[0]  # pyright: ignore[reportOptionalMemberAccess]

    def loss(threshold: float) -> float:
        on = pre > threshold
        return float((pre.square() * on + on).mean())

    difference = (loss(0.4 + step) - loss(0.4 - step)) / (2 * step)
    assert float(estimate) == approx(difference, rel=0.03)


def test_a_step_is_zero_or_one() -> None:
    assert Step.apply(PRE, THRESHOLD, 0.1).numpy() == approx((PRE > THRESHOLD).double().numpy())  # pyright: ignore[reportOptionalMemberAccess]


def test_the_auxiliary_loss_reconstructs_the_error_from_the_most_active_dead_latents() -> None:
    dead = torch.tensor([True, False, True, True, False])
    error = torch.randn(6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    z, w, e = PRE.numpy(), W_DEC.numpy(), error.numpy()
    distances = []
    for row in range(6):
        best = sorted((0, 2, 3), key=lambda latent: -z[row, latent])[:2]
        made = sum(max(z[row, latent], 0) * w[latent] for latent in best)
        distances.append(((made - e[row]) ** 2).sum())
    wanted = np.mean(distances) / ((e - e.mean(0)) ** 2).sum(1).mean()
    assert float(aux_k(PRE[:, dead], 2, W_DEC[dead], error)) == approx(wanted)


def test_no_gradient_of_the_auxiliary_loss_goes_into_the_error() -> None:
    pre, error = PRE.clone().requires_grad_(), torch.eye(6, 3, dtype=torch.float64).requires_grad_()
    aux_k(pre, 9, W_DEC, error).backward()
    assert pre.grad is not None and pre.grad.abs().sum() > 0 and error.grad is None


def test_topk_keeps_the_largest_of_a_row_and_batchtopk_those_of_all_rows() -> None:
    z = PRE.numpy()
    by_row = rules.TopK(2).activate(PRE, NONE).numpy()
    for row in range(6):
        kept = set(np.argsort(-z[row])[:2])
        assert by_row[row].tolist() == [max(z[row, i], 0) if i in kept else 0 for i in range(5)]
    by_batch = rules.BatchTopK(2).activate(PRE, NONE).numpy()
    bound = np.sort(z.flatten())[-12]
    assert by_batch == approx(np.where((z >= bound) & (z > 0), z, 0.0))
    assert (
        rules.TopK(2).penalty(PRE, PRE, W_DEC, NONE) == rules.BatchTopK(2).penalty(PRE, PRE, W_DEC, NONE) == 0
    )


def test_the_least_active_latent_is_what_a_batch_is_cut_at() -> None:
    latents = rules.BatchTopK(1).activate(PRE, NONE)
    assert float(rules.lowest(latents)) == latents[latents > 0].min()
    assert float(rules.lowest(torch.zeros(3, 2))) == 0.0


def test_batchtopk_becomes_a_threshold() -> None:
    assert rules.BatchTopK(3).trained(0.25, THRESHOLD) == TrainedBatchTopK(3, 0.25)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_loss_of_shards_is_their_mean(shards: int) -> None:
    parts = PRE.view(shards, 6 // shards, 5)
    assert np.mean([float(l1(part.relu(), W_DEC)) for part in parts]) == approx(float(l1(PRE.relu(), W_DEC)))
