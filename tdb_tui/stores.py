"""The stores of dataset examples and explanations that a session looks things up in: read-only, opened when needed."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from explanations.records import Example, Explanation, Hit, Note, Sampling, Statistics
from explanations.schema import StoreError
from explanations.store import Store, open_store
from model.components import DICTIONARY_SITES
from tdb_tui.errors import CommandError

T = TypeVar("T")
SITES = "".join(DICTIONARY_SITES)
"Letters of the places that a latent may belong to, where it was typed without one."


def usual_store(model_hash: str) -> Path:
    """Where what was published about a model is kept, and looked for unasked."""
    return published_stores() / f"{model_hash}.store"


def published_stores() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("tdb-tui") / "published"


class Stores:
    """`model_hash` is asked for when a store is opened first: hashing the weights of a large model takes a second."""

    def __init__(self, model_hash: Callable[[], str], paths: Sequence[Path] = ()) -> None:
        self._hash = model_hash
        self.paths = tuple(paths)
        "In the order in which they are asked."
        self._opened: tuple[Store, ...] | None = None
        self.own: Store | None = None
        "The first that the user named, which takes what is explained in a session; a model's own is never written."

    def use(self, paths: Sequence[Path]) -> None:
        """Look in these from now on.  Raises CommandError for one that cannot be used."""
        before = self.paths, self._opened
        self.paths, self._opened = tuple(paths), None
        try:
            self.own = self.opened()[0] if self.paths else None
        except CommandError:
            self.paths, self._opened = before
            raise

    def opened(self) -> tuple[Store, ...]:
        """In the order in which they are asked: what was published about the model last."""
        if self._opened is None:
            published = self._published()
            try:
                self._opened = tuple(open_store(path, self._hash()) for path in (*self.paths, *published))
            except StoreError as error:
                raise CommandError(str(error), code="bad-store") from None
        return self._opened

    def _published(self) -> list[Path]:
        """Hashing the weights takes its time: not where nothing was ever fetched."""
        if not published_stores().is_dir():
            return []
        path = usual_store(self._hash())
        return [path] if path.exists() and path not in self.paths else []

    def names(self) -> str:
        """The files that are looked into; empty where there are none."""
        return ", ".join(store.path.name for store in self.opened())

    def look_again(self) -> None:
        """Open them anew: one may have come."""
        self._opened = None

    def statistics(self, node: str) -> Statistics | None:
        return self._first(lambda store, name: store.statistics(name), node)

    def examples(self, node: str, sampling: Sampling, count: int | None = None) -> list[Example]:
        return self._first(lambda store, name: store.examples(name, sampling, count), node) or []

    def explanations(self, node: str) -> tuple[Explanation, ...]:
        """Of all stores, best first."""
        found = [
            each
            for store in self.opened()
            for name in names(node)
            for each in _read(store.explanations, name)
        ]
        return tuple(sorted(found, key=lambda each: (each.score is None, -(each.score or 0.0))))

    def notes(self, node: str) -> tuple[Note, ...]:
        return tuple(note for store in self.opened() for note in _read(store.notes, node))

    def search(self, text: str, limit: int) -> list[Hit]:
        """Of all stores, best first, each component once."""
        found: dict[str, Hit] = {}
        hits: list[Hit] = []
        for store in self.opened():
            hits += _read(partial(store.search, limit=limit), text)
        for hit in sorted(hits, key=lambda hit: -hit.rank):
            found.setdefault(hit.node, hit)
        return list(found.values())[:limit]

    def _first(self, look: Callable[[Store, str], T], node: str) -> T | None:
        """What the first store says that knows the component."""
        for store in self.opened():
            for name in names(node):
                if found := _read(lambda each, store=store: look(store, each), name):
                    return found
        return None


def names(node: str) -> list[str]:
    """The spellings that a component may have in a store: a latent's with the letter of every place."""
    if node.startswith("F") and node[1:2].isdigit():
        return [f"F{site}{node[1:]}" for site in SITES]
    return [node]


def _read(look: Callable[[str], T], text: str) -> T:
    try:
        return look(text)
    except StoreError as error:
        raise CommandError(str(error), code="bad-store") from None
