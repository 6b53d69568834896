"""`tdb-tui sae train`: from the options to files, in one process or in one of several that `torchrun` started."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from model.corpus import open_corpus, read_documents, write_tokens
from sae.activations import Source
from sae.places import width
from sae.toy import PLACE, Toy, toy_stream
from sae.training.loop import Progress
from sae.training.plan import Plan, Target
from sae.training.run import Data, model_data, run
from sae.training.world import Alone, Processes, World
from tdb_tui.dictionaries.settings import Settings, plan_of, targets_of
from tdb_tui.engine import Engine

TOKENS = "tokens.bin"
READ = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is trained on, and where it goes."""

    out: Path
    text: tuple[Path, ...] = ()
    places: tuple[str, ...] = ()
    transcode: bool = False
    context: int = 128
    skip: int = 1
    apart: bool = False
    """Every process trains dictionaries of its own, instead of a share of each batch."""
    resume: bool = False
    every: int = 500
    drop: bool = False
    """Whether latents that are dead at the end are left out."""
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True, slots=True)
class Tokenising:
    """Text is being read: so many tokens so far."""

    tokens: int


Step = Tokenising | Progress


def train_on_text(
    engine: Engine, asked: Asked, settings: Settings, world: World, stop: Callable[[], bool]
) -> Iterator[Step]:
    """Train dictionaries of the engine's model on text files.  Raises ValueError for what can't be."""
    if asked.context > engine.info.config.n_ctx:
        raise ValueError(f"--context {asked.context} is longer than the model's, {engine.info.config.n_ctx}")
    targets = targets_of(asked.places, asked.transcode, engine.info.config)
    mine, shared, suffix = _share(targets, asked.apart, world)
    plan = plan_of(settings, width(targets[0].writes[0], engine.info.config))
    path = asked.out / TOKENS
    asked.out.mkdir(parents=True, exist_ok=True)
    if world.rank == 0 and not (asked.resume and path.exists()):
        for count in write_tokens(read_documents(asked.text), engine.tokenizer, path):
            yield Tokenising(count)
            if stop():
                return
    _wait(world)
    source = _source(engine, path, asked, mine, plan)
    name = f"{engine.info.name} {engine.weights_hash()} {_digest(path)} {asked.context} {asked.skip}"
    notes = {"model": engine.info.name, "plan": repr(plan), "context": asked.context, "skip": asked.skip}
    yield from run(
        mine,
        plan,
        model_data(source, name),
        asked.out,
        world=shared,
        resume=asked.resume,
        checkpoint_every=asked.every,
        dtype=asked.dtype,
        drop_after=plan.dead_after if asked.drop else 0,
        notes=notes,
        asked_to_stop=stop,
        suffix=suffix,
    )


def train_on_toy(
    toy: Toy, asked: Asked, settings: Settings, world: World, stop: Callable[[], bool]
) -> Iterator[Step]:
    """Train one dictionary on activations whose features are known."""
    plan = plan_of(settings, toy.d)
    data = Data(
        repr(toy), lambda *which: toy_stream(toy, *which), lambda: next(toy_stream(toy, 4096, start=1 << 40))
    )
    notes = {"toy": {"n_features": toy.n_features, "d": toy.d, "present": toy.present, "seed": toy.seed}}
    yield from run(
        [Target(PLACE, PLACE)],
        plan,
        data,
        asked.out,
        world=world,
        resume=asked.resume,
        checkpoint_every=asked.every,
        dtype=asked.dtype,
        drop_after=plan.dead_after if asked.drop else 0,
        notes=notes,
        asked_to_stop=stop,
    )


def join(device: str) -> tuple[World, str]:
    """The processes that `torchrun` started, if it did, and this one's device."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Alone(), device
    rank = int(os.environ["RANK"])
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    return Processes(rank, size), device


def leave(world: World) -> None:
    if world.size > 1 and dist.is_initialized():
        dist.destroy_process_group()


def _wait(world: World) -> None:
    if world.size > 1:
        dist.barrier()


def _share(targets: Sequence[Target], apart: bool, world: World) -> tuple[list[Target], World, str]:
    """This process's dictionaries, those whom it shares batches with, and what its checkpoint is called."""
    if not apart or world.size == 1:
        return list(targets), world, ""
    if len(targets) < world.size:
        raise ValueError(
            f"{world.size} processes for {len(targets)} dictionaries: --apart needs one for each"
        )
    return list(targets[world.rank :: world.size]), Alone(), f".{world.rank}of{world.size}"


def _source(engine: Engine, path: Path, asked: Asked, targets: Sequence[Target], plan: Plan) -> Source:
    corpus = open_corpus(path, asked.context, engine.tokenizer.eos)
    places = tuple(dict.fromkeys(place for target in targets for place in (target.reads, target.writes)))
    rows = max(8, 8 * plan.share // asked.context)
    return engine.activations(corpus, places, seed=plan.seed, rows=rows, skip=asked.skip)


def _digest(path: Path) -> str:
    """Of a file, a piece at a time."""
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        while piece := file.read(READ):
            digest.update(piece)
    return digest.hexdigest()
