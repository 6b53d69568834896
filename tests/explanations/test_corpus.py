"""A corpus as rows: the tokens are those of whole documents, however the text is cut to be read."""

import json
from pathlib import Path

import pytest

from explanations.collation.corpus import Row, blocks, describe
from explanations.collation.reading import Mark, Rows
from model import documents as reading
from model.demo.__main__ import BUNDLED
from model.documents import CorpusError, documents
from model.tokenizer import Tokenizer, load_tokenizer

TEXT = "When Mary and John went to the store,\n\n  John gave a drink to Mary.   The end\t1900s \n" * 40


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(BUNDLED)


@pytest.mark.parametrize("chunk", [1, 7, 64, 100_000])
def test_reading_in_pieces_gives_the_tokens_of_the_whole_document(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(reading, "CHUNK", chunk)
    path = tmp_path / "a.txt"
    path.write_text(
        f"{TEXT}<|endoftext|>second, e\u0301t\u00e9 \u3000 x<|endoftext|><|endoftext|>{TEXT[:90]}",
        encoding="utf-8",
    )
    found: dict[int, list[int]] = {}
    for row in Rows([path], "text", lambda text: tokenizer.encode(text, special=False), 16):
        assert row.start == len(found.setdefault(row.document, []))
        assert 0 < len(row.tokens) <= 16
        found[row.document] += row.tokens
    expected = [tokenizer.encode(text) for text in (TEXT, "second, e\u0301t\u00e9 \u3000 x", "", TEXT[:90])]
    assert [found.get(document, []) for document in range(4)] == expected


def test_rows_are_numbered_over_all_files_and_come_in_blocks(tokenizer: Tokenizer, tmp_path: Path) -> None:
    paths = [tmp_path / "a.txt", tmp_path / "b.jsonl"]
    paths[0].write_text("When Mary and John went to the store")
    paths[1].write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in ("Mary", "John went to the store")) + "\n"
    )
    found = list(blocks(Rows(paths, "text", tokenizer.encode, 5), 2))
    assert [len(block) for block in found] == [2, 2]
    places = [(row.number, row.file, row.document, row.start) for block in found for row in block]
    assert places == [(0, 0, 0, 0), (1, 0, 0, 5), (2, 1, 0, 0), (3, 1, 1, 0)]


def test_a_text_without_spaces_is_read_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST", 100)
    monkeypatch.setattr(reading, "CHUNK", 40)
    path = tmp_path / "a.txt"
    path.write_text("x" * 1000)
    pieces = [list(document) for document in documents(path)]
    assert "".join(pieces[0]) == "x" * 1000
    assert max(map(len, pieces[0])) <= 140


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"abc \xff", "a.txt is not UTF-8 text: byte 0xff in it"),
        ("a.jsonl", b'{"text": "x"}\n{"text', "a.jsonl:2 is not JSON"),
        ("a.jsonl", b'{"body": "x"}', "a.jsonl:1 has no text 'text': name another field with --field"),
        ("a.jsonl", b'{"text": "\\ud800"}', "a.jsonl, document 0: the text holds a lone surrogate"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(
    tokenizer: Tokenizer, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=said):
        list(Rows([tmp_path / name], "text", tokenizer.encode, 5))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"cannot read .*none.txt: no such file or directory"):
        describe([tmp_path / "none.txt"], "text")


def test_parquet_is_read_where_pyarrow_is_installed(tokenizer: Tokenizer, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"body": ["Mary", None, "John went"]}), path)
    found = [row.tokens for row in Rows([path], "body", tokenizer.encode, 5)]
    assert found == [tuple(tokenizer.encode("Mary")), tuple(tokenizer.encode("John went"))]
    with pytest.raises(CorpusError, match=r"has no column 'text': it has body; name one with --field"):
        list(Rows([path], "text", tokenizer.encode, 5))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorpusError, match=r"cannot read .*a\.parquet: ") as failed:
        list(Rows([path], "body", tokenizer.encode, 5))
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("length", [3, 8])
def test_reading_goes_on_from_any_row_without_tokenising_what_came_before(
    tokenizer: Tokenizer, tmp_path: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.documents.CHUNK", 40)
    texts = ["Mary and John went to the store. " * 9, "", "John", "gave a drink " * 7]
    (tmp_path / "a.txt").write_text("<|endoftext|>".join(texts))
    (tmp_path / "b.jsonl").write_text("".join(f"{json.dumps({'text': each})}\n" for each in texts))
    paths, encoded = [tmp_path / "a.txt", tmp_path / "b.jsonl"], list[str]()

    def encode(text: str) -> list[int]:
        encoded.append(text)
        return tokenizer.encode(text)

    whole = Rows(paths, "text", encode, length)
    found: list[tuple[Row, Mark]] = [(row, whole.mark) for row in whole]
    assert [row.number for row, _ in found] == list(range(len(found)))
    every = [row for row, _ in found]
    everything = sum(map(len, encoded))
    for at, (_, mark) in enumerate(found):
        encoded.clear()
        rest = list(Rows(paths, "text", encode, length, mark))
        assert [row for row in rest if row.number > at] == every[at + 1 :]
        assert rest[0].number <= at + 1 if rest else at + 1 == len(found)
        assert sum(map(len, encoded)) == everything - mark.characters
    assert found[-1][1].characters > 0.8 * everything
