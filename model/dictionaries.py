"""Dictionaries as the model's tables, edits and frames meet them: what they are asked, and the places they have.

What a dictionary computes is for `sae` to say; here it is a value that answers.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from model.components import DICTIONARY_SITES, Component
from model.gpt2 import wide
from model.sites import Site, Where

SITE_OF: Mapping[str, Site] = {
    letter: site for letter, text in DICTIONARY_SITES.items() for site in Site if site.text == text
}
"The site that a dictionary takes apart, by the letter that addresses its latents."
LETTER_OF: Mapping[Site, str] = {site: letter for letter, site in SITE_OF.items()}
NORMALIZED = {
    Site.LN1_NORMALIZED: (Site.RESID_PRE, Site.LN1_SCALE),
    Site.LN2_NORMALIZED: (Site.RESID_MID, Site.LN2_SCALE),
}
"Sites that are not recorded, and what they are made of."


class Dictionary(Protocol):
    """An autoencoder or a transcoder.  Heads of `z` lie side by side in what it is given and puts out."""

    @property
    def reads(self) -> Where: ...

    @property
    def writes(self) -> Where: ...

    @property
    def n_latent(self) -> int: ...

    @property
    def w_enc(self) -> Tensor:
        """[d_in, latent]"""
        ...

    @property
    def density(self) -> Tensor | None:
        """On which fraction of tokens each latent was active where it was trained: [latent], None where not known."""
        ...

    @property
    def w_dec(self) -> Tensor:
        """A latent's row times its activation is its write: [latent, d_out]."""
        ...

    def encode(self, x: Tensor, latents: Tensor | None = None) -> Tensor:
        """x [..., d_in] -> latents [..., latent], those of some numbers alone where given."""
        ...

    def pre_activations(self, x: Tensor, latents: slice | Tensor | None = None) -> Tensor:
        """The same before the nonlinearity."""
        ...

    def direction(self, x: Tensor, latent: int) -> Tensor:
        """d pre-activation / d x, the scale of the input held: x [..., d_in] -> [..., d_in]."""
        ...

    def decode(self, latents: Tensor, x: Tensor | None = None) -> Tensor:
        """Latents [..., latent], of input x -> what is put out: [..., d_out]."""
        ...

    def factor(self, x: Tensor) -> Tensor:
        """What decoder rows are multiplied by when they are written for input x: [..., 1]."""
        ...

    def beside(self, x: Tensor) -> Tensor:
        """What is put out for input x beside the latents: the bias, a mean put back, a skip: [..., d_out]."""
        ...


Dictionaries = Mapping[Where, Dictionary]
"By the place that each takes apart."


def place_of(part: Component) -> Where:
    """The place that the dictionary of a latent, an error term or a dictionary's bias takes apart."""
    return SITE_OF[part.site], part.layer


class NoDictionary(ValueError):
    """A latent, an error term or a bias of a dictionary that is not loaded, or that has no such latent."""


def dictionary_of(dictionaries: Dictionaries, part: Component) -> Dictionary:
    """Raises NoDictionary, one sentence."""
    found = dictionaries.get(place_of(part))
    if found is None:
        raise NoDictionary(
            f"no SAE loaded for {SITE_OF[part.site]}.{part.layer}: {part} isn't part of this run"
        )
    if part.index is not None and part.index >= found.n_latent:
        raise NoDictionary(f"{part} is out of range: its SAE has latents 0–{found.n_latent - 1}")
    return found


def side_by_side(site: Site, x: Tensor) -> Tensor:
    """A site's tensor with one vector a token, heads side by side: [..., pos, width]."""
    return x.transpose(-3, -2).flatten(-2) if site is Site.Z else x


def as_heads(site: Site, x: Tensor, like: Tensor) -> Tensor:
    """The opposite: in the shape of `like`, the site's own."""
    if site is not Site.Z:
        return x
    *front, n_head, pos, d_head = like.shape
    return x.view(*front, pos, n_head, d_head).transpose(-3, -2)


class Recorded(Protocol):
    """A run's activations, without the batch axis."""

    def __getitem__(self, where: Where, /) -> Tensor: ...


def recorded_at(run: Recorded, where: Where) -> Tensor:
    """What a dictionary reads or takes apart in a run: [pos, width]."""
    site, layer = where
    if site not in NORMALIZED:
        return side_by_side(site, run[where])
    stream, scale = (run[each, layer] for each in NORMALIZED[site])
    return ((wide(stream) - wide(stream).mean(-1, keepdim=True)) / scale).to(stream.dtype)


def numbers(latents: Iterable[int], like: Tensor) -> Tensor:
    """Latents' numbers as an index, on the device of `like`."""
    return torch.tensor(list(latents), dtype=torch.long, device=like.device)
