"""Text to token ids and back, through `tiktoken`; and token strings that a terminal can show safely.

Ids are those of the directory's own files, for any text: must agree with `transformers.GPT2Tokenizer`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tiktoken

from model.printable import printable
from model.vocabulary import END_OF_TEXT, TokenizerError, Vocabulary, read_vocabulary

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
"""GPT-2's pieces; the possessive form of the released pattern, as tiktoken has it: it matches the same."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """One token meant by a text that somebody typed."""

    id: int
    text: str
    note: str | None = None
    """What was understood, where that is not what was typed."""


@dataclass(frozen=True, slots=True, eq=False)
class Tokenizer:
    """A byte-level BPE vocabulary at work."""

    encoding: tiktoken.Encoding
    """Speaks in ranks, which are in merge order; `ids` makes them the file's ids."""
    ids: list[int] = field(repr=False)
    """rank -> id"""
    tokens: Mapping[int, bytes] = field(repr=False)
    """id -> bytes, special tokens included"""
    special: Mapping[str, int]
    splitter: re.Pattern[str] | None = field(repr=False)
    """Matches the special tokens, longest first."""

    @property
    def eos(self) -> int | None:
        """The id of `<|endoftext|>`, which also begins a text."""
        return self.special.get(END_OF_TEXT)

    @property
    def n_vocab(self) -> int:
        return max(self.tokens) + 1

    def encode(self, text: str, special: bool = True) -> list[int]:
        """The ids of `text`; `<|endoftext|>` written in it is that token, unless `special` is false.

        Raises TokenizerError for a lone surrogate, which no UTF-8 text can hold.
        """
        _refuse_surrogates(text)
        if not special or self.splitter is None:
            return self._ordinary(text)
        ids: list[int] = []
        for part in self.splitter.split(text):
            ids += [self.special[part]] if part in self.special else self._ordinary(part)
        return ids

    def _ordinary(self, text: str) -> list[int]:
        return [self.ids[rank] for rank in self.encoding.encode_ordinary(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.token_bytes(id) for id in ids).decode("utf-8", errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token; TokenizerError where the vocabulary has none."""
        if id not in self.tokens:
            raise TokenizerError(f"no token {id}: the vocabulary has ids 0 to {self.n_vocab - 1}")
        return self.tokens[id]

    def text(self, id: int) -> str:
        """One token as text, lone bytes as `\\xNN`; a row of the model that has no token says so."""
        if id not in self.tokens:
            return f"<|unused {id}|>"
        return self.tokens[id].decode("utf-8", errors="backslashreplace")

    def display(self, token: str | int) -> str:
        """One line, safe to show: `⊢` for `<|endoftext|>`, `↵` newline, `⇥` tab, the rest as `printable`."""
        text = self.text(token) if isinstance(token, int) else token
        return "⊢" if text == END_OF_TEXT else printable(text, {"\n": "↵", "\t": "⇥"})

    def single(self, text: str) -> Resolution:
        """`text` as exactly one token, as it is written; TokenizerError where it is none or several."""
        ids = self.encode(text)
        if len(ids) == 1:
            return Resolution(ids[0], text)
        if not ids:
            raise TokenizerError("target must be one token: the text is empty")
        parts = ", ".join(_quoted(self.display(id)) for id in ids)
        raise TokenizerError(f"target must be one token: {_quoted(printable(text))} is {len(ids)} ({parts})")

    def resolve_single(self, text: str, after: str = "") -> Resolution:
        """The token meant by a word typed without its leading space: `Mary` is ` Mary`, and the note says so.

        Punctuation is taken as typed, and so are digits that go on a number which `after`, the prompt,
        breaks off; any text with a leading space is taken as typed too.
        """
        spaced = f" {text}"
        if not text[:1].isalnum() or (text[0].isdigit() and after[-1:].isdigit()) or text in self.special:
            return self.single(text)
        if len(self.encode(spaced)) == 1:
            note = f"{_quoted(printable(text))} has no leading space; using {_quoted(printable(spaced))}"
            return Resolution(self.encode(spaced)[0], spaced, note)
        return self.single(text if len(self.encode(text)) == 1 else spaced)


def load_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face GPT-2 directory; TokenizerError where it cannot be read."""
    return make_tokenizer(read_vocabulary(directory))


def make_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """A vocabulary as a `tiktoken` encoding, with ranks in merge order whatever the ids are."""
    ranks = merge_ranks(vocabulary)
    encoding = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    tokens = {id: token for token, id in vocabulary.ids.items()}
    tokens |= {id: text.encode() for text, id in vocabulary.special.items()}
    ids = [vocabulary.ids[token] for token in ranks]
    return Tokenizer(encoding, ids, tokens, vocabulary.special, _splitter(vocabulary.special))


_Splits = Mapping[bytes, tuple[bytes, bytes]]
"""Token -> the two tokens that it was merged from."""


def _splitter(special: Mapping[str, int]) -> re.Pattern[str] | None:
    longest_first = sorted(filter(None, special), key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None


def merge_ranks(vocabulary: Vocabulary) -> dict[bytes, int]:
    """Token -> rank, bytes first and then merges in order.

    BPE merges the listed pairs; tiktoken merges any two neighbours that make a token.  That is the same
    wherever each token is made in one way, out of earlier tokens, and no earlier merge crosses its seam:
    so of everything that training produces.  TokenizerError for the rest.
    """
    singles = sorted((bytes([byte]) for byte in range(256)), key=vocabulary.ids.__getitem__)
    ranks = {token: rank for rank, token in enumerate(singles)}
    splits: dict[bytes, tuple[bytes, bytes]] = {}
    for left, right in vocabulary.merges:
        whole = left + right
        if left not in ranks or right not in ranks or whole in ranks or _crossed(left, right, ranks, splits):
            pair = f"{_quoted(_readable(left))} {_quoted(_readable(right))}"
            raise TokenizerError(f"the merge {pair} is out of order, or can never happen: not supported")
        ranks[whole] = len(ranks)
        splits[whole] = left, right
    return ranks


def _crossed(left: bytes, right: bytes, ranks: Mapping[bytes, int], splits: _Splits) -> bool:
    """Whether BPE, given left + right, would merge across the seam before it has made left and right.

    Undoes the merges beside the seam, the latest first, and asks at each stage whether a pair across it
    would have come earlier.  As in `is_valid_token_pair` of GitHub's `rust-gems/crates/bpe`.
    """
    limit = len(ranks)
    while True:
        if ranks.get(left + right, limit) < limit:
            return True
        on_left = ranks[left] > ranks[right] if len(left) > 1 and len(right) > 1 else len(left) > 1
        if on_left:
            limit, left = ranks[left], splits[left][1]
        elif len(right) > 1:
            # On equal ranks the leftmost pair is merged first, so the right-hand token allows one more.
            limit, right = ranks[right] + 1, splits[right][0]
        else:
            return False


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        found = f"U+{ord(text[error.start]):04X} at character {error.start}"
        raise TokenizerError(f"the text holds a lone surrogate, {found}: not valid Unicode") from error


def _readable(token: bytes) -> str:
    return printable(token.decode("utf-8", errors="backslashreplace"))


def _quoted(text: str) -> str:
    return f"'{text}'"
