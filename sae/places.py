"""Where dictionaries read and write, and how wide it is there."""

from model.gpt2 import Config
from model.sites import Site

PLACES = {
    Site.MLP_OUT: "m",
    Site.MLP_POST: "p",
    Site.ATTN_OUT: "a",
    Site.Z: "z",
    Site.RESID_PRE: "r",
    Site.RESID_MID: "r",
    Site.RESID_POST: "r",
}
"Where a dictionary may write, and the letter for it in addresses of its latents."
READ = (*PLACES, Site.LN1_NORMALIZED, Site.LN2_NORMALIZED)
"Where one may read: a transcoder often reads what a layer norm hands on."


def width(site: Site, config: Config) -> int:
    """How many numbers a token has at a site, heads side by side."""
    return config.d_mlp if site is Site.MLP_POST else config.d_model
