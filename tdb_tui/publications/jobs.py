"""What was published, component by component into a store; what is in the store already is not asked for again."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from explanations.published.filing import Spelling, file_away
from explanations.published.records import Published, PublishedError
from explanations.records import Origin
from explanations.schema import Identity
from explanations.store import Store, open_store
from explanations.writing import writing
from model.components import Component
from tdb_tui.publications.publishers import Choice, origin, published
from tdb_tui.publications.web import Web

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Shelf:
    """The store that published records go into."""

    path: Path
    identity: Identity
    spelled: Spelling

    def keep(self, about: Origin, found: Sequence[Published]) -> None:
        """Raises StoreError and PublishedError; nothing of `found` is kept then."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with writing(self.path, self.identity) as connection:
            file_away(connection, about, found, self.spelled)

    @contextmanager
    def opened(self) -> Iterator[Store | None]:
        """None where there is none yet.  Raises StoreError."""
        store = open_store(self.path, self.identity.model_hash) if self.path.exists() else None
        try:
            yield store
        finally:
            if store is not None:
                store.close()


@dataclass(slots=True)
class Outcome:
    kept: int = 0
    missing: int = 0
    "Nothing was published about these."
    bad: list[str] = field(default_factory=list[str])
    "Why what was published about others could not be used, a sentence each."

    @property
    def asked(self) -> int:
        return self.kept + self.missing + len(self.bad)


def unknown(shelf: Shelf, choice: Choice, components: Sequence[Component]) -> list[Component]:
    """Those about which the store does not have all that is asked for."""
    with shelf.opened() as store:
        return [each for each in components if store is None or not _has(store, choice, each)]


def _has(store: Store, choice: Choice, component: Component) -> bool:
    known, about = store.statistics(str(component)), origin(choice, component)
    if choice.records:
        return known is not None and known.origin == about
    return any(each.method.startswith(about.name.split()[0]) for each in store.explanations(str(component)))


async def gather(
    web: Web, shelf: Shelf, choice: Choice, components: Sequence[Component], show: Callable[[Outcome], None]
) -> Outcome:
    """Ask about each, several at once.  Raises StoreError; a component that cannot be used is counted and left out."""
    outcome, places = Outcome(), asyncio.Semaphore(AT_ONCE)

    async def one(component: Component) -> None:
        async with places:
            try:
                found = await published(web, choice, component)
                if found is not None:
                    shelf.keep(origin(choice, component), [found])
            except PublishedError as error:
                outcome.bad.append(str(error))
            else:
                outcome.kept += found is not None
                outcome.missing += found is None
            show(outcome)

    await asyncio.gather(*map(one, components))
    return outcome
