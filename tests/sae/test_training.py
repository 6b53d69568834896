"""Training: it finds known features, keeps its constraints, resumes to the bit, and stops where it is told to."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from pytest import approx
from safetensors import safe_open

from model.sites import Site
from sae.activations import Batch
from sae.files import load_autoencoder
from sae.toy import PLACE, Toy, recovery, toy_stream
from sae.training import rules
from sae.training.checkpoints import ResumeError
from sae.training.dead import ENCODER_NORM, resample
from sae.training.learner import Learner, as_autoencoder, centre_and_scale, geometric_median, new_learner
from sae.training.loop import Progress, all_of, few, run_shard, split, train
from sae.training.plan import Plan, Target
from sae.training.run import Data, run
from sae.training.schedule import Schedule
from sae.training.world import Alone, shards_of, tree_sum

TOY = Toy(n_features=24, d=16, present=0.04)
TARGET = Target(PLACE, PLACE)
OTHER = (Site.MLP_OUT, 0)
TRANSCODER = Target(PLACE, OTHER)
SHORT = Plan(
    rules.TopK(2), Schedule(30, 3e-3, warmup=5), n_latent=40, batch=64, shards=2, aux_k=8, dead_after=400
)


def both(size: int, shard: int, shards: int, start: int) -> Iterator[Batch]:
    """Toy activations, and a linear image of them for a transcoder to put out."""
    matrix = torch.randn(TOY.d, 10, generator=torch.Generator().manual_seed(5)) / 3
    for batch in toy_stream(TOY, size, shard, shards, start):
        yield {**batch, OTHER: batch[PLACE] @ matrix + 1.0}


DATA = Data("toy", both, lambda: next(both(512, 10_000, 1, 0)))


def learn(plan: Plan, target: Target = TARGET) -> tuple[Learner, list[Progress]]:
    learner = new_learner(target, plan, DATA.sample())
    streams = [both(plan.share, shard, plan.shards, 0) for shard in range(plan.shards)]
    return learner, list(train([learner], plan, streams, Alone()))


LONG = Plan(rules.TopK(1), Schedule(600, 1e-2, warmup=30), n_latent=48, batch=128, shards=1, dead_after=5000)


@pytest.mark.parametrize(
    "plan",
    [
        replace(LONG, rule=rules.TopK(2), aux_k=16),
        replace(LONG, rule=rules.BatchTopK(1), aux_k=16),
        replace(LONG, rule=rules.L1(0.25), resample_every=150),
        replace(LONG, rule=rules.JumpRelu(0.15), resample_every=150),
    ],
    ids=lambda plan: type(plan.rule).__name__,
)
def test_each_rule_finds_the_features_of_a_toy(plan: Plan) -> None:
    learner, progress = learn(plan)
    assert recovery(learner.weights["w_dec"].detach(), TOY.features()) > 0.9
    assert progress[-1].figures[0].l0 < 4
    assert progress[-1].figures[0].fvu < 0.35


def test_computing_few_latents_gives_the_loss_and_gradients_of_computing_all() -> None:
    learner, _ = learn(SHORT)
    x, y = learner.scaled(next(both(50, 0, 1, 99)))
    found = []
    for made in (few(learner, 2, x), all_of(learner, rules.TopK(2), x)):
        loss = (made.recon - y).square().sum()
        weights = [weight for name, weight in learner.weights.items() if name != "log_threshold"]
        found.append([loss.detach(), made.fired, *torch.autograd.grad(loss, weights)])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", [TARGET, TRANSCODER], ids=lambda target: target.name)
def test_gradients_are_those_of_finite_differences(target: Target) -> None:
    """In float64, of the loss of a shard with its penalty, by every weight that has one."""
    plan = replace(SHORT, rule=rules.L1(0.3), aux_k=0)
    learner, _ = learn(plan, target)
    learner.weights = {n: w.detach().double().requires_grad_() for n, w in learner.weights.items()}
    batch = next(both(20, 0, 1, 99))
    by_weight, *_ = split(learner, run_shard(learner, plan, batch, 29).sums)
    for (name, weight), gradient in zip(learner.weights.items(), by_weight, strict=True):
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).double()
        start, values = weight.detach().clone(), []
        for step in (1e-6, -1e-6):
            weight.data = start + step * direction
            values.append(float(split(learner, run_shard(learner, plan, batch, 29).sums)[1][0]))
        weight.data = start
        assert (values[0] - values[1]) / 2e-6 == approx(
            float((gradient * direction).sum()), rel=1e-4, abs=1e-7
        ), name


def test_random_directions_are_not_the_features() -> None:
    untrained = new_learner(TARGET, LONG, DATA.sample())
    assert recovery(untrained.weights["w_dec"].detach(), TOY.features()) < 0.8


def test_recovery_is_the_mean_of_the_best_cosines() -> None:
    features = torch.eye(3)
    rows = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 4.0]])
    assert recovery(rows, features) == approx((1 + 0.6 + 0.8) / 3)


def test_decoder_rows_keep_their_norm_and_gradients_along_them_are_removed() -> None:
    learner, _ = learn(replace(SHORT, clip=1e9))
    w_dec = learner.weights["w_dec"]
    assert torch.allclose(w_dec.norm(dim=1), torch.ones(40), atol=1e-6)
    assert w_dec.grad is not None and w_dec.grad.abs().max() > 1e-6
    # the rows have moved by a step since: along the rows as they were, nothing was left
    before = w_dec.detach().clone()
    streams = [both(SHORT.share, shard, 2, 30) for shard in range(2)]
    longer = replace(SHORT, clip=1e9, schedule=replace(SHORT.schedule, steps=31))
    next(train([learner], longer, streams, Alone(), 30))
    along = (w_dec.grad * before).sum(1)
    assert float(along.abs().max() / w_dec.grad.norm(dim=1).max()) < 1e-5


def test_biases_begin_at_the_geometric_median_which_outliers_do_not_move() -> None:
    points = torch.randn(401, 3, generator=torch.Generator().manual_seed(0)) * 0.1 + 2.0
    far = torch.cat([points, torch.full((20, 3), 1000.0)])
    assert float((geometric_median(far) - 2.0).abs().max()) < 0.05
    assert float((far.mean(0) - 2.0).abs().min()) > 40
    centre, scale = centre_and_scale(points)
    assert float((((points - centre) * scale) ** 2).sum(1).mean()) == approx(1.0, rel=1e-5)


@pytest.mark.parametrize("target", [TARGET, TRANSCODER], ids=lambda target: target.name)
@pytest.mark.parametrize(
    "rule", [rules.TopK(2), rules.L1(0.1), rules.JumpRelu(0.02)], ids=lambda r: type(r).__name__
)
def test_a_finished_dictionary_does_on_raw_activations_what_the_learner_did_on_scaled_ones(
    target: Target, rule: rules.Rule
) -> None:
    learner, _ = learn(replace(SHORT, rule=rule), target)
    made = as_autoencoder(learner, replace(SHORT, rule=rule))
    batch = next(both(50, 0, 1, 99))
    x, _ = learner.scaled(batch)
    with torch.no_grad():
        latents = rule.activate(learner.pre_activations(x), learner.threshold)
        recon = latents @ learner.weights["w_dec"] + learner.weights["b_dec"]
    put_out, found = made.forward(batch[target.reads])
    assert torch.allclose(found * learner.scale_out, latents, atol=1e-4)
    assert torch.allclose(put_out * learner.scale_out, recon, atol=1e-4)
    assert (found > 0).sum() > 20


def test_dead_latents_may_be_left_out_and_the_others_do_the_same() -> None:
    learner, _ = learn(SHORT)
    learner.silent[[3, 20, 21]] = 1000
    learner.weights["b_enc"].data[[3, 20, 21]] = -1e6
    whole, fewer = as_autoencoder(learner, SHORT), as_autoencoder(learner, SHORT, drop_after=SHORT.dead_after)
    x = TOY.activations(50, 3)
    assert fewer.n_latent == 40 - int((learner.silent >= SHORT.dead_after).sum()) <= 37
    kept = (learner.silent < SHORT.dead_after).nonzero()[:, 0]
    assert torch.allclose(fewer.pre_activations(x), whole.pre_activations(x)[:, kept], atol=1e-5)
    assert torch.equal(fewer.w_dec, whole.w_dec[kept])
    assert fewer.density is not None and len(fewer.density) == fewer.n_latent


def test_batchtopk_is_as_sparse_afterwards_as_in_training() -> None:
    plan = replace(SHORT, rule=rules.BatchTopK(3), schedule=replace(SHORT.schedule, steps=400))
    learner, _ = learn(plan)
    latents = as_autoencoder(learner, plan).encode(TOY.activations(2000, 77))
    assert float((latents > 0).sum(1).float().mean()) == approx(3, rel=0.1)


def test_the_loss_does_not_depend_on_how_many_shards_there_are_but_for_rounding() -> None:
    """The same activations in one shard or in four: each step's figures agree."""

    def in_shards(shards: int) -> list[Progress]:
        plan = replace(SHORT, shards=shards, aux_k=0)
        learner = new_learner(TARGET, plan, DATA.sample())
        whole = both(64, 0, 1, 0)
        batches = [next(whole)[PLACE] for _ in range(5)]

        def part(number: int) -> Iterator[Batch]:
            return ({PLACE: batch.chunk(shards)[number]} for batch in batches)

        return list(islice(train([learner], plan, [part(n) for n in range(shards)], Alone()), 5))

    for one, four in zip(in_shards(1), in_shards(4), strict=True):
        assert one.figures[0].loss == approx(four.figures[0].loss, rel=1e-4)
        assert one.figures[0].l0 == approx(four.figures[0].l0)


