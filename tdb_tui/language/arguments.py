"""Words of a command -> components, positions, numbers.  A word that does not fit is named with its column."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from model.addresses import AddressError, parse_components, split_list, split_node
from model.components import DICTIONARY, DICTIONARY_SITES, Component, Kind, Node
from model.dictionaries import SITE_OF, NoDictionary, dictionary_of
from model.edits.interventions import Span
from tdb_tui import lines
from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.positions import resolve_position, resolve_span
from tdb_tui.session import Snapshot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeWord:
    """What `L9H9@2:5<Mary` says."""

    components: tuple[Component, ...]
    placed: bool
    "Whether a position was written."
    span: Span | None = None
    "None is every position."
    key: int | None = None

    @property
    def component(self) -> Component:
        return self.components[0]


def node_word(snapshot: Snapshot, word: Word) -> NodeWord:
    """A component or several, perhaps with positions and a key.  Raises CommandError."""
    return located(word, lambda: _node_word(snapshot, word.text))


def node_words(snapshot: Snapshot, word: Word) -> tuple[NodeWord, ...]:
    """`L5H0,L3H5@END,M0@3`: a position is that of the components before it, back to the one before.

    Raises CommandError.
    """
    groups: list[list[str]] = [[]]
    for item in split_list(word.text):
        groups[-1].append(item)
        if "@" in item or "][" in item:
            groups.append([])
    texts = [",".join(group) for group in groups if group]
    return located(word, lambda: tuple(_node_word(snapshot, text) for text in texts))


def _node_word(snapshot: Snapshot, text: str) -> NodeWord:
    part, pos, key = split_node(text)
    info = snapshot.info
    components = tuple(resolved(each, snapshot) for each in parse_components(part, info.config, info.name))
    if pos is None and key is None:
        return NodeWord(components, placed=False)
    span = Span(snapshot.state.pos, snapshot.state.pos) if pos is None else span_of(snapshot, pos)
    if key is None:
        return NodeWord(components, True, span)
    if span is None or len(span) > 1:
        raise CommandError(f"a key needs one query: write {components[0]}@END<{key}", code="bad-node")
    if any(component.kind is not Kind.HEAD for component in components):
        raise CommandError(
            f"{components[0]} reads no key token: only heads do, as in L0H1@END<2", code="bad-node"
        )
    at = position_of(snapshot, key)
    if at > span.first:
        raise CommandError(f"key {at} is after query {span.first}: attention is causal", code="bad-node")
    return NodeWord(components, True, span, at)


def one_node(snapshot: Snapshot, word: Word) -> Node:
    """Exactly one component at one token, the token cursor's where none is written.  Raises CommandError."""
    found = node_word(snapshot, word)
    if len(found.components) > 1:
        names = f"{found.components[0]} to {found.components[-1]}"
        raise CommandError(
            f"{word.text} is {len(found.components)} nodes, {names}: name one", "bad-node", col=word.col
        )
    span = found.span if found.placed else Span(snapshot.state.pos, snapshot.state.pos)
    if span is None or len(span) > 1:
        raise CommandError(f"{word.text} is several positions: name one", "bad-node", col=word.col)
    return Node(found.component, span.first, found.key)


def resolved(part: Component, snapshot: Snapshot) -> Component:
    """A dictionary's part with the letter of its dictionary: `F3.17` is of the layer's first, the MLP output's say.

    Raises CommandError for an SAE that is not loaded, and for a latent that it does not have.
    """
    if part.kind not in DICTIONARY:
        return part
    loaded = snapshot.now.trace.dictionaries
    wanted = {"": tuple(DICTIONARY_SITES), "r": ("r", "i", "o")}.get(part.site, (part.site,))
    here = [letter for letter in wanted if (SITE_OF[letter], part.layer) in loaded]
    if not here:
        hint = "start with --sae PATH or use 'set sae PATH'"
        raise CommandError(f"no SAE loaded for layer {part.layer}: {hint}", "no-sae")
    found = replace(part, site=here[0])
    try:
        dictionary_of(loaded, found)
    except NoDictionary as error:
        raise CommandError(str(error), "bad-node") from None
    return found


def refuse_latents(part: Component, word: Word) -> None:
    """Raises CommandError for a dictionary's part where nothing but the model's own parts is meant."""
    if part.kind in DICTIONARY:
        raise CommandError(f"{part} is of an SAE: name a part of the model", "bad-node", col=word.col)


