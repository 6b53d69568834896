"""`tdb-tui collate`: what every component of a model does in a corpus, kept in a store."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from tdb_tui.exits import FAILED, INTERRUPTED, NOT_LOADED, USAGE, fail
from tdb_tui.programs import make_app

app = make_app()
KINDS = ("heads", "neurons", "mlps")


@app.command()
def collate(
    files: Annotated[list[Path] | None, Argument(help="More text files.")] = None,
    text: Annotated[
        list[Path] | None, Option(help="A text file: plain, .jsonl or .parquet; may be repeated.")
    ] = None,
    out: Annotated[Path | None, Option(help="The store: made, or added to.")] = None,
    model: Annotated[str | None, Option(help="A directory, a Hugging Face id, or gpt2, gpt2-medium, ...")] = (
        None
    ),
    sae: Annotated[
        list[str] | None,
        Option(help="[SITE.LAYER=]PATH of dictionaries whose latents count too; may be repeated."),
    ] = None,
    direction: Annotated[
        list[str] | None,
        Option(
            help="NAME=SITE.LAYER=FILE, a vector as .npy or .safetensors, as a component; may be repeated."
        ),
    ] = None,
    only: Annotated[
        str, Option(help="Which of the model's own parts: heads,neurons,mlps or none.")
    ] = ",".join(KINDS),
    field: Annotated[str, Option(help="The field or column that holds the text of a record.")] = "text",
    length: Annotated[int, Option(min=2, help="Tokens in a row.")] = 64,
    batch: Annotated[int, Option(min=1, help="Rows that are run together.")] = 32,
    top: Annotated[int, Option(min=1, help="Examples with the largest peaks.")] = 20,
    quantiles: Annotated[int, Option(min=1, help="Examples from all over the range.")] = 20,
    random: Annotated[
        int, Option(min=1, help="Examples drawn at random, the same for every component.")
    ] = 10,
    seed: Annotated[int, Option(help="What is drawn.")] = 0,
    checkpoint: Annotated[
        float, Option(min=0, help="Seconds between the states that an interrupted run goes on from.")
    ] = 60,
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    dtype: Annotated[str, Option(help="float32, float64, bfloat16 or float16.")] = "float32",
) -> int:
    """Run a corpus through a model and keep what each neuron, head, MLP and latent does in it.

    For each: the examples with the largest peaks, examples from all over its range and at random, moments, density
    and histogram.  Memory is bounded whatever the corpus.  Ctrl-C, or being killed, loses at most a minute: the same
    command goes on.  Under `torchrun --no-python --nproc-per-node N tdb-tui collate ...` processes and machines share
    the work, and the store is the same to the byte.
    """
    paths = [*(text or ()), *(files or ())]
    if not paths or out is None:
        return fail("give a corpus and a store: tdb-tui collate --text FILE --out STORE", USAGE)
    kinds = tuple(kind for kind in only.split(",") if kind and kind != "none")
    if unknown := sorted(set(kinds) - set(KINDS)):
        return fail(f"unknown kind {unknown[0]!r} in --only: {', '.join(KINDS)} or none", USAGE)

    from explanations.collation.plans import Plan
    from tdb_tui.collating.jobs import Job
    from tdb_tui.collating.running import Stopped, run
    from tdb_tui.errors import CommandError, NotLoaded

    plan = Plan(length, batch, top, quantiles, random, seed=seed)
    job = Job(tuple(paths), field, out, plan, kinds, tuple(sae or ()), tuple(direction or ()), checkpoint)
    try:
        run(job, model, device, dtype)
    except Stopped as stopped:
        return fail(str(stopped), INTERRUPTED)
    except NotLoaded as error:
        return fail(str(error), NOT_LOADED)
    except CommandError as error:
        return fail(str(error), FAILED)
    return 0
