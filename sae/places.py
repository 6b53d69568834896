"""Where dictionaries read and write, and how wide it is there."""

from model.dictionaries import LETTER_OF
from model.gpt2 import Config
from model.sites import Site

PLACES = tuple(LETTER_OF)
"Where a dictionary may write: what it takes apart."
READ = (*PLACES, Site.LN1_NORMALIZED, Site.LN2_NORMALIZED)
"Where one may read: a transcoder often reads what a layer norm hands on."


def width(site: Site, config: Config) -> int:
    """How many numbers a token has at a site, heads side by side."""
    return config.d_mlp if site is Site.MLP_POST else config.d_model