def refuse_places(part: Component, word: Word) -> None:
    """Raises CommandError for a place between the parts, which is no node of a circuit."""
    if not part.kind.writes and part.kind is not Kind.UNEMBED:
        message = f"{part} is a place in the pass and no node: name the part, as in L1H2 or M1"
        raise CommandError(message, "bad-node", col=word.col)


def one_component(snapshot: Snapshot, word: Word) -> Component:
    """Exactly one component; a position written with it is not wanted.  Raises CommandError."""
    found = node_word(snapshot, word)
    if len(found.components) > 1:
        raise CommandError(
            f"{word.text} is {len(found.components)} components: name one", "bad-node", col=word.col
        )
    return found.component


def position(snapshot: Snapshot, word: Word) -> int:
    """A position written `@END`, `END`, `-1`, `Mary` or `14`.  Raises CommandError."""
    return located(word, lambda: position_of(snapshot, word.text.removeprefix("@")))


def line_number(snapshot: Snapshot, word: Word) -> int:
    """A line by its number or by what it computes: `19`, `A9`, `L9H3`.  Raises CommandError."""
    n_layer = snapshot.n_layer
    if word.text.isdecimal():
        line = integer(word)
        if line >= lines.count(n_layer):
            last = lines.count(n_layer) - 1
            raise CommandError(
                f"no line {line}: the last is {last} ({lines.name(last, n_layer)})", "bad-line", col=word.col
            )
        return line
    return lines.line_of(one_component(snapshot, word), n_layer)


def integer(word: Word, what: str = "a whole number", least: int = 0) -> int:
    """A whole number, `least` or more.  Raises CommandError."""
    try:
        found = int(word.text)
    except ValueError:
        raise CommandError(f"{word.text!r} isn't {what}", "bad-number", col=word.col) from None
    if found < least:
        raise CommandError(f"{found} is too small: {what} is at least {least}", "bad-number", col=word.col)
    return found


def number(word: Word) -> float:
    """A finite number.  Raises CommandError."""
    try:
        found = float(word.text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise CommandError(f"{word.text!r} isn't a number", "bad-number", col=word.col)
    return found


def option_integer(call: Call, name: str, default: int, what: str, least: int = 0) -> int:
    """The whole number given for an option, `default` where it was not given.  Raises CommandError."""
    for option in reversed(call.options):
        if option.name == name:
            return integer(Word(option.value or "", option.col), what, least)
    return default


def unpaged(call: Call) -> str:
    """The command for the first page of what it lists."""
    return re.sub(r"\s--from(\s+|=)\S+", "", call.text)


def at_most(call: Call, count: int) -> None:
    """Raises CommandError for a word that the command would not read."""
    if len(call.args) > count:
        extra = call.args[count]
        takes = "no argument" if count == 0 else f"{count} argument{'s' * (count != 1)}"
        raise CommandError(
            f"unexpected {extra.text!r}: {call.name.text} takes {takes}", "bad-argument", col=extra.col
        )


def file_path(word: Word) -> Path:
    """A file's path, `~` being the home directory.  Raises CommandError for text that is no path."""
    try:
        if "\0" in word.text:
            raise ValueError
        return Path(word.text).expanduser()
    except (ValueError, RuntimeError):
        raise CommandError(f"{word.text!r} isn't a file's path", "bad-file", col=word.col) from None


def position_of(snapshot: Snapshot, text: str) -> int:
    return resolve_position(text, token_texts(snapshot), snapshot.state.roles, snapshot.state.end)


def position_in_b(snapshot: Snapshot, text: str) -> int:
    """A position of prompt B, which is there."""
    other = snapshot.state.inputs.prompt_b
    texts = [snapshot.tokenizer.text(token) for token in other.tokens] if other else []
    return resolve_position(text, texts, snapshot.state.roles_b, len(texts) - 1, "prompt B")


def span_of(snapshot: Snapshot, text: str) -> Span | None:
    return resolve_span(text, token_texts(snapshot), snapshot.state.roles, snapshot.state.end)


def token_texts(snapshot: Snapshot) -> list[str]:
    return [snapshot.tokenizer.text(token) for token in snapshot.state.inputs.prompt.tokens]


def located(word: Word, read: Callable[[], T]) -> T:
    """`read()`, its complaint pointing at `word`."""
    try:
        return read()
    except AddressError as error:
        raise CommandError(str(error), code="bad-node", col=word.col) from None
    except CommandError as error:
        raise CommandError(error.message, error.code, error.hint, word.col) from None
