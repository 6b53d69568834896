"""Ids against the original's, for any text; and what reaches a terminal."""

import json
import os
import random
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer
from tokenizers import Tokenizer as Original

from model.demo.text import documents
from model.printable import printable
from model.tokenizer import Tokenizer, load_tokenizer
from model.vocabulary import BYTE_OF, END_OF_TEXT, TokenizerError

SHARED = Path(os.environ.get("TDB_SHARED", Path(__file__).parents[3] / "shared")) / "data"
GPT2_FILES = SHARED / "gpt2-tokenizer"
needs_gpt2 = pytest.mark.skipif(
    not GPT2_FILES.is_dir(), reason="GPT-2's vocab.json and merges.txt are not here"
)

HOSTILE = [
    "",
    " ",
    "  ",
    "\n\n\n",
    " \n \t\r\n  x",
    "a" + " " * 300 + "b" + "\t" * 70,
    "trailing spaces   ",
    "I'm you're they'll we've he'd it's I'M 'tis ''s 'S",
    "<|endoftext|>",
    "a<|endoftext|><|endoftext|> b <|endoftext| >",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 e\u0301 \u0301alone Z\u0300\u0301\u0302a\u0328lgo",
    "עברית mixed العربية \u202eevil\u202c \u200b\u200d\ufeff",
    "\x00\x01\x07\x1b[31mred\x1b[0m\x7f\x80\x9b \x85\xa0\u2028\u2029\u3000",
    "日本語 한국어 ไทย ½ Ⅷ ٣٤ १२ 𝟘𝟙 x²",
    "1234567890 3.14 1e-9 17 33",
    "\U0010ffff\ue000\ufdd0\ufffd",
    "ſ K Å İı ß ẞ Ǆ",
    "def f(x):\n    return x**2  # !!!???...",
    "a" * 5_000 + "^" * 5_000 + " " * 5_000 + "\n" * 5_000,
]


def corpus() -> str:
    path = SHARED / "wikitext-2" / "valid.txt"
    if path.is_file():
        return path.read_text(encoding="utf-8")[:60_000]
    return "\n".join(islice(documents(random.Random(0)), 800))


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    return load_tokenizer(GPT2_FILES)


@pytest.fixture(scope="module")
def original() -> Any:
    from transformers import GPT2Tokenizer

    return GPT2Tokenizer(vocab=str(GPT2_FILES / "vocab.json"), merges=str(GPT2_FILES / "merges.txt"))


def original_ids(original: Any, text: str) -> list[int]:
    return original.backend_tokenizer.encode(text, add_special_tokens=False).ids


@needs_gpt2
@pytest.mark.parametrize("text", [*HOSTILE, corpus()], ids=lambda text: repr(text[:12]))
def test_ids_of_hostile_text_are_the_originals(gpt2: Tokenizer, original: Any, text: str) -> None:
    assert gpt2.encode(text) == original_ids(original, text)


@needs_gpt2
@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_ids_of_any_text_are_the_originals_and_decode_to_it(
    gpt2: Tokenizer, original: Any, text: str
) -> None:
    ids = gpt2.encode(text)
    assert ids == original_ids(original, text)
    assert gpt2.decode(ids) == text


@needs_gpt2
def test_ids_around_every_kind_of_character_are_the_originals(gpt2: Tokenizer, original: Any) -> None:
    kinds = [chr(code) for code in range(0, 0x3400, 3) if not 0xD800 <= code < 0xE000]
    text = "".join(f"a{character}1 {character}{character} .{character}\n" for character in kinds)
    assert gpt2.encode(text) == original_ids(original, text)


@needs_gpt2
def test_end_of_text_is_one_token_only_where_it_is_asked_for(gpt2: Tokenizer) -> None:
    assert gpt2.eos == 50256 and gpt2.n_vocab == 50257
    assert gpt2.encode("a<|endoftext|>b") == [64, 50256, 65]
    assert 50256 not in gpt2.encode("a<|endoftext|>b", special=False)
    assert gpt2.decode(gpt2.encode("a<|endoftext|>b", special=False)) == "a<|endoftext|>b"


