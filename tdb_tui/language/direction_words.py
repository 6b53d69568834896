"""What `steer` adds, in words: `dir(" Mary" - " John")`, `embed(" Mary")`, `diff(SET, SET)`, a file, `unit(...)`."""

import re
from collections.abc import Iterator
from pathlib import Path

import torch

from model.addresses import QUOTED, split_list
from model.components import Component, Kind
from model.edits.directions import Direction, mean_difference, token_direction
from model.edits.interventions import where
from model.gpt2 import Config, wide
from model.trace import record
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.files.vectors import SUFFIXES, read_vector
from tdb_tui.language.arguments import file_path
from tdb_tui.language.parsing import Word, parse_line, quote, unquote
from tdb_tui.session import Snapshot
from tdb_tui.sets.reference_sets import Named, prompts_named
from tdb_tui.state import Prompt
from tdb_tui.texts import resolve_tokens

FUNCTIONS = ("dir", "embed", "diff", "unit")
_CALL = re.compile(r"(?P<name>[A-Za-z]\w*)\((?P<inside>.*)\)", re.DOTALL)
_MINUS = re.compile(rf"((?:{QUOTED}|[^\"'])*?)\s-\s(.*)", re.DOTALL)


def width(part: Component, config: Config) -> int | None:
    """How many numbers a place has at a token, and a direction in it; None where it has no one vector."""
    if part.kind in (Kind.HEAD, Kind.Q, Kind.K, Kind.V):
        return config.d_head
    alone = part.kind in (Kind.NEURON, Kind.PATTERN, Kind.UNEMBED) or part.kind.group == "ln"
    return None if alone else config.d_model


def read_direction(snapshot: Snapshot, word: Word, part: Component) -> Direction:
    """The direction that the words name, for one place.  Raises CommandError, marking the words."""
    try:
        return _direction(snapshot, word.text.strip(), part)
    except CommandError as error:
        raise CommandError(error.message, error.code, error.hint, word.col) from None
    except ValueError as error:
        raise CommandError(str(error), "bad-direction", col=word.col) from None


def _direction(snapshot: Snapshot, text: str, part: Component) -> Direction:
    size = width(part, snapshot.info.config)
    if size is None:
        raise CommandError(f"{part} is no vector: steer a pair of it, as in L1H2@END<2", "bad-node")
    match = _CALL.fullmatch(text)
    if match is None:
        return _from_file(text, size)
    inside = match["inside"]
    match match["name"]:
        case "unit":
            return _direction(snapshot, inside.strip(), part).normed()
        case "diff":
            return _difference(snapshot, inside, part)
        case "dir" | "embed" as name:
            if size != snapshot.info.config.d_model:
                message = (
                    f"{name} is a direction of the residual stream: {part} has {size} numbers of its own"
                )
                raise CommandError(f"{message}, steer it with diff(...) or a file", code="bad-direction")
            return _of_tokens(snapshot, name, inside)
        case name:
            suggestion = did_you_mean(name, FUNCTIONS) or f": {', '.join(FUNCTIONS)}, or a file"
            raise CommandError(f"unknown direction {name!r}{suggestion}", code="bad-direction")


def _from_file(text: str, size: int) -> Direction:
    path = Path(unquote(text))
    if path.suffix not in SUFFIXES:
        message = (
            f'{text!r} is no direction: dir(" Mary" - " John"), diff(SET, SET) or a file (.npy, .safetensors)'
        )
        raise CommandError(message, code="bad-direction")
    return Direction(quote(unquote(text)), read_vector(file_path(Word(unquote(text), 0)), size))


def _of_tokens(snapshot: Snapshot, name: str, inside: str) -> Direction:
    """Rows of the unembedding (`dir`) or of the embedding (`embed`)."""
    match = _MINUS.fullmatch(inside)
    sides = [match[1], match[2]] if match else [inside]
    ids: list[tuple[int, ...]] = []
    for side in sides:
        words = [unquote(word) for word in split_list(side) if word]
        if not words:
            raise CommandError(f'a direction needs tokens: {name}(" Mary" - " John")', code="bad-direction")
        found, _ = resolve_tokens(snapshot.tokenizer, words, "direction", snapshot.state.inputs.prompt.text)
        ids.append(found)
    model = snapshot.now.model
    vector = token_direction(wide(model.unembedding if name == "dir" else model.wte.weight), *ids)
    said = " - ".join(", ".join(quote(snapshot.tokenizer.text(token)) for token in side) for side in ids)
    return Direction(f"{name}({said})", vector)


def _difference(snapshot: Snapshot, inside: str, part: Component) -> Direction:
    """`diff(ioi:50, ioi:50 counterfactuals, S2)`: at END unless a role is named."""
    texts = split_list(inside)
    if len(texts) not in (2, 3) or not all(texts):
        message = (
            "diff takes two prompt sets, and a role if it is not END: diff(ioi:50, ioi:50 counterfactuals)"
        )
        raise CommandError(message, code="bad-direction")
    role = texts[2] if len(texts) == 3 else "END"
    sets = [_named(snapshot, text) for text in texts[:2]]
    sides = [list(_values(snapshot, each, part, role)) for each in sets]
    said = ", ".join([*(each.text for each in sets), *([role] if role != "END" else [])])
    return Direction(f"diff({said})", mean_difference(*sides))


def _named(snapshot: Snapshot, text: str) -> Named:
    calls = parse_line(f"diff {text}", lambda command, option: None)
    return prompts_named(snapshot, calls[0].args)


def _values(snapshot: Snapshot, named: Named, part: Component, role: str) -> Iterator[torch.Tensor]:
    """The place's vector in each prompt of a set: [d]."""
    at, reading = where(part), snapshot.now
    for prompt in named.prompts:
        pos = _position(named, prompt, role)
        trace = record(reading.model, prompt.tokens, also=reading.also, sites={at[0]})
        value = wide(trace[at])
        yield value[part.index, pos] if part.kind.has_heads else value[pos]


def _position(named: Named, prompt: Prompt, role: str) -> int:
    if role in ("END", "START"):
        return len(prompt.tokens) - 1 if role == "END" else 0
    pos = dict(prompt.roles).get(role)
    if pos is None:
        number = "" if prompt.example is None else f" {prompt.example}"
        raise CommandError(f"example{number} of {named.text} has no role {role}", code="bad-role")
    return pos
