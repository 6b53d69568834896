"""One streaming pass over a corpus: what every component does in it, within bounded memory."""
