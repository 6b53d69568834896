"""Training: exact resume, and a directory that others can load."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from model.demo.guide import Watch
from model.demo.train import (
    Plan,
    Progress,
    forming_logits,
    guidance,
    learn_bpe,
    learning_rate,
    near_sighted,
    new_run,
    text_of_step,
    train,
)
from model.gpt2 import GPT2
from model.sites import Hook, compose, no_hook
from model.weights import load_model

TINY = Plan(
    steps=4,
    finishing_steps=1,
    copying_steps=1,
    forming_steps=3,
    widening_steps=1,
    guided_steps=4,
    n_layer=2,
    n_head=2,
    d_model=16,
    n_ctx=32,
    most_merges=20,
    texts_for_bpe=50,
    copying_shape=(2, 8),
    shapes=((2, 16), (1, 32)),
    warmup=2,
    dtype="float32",
    checkpoint_every=2,
)


def test_a_resumed_run_equals_one_that_was_not_interrupted(tmp_path: Path):
    whole = list(train(TINY, tmp_path / "whole"))
    before = list(islice(train(TINY, tmp_path / "parts"), 3))  # the checkpoint is of step 2
    after = list(train(TINY, tmp_path / "parts", resume=True))
    assert before[:2] + after == whole
    for name in ("model.safetensors", "config.json", "vocab.json", "merges.txt"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_another_seed_trains_another_model(tmp_path: Path):
    def losses(seed: int) -> list[float]:
        return [
            progress.loss
            for progress in train(replace(TINY, seed=seed, steps=1, finishing_steps=0), tmp_path / str(seed))
        ]

    assert losses(0) != losses(1)


def test_the_loss_falls(tmp_path: Path):
    reported = list(
        train(
            replace(TINY, steps=39, copying_steps=0, forming_steps=20, d_model=32, shapes=((8, 32),)),
            tmp_path,
        )
    )
    assert [p.step for p in reported] == list(range(1, 41))
    assert mean(reported[-5:]) < mean(reported[:5]) - 0.5


def test_the_text_of_a_step_depends_on_the_seed_and_the_step_alone():
    def rows(seed: int, step: int) -> list[list[int]]:
        return text_of_step(replace(TINY, seed=seed), step, lambda text: list(text.encode()), 256)

    rows(0, 4)  # what was drawn before does not matter
    assert rows(0, 3) == rows(0, 3)
    assert rows(0, 3) != rows(0, 1) and rows(0, 3) != rows(1, 3)
    assert [[len(row) for row in rows(0, step)] for step in range(3)] == [[9, 9], [33], [17, 17]]


def mean(reported: list[Progress]) -> float:
    return sum(progress.loss for progress in reported) / len(reported)


def test_resuming_nothing_says_what_would_be_right(tmp_path: Path):
    learn_bpe(TINY, tmp_path)
    with pytest.raises(ValueError, match=r"holds no checkpoint\.pt: a directory in which"):
        next(train(TINY, tmp_path, resume=True))


def test_resuming_another_plan_is_refused(tmp_path: Path):
    list(islice(train(TINY, tmp_path), 3))
    other = replace(TINY, seed=1)
    with pytest.raises(ValueError, match="another plan: resume with the seed"):
        next(train(other, tmp_path, resume=True))


def test_the_saved_model_is_the_trained_one_in_half_precision(tmp_path: Path):
    list(train(TINY, tmp_path))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    trained = new_run(TINY, load_model(tmp_path).config.n_vocab).model
    trained.load_state_dict(state["model"])
    tokens = torch.arange(20)[None]
    assert torch.equal(trained.half().float()(tokens), load_model(tmp_path)(tokens))


def test_the_learning_rate_warms_up_and_decays_to_a_twentieth():
    plan = Plan(steps=1000, finishing_steps=0)
    rates = [learning_rate(plan, step) for step in range(1001)]
    peak = max(rates)
    assert peak == plan.learning_rate and rates.index(peak) == plan.warmup - 1
    assert rates[: plan.warmup] == sorted(rates[: plan.warmup])
    assert rates[-1] == pytest.approx(peak / 20)


def test_the_finishing_steps_have_a_rate_and_a_text_of_their_own():
    plan = replace(TINY, steps=4, finishing_steps=3)
    assert learning_rate(plan, 4) == plan.finishing_rate > learning_rate(plan, 6)
    rows = text_of_step(plan, 4, lambda text: list(text.encode()), 256)
    assert rows != text_of_step(replace(plan, steps=5), 4, lambda text: list(text.encode()), 256)


def test_while_forming_the_first_layers_see_only_the_last_tokens():
    model = new_run(replace(TINY, n_layer=1), 30).model
    tokens = torch.tensor([[1, 2, 3, 4], [9, 2, 3, 4]])
    first, other = forming_logits(model, tokens, near_sighted(TINY, step=0))
    assert not torch.equal(first[1], other[1])
    assert torch.equal(first[2:], other[2:])


def test_then_they_come_to_see_everything_little_by_little():
    model = new_run(replace(TINY, n_layer=1), 30).model
    plan, tokens = replace(TINY, widening_steps=10), torch.tensor([[1, 2, 3, 4]])
    seen = [patterns_of(model, tokens, near_sighted(plan, step))[0, 0, 3, 0] for step in (2, 3, 8, 13, 14)]
    assert seen[0] == 0 < seen[1] < seen[2] < seen[3] == seen[4]
    assert torch.equal(model(tokens, near_sighted(plan, 13)), model(tokens))


def patterns_of(model: GPT2, tokens: torch.Tensor, hook: Hook) -> torch.Tensor:
    watch = Watch()
    model(tokens, compose(hook, watch))
    return watch.patterns[0]


def test_when_the_mlps_join_in_nothing_jumps():
    model = new_run(replace(TINY, n_layer=4), 30).model
    tokens = torch.tensor([[1, 2, 3, 4]])
    assert torch.allclose(forming_logits(model, tokens, no_hook), model(tokens), atol=1e-6)


def test_the_guide_fades_and_ends():
    plan = replace(TINY, guidance=0.5, guided_steps=300)
    weights = [guidance(plan, step) for step in range(0, 400, 50)]
    assert weights == [0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.0, 0.0]


@pytest.mark.slow
def test_the_mover_is_kept_alone_to_the_end(tmp_path: Path):
    words = {"most_merges": 600, "texts_for_bpe": 200}  # names must be one token each
    plan = replace(
        TINY,
        n_layer=6,
        n_head=4,
        guided_steps=0,
        learning_rate=0.02,
        steps=40,
        shapes=((16, 24),),
        copying_shape=(16, 24),
        **words,
    )

    def rivals(separation: float, directory: Path) -> list[float]:
        return [step.rivals for step in train(replace(plan, separation=separation), directory)]

    kept, left = rivals(100.0, tmp_path / "kept"), rivals(0.0, tmp_path / "left")
    assert len(kept) == plan.last and kept[0] == left[0] > 0
    assert sum(kept[-10:]) < 0.5 * sum(left[-10:])  # there is no guide at all here: the other loss does it
