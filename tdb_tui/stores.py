"""The stores that a session looks things up in, read-only and opened when needed, and the one it keeps things in."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from explanations.records import Best, Example, Explanation, Hit, Note, Sampling, Statistics
from explanations.schema import Identity, StoreError
from explanations.store import Store, open_store
from explanations.writing import writing
from model.components import DICTIONARY_SITES
from model.files import CheckpointError
from tdb_tui.errors import CommandError

A = TypeVar("A")
T = TypeVar("T")
SITES = "".join(DICTIONARY_SITES)
"Letters of the places that a latent may belong to, where it was typed without one."


def usual_store(model_hash: str) -> Path:
    """Where what was published about a model is kept, and looked for unasked."""
    return published_stores() / f"{model_hash}.store"


def published_stores() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("tdb-tui") / "published"


@dataclass(frozen=True, slots=True)
class Yours:
    """Where the user's own stores are: one about each model, made when something is first kept."""

    folder: Path
    model: str

    def found(self, model_hash: Callable[[], str]) -> Path | None:
        """The one about this model; weights are hashed only where there is one that it may be."""
        if not any(self.folder.glob(f"{self.model}-*.store")):
            return None
        path = self.path(model_hash())
        return path if path.is_file() else None

    def path(self, model_hash: str) -> Path:
        return self.folder / f"{self.model}-{model_hash}.store"


class Stores:
    """`model_hash` is asked for when a store is opened first: hashing the weights of a large model takes a second."""

    def __init__(
        self, model_hash: Callable[[], str], paths: Sequence[Path] = (), yours: Yours | None = None
    ) -> None:
        self._hash = model_hash
        self.paths = tuple(paths)
        "In the order in which they are asked."
        self._yours = yours
        self._opened: tuple[Store, ...] | None = None
        self._sources: dict[Path, Mapping[str, str]] = {}
        self.own: Store | None = None
        "The first that the user named."
        self.saes: Mapping[str, Callable[[], str]] = {}
        "Which dictionary is loaded, by its latents' family (`Fm3`): what stores say of another's latents is not told."
        self.kept = 0
        "How many things have been kept in this session: what is shown of stores is old when it has grown."

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
        """Those named or bundled, the user's own about this model, and what was published about it, in this order."""
        opened = self._opened
        if opened is None:
            yours = None if self._yours is None else self._yours.found(self._hash)
            paths = (*self.paths, *([yours] if yours else ()), *self._published())
            try:
                self._opened = opened = tuple(open_store(path, self._hash()) for path in paths)
            except StoreError as error:
                raise CommandError(str(error), code="bad-store") from None
        return opened

    def keeper(self) -> tuple[Path, Identity] | None:
        """The store that takes what is explained and noted: the first that the user named, else the user's own.

        A model's own is never written.  None where there is nowhere to write.
        """
        if self.own is not None:
            return self.own.path, self.own.identity
        if self._yours is None:
            return None
        identity = Identity(self._yours.model, self._hash())
        return self._yours.path(identity.model_hash), identity

    @contextmanager
    def keeping(self) -> Iterator[sqlite3.Connection]:
        """The keeper, to write into.  Raises CommandError where it cannot be written."""
        try:
            found = self.keeper()
            if found is None:
                raise StoreError("no store to keep it in: start with --store FILE")
            path, identity = found
            path.parent.mkdir(parents=True, exist_ok=True)
            with writing(path, identity) as connection:
                yield connection
        except (StoreError, OSError, CheckpointError) as error:
            raise CommandError(str(error), code="bad-store") from None
        self.kept += 1
        if path not in {store.path for store in self.opened()}:
            self._opened = None

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
            if self._is_of_this(store, name)
            for each in _read(store.explanations, name)
        ]
        return tuple(sorted(found, key=lambda each: (each.score is None, -(each.score or 0.0))))

    def best(self, nodes: Sequence[str]) -> dict[str, Best]:
        """The best explanation that any store has of each of `nodes`."""
        found: dict[str, Best] = {}
        for store in self.opened():
            told = [node for node in nodes if self._is_of_this(store, node)]
            for node, each in _read(store.best, told).items():
                if node not in found or (each.score or 0.0) > (found[node].score or 0.0):
                    found[node] = each
        return found

    def notes(self, node: str) -> tuple[Note, ...]:
        """Of all stores, each text once."""
        found = (note for store in self.opened() for name in names(node) for note in _read(store.notes, name))
        return tuple({note.text: note for note in found}.values())

    def search(self, text: str, limit: int) -> list[Hit]:
        """Of all stores, best first, each component once."""
        found: dict[str, Hit] = {}
        hits: list[Hit] = []
        for store in self.opened():
            every = _read(partial(store.search, limit=limit), text)
            hits += [hit for hit in every if self._is_of_this(store, hit.node)]
        for hit in sorted(hits, key=lambda hit: -hit.rank):
            found.setdefault(hit.node, hit)
        return list(found.values())[:limit]

    def _first(self, look: Callable[[Store, str], T], node: str) -> T | None:
        """What the first store says that knows the component."""
        for store in self.opened():
            for name in names(node):
                known = self._is_of_this(store, name)
                if known and (found := _read(lambda each, store=store: look(store, each), name)):
                    return found
        return None

    def _is_of_this(self, store: Store, node: str) -> bool:
        """Whether a store's latent is one of the dictionary that is loaded at its place, as far as the store says."""
        family = node.partition(".")[0]
        if family not in self.saes:
            return True
        if store.path not in self._sources:
            self._sources[store.path] = _read(lambda _: store.sources(), family)
        source = self._sources[store.path].get(family, "")
        return not source or source == self.saes[family]()


def names(node: str) -> list[str]:
    """The spellings that a component may have in a store: a latent's with the letter of every place."""
    if node.startswith("F") and node[1:2].isdigit():
        return [f"F{site}{node[1:]}" for site in SITES]
    return [node]


def _read(look: Callable[[A], T], asked: A) -> T:
    try:
        return look(asked)
    except StoreError as error:
        raise CommandError(str(error), code="bad-store") from None
