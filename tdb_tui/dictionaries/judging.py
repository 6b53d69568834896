"""`tdb-tui sae eval`: dictionaries loaded and judged on text, as tables for people and as one object for programs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.corpus import Corpus
from model.sites import Site
from sae.autoencoder import Autoencoder
from sae.evaluation import ABLATIONS, Report
from sae.files import load_autoencoder
from sae.formats import load, parts_of
from sae.reading import fits
from sae.toy import Toy, recovery
from tdb_tui.dictionaries.histogram import counted, drawn_bars
from tdb_tui.engine import Engine

SCHEMA = "tdb-tui/sae-eval/1"
TOGETHER = 8
"""Rows that the model runs at once."""
SIMILAR = 0.9


@dataclass(frozen=True, slots=True)
class Judged:
    """So many tokens of so many, and what they say."""

    tokens: int
    of: int
    reports: tuple[Report, ...]


def dictionaries_of(paths: Sequence[Path], engine: Engine) -> list[Autoencoder]:
    """Those in files and directories, where the engine computes.  Raises CheckpointError."""
    device, dtype = torch.device(engine.info.device), getattr(torch, engine.info.dtype)
    found = []
    for part in (part for path in paths for part in parts_of(path)):
        dictionary = load(part)
        fits(dictionary, engine.info.config, part.name)
        found.append(dictionary.to(device=device, dtype=dtype))
    return sorted(found, key=lambda each: (each.writes[1], list(Site).index(each.writes[0])))


def judge(
    engine: Engine,
    dictionaries: Sequence[Autoencoder],
    corpus: Corpus,
    most_rows: int,
    skip: int,
    stop: Callable[[], bool],
) -> Iterator[Judged]:
    """Reports on the rows so far, after each batch; the means that ablate are those of the same rows."""
    count = min(most_rows, len(corpus))

    def batches() -> Iterator[Tensor]:
        for first in range(0, count, TOGETHER):
            if stop():
                return
            yield corpus.rows(range(first, min(first + TOGETHER, count)))

    each_row = corpus.length - skip
    for reports in engine.judge(dictionaries, batches, skip):
        yield Judged(reports[0].tokens, count * each_row, reports)


def as_data(report: Report) -> dict[str, Any]:
    """One report as JSON has it."""
    return {
        "dictionary": report.name,
        "latents": len(report.density),
        "tokens": report.tokens,
        "l0": report.l0,
        "fvu": report.fvu,
        "explained_variance": 1 - report.fvu,
        "ce": {
            "clean": report.clean_ce,
            "spliced": report.spliced.ce,
            "zero": report.zero.ce,
            "mean": report.mean.ce,
        },
        "kl": {"spliced": report.spliced.kl, "zero": report.zero.kl, "mean": report.mean.kl},
        "ce_recovered": {name: _finite(report.ce_recovered(name)) for name in ABLATIONS},
        "kl_recovered": {name: _finite(report.kl_recovered(name)) for name in ABLATIONS},
        "dead": report.dead,
        "dense": report.dense,
        "density": [{"from": low, "to": high, "latents": n} for low, high, n in counted(report.density)],
        "decoder_similarity": {
            "mean": float(report.similarity.mean()),
            "max": float(report.similarity.max()),
            "above_0.9": int((report.similarity > SIMILAR).sum()),
        },
    }


def _finite(x: float) -> float | None:
    """JSON has no number for what is none."""
    return x if x == x else None


HEADINGS = (
    "dictionary",
    "latents",
    "L0",
    "FVU",
    "CE",
    "mean",
    "KL",
    "mean",
    "dead",
    "dense",
    "near",
)
"""Of 80 columns: for latents up to a million."""


def row(report: Report) -> tuple[str, ...]:
    """One report as a row under HEADINGS."""
    return (
        report.name,
        str(len(report.density)),
        f"{report.l0:.1f}",
        f"{report.fvu:.4f}",
        *(f"{share(name):.3f}" for share in (report.ce_recovered, report.kl_recovered) for name in ABLATIONS),
        str(report.dead),
        str(report.dense),
        f"{float(report.similarity.mean()):.2f}",
    )


def as_text(reports: Sequence[Report], width: int) -> str:
    """The table, what its columns mean, and how often latents are active, all dictionaries together."""
    rows = [HEADINGS, *(row(report) for report in reports)]
    sizes = [max(len(cells[n]) for cells in rows) for n in range(len(HEADINGS))]
    lines = [
        "  ".join(
            cell.ljust(size) if n == 0 else cell.rjust(size)
            for n, (cell, size) in enumerate(zip(cells, sizes, strict=True))
        )
        for cells in rows
    ]
    density = torch.cat([report.density for report in reports])
    first = reports[0]
    return "\n".join(
        (
            *lines,
            "",
            f"{first.tokens:,} tokens, cross-entropy {first.clean_ce:.4f} nats.  CE and KL recovered: of what zero",
            "ablation, and mean ablation beside it, costs, the share given back when the",
            "model runs on what is put out.  Dead: never active; dense: on more than 10 % of",
            "tokens; near: mean cosine of each decoder row and the nearest other.",
            "",
            *drawn_bars(density, width),
        )
    )


def toys_among(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What dictionaries that were trained on a toy found of its features.

    Raises CheckpointError, and ValueError where others are among them: these are judged by something else.
    """
    files = [part for path in paths for part in parts_of(path)]
    found = [toy for path in files if path.is_file() and (toy := toy_recovery(path)) is not None]
    if found and len(found) < len(files):
        raise ValueError("some of these were trained on a toy and some on a model: judge them apart")
    return found


def toy_recovery(path: Path) -> dict[str, Any] | None:
    """What a dictionary that was trained on a toy found of its features; None where it was trained on a model."""
    try:
        dictionary, notes = load_autoencoder(path)
    except ValueError:
        return None
    if "toy" not in notes:
        return None
    toy = Toy(**notes["toy"])
    found = recovery(dictionary.w_dec.float(), toy.features())
    put_out, latents = dictionary.to(dtype=torch.float32).forward(
        activations := toy.activations(8192, 1 << 41)
    )
    error = (put_out - activations).square().sum()
    spread = (activations - activations.mean(0)).square().sum()
    return {
        "dictionary": path.name,
        "features": toy.n_features,
        "latents": dictionary.n_latent,
        "mean_max_cosine_similarity": found,
        "l0": float((latents > 0).sum(1).float().mean()),
        "fvu": float(error / spread),
    }
