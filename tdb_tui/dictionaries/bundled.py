"""What `sae eval` reads where it is told nothing: the demo model's dictionaries, and text of the demo's own kind."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from model.corpus import Corpus, open_corpus, read_documents, write_tokens
from model.documents import CorpusError
from sae.demo.bundle import BUNDLED, held_out
from tdb_tui.engine import Engine
from tdb_tui.machine.models import DEMO


def judged_text(
    engine: Engine, paths: Sequence[Path], text: Sequence[Path], context: int
) -> tuple[Corpus, list[Path]]:
    """Rows of the text files, or held-out text of the demo model's; and the dictionaries, the bundled by default.

    Raises CorpusError where another model has neither.
    """
    demo = engine.info.directory == DEMO
    if not paths and not demo:
        raise CorpusError(f"say which dictionaries of {engine.info.name}: tdb-tui sae eval FILE --text FILE")
    if not text and not demo:
        raise CorpusError("say on which text: --text FILE")
    corpus = _tokenised(engine, text, context) if text else held_out(engine.tokenizer)
    return corpus, list(paths) or [BUNDLED]


def _tokenised(engine: Engine, text: Sequence[Path], context: int) -> Corpus:
    """The text as rows; its tokens are kept in memory."""
    with TemporaryDirectory(prefix="tdb-tui-") as folder:
        path = Path(folder) / "tokens.bin"
        for _ in write_tokens(read_documents(text), engine.tokenizer, path):
            pass
        mapped = open_corpus(path, context, engine.tokenizer.eos)
        return Corpus(np.array(mapped.tokens), context, engine.tokenizer.eos)