def test_silence_is_counted_in_activations_and_ends_with_one() -> None:
    learner, progress = learn(SHORT)
    assert int(learner.silent.max()) <= 30 * 64 and int(learner.silent.min()) == 0
    assert progress[-1].figures[0].dead == int((learner.silent >= 400).sum())
    assert learner.counted == 3 * 64 and 0 < float(learner.counts.sum()) <= 2 * 3 * 64


def test_dead_latents_begin_again_at_inputs_that_are_badly_reconstructed() -> None:
    learner, _ = learn(SHORT)
    learner.silent[:] = 0
    learner.silent[[4, 9]] = 1000
    before = {name: weight.detach().clone() for name, weight in learner.weights.items()}
    rows = TOY.activations(20, 0) * learner.scale_in
    error = torch.zeros(20)
    error[7] = 2.0
    assert resample(learner, rows, error, Alone(), 1000, torch.Generator()) == 2
    w = {name: weight.detach() for name, weight in learner.weights.items()}
    direction = torch.nn.functional.normalize(rows[7] - w["b_dec"], dim=0)
    others = [n for n in range(40) if n not in (4, 9)]
    norm = before["w_enc"].norm(dim=1)[others].mean()
    for latent in (4, 9):
        assert torch.allclose(w["w_dec"][latent], direction, atol=1e-6)
        assert torch.allclose(w["w_enc"][latent], direction * ENCODER_NORM * norm, atol=1e-6)
        assert w["b_enc"][latent] == 0 and learner.silent[latent] == 0
    assert torch.equal(w["w_dec"][others], before["w_dec"][others])
    moments = learner.optimizer.state[learner.weights["w_enc"]]
    assert float(moments["exp_avg"][[4, 9]].abs().sum()) == 0 < float(moments["exp_avg"].abs().sum())
    assert float(learner.optimizer.state[learner.weights["w_dec"]]["exp_avg_sq"][[4, 9]].sum()) == 0


