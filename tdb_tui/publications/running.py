"""`tdb-tui published` from its words to its last line: progress on standard error, on standard output its result."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from explanations.published.catalogue import model_name, neuronpedia
from explanations.published.filing import spelling
from explanations.published.records import PublishedError
from explanations.schema import Identity
from model.addresses import AddressError, parse_components
from model.components import Component
from model.files import CheckpointError
from model.tokenizer import Tokenizer, load_tokenizer
from model.vocabulary import TokenizerError
from model.weights import Config, model_hash, read_config
from tdb_tui.errors import CommandError, NotLoaded
from tdb_tui.machine.models import ModelNotFound, find_model
from tdb_tui.publications.exports import files_below, grouped, read
from tdb_tui.publications.jobs import Outcome, Shelf, gather, unknown
from tdb_tui.publications.publishers import PUBLISHERS, Choice, origin, web_of
from tdb_tui.stores import usual_store


@dataclass(frozen=True, slots=True)
class Request:
    """The words of the command line."""

    what: str
    "A publisher, or the path of an export."
    nodes: tuple[str, ...]
    model: str | None
    store: Path | None
    url: str | None
    choice: Choice
    letter: str | None
    "The place of latents in an export whose set is not known."
    again: bool


@dataclass(frozen=True, slots=True)
class About:
    """The model whose components were published."""

    config: Config
    name: str
    "What publishers call it."
    shelf: Shelf


def run(request: Request) -> list[str]:
    """Why what was published about some components could not be used, a sentence each.

    Raises CommandError, StoreError, PublishedError and NotLoaded.
    """
    about = prepare(request)
    if request.what not in PUBLISHERS:
        print(_imported(request, about))
        return []
    components = named(request.nodes, about.config)
    choice = replace(request.choice, publisher=request.what, model=about.name)
    for part in components:  # better refused now than after many others
        origin(choice, part)
    wanted = components if request.again else unknown(about.shelf, choice, components)
    outcome = asyncio.run(_gathered(request, about, choice, wanted))
    print(said(outcome, len(components) - len(wanted), about.shelf.path))
    return outcome.bad


def prepare(request: Request) -> About:
    """Raises NotLoaded, and PublishedError for a model that nobody published about."""
    try:
        found = find_model(request.model)
        config, tokenizer = read_config(found.directory), load_tokenizer(found.directory)
        name = model_name(config)
        identity = Identity(found.name, model_hash(found.directory))
    except (ModelNotFound, TokenizerError, CheckpointError) as error:
        raise NotLoaded(str(error), code="not-loaded") from None
    return About(config, name, shelf_of(request.store, identity, tokenizer))


def shelf_of(store: Path | None, identity: Identity, tokenizer: Tokenizer) -> Shelf:
    """The store named, or the one that sessions with this model look into unasked."""
    return Shelf(store or usual_store(identity.model_hash), identity, spelling(tokenizer))


def named(nodes: Sequence[str], config: Config) -> list[Component]:
    """Raises CommandError for none, and for what names no component with an index."""
    if not nodes:
        raise CommandError("say which components: tdb-tui published openai N10.1307 L9H9")
    try:
        found = [part for words in nodes for part in parse_components(words, config, "this model")]
    except AddressError as error:
        raise CommandError(str(error)) from None
    if bare := next((part for part in found if part.index is None), None):
        raise CommandError(f"{bare} is no neuron, head or latent: nothing was published about it")
    return list(dict.fromkeys(found))


async def _gathered(request: Request, about: About, choice: Choice, wanted: Sequence[Component]) -> Outcome:
    web = web_of(choice.publisher, request.url)
    try:
        with showing(len(wanted)) as show:
            return await gather(web, about.shelf, choice, wanted, lambda outcome: show(outcome.asked))
    finally:
        await web.close()


def _imported(request: Request, about: About) -> str:
    """Put an export into the store, only `nodes` of it if any are named."""
    only = {str(part) for part in named(request.nodes, about.config)} if request.nodes else None
    paths = files_below(Path(request.what).expanduser())
    kept: set[str] = set()
    with showing(None) as show:
        for some in read(paths, about.name, request.letter):
            wanted = [each for each in some if only is None or each[1].node in only]
            for source, found in grouped(wanted):
                about.shelf.keep(neuronpedia(about.name, source), found)
            kept |= {each.node for _, each in wanted}
            show(len(kept))
    if not kept:
        raise PublishedError(
            f"{request.what} holds nothing about {'those components' if only else 'any component'}"
        )
    return f"{about.shelf.path}: {len(kept):,} components"


def said(outcome: Outcome, held: int, path: Path) -> str:
    parts = [f"{outcome.kept:,} components"]
    if held:
        parts.append(f"{held:,} were there already")
    if outcome.missing:
        parts.append(f"nothing published about {outcome.missing:,}")
    if outcome.bad:
        parts.append(f"{len(outcome.bad):,} could not be used")
    return f"{path}: {', '.join(parts)}"


@contextmanager
def showing(count: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("published"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=count)
        yield lambda done: bar.update(task, completed=done)
