"""The dictionaries that ship: their size and shapes, and that they do what their card says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from model.tokenizer import load_tokenizer
from model.weights import load_model
from sae.demo.bundle import BUNDLED, MODEL, PLAN, TARGETS, corpus, held_out, train_bundle, trained
from sae.demo.card import TOGETHER, judge_bundle
from sae.evaluation import Report
from sae.files import load_autoencoder
from sae.nonlinearities import TopK
from sae.reading import fits


def carded() -> dict[str, list[float]]:
    """The card's table: dictionary -> latents, L0, FVU, CE recovered, KL recovered, dead, dense."""
    text = (BUNDLED / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+\.\d) \| (.*) \|$", text, re.MULTILINE)
    return {name: [float(cell) for cell in cells.split(" | ")] for name, cells in rows}


def test_there_is_one_at_every_attention_and_every_mlp_within_ten_megabytes() -> None:
    names = {path.name for path in BUNDLED.iterdir()}
    assert names == {"README.md", *(f"{target.name}.safetensors" for target in TARGETS)}
    assert len(TARGETS) == 12
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) <= 10_000_000


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_each_fits_its_place_and_is_as_the_plan_says(target) -> None:
    config = load_model(MODEL).config
    made, notes = load_autoencoder(BUNDLED / f"{target.name}.safetensors")
    fits(made, config, target.name)
    assert (made.reads, made.writes) == (target.reads, target.writes)
    assert made.nonlinearity == TopK(10)
    assert made.w_dec.dtype.itemsize == 2 and 200 < made.n_latent <= PLAN.n_latent
    assert notes == {"plan": repr(PLAN), "trained": trained(PLAN)}


def test_the_card_lists_all_of_them_with_few_dead() -> None:
    card = carded()
    assert card.keys() == {target.name for target in TARGETS}
    for latents, l0, fvu, ce, kl, dead, _ in card.values():
        assert dead < 0.1 * latents and 0 < l0 <= 10
        assert 0 < fvu < 0.15 and ce > 0.85 and kl > 0.9
    assert sum(row[3] for row in card.values()) / len(card) > 0.95


def agrees(report: Report, latents: float, l0: float, fvu: float, slack: float) -> None:
    assert len(report.density) == latents
    assert report.l0 == pytest.approx(l0, abs=0.5)
    assert report.fvu == pytest.approx(fvu, abs=slack)


def test_sparsity_and_error_are_as_the_card_says_on_a_little_of_the_text() -> None:
    for report in judge_bundle(rows=TOGETHER, rerun=0):
        agrees(report, *carded()[report.name][:3], slack=0.03)


@pytest.mark.slow
def test_the_card_is_what_the_held_out_text_says() -> None:
    for report in judge_bundle():
        latents, l0, fvu, ce, kl, dead, dense = carded()[report.name]
        agrees(report, latents, l0, fvu, slack=2e-3)
        assert report.ce_recovered("zero") == pytest.approx(ce, abs=2e-3)
        assert report.kl_recovered("zero") == pytest.approx(kl, abs=2e-3)
        assert (report.dead, report.dense) == pytest.approx((dead, dense), abs=1)


@pytest.mark.slow
def test_the_command_trains_all_of_them_from_nothing(tmp_path: Path) -> None:
    """With a budget of two steps; its own evaluation, which takes longest, is tried apart."""
    plan = replace(PLAN, schedule=replace(PLAN.schedule, steps=2))
    for _ in train_bundle(plan, tmp_path, False, lambda: False):
        pass
    for report in judge_bundle(tmp_path, rows=TOGETHER, rerun=0):
        assert 0 < report.l0 <= 10 and report.fvu < 1
    assert {path.stem for path in tmp_path.glob("*_out.*.safetensors")} == {each.name for each in TARGETS}


def test_held_out_text_is_none_that_was_trained_on() -> None:
    tokenizer = load_tokenizer(MODEL)
    trained_on = {tuple(row) for row in corpus(tokenizer, 0, 200).rows(range(200)).tolist()}
    assert not trained_on & {tuple(row) for row in held_out(tokenizer).rows(range(100)).tolist()}