@needs_gpt2
def test_a_megabyte_without_a_seam_takes_no_time_to_speak_of(gpt2: Tokenizer) -> None:
    assert gpt2.decode(gpt2.encode("a" * 10**6)) == "a" * 10**6


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary trained by the reference library, as vocab.json + merges.txt and as tokenizer.json."""
    directory = tmp_path_factory.mktemp("trained")
    reference = ByteLevelBPETokenizer()
    reference.train_from_iterator(
        [corpus()], vocab_size=900, special_tokens=[END_OF_TEXT], show_progress=False
    )
    reference.save_model(str(directory))
    reference.save(str(directory / "tokenizer.json"))
    return directory


def reference_ids(directory: Path, text: str) -> list[int]:
    return Original.from_file(str(directory / "tokenizer.json")).encode(text).ids


def test_both_forms_of_a_vocabulary_give_the_references_ids(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((trained / "tokenizer.json").read_bytes())
    files, whole = load_tokenizer(trained), load_tokenizer(tmp_path)
    for text in [*HOSTILE, corpus()]:
        assert files.encode(text) == whole.encode(text) == reference_ids(trained, text)


def test_ids_need_not_be_in_merge_order(trained: Path, tmp_path: Path) -> None:
    vocab = json.loads((trained / "vocab.json").read_text())
    new = list(range(len(vocab)))
    random.Random(0).shuffle(new)
    scrambled = {token: new[id] for token, id in vocab.items()}
    (tmp_path / "vocab.json").write_text(json.dumps(scrambled))
    (tmp_path / "merges.txt").write_bytes((trained / "merges.txt").read_bytes())
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.eos == scrambled[END_OF_TEXT]
    for text in [*HOSTILE, corpus()]:
        ids = tokenizer.encode(text)
        assert ids == [new[id] for id in reference_ids(trained, text)]
        assert tokenizer.decode(ids) == text


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_small_trained_vocabularies_agree_with_the_reference(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = st.text(alphabet="ab c", max_size=40)
    directory = tmp_path_factory.mktemp("small")
    reference = ByteLevelBPETokenizer()
    lines = data.draw(st.lists(text, min_size=1, max_size=6))
    reference.train_from_iterator(lines, vocab_size=290, min_frequency=1, show_progress=False)
    reference.save_model(str(directory))
    tokenizer = load_tokenizer(directory)
    for line in [*lines, data.draw(text)]:
        assert tokenizer.encode(line) == reference.encode(line).ids


def test_every_tokens_bytes_make_up_the_text(trained: Path) -> None:
    tokenizer = load_tokenizer(trained)
    text = HOSTILE[10] + HOSTILE[12]
    assert b"".join(tokenizer.token_bytes(id) for id in tokenizer.encode(text)) == text.encode()


def test_a_lone_byte_is_escaped_and_a_missing_token_named(trained: Path) -> None:
    tokenizer = load_tokenizer(trained)
    lone = next(id for id, token in tokenizer.tokens.items() if token == b"\xe9")
    assert tokenizer.text(lone) == tokenizer.display(lone) == "\\xe9"
    assert tokenizer.text(5_000) == "<|unused 5000|>"
    with pytest.raises(
        TokenizerError, match=f"no token 5000: the vocabulary has ids 0 to {tokenizer.n_vocab - 1}"
    ):
        tokenizer.decode([5_000])


def test_a_lone_surrogate_is_refused_in_one_sentence(trained: Path) -> None:
    with pytest.raises(TokenizerError, match=r"lone surrogate, U\+D800 at character 2: not valid Unicode"):
        load_tokenizer(trained).encode("ab\ud800")


def refusal(directory: Path) -> str:
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(directory)
    return str(caught.value)


def test_files_that_cannot_be_followed_are_refused_by_name(trained: Path, tmp_path: Path) -> None:
    assert "has no tokenizer" in refusal(tmp_path)
    vocab = json.loads((trained / "vocab.json").read_text())
    merges = (trained / "merges.txt").read_text().split("\n")

    def write(vocab: Any, lines: list[str]) -> None:
        (tmp_path / "vocab.json").write_text(vocab if isinstance(vocab, str) else json.dumps(vocab))
        (tmp_path / "merges.txt").write_text("\n".join(lines))

    write("{", merges)
    assert "vocab.json is not JSON" in refusal(tmp_path)
    write([1, 2], merges)
    assert refusal(tmp_path) == "vocab.json is not a JSON object"
    write({token: id for token, id in vocab.items() if token != "A"}, [])
    assert "no token for byte 0x41" in refusal(tmp_path)
    write(vocab | {"!": vocab["A"]}, merges)
    assert "one id to two tokens" in refusal(tmp_path)
    write(vocab, [*merges, "Ġt hezzz"])
    assert "the merge 'Ġt hezzz' does not make a token" in refusal(tmp_path)
    write(vocab, merges[::-1])
    assert "out of order" in refusal(tmp_path)
    write(vocab | {"aaa": 2000, "aa": 2001}, [*merges, "a a", "a aa", "aa a"])
    assert "the merge 'a' 'aa' is out of order, or can never happen" in refusal(tmp_path)


def test_a_token_that_merging_never_makes_is_refused(tmp_path: Path) -> None:
    # 'b c' comes first, so 'a b c' becomes 'a bc': 'ab' and 'c' never meet
    vocab = {**BYTE_OF, "bc": 256, "ab": 257, "abc": 258}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("b c\na b\nab c\n")
    assert "the merge 'ab' 'c' is out of order, or can never happen" in refusal(tmp_path)
    (tmp_path / "merges.txt").write_text("a b\nb c\nab c\n")
    assert load_tokenizer(tmp_path).encode("abc bc") == [258, BYTE_OF["Ġ"], 256]


def test_a_tokenizer_json_with_other_rules_is_refused(trained: Path, tmp_path: Path) -> None:
    data = json.loads((trained / "tokenizer.json").read_text())
    data["pre_tokenizer"]["add_prefix_space"] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert "pre_tokenizer.add_prefix_space" in refusal(tmp_path)


@needs_gpt2
def test_a_word_without_its_space_is_the_token_with_it_and_the_note_says_so(gpt2: Tokenizer) -> None:
    mary = gpt2.resolve_single("Mary")
    assert (mary.id, mary.text) == (gpt2.encode(" Mary")[0], " Mary")
    assert mary.note == "'Mary' has no leading space; using ' Mary'"
    assert gpt2.resolve_single(" Mary").note is None


@needs_gpt2
def test_what_is_typed_stands_where_a_space_would_change_the_meaning(gpt2: Tokenizer) -> None:
    for text, after in [(".", "The end"), ("33", "from 1732 to 17"), ("<|endoftext|>", "")]:
        token = gpt2.resolve_single(text, after)
        assert (token.text, token.note) == (text, None)
    assert gpt2.resolve_single("33", "the answer is").text == " 33"


@needs_gpt2
def test_several_tokens_are_no_target(gpt2: Tokenizer) -> None:
    with pytest.raises(TokenizerError) as caught:
        gpt2.resolve_single("Mary Smith")
    assert str(caught.value) == "target must be one token: ' Mary Smith' is 2 (' Mary', ' Smith')"
    with pytest.raises(TokenizerError, match="the text is empty"):
        gpt2.resolve_single("")


@needs_gpt2
def test_tokens_are_shown_readably_on_one_line(gpt2: Tokenizer) -> None:
    shown = {gpt2.display(id) for id in range(gpt2.n_vocab)}
    assert all(text and text.isprintable() for text in shown)
    assert [gpt2.display(text) for text in (END_OF_TEXT, "\n", "\t", " Mary", "\r")] == [
        "⊢",
        "↵",
        "⇥",
        " Mary",
        "\\r",
    ]
    assert gpt2.display(50256) == "⊢" and gpt2.display(198) == "↵"


@given(st.text())
def test_nothing_printed_acts_on_a_terminal(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_ordinary_text_is_printed_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb", r"a\u202eb"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("caf\u00e9 e\u0301", "caf\u00e9 e\u0301"),
        ("\u0301x \u0301", "\\u0301x \\u0301"),
        ("\ud800", r"\ud800"),
        ("\u00a0\u2028\u3164", r"\xa0\u2028\u3164"),
        ("日本😀", "日本😀"),
        ("❤\ufe0f", "❤\\ufe0f"),
        ("line\none", r"line\none"),
    ],
)
def test_what_hides_or_acts_is_escaped_and_the_rest_stays(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_the_byte_alphabet_is_a_bijection() -> None:
    assert Counter(BYTE_OF.values()) == Counter(range(256))
