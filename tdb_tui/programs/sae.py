"""`tdb-tui sae train` and `tdb-tui sae eval`: dictionaries made here, and judged."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from tdb_tui.exits import FAILED, INTERRUPTED, USAGE, fail
from tdb_tui.programs import make_app

if TYPE_CHECKING:
    from sae.evaluation import Report
    from tdb_tui.dictionaries.settings import Settings
    from tdb_tui.dictionaries.training import Asked
    from tdb_tui.engine import Engine

app = make_app()

Text = Annotated[
    list[Path] | None, Option(help="A text file, .jsonl with `text`, or .parquet; may be repeated.")
]
Model = Annotated[str | None, Option(help="A directory, a Hugging Face id, or gpt2, gpt2-medium, ...")]
Device = Annotated[str, Option(help="auto, cpu, cuda, cuda:1 or mps.")]


@app.callback()
def sae() -> None:
    """Sparse autoencoders and transcoders: train them on a model's activations, and say how good they are."""


@app.command()
def train(
    out: Annotated[Path, Option(help="The directory for dictionaries, checkpoint and tokens.")],
    site: Annotated[
        list[str] | None,
        Option(help="mlp_out.3, attn_out.* (every layer), z.0, resid_pre.5, ...; may be repeated."),
    ] = None,
    text: Text = None,
    model: Model = None,
    transcode: Annotated[bool, Option("--transcode", help="Read ln2_normalized, put out mlp_out.")] = False,
    toy: Annotated[bool, Option("--toy", help="Train on activations whose features are known.")] = False,
    rule: Annotated[str, Option(help="topk, batchtopk, l1 or jumprelu.")] = "topk",
    k: Annotated[int, Option("-k", help="Active latents a token, of topk and batchtopk.")] = 32,
    sparsity: Annotated[float | None, Option(help="The weight of l1's and jumprelu's penalty.")] = None,
    latents: Annotated[int | None, Option(help="How many; 8 times the width by default.")] = None,
    steps: Annotated[int, Option(help="Optimizer steps.")] = 5000,
    batch: Annotated[int, Option(help="Activations of a step, over all processes.")] = 4096,
    shards: Annotated[int, Option(help="Parts that a batch is computed in, a power of two.")] = 4,
    rate: Annotated[float, Option(help="The learning rate.")] = 3e-4,
    warmup: Annotated[int, Option(help="Steps until it is reached.")] = 200,
    aux_k: Annotated[int | None, Option(help="Dead latents in the auxiliary loss; 0 for none.")] = None,
    dead_after: Annotated[int | None, Option(help="Activations without being active.")] = None,
    resample: Annotated[
        int | None, Option(help="Steps between resamplings of the dead; 0 for never.")
    ] = None,
    context: Annotated[int, Option(help="Tokens of a row of text, with the one before it.")] = 128,
    skip: Annotated[int, Option(help="Positions at the start of a row that are left out.")] = 1,
    seed: Annotated[int, Option(help="Of directions and of the order of the text.")] = 0,
    device: Device = "auto",
    dtype: Annotated[str, Option(help="Of matrix products while training: float32 or bfloat16.")] = "float32",
    store: Annotated[str, Option(help="Of the files: float32, bfloat16 or float16.")] = "float32",
    drop_dead: Annotated[
        bool, Option("--drop-dead", help="Leave latents that are dead at the end out.")
    ] = False,
    every: Annotated[int, Option(min=1, help="Steps between checkpoints.")] = 500,
    resume: Annotated[bool, Option("--resume", help="Go on from the checkpoint in OUT.")] = False,
    apart: Annotated[
        bool, Option("--apart", help="Under torchrun: each process trains dictionaries of its own.")
    ] = False,
) -> int:
    """Train dictionaries; under torchrun several processes share each batch, and the result is the same."""
    if complaint := _incomplete(toy, site, text, dtype, store):
        return fail(complaint, USAGE)
    import torch

    from tdb_tui.dictionaries.settings import Settings
    from tdb_tui.dictionaries.training import Asked

    numbers = dict(
        rule=rule, k=k, sparsity=sparsity, latents=latents, steps=steps, batch=batch, shards=shards
    )
    numbers |= dict(
        rate=rate, warmup=warmup, aux_k=aux_k, dead_after=dead_after, resample=resample, seed=seed
    )
    settings = Settings(**numbers, half=dtype == "bfloat16")  # pyright: ignore[reportArgumentType]
    asked = Asked(
        out=out,
        text=tuple(text or ()),
        places=tuple(site or ()),
        transcode=transcode,
        context=context,
        skip=skip,
        apart=apart,
        resume=resume,
        every=every,
        drop=drop_dead,
        dtype=getattr(torch, store),
    )
    return _train(model, device, dtype, asked, settings, toy)


def _incomplete(
    toy: bool, site: list[str] | None, text: list[Path] | None, dtype: str, store: str
) -> str | None:
    """What is missing or can't be, as a sentence."""
    if not toy and not site:
        return "say where: --site mlp_out.3, or --site 'mlp_out.*' for every layer"
    if not toy and not text:
        return "say on which text: --text FILE"
    if toy and (site or text):
        return "--toy has activations of its own: no --site and no --text beside it"
    if dtype not in ("float32", "bfloat16"):
        return f"unknown dtype '{dtype}': float32 or bfloat16"
    if store not in ("float32", "bfloat16", "float16"):
        return f"unknown dtype '{store}' for --store: float32, bfloat16 or float16"
    return None


