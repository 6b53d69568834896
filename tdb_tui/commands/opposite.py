"""What the current run is compared with: the baseline, prompt B's run, or one that was kept in a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.addresses import split_list
from model.tokenizer import Tokenizer
from tdb_tui.asked import Asked
from tdb_tui.commands.ranking import target_text
from tdb_tui.errors import CommandError
from tdb_tui.files import kept
from tdb_tui.files.kept import Kept, described
from tdb_tui.files.saving import weights_hash
from tdb_tui.language.arguments import file_path, located, position_of
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.positions import resolve_position
from tdb_tui.readings import Reading
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import Edit, Inputs, State
from tdb_tui.tables.sides import Ints, Place, Side, carried, live, partners


@dataclass(frozen=True, slots=True, eq=False)
class Opposite:
    """The other side, before any of its rows has been made."""

    name: str
    place: Place
    partner: Ints
    "Each token's partner on the other side, -1 where it has none: [pos]."
    asked: Asked | Kept
    warnings: tuple[str, ...] = ()

    @property
    def by_role(self) -> bool:
        """Whether tokens are matched by their role rather than by their number."""
        return not np.array_equal(self.partner, np.arange(len(self.place.tokens)))

    def side(self, kinds: Sequence[str], pos: int | None) -> Side:
        """Its rows of some kinds, at every token or at the partner of `pos` only.  Raises CommandError."""
        at = None if pos is None else int(self.partner[pos])
        if isinstance(self.asked, Asked):
            return live(self.name, self.place, self.asked, kinds, at)
        missing = [kind for kind in kinds if kind not in self.asked.tables]
        if missing:
            message = f"{self.name} has no rows of kind {missing[0]}: it keeps {', '.join(self.asked.tables)}"
            raise CommandError(message, code="not-kept")
        return self.asked.side(self.name, kinds, at)


def clauses(call: Call, known: Mapping[str, str]) -> tuple[list[Word], dict[str, Word]]:
    """The words of a command, those that follow a word of `known` (word -> an example of it) apart.

    Raises CommandError where nothing follows.
    """
    words, plain, found = list(call.args), list[Word](), dict[str, Word]()
    while words:
        word = words.pop(0)
        if word.text not in known or word.quoted:
            plain.append(word)
        elif not words:
            message = f"{word.text!r} needs a word after it: {known[word.text]}"
            raise CommandError(message, "missing-argument", col=word.col)
        else:
            found[word.text] = words.pop(0)
    return plain, found


def opposite(session: Session, against: Word | None, pairs: Word | None, edits: bool) -> Opposite:
    """The side that a command names: `base`, `B`, a file; without a word the one that there is.

    `pairs` matches tokens, `IO=Mary#2,S2=9`.  `edits` makes the current edits on B too.  Raises CommandError.
    """
    snapshot = session.snapshot
    word = against or Word(_usual(snapshot.state.inputs), 0)
    if word.text == "base" and pairs is not None:
        raise CommandError(
            "base is the same prompt: its tokens need no 'with'", "bad-argument", col=pairs.col
        )
    if edits and word.text != "B":
        raise CommandError(f"--edits is for B: {word.text} has edits of its own", code="bad-argument")
    match word.text:
        case "base":
            return _base(snapshot)
        case "B":
            return _other_prompt(session, pairs, edits)
        case _:
            return _kept(session, word, pairs)


def caveats(snapshot: Snapshot) -> tuple[str, ...]:
    """What direct effects add up to, where that is not the metric."""
    metric = snapshot.now.metric
    if metric.linear or snapshot.state.trail:
        return ()
    return (f"{metric.quantity.value} is not linear in the logits: direct effects add up to its linear part",)


def place_of(tokenizer: Tokenizer, tokens: Sequence[int], names: Mapping[str, int]) -> Place:
    return Place(tuple(tokens), tuple(tokenizer.text(token).strip() for token in tokens), dict(names))


def own_place(snapshot: Snapshot) -> Place:
    return place_of(snapshot.tokenizer, snapshot.state.inputs.prompt.tokens, snapshot.state.roles)


def _usual(inputs: Inputs) -> str:
    if inputs.changes:
        return "base"
    if inputs.prompt_b is None:
        raise CommandError(
            "nothing to compare with: edit something, set prompt B, or keep a run in a file", "no-side"
        )
    return "B"


def _base(snapshot: Snapshot) -> Opposite:
    place = own_place(snapshot)
    asked = _asked(snapshot.base, snapshot.state, np.arange(len(place.tokens)), "base")
    return Opposite("base", place, np.arange(len(place.tokens)), asked)


def _other_prompt(session: Session, pairs: Word | None, edits: bool) -> Opposite:
    snapshot, inputs = session.snapshot, session.state.inputs
    other = inputs.prompt_b
    if other is None:
        message = "no prompt B: set one with 'prompt B TEXT' or --prompt-b"
        raise CommandError(message, code="no-prompt-b")
    place = place_of(snapshot.tokenizer, other.tokens, snapshot.state.roles_b)
    partner = _partners(snapshot, place, pairs, "prompt B")
    at = int(partner[inputs.metric.pos])
    if at < 0:
        message = f"the metric's token {inputs.metric.pos} has no partner in B: with {inputs.metric.pos}=POS names one"
        raise CommandError(message, code="no-partner")
    same = Inputs(other, replace(inputs.metric, pos=at), treatment=inputs.treatment, saes=inputs.saes)
    if edits:
        moved = tuple(_moved(edit, partner) for edit in inputs.edits)
        same = replace(same, edits=moved, prompt_b=other, means=inputs.means, examples=inputs.examples)
    reading = session.engine.reading(same)
    warnings = (
        ("B is without the edits: --edits makes them there too",) if inputs.changes and not edits else ()
    )
    return Opposite("B", place, partner, _asked(reading, snapshot.state, partner, "B"), warnings)


def _moved(edit: Edit, partner: Ints) -> Edit:
    """An edit on the other prompt's tokens.  Raises CommandError where it cannot be made there."""
    if not np.array_equal(partner, np.arange(len(partner))):
        for change in edit.changes:
            if edit.enabled and (change.span is not None or getattr(change, "key", None) is not None):
                message = f"i{edit.number} ({edit.text}) names tokens of A: --edits needs a B whose tokens are as many"
                raise CommandError(message, code="bad-lengths")
    return edit


