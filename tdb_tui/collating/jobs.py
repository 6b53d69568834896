"""What `tdb-tui collate` was asked to do, and the groups of components that this means."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from explanations.collation.collecting import CollationError, Share
from explanations.collation.corpus import describe
from explanations.collation.groups import Group, directions, heads, latents, mlp, neurons
from explanations.collation.plans import Plan
from model.gpt2 import GPT2
from model.sites import Site
from sae.formats import dictionary_hash, load, parts_of
from sae.reading import fits, place_of
from tdb_tui.files.vectors import read_vector


@dataclass(frozen=True, slots=True)
class Job:
    paths: tuple[Path, ...]
    field: str
    out: Path
    plan: Plan
    kinds: tuple[str, ...]
    saes: tuple[str, ...]
    "[SITE.LAYER=]PATH"
    directions: tuple[str, ...]
    "NAME=SITE.LAYER=FILE"
    checkpoint: float
    "Seconds between saved states."

    def groups(self, model: GPT2) -> list[Group]:
        """Layer by layer.  Raises CheckpointError for a dictionary and CommandError for a vector that does not fit."""
        makers: dict[str, Callable[[int], Group]] = {
            "heads": lambda layer: heads(model, layer),
            "neurons": lambda layer: neurons(model, layer),
            "mlps": mlp,
        }
        found = [
            makers[kind](layer)
            for layer in range(model.config.n_layer)
            for kind in makers
            if kind in self.kinds
        ]
        for words in self.saes:
            found += self._latents(model, words)
        found += [_direction(model, text) for text in self.directions]
        if not found:
            raise CollationError("nothing to collate: --only none leaves --sae and --direction")
        return found

    def _latents(self, model: GPT2, words: str) -> list[Group]:
        """The dictionaries of `[SITE.LAYER=]PATH`, a file or a directory of them."""
        place, path = _placed(words)
        found: list[Group] = []
        for part in parts_of(path):
            autoencoder = load(part, place_of(place) if place else None)
            fits(autoencoder, model.config, part.name)
            kind = model.wte.weight
            found.append(
                latents(model, autoencoder.to(device=kind.device, dtype=kind.dtype), dictionary_hash(part))
            )
        return found

    def state(self, share: Share) -> Path:
        """Where a process keeps what it goes on from."""
        rank = f".{share.rank + 1}of{share.world}" if share.world > 1 else ""
        return self.out.with_name(f"{self.out.name}{rank}.state")

    def told(self, model_hash: str, dtype: str, device: str, share: Share) -> dict[str, Any]:
        """All that decides the content of the state."""
        return {
            "plan": asdict(self.plan),
            "corpus": describe(self.paths, self.field),
            "model": model_hash,
            "kinds": list(self.kinds),
            "saes": [dictionary_hash(part) for words in self.saes for part in parts_of(_placed(words)[1])],
            "directions": list(self.directions),
            "dtype": dtype,
            "device": device.partition(":")[0],
            "number of processes": share.world,
        }


def _placed(words: str) -> tuple[str, Path]:
    place, _, path = words.rpartition("=")
    return place, Path(path).expanduser()


def _direction(model: GPT2, text: str) -> Group:
    name, _, rest = text.partition("=")
    place, _, file = rest.partition("=")
    if not name or not place or not file:
        raise CollationError(f"--direction {text}: write NAME=SITE.LAYER=FILE, say joy=resid_post.3=joy.npy")
    site, layer = place_of(place)
    if site not in (Site.RESID_PRE, Site.RESID_MID, Site.RESID_POST, Site.ATTN_OUT, Site.MLP_OUT):
        raise CollationError(
            f"--direction {text}: a direction of the residual stream was expected, not of {site}"
        )
    if layer >= model.config.n_layer:
        raise CollationError(f"--direction {text}: the last layer is {model.config.n_layer - 1}")
    vector = torch.tensor(read_vector(Path(file), model.config.d_model))
    if not float(vector.norm()):
        raise CollationError(f"--direction {text}: a vector of zeros has no direction")
    return directions((site, layer), {name: vector.to(model.wte.weight)})
