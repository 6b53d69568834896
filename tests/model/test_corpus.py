"""Text files as documents, as tokens on disk, and as rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.corpus import Corpus, open_corpus, read_documents, write_tokens
from model.documents import CorpusError
from model.tokenizer import load_tokenizer

TOKENIZER = load_tokenizer(Path(__file__).parents[2] / "model" / "demo" / "gpt2-demo")


def test_documents_of_every_format_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo<|endoftext|>three")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "four"}) + "\n\n" + json.dumps({"text": "five"}))
    found = ["".join(pieces) for pieces in read_documents([tmp_path / "a.txt", tmp_path / "b.jsonl"])]
    assert found == ["one\ntwo", "three", "four", "five"]
    with pytest.raises(CorpusError, match=r"cannot read .*nowhere\.txt"):
        list(read_documents([tmp_path / "nowhere.txt"]))


def test_parquet_is_read_where_pyarrow_is(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    parquet.write_table(pyarrow.table({"text": ["one", "two"]}), tmp_path / "a.parquet")
    assert ["".join(pieces) for pieces in read_documents([tmp_path / "a.parquet"])] == ["one", "two"]


def test_a_document_that_comes_in_pieces_has_the_tokens_of_the_whole(tmp_path: Path) -> None:
    text = "Mary gave the map to Tom, and then they went to the store. \n" * 4000
    (tmp_path / "a.txt").write_text(text)
    (pieces,) = (list(pieces) for pieces in read_documents([tmp_path / "a.txt"]))
    assert len(pieces) > 2
    for _ in write_tokens([pieces], TOKENIZER, tmp_path / "tokens"):
        pass
    whole = [TOKENIZER.eos, *TOKENIZER.encode(text, special=False)]
    assert np.fromfile(tmp_path / "tokens", dtype="<u4").tolist() == whole


def test_tokens_on_disk_are_those_of_the_documents_each_after_the_mark(tmp_path: Path) -> None:
    texts = ["Mary gave the map to Tom.", "", "The keys are old."]
    counts = list(write_tokens([[text] for text in texts], TOKENIZER, tmp_path / "tokens"))
    wanted = [id for text in texts if text for id in (TOKENIZER.eos, *TOKENIZER.encode(text, special=False))]
    assert np.fromfile(tmp_path / "tokens", dtype="<u4").tolist() == wanted
    assert counts[-1] == len(wanted)


def test_a_tokenisation_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    writing = write_tokens([["one"], ["two"]], TOKENIZER, tmp_path / "tokens")
    next(writing)
    writing.close()
    assert list(tmp_path.iterdir()) == []


def test_rows_cover_the_tokens_in_order_and_each_begins_with_the_mark() -> None:
    corpus = Corpus(np.arange(10, dtype=np.uint32), length=4, first=99)
    assert len(corpus) == 3
    assert corpus.rows([2, 0]).tolist() == [[99, 6, 7, 8], [99, 0, 1, 2]]
    assert Corpus(np.arange(10), length=4, first=None).rows([1]).tolist() == [[4, 5, 6, 7]]


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    np.arange(5, dtype="<u4").tofile(tmp_path / "tokens")
    assert len(open_corpus(tmp_path / "tokens", 6, first=0)) == 1
    with pytest.raises(CorpusError, match="5 tokens, which is not one row of 6"):
        open_corpus(tmp_path / "tokens", 6)
