"""The SAEs of a session: read once, checked against the model, moved to where it computes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import sae
from model.dictionaries import LETTER_OF, Dictionaries
from model.files import CheckpointError
from model.gpt2 import GPT2, Config
from model.sites import Where
from sae.autoencoder import Autoencoder
from sae.formats import dictionary_hash, load, parts_of
from sae.reading import fits, place_of, place_text
from tdb_tui.errors import CommandError, NotLoaded
from tdb_tui.machine.models import DEMO
from tdb_tui.state import Sae

if TYPE_CHECKING:  # the session is made of the engine, and the engine of this
    from tdb_tui.session import Session


class Saes:
    """Those that have been asked for; a file that has been read is not read again."""

    def __init__(self, model: GPT2, config: Config) -> None:
        weight = model.wte.weight
        self._config, self._dtype, self._device = config, weight.dtype, weight.device
        self._read: dict[Sae, Autoencoder] = {}
        self._together: dict[tuple[Sae, ...], Dictionaries] = {}

    def find(self, words: str) -> tuple[Sae, ...]:
        """`[SITE.LAYER=]PATH` -> the SAEs there, a directory's in the order of the pass.  Raises CommandError."""
        place, given, text = words.rpartition("=")
        if given and not _is_place(place):
            place, text = "", words
        path = _path_of(text)
        try:
            found = [self._kept(part, place) for part in parts_of(path)]
        except CheckpointError as error:
            raise CommandError(str(error), code="bad-sae") from None
        return tuple(sorted(found, key=lambda each: _order(place_of(each.place))))

    def loaded(self, saes: tuple[Sae, ...]) -> Dictionaries:
        """By the place that each takes apart.  Raises CommandError where a file cannot be read again."""
        if saes not in self._together:
            try:
                found = {place_of(each.place): self._again(each) for each in saes}
            except CheckpointError as error:
                raise CommandError(str(error), code="bad-sae") from None
            self._together[saes] = MappingProxyType(found)
        return self._together[saes]

    def _kept(self, path: Path, place: str) -> Sae:
        found = load(path, place_of(place) if place else None)
        fits(found, self._config, path.name)
        kept = Sae(
            str(path.absolute()), place_text(found.writes)
        )  # a link may end in a name without a suffix
        self._read[kept] = found.to(device=self._device, dtype=self._dtype).in_columns()
        return kept

    def _again(self, wanted: Sae) -> Autoencoder:
        if wanted not in self._read:
            self._kept(Path(wanted.path), wanted.place)
        return self._read[wanted]


def load_saes(session: "Session", words: list[str] | None) -> list[str]:
    """Load the SAEs that the command line names, or those bundled with the model; what is to be said of them.

    They are part of how the session starts, and no step to be undone.  Raises NotLoaded.
    """
    from tdb_tui.texts import opening  # which is made of the engine, and the engine of this

    bundled = BUNDLED / session.engine.info.directory.name
    if words is None and session.engine.info.directory.parent == DEMO.parent and bundled.is_dir():
        words = [str(bundled)]
    if not words or words == ["none"]:
        return []
    try:
        found = [sae for text in words for sae in session.engine.saes.find(text)]
    except CommandError as error:
        raise NotLoaded(error.message, code="not-loaded") from None
    saes = with_saes((), found)
    snapshot = session.go(replace(session.state, inputs=replace(session.state.inputs, saes=saes)))
    session.opening = opening(snapshot.state.inputs, snapshot.tokenizer)
    return [f"{len(saes)} SAEs are loaded: info sae says how they do here, m and M swap their latents in"]


BUNDLED = Path(sae.__path__[0]) / "demo"
"SAEs of bundled models, each model's in a folder of its name."


def with_saes(own: tuple[Sae, ...], more: Iterable[Sae]) -> tuple[Sae, ...]:
    """One SAE a place, a later one in the place of an earlier, in the order of the pass."""
    by_place: Mapping[str, Sae] = {each.place: each for each in (*own, *more)}
    return tuple(sorted(by_place.values(), key=lambda each: _order(place_of(each.place))))


def words_of(saes: Iterable[Sae]) -> list[str]:
    """What `set sae` is given to load them again: a directory of our own files where it holds them and no others."""
    by_folder: dict[Path, list[Sae]] = {}
    for each in saes:
        by_folder.setdefault(Path(each.path).parent, []).append(each)
    found: list[str] = []
    for folder, here in by_folder.items():
        own = all(each.path.endswith(".safetensors") for each in here)  # which say their place themselves
        whole = (
            len(here) > 1 and own and {str(path) for path in parts_of(folder)} == {each.path for each in here}
        )
        found += [str(folder)] if whole else [f"{each.place}={each.path}" for each in here]
    return found


def families(saes: Iterable[Sae]) -> dict[str, Callable[[], str]]:
    """Which dictionary each is, by its latents' family: `Fm3` -> the hash of its weights, made when asked for."""
    return {
        f"F{LETTER_OF[at[0]]}{at[1]}": partial(_hash, each.path)
        for each in saes
        for at in [place_of(each.place)]
    }


@lru_cache(maxsize=256)
def _hash(path: str) -> str:
    """Empty where the file has gone."""
    try:
        return dictionary_hash(Path(path))
    except CheckpointError:
        return ""


def _order(at: Where) -> tuple[int, int]:
    return at[1], list(LETTER_OF).index(at[0])


def _path_of(text: str) -> Path:
    """A path as it is written, or where the cache has what was pulled under an id."""
    from tdb_tui.machine.pull_saes import find_saes

    path = Path(text).expanduser()
    return path if path.exists() else find_saes(text) or path


def _is_place(text: str) -> bool:
    try:
        place_of(text)
    except CheckpointError:
        return False
    return True
