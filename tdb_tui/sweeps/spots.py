"""The tokens that sweeps go over: of a prompt one by one, of a prompt set role by role, and their counterparts in B."""

from collections.abc import Mapping, Sequence

from model.edits.interventions import Span
from model.measured.sweeps import Spot, Spots
from model.sets.prompts import END, OTHER
from tdb_tui.commands.opposite import own_place, place_of
from tdb_tui.errors import CommandError
from tdb_tui.formats import token_label
from tdb_tui.language.arguments import located, span_of, token_texts
from tdb_tui.language.parsing import Word
from tdb_tui.language.positions import resolve_position
from tdb_tui.session import Snapshot
from tdb_tui.sets.moves import START
from tdb_tui.state import Inputs, Prompt
from tdb_tui.tables.sides import partners


def source_prompt(inputs: Inputs, example: int | None) -> Prompt:
    """The prompt that values come from: B, or an example of the set.  Raises CommandError where there is none."""
    if example is not None:
        return next(each for each in inputs.examples if each.example == example)
    if inputs.prompt_b is None:
        raise CommandError("no prompt B: set one with 'prompt B TEXT' or --prompt-b", code="no-prompt-b")
    return inputs.prompt_b


def counterparts(snapshot: Snapshot, example: int | None = None) -> tuple[int, ...]:
    """Each token's counterpart in B or an example, -1 where it has none.

    By number where both prompts are of one length, else by role.  Raises CommandError where there is no such prompt.
    """
    other = source_prompt(snapshot.state.inputs, example)
    names = snapshot.state.roles_b if example is None else dict(other.roles)
    there = place_of(snapshot.tokenizer, other.tokens, names)
    return tuple(partners(own_place(snapshot), there).tolist())


def token_spots(snapshot: Snapshot, partner: Sequence[int] | None, at: str | None = None) -> Spots:
    """Every token, or those of the span that `at` names, but for those without a counterpart."""
    span = None if at is None else span_of(snapshot, at)
    span = span or Span(0, snapshot.state.end)
    found = [
        Spot(label_of(snapshot, pos), (pos,), () if partner is None else (partner[pos],))
        for pos in range(span.first, span.last + 1)
        if partner is None or partner[pos] >= 0
    ]
    return Spots(tuple(spot.label for spot in found), tuple(found))


def role_spots(snapshot: Snapshot, partner: Sequence[int] | None, roles: Sequence[str]) -> Spots:
    """The tokens with these roles, `other` being all that have none of them."""
    places = {START: 0, **snapshot.state.roles, END: snapshot.state.end}
    named = {role: places[role] for role in roles if role in places}
    rest = tuple(pos for pos in range(snapshot.state.end + 1) if pos not in named.values())
    here = {**{role: (pos,) for role, pos in named.items()}, OTHER: rest}
    spots = [_matched(role, here.get(role, ()), partner) for role in roles]
    return Spots(tuple(roles), tuple(spots))


def one_spot(snapshot: Snapshot, partner: Sequence[int] | None, at: str | None) -> Spot | None:
    """The tokens that `at` names, together; every token where it names none."""
    span = None if at is None else span_of(snapshot, at)
    if span is None:
        every = tuple(range(snapshot.state.end + 1))
        found = _matched("", every, partner)
        whole = found is not None and len(found.here) == len(every)
        return Spot("", found.here, found.there, whole) if found is not None else None
    return _matched(at or "", tuple(range(span.first, span.last + 1)), partner)


def refuse_place(snapshot: Snapshot, text: str, word: Word) -> None:
    """Raises CommandError for a text that names no tokens of the prompt."""
    located(word, lambda: span_of(snapshot, text))


def label_of(snapshot: Snapshot, pos: int) -> str:
    """A position as one would type it: its role, `END`, `Mary`, or its number where no word names it alone."""
    state, tokens = snapshot.state, snapshot.state.inputs.prompt.tokens
    texts = token_texts(snapshot)
    role = next((name for name, at in state.roles.items() if at == pos), None)
    for label in (role, token_label(pos, tokens, snapshot.tokenizer)):
        if label is not None and _means(label, pos, texts, state.roles):
            return label
    return str(pos)


def _means(label: str, pos: int, texts: Sequence[str], roles: Mapping[str, int]) -> bool:
    try:
        return resolve_position(label, texts, roles, len(texts) - 1) == pos
    except CommandError:
        return False


def _matched(label: str, here: tuple[int, ...], partner: Sequence[int] | None) -> Spot | None:
    """None where no token is left."""
    if partner is not None:
        here = tuple(pos for pos in here if partner[pos] >= 0)
    if not here:
        return None
    return Spot(label, here, () if partner is None else tuple(partner[pos] for pos in here))
