"""`patch` and `swap`: values from another prompt, and which of two prompts is the one that runs."""

import re
from dataclasses import dataclass, replace
from types import MappingProxyType

from model.edits.interventions import SINGLE, AllBut, Change, Compound, Patch, Span, text_of
from tdb_tui.commands.opposite import own_place, place_of
from tdb_tui.commands.table import command
from tdb_tui.edits import editing
from tdb_tui.edits.editing import Changes, refuse_silent, stated
from tdb_tui.errors import CommandError
from tdb_tui.fitting import fitting
from tdb_tui.formats import signed
from tdb_tui.language.arguments import NodeWord, at_most, located, node_words
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.positions import resolve_position, resolve_span
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.metrics import in_other_prompt
from tdb_tui.replies import Reply, note
from tdb_tui.session import Session, Snapshot
from tdb_tui.sets.reference_sets import example_prompt
from tdb_tui.state import Edit, State
from tdb_tui.tables.sides import Ints, Place, partners


@command(
    "patch",
    "pt",
    usage="NODES [from B|N[@POS[<KEY]]]",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    complete=("node",),
    examples=("patch L1H3@END from B", "patch E@2 from B@2"),
)
def patch(session: Session, call: Call) -> Reply:
    """Give components the value they have in another prompt's run, and run again from the first layer touched.

    The values are prompt B's, or those of an example of the prompt set by its number: `from 17`.  Without positions
    every token takes the value at the same place.  In a prompt of another length a token takes that of its
    counterpart: `END`, `START`, names that both prompts give (`set pos IO=2`, `set pos B.IO=4`), texts that stand as
    often in both; `align` shows them.  `from B@9` names the token itself.

    Prompt A runs and B's values are put into it: where B is the corrupted prompt that is noising, what is needed.
    `swap` makes B the one that runs, and patches then put A's values into it: denoising, what is enough.
    """
    return editing.make(session, patches(session.snapshot.planned, call))


@command("swap", group="changing", repeat=Repeat.NOTHING, examples=("swap", "patch L1H3@END from B ;; swap"))
def swap(session: Session, call: Call) -> Reply:
    """Exchange prompts A and B: noising becomes denoising.

    Patches from B go the other way (the same nodes now take A's values into B's run); other edits stay at the
    counterparts of their tokens.  Target and distractor stay; names of positions go with their prompt.
    """
    at_most(call, 0)
    now = exchanged(session.snapshot.planned)
    snapshot = session.change(now.inputs, call.text, now)
    assert snapshot.other is not None  # it was the prompt
    said = f"A and B are exchanged: metric {signed(snapshot.now.value)}, of B {signed(snapshot.other.value)}"
    return note(said, value=snapshot.now.value, other=snapshot.other.value)


def exchanged(snapshot: Snapshot) -> State:
    """The state with prompts A and B exchanged.  Raises CommandError without a B, or where an edit cannot go there."""
    state, inputs = snapshot.state, snapshot.state.inputs
    other = inputs.prompt_b
    if other is None:
        raise CommandError("no prompt B: set one with 'prompt B TEXT' or --prompt-b", code="no-prompt-b")
    there = place_of(snapshot.tokenizer, other.tokens, state.roles_b)
    turned = _Turned(partners(own_place(snapshot), there))
    end, end_b = state.end, len(other.tokens) - 1
    own = replace(inputs.prompt, roles=tuple(state.roles.items()))
    changed = replace(
        inputs,
        prompt=other,
        prompt_b=own,
        metric=in_other_prompt(inputs.metric, end, end_b),
        edits=tuple(turned.edit(edit) for edit in inputs.edits),
    )
    roles = MappingProxyType({name: at for name, at in state.roles_b.items() if name not in ("START", "END")})
    return fitting(replace(state, inputs=changed, roles=roles, pos=end_b, frames=(), frame=0))


@dataclass(frozen=True, slots=True)
class Source:
    """The prompt that values come from."""

    name: str
    "`B`, `17`."
    place: Place
    texts: list[str]
    example: int | None

    @property
    def end(self) -> int:
        return len(self.texts) - 1

    @property
    def called(self) -> str:
        """`prompt B`, `example 17`."""
        return f"prompt {self.name}" if self.example is None else f"example {self.name}"


def patches(snapshot: Snapshot, call: Call) -> Changes:
    """The changes that a `patch` command stands for.  Raises CommandError."""
    if not call.args:
        raise CommandError("patch what: patch L1H3@END from B", code="missing-argument")
    word, words = call.args[0], list(call.args[1:])
    if words and (words[0].text != "from" or len(words) != 2):
        raise CommandError("where from: patch NODES from B, or from B@13", "bad-argument", col=words[0].col)
    origin = words[1] if words else Word("B", word.col)
    name, _, pos = origin.text.partition("@")
    source = _source(snapshot, Word(name, origin.col))
    found = node_words(snapshot, word)
    refuse_silent(found, word)
    made = [
        change for each in found for change in _patched(snapshot, each, source, Word(pos, origin.col), word)
    ]
    return tuple(made)


