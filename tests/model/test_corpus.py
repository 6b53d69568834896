"""Text files as documents, as tokens on disk, and as rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.corpus import Corpus, CorpusError, open_corpus, read_documents, write_tokens
from model.tokenizer import load_tokenizer

TOKENIZER = load_tokenizer(Path(__file__).parents[2] / "model" / "demo" / "gpt2-demo")


def test_documents_are_parted_by_the_end_of_text_mark_and_may_span_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo<|endoftext|>three\n<|endoftext|><|endoftext|>four")
    assert list(read_documents([tmp_path / "a.txt"])) == ["one\ntwo", "three\n", "", "four"]


def test_a_jsonl_file_has_a_document_a_line(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "one\nline", "id": 3}), "", json.dumps({"text": "two"})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert list(read_documents([tmp_path / "a.jsonl"])) == ["one\nline", "", "two"]


def test_a_long_document_is_cut_at_an_end_of_a_line(tmp_path: Path) -> None:
    line = "word " * 200 + "\n"
    (tmp_path / "a.txt").write_text(line * 2500)
    parts = list(read_documents([tmp_path / "a.txt"]))
    assert "".join(parts) == line * 2500 and len(parts) == 3
    assert all(part.endswith("\n") or not part for part in parts)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl", b'{"txt": "x"}', 'line 1 of {} is not an object with "text"'),
        ("a.jsonl", b'{"text": 3}', 'line 1 of {} has a "text" that is no string'),
        ("a.jsonl", b"\n[1", 'line 2 of {} is not an object with "text"'),
        ("a.txt", b"abc\xff", "{} is not text in UTF-8 (byte 3 of a line)"),
        ("a.txt", None, "cannot read {}: No such file or directory"),
    ],
)
def test_what_is_no_text_is_refused_in_a_sentence(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorpusError) as refused:
        list(read_documents([path]))
    assert str(refused.value) == complaint.format(path)


def test_tokens_on_disk_are_those_of_the_documents_each_after_the_mark(tmp_path: Path) -> None:
    texts = ["Mary gave the map to Tom.", "", "The keys are old."]
    counts = list(write_tokens(texts, TOKENIZER, tmp_path / "tokens"))
    wanted = [id for text in texts if text for id in (TOKENIZER.eos, *TOKENIZER.encode(text, special=False))]
    assert np.fromfile(tmp_path / "tokens", dtype="<u4").tolist() == wanted
    assert counts[-1] == len(wanted)


def test_a_tokenisation_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    writing = write_tokens(["one", "two"], TOKENIZER, tmp_path / "tokens")
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
