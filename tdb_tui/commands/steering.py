"""`steer`: a direction added, a neuron or an attention weight set or held between bounds."""

import re

from model.components import SCALES, Component, Kind
from model.edits.interventions import Span, Steer, Way, where
from model.gpt2 import wide
from tdb_tui.commands.table import command
from tdb_tui.edits import editing
from tdb_tui.edits.editing import Changes, refuse_silent, stated
from tdb_tui.errors import CommandError
from tdb_tui.formats import plain
from tdb_tui.language.arguments import NodeWord, node_words, number
from tdb_tui.language.direction_words import read_direction
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot

WAYS = ("+=", "-=", "=", "clamp")
EXAMPLE = 'steer resid_pre.1@END += 4 * dir(" Mary" - " John")'
_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_SCALED = re.compile(rf"(?P<amount>{_NUMBER})\s*\*\s*(?P<what>\S.*)", re.DOTALL)


@command(
    "steer",
    usage="SITE[@POS] += X * DIRECTION | NEURON[@POS] += X | = X | clamp LO HI",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    complete=("node",),
    examples=('steer resid_pre.1@END += 4 * dir(" Mary" - " John")', "steer N1.5@END = 12"),
)
def steer(session: Session, call: Call) -> Reply:
    """Add a direction to what a place holds, or set a single number; run again from there.

      dir(" Mary" - " John")    difference of unembedding rows; several tokens on a side (by commas) as their mean
      embed(" Mary")            rows of the token embedding
      diff(SET, SET)            mean over one prompt set minus mean over another, of that place at END; a third word
                                is another role: diff(ioi:50, ioi:50 counterfactuals, S2).  Sets as in `set means`
      FILE                      a vector, .npy or .safetensors
      unit(...)                 any of them, divided by its norm

    Places: resid_pre.1, resid_mid.1, resid_post.1, A1, M1, E, a head or its q, k, v (diff and files).  Neurons (N1.5),
    attention weights (L1H2@END<3) and latents (Fm3.17) take numbers: `+= X`, `= X`, `clamp LO HI`.  Without a
    position, every token, also those generated.
    """
    changes = steers(session.snapshot.planned, call)
    return editing.make(session, changes, more=_sizes(session.snapshot, changes))


def steers(snapshot: Snapshot, call: Call) -> Changes:
    """The changes that a `steer` command stands for.  Raises CommandError."""
    if not call.args:
        raise CommandError(f"steer what: {EXAMPLE}", code="missing-argument")
    word = call.args[0]
    found = node_words(snapshot, word)
    refuse_silent(found, word)
    if len(call.args) < 3 or call.args[1].text not in WAYS:
        wrong = call.args[1] if len(call.args) > 1 else word
        message = f"how to steer {word.text}: += X * DIRECTION, += X, = X or clamp LO HI"
        raise CommandError(message, "missing-argument" if wrong is word else "bad-argument", col=wrong.col)
    way, rest = call.args[1].text, call.rest(2)
    return tuple(
        change
        for each in found
        for part in each.components
        for change in [_steer(snapshot, part, each, way, rest, word)]
    )


def _steer(snapshot: Snapshot, part: Component, found: NodeWord, way: str, rest: Word, word: Word) -> Steer:
    span = found.span if found.placed else None
    single = part.kind in (Kind.NEURON, Kind.LATENT) or found.key is not None
    if way == "clamp":
        low, high = _bounds(rest)
        return stated(word, lambda: Steer(part, span, found.key, Way.CLAMP, low, None, high))
    if part.kind in SCALES:
        stated(word, lambda: Steer(part, span))
    if single:
        amount = number(rest)
        if way == "=":
            return Steer(part, span, found.key, Way.SET, amount)
        return Steer(part, span, found.key, Way.ADD, -amount if way == "-=" else amount)
    if way == "=":
        message = f"{part} is a vector: add a direction to it (+=), or ablate it to a value"
        raise CommandError(message, "bad-argument", col=word.col)
    match = _SCALED.fullmatch(rest.text)
    amount, what = (float(match["amount"]), match["what"]) if match else (1.0, rest.text)
    col = rest.col + (match.start("what") if match else 0)
    if re.fullmatch(_NUMBER, what):
        message = f"{part} is a vector: {what} times what? {EXAMPLE}"
        raise CommandError(message, "bad-argument", col=rest.col)
    direction = read_direction(snapshot, Word(what, col), part)
    return Steer(part, span, None, Way.ADD, -amount if way == "-=" else amount, direction)


def _bounds(rest: Word) -> tuple[float, float]:
    words = rest.text.split()
    if len(words) != 2:
        raise CommandError("clamp takes two bounds: clamp 0 3", "bad-argument", col=rest.col)
    low, high = (number(Word(text, rest.col)) for text in words)
    return low, high


def _sizes(snapshot: Snapshot, changes: Changes) -> list[str]:
    """How long a direction is, beside what it is added to: so that a coefficient means something."""
    said: list[str] = []
    for change in changes:
        if isinstance(change, Steer) and change.direction is not None:
            part, span = change.component, change.span or Span(snapshot.state.end, snapshot.state.end)
            value = wide(snapshot.now.trace[where(part)])
            value = value[part.index] if part.kind.has_heads else value
            norm = float(value[span.first : span.last + 1].norm(dim=-1).mean())
            at = f"{part}@{span}" if len(span) == 1 else f"{part}@{span} on average"
            added = abs(change.amount) * change.direction.norm
            said.append(f"    adds a vector of norm {plain(added)} to one of norm {plain(norm)} ({at})")
    return said
