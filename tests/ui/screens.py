"""A small session for the screen, and ways to press keys and read what is on it."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.pilot import Pilot
from torch import Tensor

from model.demo.bpe import learn_merges
from model.gpt2 import Config
from model.sites import Site
from model.tokenizer import Tokenizer, make_tokenizer
from model.vocabulary import BYTE_OF, END_OF_TEXT, Vocabulary
from tdb_tui.app import TdbApp
from tdb_tui.engine import Engine, ModelInfo, load_engine
from tdb_tui.session import Session, start
from tests.tiny import random_model

PROMPT = "When Mary and John went to the store, John gave a drink to"
WORDS = f"{PROMPT} Mary Anna Tom him her book".split()
SHAPE = Config(n_layer=6, n_head=8, d_model=64, d_mlp=256, n_ctx=64, n_vocab=600)


def tokenizer() -> Tokenizer:
    """Bytes, and one token for each word of the prompt with a space before it."""
    ids = {bytes([byte]): at for at, byte in enumerate(BYTE_OF.values())}
    merges = learn_merges(Counter(f" {word.strip(',')}" for word in [*WORDS, "When"]), 1000)
    ids |= {left + right: len(ids) + at for at, (left, right) in enumerate(merges)}
    return make_tokenizer(Vocabulary(ids, merges, {END_OF_TEXT: len(ids)}))


def session(shape: Config = SHAPE, prompt: str = PROMPT) -> Session:
    info = ModelInfo("gpt2-random", Path("gpt2-random"), shape, "cpu", "float64")
    engine = Engine(random_model(shape), tokenizer(), info)
    return start(engine, prompt, ["Mary"], ["John"])[0]


def demo_session() -> Session:
    """The bundled model, which knows who is given the drink."""
    directory = Path(__file__).resolve().parents[2] / "model" / "demo" / "gpt2-demo"
    engine = load_engine(directory, directory.name, "", "cpu", "float32")
    return start(engine, PROMPT, ["Mary"], ["John"])[0]


def make_app(
    open_session: Callable[[], Session] = session, prompt: str = PROMPT, ascii_only: bool = False
) -> TdbApp:
    return TdbApp(lambda: (open_session(), []), prompt, "gpt2-random", ascii_only=ascii_only)


def play(
    body: Callable[[TdbApp, Pilot[int]], Awaitable[None]],
    app: TdbApp | None = None,
    size: tuple[int, int] = (80, 24),
) -> None:
    """Run `body` on an app that has finished loading."""

    async def run() -> None:
        playing = app or make_app()
        async with playing.run_test(size=size) as pilot:
            await settled(playing, pilot)
            await body(playing, pilot)

    asyncio.run(run())


async def settled(app: TdbApp, pilot: Pilot[int]) -> None:
    """Until the session is open, nothing runs, nothing waits, and all of it has been drawn."""
    async with asyncio.timeout(30):
        await pilot.pause()
        while app.main.look is None or app.worker.busy:
            await asyncio.sleep(0.01)
        await pilot.pause()


async def press(app: TdbApp, pilot: Pilot[int], *keys: str) -> None:
    """Press keys and wait for what they do."""
    await pilot.press(*keys)
    await settled(app, pilot)


async def type_line(app: TdbApp, pilot: Pilot[int], line: str) -> None:
    """Type a command and wait for its answer."""
    await pilot.press("colon")
    app.main.line.fill(line)
    await press(app, pilot, "enter")


def log(app: TdbApp) -> list[str]:
    """What the log has, in lines that fit."""
    pane = app.main.log_pane
    return [pane.text(at) for at in range(pane.count())]


def rows(app: TdbApp) -> list[str]:
    """The screen as text, row by row."""
    return [
        "".join(segment.text for segment in strip).rstrip()
        for strip in app.screen._compositor.render_strips()
    ]


def screen(app: TdbApp) -> str:
    return "\n".join(rows(app)) + "\n"


class Gate:
    """Holds the next pass inside the engine until it is opened, so that a running command can be looked at."""

    def __init__(self, held: Session) -> None:
        self.open, self.reached = threading.Event(), threading.Event()
        self._stop_here = held.engine.stop_here
        held.engine.stop_here = self._held  # pyright: ignore[reportAttributeAccessIssue]
        held.engine.forget()

    def _held(self, site: Site, layer: int, x: Tensor) -> Tensor:
        self.reached.set()
        while not self.open.wait(0.002):
            self._stop_here(site, layer, x)
        return self._stop_here(site, layer, x)