def _source(snapshot: Snapshot, word: Word) -> Source:
    state = snapshot.state
    if word.text == "B":
        if state.inputs.prompt_b is None:
            raise CommandError("no prompt B: set one with 'prompt B TEXT' or --prompt-b", code="no-prompt-b")
        prompt, names = state.inputs.prompt_b, state.roles_b
    elif re.fullmatch(r"[0-9]{1,9}", word.text):
        known = None
        if state.examples is None:  # an edit that is there already brings its own
            known = next((each for each in state.inputs.examples if each.example == int(word.text)), None)
        prompt = known or located(word, lambda: example_prompt(snapshot, int(word.text)))
        names = dict(prompt.roles)
    else:
        raise CommandError("where from: patch NODES from B, or from B@13", "bad-argument", col=word.col)
    texts = [snapshot.tokenizer.text(token) for token in prompt.tokens]
    place = place_of(snapshot.tokenizer, prompt.tokens, names)
    return Source(word.text, place, texts, prompt.example if word.text != "B" else None)


def _patched(snapshot: Snapshot, found: NodeWord, source: Source, pos: Word, word: Word) -> list[Patch]:
    """The patches of one node word; `pos` is where from, empty where it goes without saying."""
    span = (found.span if found.placed else None) or Span(0, snapshot.state.end)
    if pos.text:
        origin, key = _named(source, pos)
    else:
        origin, key = _counterparts(snapshot, found, span, source, word)
    if key is not None and found.key is None:
        pair, there = f"{found.component}@{span}<{key}", f"{source.name}@{origin}<{key}"
        message = f"a whole row cannot take one pair's value: write patch {pair} from {there}"
        raise CommandError(message, "bad-argument", col=word.col)
    if len(span) != len(origin):
        message = (
            f"{len(span)} positions cannot take {len(origin)} positions' values: give as many on both sides"
        )
        raise CommandError(message, "bad-argument", col=word.col)
    key = found.key if key is None else key
    return stated(
        word,
        lambda: [Patch(part, span, origin, found.key, key, source.example) for part in found.components],
    )


def _named(source: Source, pos: Word) -> tuple[Span, int | None]:
    """`13<9`, in the other prompt."""
    text, _, key = pos.text.partition("<")
    names = source.place.names

    def read() -> tuple[Span, int | None]:
        span = resolve_span(text, source.texts, names, source.end, source.called) or Span(0, source.end)
        if not key:
            return span, None
        at = resolve_position(key, source.texts, names, source.end, source.called)
        if at > span.first:
            raise CommandError(f"key {at} is after query {span.first}: attention is causal", code="bad-node")
        return span, at

    return located(pos, read)


def _counterparts(
    snapshot: Snapshot, found: NodeWord, span: Span, source: Source, word: Word
) -> tuple[Span, int | None]:
    """The other prompt's tokens for those of this one.  Raises CommandError where one has none."""
    length, other = snapshot.state.end + 1, len(source.texts)
    if length == other:
        return span, None
    partner = partners(own_place(snapshot), source.place)
    there = [int(partner[pos]) for pos in range(span.first, span.last + 1)]
    key = None if found.key is None else int(partner[found.key])
    in_a_row = there == list(range(there[0], there[0] + len(there)))
    if not found.placed or found.span is None or min(there) < 0 or not in_a_row or key == -1:
        name = source.name if source.example is None else f"example {source.name}"
        places = f"patch {found.component}@{length - 1} from {source.name}@{other - 1}"
        message = (
            f"A has {length} tokens and {name} has {other}: give positions ({places}) or roles (set pos)"
        )
        raise CommandError(message, "bad-lengths", col=word.col if source.example else None)
    return Span(there[0], there[-1]), key


@dataclass(frozen=True, slots=True, eq=False)
class _Turned:
    """Edits of a run of A as edits of a run of B."""

    partner: Ints
    "Each of A's tokens' counterpart in B, -1 where it has none."

    def edit(self, edit: Edit) -> Edit:
        try:
            changes = tuple(self._any(change) for change in edit.changes)
        except ValueError as error:
            raise CommandError(f"i{edit.number} ({edit.text}): {error}", code="no-partner") from None
        return edit if changes == edit.changes else replace(edit, changes=changes, text=text_of(changes))

    def _any(self, change: Change | Compound) -> Change | Compound:
        if not isinstance(change, AllBut):
            return self._change(change)
        kept = tuple((part, span and self._span(span)) for part, span in change.kept)
        length = int(self.partner[change.length - 1]) + 1
        return replace(change, span=change.span and self._span(change.span), kept=kept, length=length)

    def _change(self, change: Change) -> Change:
        if not isinstance(change, SINGLE):
            return change.moved(self._change, self._span)
        if isinstance(change, Patch) and change.example is None:
            span, key = change.source, change.source_key
            return replace(change, span=span, source=change.span, key=key, source_key=change.key)
        key = None if change.key is None else self._at(change.key)
        if isinstance(change, Patch):
            return replace(change, span=self._span(change.span), key=key)
        return replace(change, span=change.span and self._span(change.span), key=key)

    def _span(self, span: Span) -> Span:
        places = [self._at(pos) for pos in range(span.first, span.last + 1)]
        if places != list(range(places[0], places[0] + len(places))):
            raise ValueError(f"tokens {span} do not stand side by side in B")
        return Span(places[0], places[-1])

    def _at(self, pos: int) -> int:
        if self.partner[pos] < 0:
            raise ValueError(f"token {pos} has no counterpart in B: set pos and set pos B.NAME name one")
        return int(self.partner[pos])
