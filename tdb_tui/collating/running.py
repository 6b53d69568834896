"""A collation from its job to its store: progress, Ctrl-C, states to go on from."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explanations.collation.collecting import CollationError, Collected, Collector, Share, collect
from explanations.collation.corpus import describe
from explanations.collation.finishing import write
from explanations.collation.reading import Rows
from explanations.collation.states import load_state, save_state
from explanations.schema import Identity, StoreError
from explanations.store import open_store
from explanations.writing import writing
from model.documents import CorpusError
from model.files import CheckpointError
from model.tokenizer import Tokenizer
from model.vocabulary import TokenizerError
from tdb_tui.collating.jobs import Job
from tdb_tui.collating.processes import agree, gathered, joined
from tdb_tui.engine import Engine, load_engine
from tdb_tui.errors import CommandError, ComputeFailed, NotLoaded
from tdb_tui.machine.devices import ComputeError, DeviceError, compute_errors
from tdb_tui.machine.memory import keep_freed_memory
from tdb_tui.machine.models import ModelNotFound, find_model

SHOWN_EVERY, LOGGED_EVERY = 0.25, 30.0
"Seconds between two looks at the progress: on a terminal, and in a file."


class Stopped(Exception):
    """Somebody pressed Ctrl-C; one sentence."""


def run(job: Job, model: str | None, device: str, dtype: str) -> None:
    """Do the job.  Raises CommandError, NotLoaded and Stopped."""
    try:
        found = find_model(model)
        engine = load_engine(found.directory, found.name, found.why, device, dtype)
    except (ModelNotFound, CheckpointError, TokenizerError, DeviceError, ComputeError) as error:
        raise NotLoaded(str(error), code="not-loaded") from None
    keep_freed_memory()
    try:
        with compute_errors(), joined() as share:
            _run(job, engine, share)
    except ComputeError as error:
        raise ComputeFailed(str(error), code="compute") from None
    except (CollationError, CorpusError, StoreError, CheckpointError) as error:
        raise CommandError(str(error), code="collate") from None


def _run(job: Job, engine: Engine, share: Share) -> None:
    identity = Identity(engine.info.name, engine.weights_hash())
    told = job.told(identity.model_hash, engine.info.dtype, engine.info.device, share)
    agree(json.dumps(told, sort_keys=True), share)
    if job.out.exists() and not share.rank:
        open_store(job.out, identity.model_hash).close()  # better refused now than at the end
    collector = engine.collector(job.plan, job.groups)
    state, show = job.state(share), Progress(job, share)
    collected = load_state(state, collector, told) if state.exists() else collector.nothing()
    if collected.tokens:
        show.line(f"going on after {collected.tokens:,} tokens, from {state}")
    _collect(job, engine.tokenizer, collector, collected, state, told, share, show)
    whole = gathered(collector, collected, share)
    if whole is not None:
        if not whole.tokens:
            raise CollationError("the corpus is empty: nothing was written")
        _write(job, collector, whole, engine.tokenizer, identity, show)
    state.unlink(missing_ok=True)


def _collect(
    job: Job,
    tokenizer: Tokenizer,
    collector: Collector,
    collected: Collected,
    state: Path,
    told: dict[str, Any],
    share: Share,
    show: "Progress",
) -> None:
    """Read the rest of the corpus, saving now and then and when asked to stop.  Raises Stopped."""

    def save() -> None:
        collector.settle(collected)
        collected.mark = corpus.mark
        save_state(state, collected, told)

    def encode(text: str) -> list[int]:
        show.characters += len(text)
        return tokenizer.encode(text, special=False)

    corpus = Rows(job.paths, job.field, encode, job.plan.length, collected.mark)
    show.characters, saved = collected.mark.characters, time.monotonic()
    show.begin(collected.tokens)
    with _asked_to_stop() as asked:
        for progress in collect(collector, collected, corpus, share):
            show.step(progress.tokens)
            if asked:
                save()
                said = f"stopped after {progress.tokens:,} tokens: the same command goes on from there"
                raise Stopped(said)
            if time.monotonic() - saved >= job.checkpoint:
                save()
                saved = time.monotonic()
    if share.world > 1:
        save()  # another process may fail while this one waits


def _write(
    job: Job,
    collector: Collector,
    collected: Collected,
    tokenizer: Tokenizer,
    identity: Identity,
    show: "Progress",
) -> None:
    rate = show.rate  # of reading, without what follows
    with writing(job.out, identity) as connection:
        for node in write(connection, collector, collected, tokenizer, describe(job.paths, job.field)):
            show.note(f"writing {node}")
    components = sum(len(group.nodes) for group in collector.groups)
    show.line(f"{job.out}: {components:,} components over {collected.tokens:,} tokens, {rate}")


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """A list that a signal is put into; a second Ctrl-C stops at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(slots=True, eq=False)
class Progress:
    """How far it has come, on standard error: one line that changes on a terminal, now and then a line elsewhere."""

    job: Job
    share: Share
    characters: int = 0
    tokens: int = 0
    first: int = 0
    began: float = 0.0
    shown: float = 0.0

    def begin(self, tokens: int) -> None:
        self.first = self.tokens = tokens
        self.began = self.shown = time.monotonic()

    def step(self, tokens: int) -> None:
        self.tokens = tokens
        self.note(f"{tokens:,} tokens{self._part()}  {self.rate}")

    @property
    def rate(self) -> str:
        seconds = time.monotonic() - self.began
        return f"{(self.tokens - self.first) / max(seconds, 1e-9):,.0f} tokens/s"

    def note(self, text: str) -> None:
        """Something that the next one replaces."""
        live = sys.stderr.isatty()
        now = time.monotonic()
        if self.share.rank or now - self.shown < (SHOWN_EVERY if live else LOGGED_EVERY):
            return
        self.shown = now
        print(
            f"\r\x1b[2Kcollate  {text}" if live else f"collate  {text}",
            end="" if live else "\n",
            file=sys.stderr,
            flush=True,
        )

    def line(self, text: str) -> None:
        if not self.share.rank:
            print("\r\x1b[2K" if sys.stderr.isatty() else "", text, sep="", file=sys.stderr, flush=True)

    def _part(self) -> str:
        """How much of the text has been read, where its size says how much there is."""
        if any(path.suffix in (".jsonl", ".ndjson", ".parquet") for path in self.job.paths):
            return ""
        size = sum(path.stat().st_size for path in self.job.paths)
        return f"  {min(self.characters / max(size, 1), 1):.0%}"