def content(path: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    """What a file says and holds, to the bit; the order of its header is left to the library."""
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}


@pytest.mark.parametrize(
    "plan",
    [
        SHORT,
        replace(SHORT, rule=rules.BatchTopK(2)),
        replace(SHORT, rule=rules.JumpRelu(0.02), resample_every=7),
    ],
    ids=lambda plan: type(plan.rule).__name__,
)
def test_a_training_that_is_broken_off_and_resumed_is_the_same_to_the_bit(plan: Plan, tmp_path: Path) -> None:
    targets = (TARGET, TRANSCODER)
    whole = list(run(targets, plan, DATA, tmp_path / "whole"))
    broken = run(targets, plan, DATA, tmp_path / "broken", checkpoint_every=5)
    first = list(islice(broken, 13))
    broken.close()
    assert {path.name for path in (tmp_path / "broken").iterdir()} == {"checkpoint.safetensors"}
    rest = list(run(targets, plan, DATA, tmp_path / "broken", resume=True))
    assert [*first, *rest] == whole and rest[0].step == 14
    for target in targets:
        name = f"{target.name}.safetensors"
        assert content(tmp_path / "whole" / name) == content(tmp_path / "broken" / name)


def test_being_asked_to_stop_ends_after_a_step_and_keeps_a_checkpoint(tmp_path: Path) -> None:
    asked = iter([False, False, True])
    steps = list(run([TARGET], SHORT, DATA, tmp_path, asked_to_stop=lambda: next(asked)))
    assert [progress.stopped for progress in steps] == [False, False, True]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.safetensors"}


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="has no checkpoint to go on from"):
        next(run([TARGET], SHORT, DATA, tmp_path, resume=True))
    begun = run([TARGET], SHORT, DATA, tmp_path)
    next(begun)
    begun.close()
    for changed, complaint in (
        (dict(plan=replace(SHORT, batch=32)), "other settings"),
        (dict(data=replace(DATA, name="other")), "other text"),
        (dict(targets=[TRANSCODER]), "other dictionaries than resid_pre.0-mlp_out.0"),
    ):
        arguments = {"targets": [TARGET], "plan": SHORT, "data": DATA, **changed}
        with pytest.raises(ResumeError, match=complaint):
            next(run(**arguments, directory=tmp_path, resume=True))
    (tmp_path / "checkpoint.safetensors").write_bytes(b"nothing")
    with pytest.raises(ResumeError, match="cannot read"):
        next(run([TARGET], SHORT, DATA, tmp_path, resume=True))


