"""The card of the bundled dictionaries: every number in it is measured when it is written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.tokenizer import load_tokenizer
from model.weights import load_model
from sae.demo.bundle import BUNDLED, COMMAND, MODEL, TARGETS, held_out
from sae.evaluation import Report, evaluate, mean_activations
from sae.files import load_autoencoder

TOGETHER = 16
"""Rows that the model runs at once."""
HEADINGS = ("dictionary", "latents", "L0", "FVU", "CE recovered", "KL recovered", "dead", "dense")


def judge_bundle(
    directory: Path = BUNDLED, rows: int | None = None, rerun: int | None = None
) -> tuple[Report, ...]:
    """All of them, as they lie in `directory`, on held-out text; on its first `rows` where given.

    `rerun` as for `evaluate`: on how many batches the model runs on what they put out, all where it is None.
    """
    gpt2, corpus = load_model(MODEL), held_out(load_tokenizer(MODEL))
    loaded = [load_autoencoder(directory / f"{target.name}.safetensors")[0] for target in TARGETS]
    dictionaries = [each.to(dtype=gpt2.wte.weight.dtype) for each in loaded]
    count = rows or len(corpus)
    batches = [corpus.rows(range(first, min(first + TOGETHER, count))) for first in range(0, count, TOGETHER)]
    means = mean_activations(gpt2, {each.writes for each in dictionaries}, batches)
    *_, reports = evaluate(gpt2, dictionaries, batches, means, rerun=rerun)
    return reports


def notes_of(directory: Path) -> dict[str, Any]:
    """What was written down about the training."""
    return load_autoencoder(directory / f"{TARGETS[0].name}.safetensors")[1]


def card(reports: Sequence[Report], notes: dict[str, Any]) -> str:
    """The text of `README.md` beside the dictionaries."""
    mean = {name: sum(values) / len(reports) for name, values in _columns(reports).items()}
    return "\n\n".join(
        (
            "# Dictionaries of gpt2-demo",
            f"Sparse autoencoders of the bundled model at the output of every attention and every MLP, {len(reports)} "
            "in all, in half precision.  They are read as any other: `--sae sae/demo/gpt2-demo`, or one file of them.",
            table(reports),
            f"On average: FVU {mean['fvu']:.3f}, CE recovered {mean['ce']:.1%}, KL recovered {mean['kl']:.1%}, "
            f"dead {mean['dead']:.1%}.",
            f"Measured on {reports[0].tokens:,} tokens that are drawn apart from those of training; the model's own "
            f"cross-entropy there is {reports[0].clean_ce:.4f} nats.  L0 is the mean number of active latents, FVU the "
            "fraction of variance unexplained.  Recovered: of what zero ablation of the place costs, the share that is "
            "given back when the model runs on what the dictionary puts out at every token, with nothing added.  "
            "Dead: active on none of these tokens; dense: on more than 10 % of them.",
            f"{notes['trained']}  Train them again: `{COMMAND}`; the same table: `python -m sae.demo evaluate`.",
        )
    )


def _columns(reports: Sequence[Report]) -> dict[str, list[float]]:
    return {
        "fvu": [report.fvu for report in reports],
        "ce": [report.ce_recovered("zero") for report in reports],
        "kl": [report.kl_recovered("zero") for report in reports],
        "dead": [report.dead / len(report.density) for report in reports],
    }


def table(reports: Sequence[Report]) -> str:
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row(report) for report in reports)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def row(report: Report) -> tuple[str, ...]:
    """One line of the table."""
    return (
        report.name,
        str(len(report.density)),
        f"{report.l0:.1f}",
        f"{report.fvu:.3f}",
        f"{report.ce_recovered('zero'):.3f}",
        f"{report.kl_recovered('zero'):.3f}",
        str(report.dead),
        str(report.dense),
    )


def write_card(directory: Path) -> str:
    """Measure, and write the card into `directory`; its text."""
    text = card(judge_bundle(directory), notes_of(directory))
    (directory / "README.md").write_text(text + "\n", encoding="utf-8")
    return text