def _train(
    model: str | None, device: str, dtype: str, asked: "Asked", settings: "Settings", toy: bool
) -> int:
    from sae.formats import parts_of
    from sae.toy import Toy
    from tdb_tui.dictionaries.progress import show
    from tdb_tui.dictionaries.stopping import stop_flag
    from tdb_tui.dictionaries.training import join, leave, train_on_text, train_on_toy
    from tdb_tui.errors import CommandError
    from tdb_tui.machine.devices import ComputeError, compute_errors

    world, device = join(device)
    try:
        with stop_flag() as stop, compute_errors():
            if toy:
                steps = train_on_toy(Toy(), asked, settings, world, stop)
            else:
                steps = train_on_text(_engine(model, device, dtype), asked, settings, world, stop)
            if world.rank == 0 or asked.apart:
                last = show(steps, settings.batch, sys.stderr)
            else:
                *_, last = [None, *steps]
    except (ValueError, OSError, ComputeError, CommandError) as error:
        return fail(str(error), getattr(error, "exit_code", FAILED))
    finally:
        leave(world)
    if last is None or getattr(last, "step", 0) < settings.steps:
        return fail(f"stopped; --resume goes on from the checkpoint in {asked.out}", INTERRUPTED)
    if world.rank == 0:
        print("\n".join(str(path) for path in parts_of(asked.out)))
    return 0


def _engine(model: str | None, device: str, dtype: str = "float32") -> "Engine":
    """The model, loaded.  Raises CommandError."""
    from model.tokenizer import TokenizerError
    from model.weights import CheckpointError
    from tdb_tui.engine import load_engine
    from tdb_tui.errors import NotLoaded
    from tdb_tui.machine.devices import DeviceError
    from tdb_tui.machine.models import ModelNotFound, find_model

    try:
        found = find_model(model)
        return load_engine(found.directory, found.name, found.why, device, dtype)
    except (ModelNotFound, CheckpointError, TokenizerError, DeviceError) as error:
        raise NotLoaded(str(error), code="not-loaded") from None


@app.command("eval")
def evaluate(
    dictionaries: Annotated[
        list[Path] | None, typer.Argument(help="Files or directories; those of the demo model by default.")
    ] = None,
    text: Text = None,
    model: Model = None,
    rows: Annotated[int, Option(min=1, help="How many rows of text at most.")] = 256,
    context: Annotated[int, Option(min=2, help="Tokens of a row, with the one before it.")] = 128,
    skip: Annotated[int, Option(min=0, help="Positions at the start of a row that are left out.")] = 0,
    json: Annotated[bool, Option("--json", help="One JSON object instead of tables.")] = False,
    device: Device = "auto",
) -> int:
    """Judge dictionaries: sparsity, what they leave out, what the model loses when it runs on what they put out.

    A dictionary that was trained with --toy is judged by the features it found.
    """
    from model.files import CheckpointError
    from tdb_tui.errors import CommandError
    from tdb_tui.machine.devices import ComputeError, compute_errors

    if dictionaries and not text and model is not None:
        return fail("say on which text: --text FILE", USAGE)
    try:
        with compute_errors():
            return _judge(dictionaries or [], text or [], model, (rows, context, skip), json, device)
    except (CommandError, CheckpointError, ValueError, OSError, ComputeError) as error:
        return fail(str(error), getattr(error, "exit_code", FAILED))


def _judge(
    paths: list[Path],
    text: list[Path],
    model: str | None,
    numbers: tuple[int, int, int],
    as_json: bool,
    device: str,
) -> int:
    from tdb_tui.dictionaries.judging import toys_among

    if toys := toys_among(paths):
        return _print_toys(toys, as_json)
    from tdb_tui.dictionaries.bundled import judged_text
    from tdb_tui.dictionaries.judging import dictionaries_of, judge
    from tdb_tui.dictionaries.stopping import stop_flag

    engine = _engine(model, device)
    rows, context, skip = numbers
    corpus, paths = judged_text(engine, paths, text, context)
    last = None
    with stop_flag() as stop:
        found = dictionaries_of(paths, engine)
        for last in judge(engine, found, corpus, rows, skip, stop):
            if sys.stderr.isatty():
                print(f"\r{last.tokens:,} of {last.of:,} tokens", end="", file=sys.stderr, flush=True)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        if last is None or stop():
            return fail("stopped before all of the text was read", INTERRUPTED)
    return _print_reports(engine.info.name, last.reports, as_json)


def _print_reports(name: str, reports: "tuple[Report, ...]", as_json: bool) -> int:
    import json
    import shutil

    from tdb_tui.dictionaries.judging import SCHEMA, as_data, as_text

    if as_json:
        print(json.dumps({"schema": SCHEMA, "model": name, "rows": [as_data(report) for report in reports]}))
    else:
        print(as_text(reports, shutil.get_terminal_size().columns))
    return 0


def _print_toys(toys: list[dict[str, object]], as_json: bool) -> int:
    import json

    from tdb_tui.dictionaries.judging import SCHEMA

    if as_json:
        print(json.dumps({"schema": SCHEMA, "model": "toy", "rows": toys}))
        return 0
    for toy in toys:
        print(
            f"{toy['dictionary']}: {toy['latents']} latents for {toy['features']} known features, mean max cosine "
            f"similarity {toy['mean_max_cosine_similarity']:.4f}, L0 {toy['l0']:.2f}, FVU {toy['fvu']:.4f}"
        )
    return 0
