"""From one prompt to another with the same roles: where a token, and an edit at it, is there."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from model.edits.interventions import SINGLE, Change, Compound, Patch, Span, text_of
from model.sets.prompts import END
from tdb_tui.errors import CommandError
from tdb_tui.state import Edit, State

START = "START"


@dataclass(frozen=True, slots=True)
class Move:
    """From the tokens of one prompt to those with the same roles in another; likewise for prompts B."""

    named: Mapping[int, str]
    places: Mapping[str, int]
    named_b: Mapping[int, str]
    places_b: Mapping[str, int]

    @classmethod
    def between(cls, state: State, roles: Mapping[str, int], length: int, length_b: int | None) -> "Move":
        """From a state's prompts to those of so many tokens with these roles."""
        other = state.inputs.prompt_b
        end_b = -1 if other is None else len(other.tokens) - 1
        return cls(
            _names(state.roles, state.end),
            {START: 0, **roles, END: length - 1},
            _names(state.roles, end_b),
            {} if length_b is None else {START: 0, **roles, END: length_b - 1},
        )

    def pos(self, pos: int, what: str, b: bool = False) -> int:
        """Raises CommandError for a token without a role, and for a role that the other prompt lacks."""
        named, places = (self.named_b, self.places_b) if b else (self.named, self.places)
        if pos not in named:
            right = f"name it with set pos NAME={pos}, as the set's roles are called"
            raise CommandError(f"{what} is at token {pos}, which has no role here: {right}", code="bad-role")
        if named[pos] not in places:
            missing = "no prompt B" if b and not places else f"no {named[pos]}"
            raise CommandError(f"{what} is at {named[pos]}: the example has {missing}", code="bad-role")
        return places[named[pos]]

    def edit(self, edit: Edit) -> Edit:
        """The same edit in the other prompt.  Raises CommandError."""
        what = f"i{edit.number} ({edit.text})"
        try:
            changes = tuple(self._changed(change, what) for change in edit.changes)
        except ValueError as error:
            raise CommandError(f"{what}: {error}", code="bad-role") from None
        return edit if changes == edit.changes else replace(edit, changes=changes, text=text_of(changes))

    def _changed(self, change: Change | Compound, what: str) -> Change | Compound:
        if not isinstance(change, Compound):
            return self._change(change, what)
        kept = tuple((part, span and self._span(span, what)) for part, span in change.kept)
        span, length = change.span and self._span(change.span, what), self.places[END] + 1
        return replace(change, span=span, kept=kept, length=length)

    def _change(self, change: Change, what: str) -> Change:
        if not isinstance(change, SINGLE):
            return change.moved(lambda part: self._change(part, what), lambda span: self._span(span, what))
        key = None if change.key is None else self.pos(change.key, what)
        if not isinstance(change, Patch):
            return replace(change, span=change.span and self._span(change.span, what), key=key)
        span, source, source_key = self._span(change.span, what), change.source, change.source_key
        if change.example is None:  # an example's tokens stay where they are
            source = self._span(source, what, b=True)
            source_key = None if source_key is None else self.pos(source_key, what, b=True)
        return replace(change, span=span, source=source, key=key, source_key=source_key)

    def _span(self, span: Span, what: str, b: bool = False) -> Span:
        first, last = self.pos(span.first, what, b), self.pos(span.last, what, b)
        if last < first:
            raise ValueError(f"tokens {span} are in the other order there")
        return Span(first, last)


def _names(roles: Mapping[str, int], end: int) -> dict[int, str]:
    return {0: START, **{pos: role for role, pos in roles.items() if pos <= end}, end: END}
