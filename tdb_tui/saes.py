"""The SAEs of a session: read once, checked against the model, moved to where it computes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from model.dictionaries import LETTER_OF, Dictionaries
from model.files import CheckpointError
from model.gpt2 import GPT2, Config
from model.sites import Where
from sae.autoencoder import Autoencoder
from sae.formats import load, parts_of
from sae.reading import fits, place_of, place_text
from tdb_tui.errors import CommandError
from tdb_tui.state import Sae


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
        path = Path(text).expanduser()
        if given and not _is_place(place):
            place, path = "", Path(words).expanduser()
        try:
            found = [self._kept(part, place) for part in parts_of(path)]
        except CheckpointError as error:
            raise CommandError(str(error), code="bad-sae") from None
        return tuple(sorted(found, key=lambda sae: (place_of(sae.place)[1], sae.place)))

    def loaded(self, saes: tuple[Sae, ...]) -> Dictionaries:
        """By the place that each takes apart.  Raises CommandError where a file cannot be read again."""
        if saes not in self._together:
            try:
                found = {place_of(sae.place): self._again(sae) for sae in saes}
            except CheckpointError as error:
                raise CommandError(str(error), code="bad-sae") from None
            self._together[saes] = MappingProxyType(found)
        return self._together[saes]

    def _kept(self, path: Path, place: str) -> Sae:
        found = load(path, place_of(place) if place else None)
        fits(found, self._config, path.name)
        sae = Sae(str(path.resolve()), place_text(found.writes))
        self._read[sae] = found.to(device=self._device, dtype=self._dtype)
        return sae

    def _again(self, sae: Sae) -> Autoencoder:
        if sae not in self._read:
            self._kept(Path(sae.path), sae.place)
        return self._read[sae]


def with_saes(own: tuple[Sae, ...], more: Iterable[Sae]) -> tuple[Sae, ...]:
    """One SAE a place, a later one in the place of an earlier, in the order of the pass."""
    by_place: Mapping[str, Sae] = {sae.place: sae for sae in (*own, *more)}
    return tuple(sorted(by_place.values(), key=lambda sae: _order(place_of(sae.place))))


def _order(at: Where) -> tuple[int, int]:
    return at[1], list(LETTER_OF).index(at[0])


def _is_place(text: str) -> bool:
    try:
        place_of(text)
    except CheckpointError:
        return False
    return True