def _kept(session: Session, word: Word, pairs: Word | None) -> Opposite:
    snapshot, path = session.snapshot, file_path(word)
    run = located(word, lambda: kept.read_run(path, weights_hash(session), snapshot.info.config.n_vocab))
    partner = _partners(snapshot, run.about.place, pairs, path.name)
    ours, theirs = target_text(snapshot), run.about.question
    if described(carried(snapshot.state.trail, partner, path.name)) != theirs.frames:
        message = f"{path.name} was kept for {theirs.text}, this asks about {ours}: trace, u and d lead there"
        raise CommandError(message, "other-target", col=word.col)
    quantity = snapshot.now.metric.quantity.value
    if theirs.quantity != quantity:
        message = (
            f"{path.name} was kept for {theirs.quantity}, this is {quantity}: set metric {theirs.quantity}"
        )
        raise CommandError(message, "other-target", col=word.col)
    warnings: list[str] = []
    if ours != theirs.text and not theirs.frames:
        warnings.append(f"{path.name} was kept for {theirs.text}, this asks about {ours}")
    treatment = snapshot.state.inputs.treatment.value
    if theirs.treatment != treatment:
        warnings.append(
            f"{path.name} was kept with ln {theirs.treatment}, this is ln {treatment}: total differs"
        )
    return Opposite(path.name, run.about.place, partner, run, tuple(warnings))


def _partners(snapshot: Snapshot, place: Place, pairs: Word | None, prompt: str) -> Ints:
    given: list[tuple[int, int]] = []
    if pairs is not None:
        texts = [snapshot.tokenizer.text(token) for token in place.tokens]
        for item in split_list(pairs.text):
            ours, equals, theirs = item.partition("=")
            if not equals or not ours or not theirs:
                message = f"{item!r} matches no tokens: with IO=Mary#2,S2=9 has a token of each side"
                raise CommandError(message, "bad-argument", col=pairs.col)
            left = located(pairs, lambda ours=ours: position_of(snapshot, ours))
            end, names = len(texts) - 1, place.names
            right = located(pairs, lambda t=theirs, e=end, n=names: resolve_position(t, texts, n, e, prompt))
            given.append((left, right))
    return partners(own_place(snapshot), place, given)


def _asked(reading: Reading, state: State, partner: Ints, name: str) -> Asked:
    """The same question of another run.  Raises CommandError where it cannot be asked there."""
    frames = carried(state.trail, partner, name)
    try:
        return reading.asked(frames)
    except ValueError as error:
        raise CommandError(
            f"{state.trail[-1].text} cannot be asked of {name}: {error}", code="bad-node"
        ) from None