def test_the_files_hold_what_was_trained(tmp_path: Path) -> None:
    list(run([TARGET, TRANSCODER], SHORT, DATA, tmp_path, dtype=torch.float16, notes={"steps": 30}))
    made, notes = load_autoencoder(tmp_path / "resid_pre.0-mlp_out.0.safetensors")
    assert (made.reads, made.writes, made.n_latent) == (PLACE, OTHER, 40)
    assert made.w_dec.dtype == torch.float16 and notes == {"steps": 30} and not made.pre_bias
    assert made.density is not None and 0 < float(made.density.max()) <= 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"batch": 65}, "a batch of 65 is not a multiple of its 2 shards"),
        ({"rule": rules.TopK(41)}, "k is 41: from 1 to the 40 latents was expected"),
        ({"n_latent": 0}, "n_latent is 0: at least 1 was expected"),
    ],
)
def test_numbers_that_cannot_be_are_refused(changes: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(SHORT, **changes)


def test_shards_are_dealt_out_in_order_and_summed_as_a_tree() -> None:
    class Two:
        rank, size = 1, 2

    assert shards_of(Two(), 8) == range(4, 8)  # pyright: ignore[reportArgumentType]
    parts = [torch.tensor(x) for x in (1e8, 1.0, -1e8, 1.0)]
    halves = [tree_sum(parts[:2]), tree_sum(parts[2:])]
    assert tree_sum(parts) == tree_sum(halves)
    with pytest.raises(ValueError, match="3 shards: a power of two"):
        shards_of(Alone(), 3)
    with pytest.raises(ValueError, match="2 processes cannot share 1 shards"):
        shards_of(Two(), 1)  # pyright: ignore[reportArgumentType]
