"""The words after `sweep` -> which grid, and which change is made at its cells."""

import re
from dataclasses import replace

import numpy as np

from model.components import Component, Kind
from model.edits.interventions import Ablate, Patch, Span, Steer
from model.measured.sweeps import BY_HEAD, BY_LAYER, Movable
from model.sets.prompts import END
from tdb_tui.commands.changing import EDITS
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.language.arguments import node_word, number
from tdb_tui.language.parsing import Call, Word, parse_line, quote
from tdb_tui.session import Session, Snapshot
from tdb_tui.sets.moves import START
from tdb_tui.sets.prompt_sets import loaded
from tdb_tui.sweeps.plans import Sweep
from tdb_tui.sweeps.spots import refuse_place
from tdb_tui.sweeps.sweeps import roles_over

EDITED = ("patch", "ablate", "steer")
WHAT = (*BY_LAYER, *BY_HEAD, "pairs", "latents")
OTHER_NAMES = {
    "edges": "pairs",
    "z": "heads",
    "head": "heads",
    "attn": "attn_out",
    "mlp": "mlp_out",
    "latent": "latents",
}
WORDS = (*WHAT, "by", "position", "in", "from", "into", "B", "over", "prompts")
"What may follow, for completion."
_RANGE = re.compile(r"(?P<first>[^:\s]+):(?P<last>[^:\s]+?)(?::(?P<count>[0-9]{1,4}))?")
AMOUNTS, STEPS = (-4.0, 4.0), 9
"Of steering, where none are written."


def read_sweep(session: Session, call: Call) -> Sweep:
    """What is to be swept.  Raises CommandError."""
    edit, words = call.args[0], list(call.args[1:])
    if edit.text not in EDITED:
        right = did_you_mean(edit.text, EDITED) or f": sweep {', sweep '.join(EDITED)}"
        raise CommandError(f"cannot sweep {edit.text!r}{right}", "bad-argument", col=edit.col)
    over, into_b = _ending(words, "over", "prompts"), _ending(words, "into", "B")
    over = _ending(words, "over", "prompts") or over
    found = Sweep(call.rest().text, edit.text, (), over=over, into_b=into_b)
    if over:
        loaded(session.state)
    if into_b and edit.text != "patch":
        raise CommandError("into B is for patches: sweep patch heads into B", "bad-argument", col=edit.col)
    if not words:
        example = 'resid_pre.2@END += -4:4 * dir("Mary" - "John")' if edit.text == "steer" else "heads"
        raise CommandError(
            f"sweep {edit.text} what: sweep {edit.text} {example}", "missing-argument", col=edit.col
        )
    if edit.text == "steer":
        return _steering(session, found, words)
    return _grid(session, found, edit.text, words)


def _ending(words: list[Word], *texts: str) -> bool:
    """Whether these words come last; they are taken away."""
    if [word.text for word in words[-len(texts) :]] != list(texts):
        return False
    del words[-len(texts) :]
    return True


def _grid(session: Session, found: Sweep, edit: str, words: list[Word]) -> Sweep:
    snapshot, what = session.snapshot, words.pop(0)
    name = OTHER_NAMES.get(what.text, what.text)
    if name not in WHAT:
        right = did_you_mean(what.text, WHAT) or f": {', '.join(WHAT)}"
        raise CommandError(f"no grid {what.text!r}{right}", "bad-argument", col=what.col)
    found = replace(found, what=name, by_token=name == "latents")
    if name == "latents" and not snapshot.now.trace.dictionaries:
        message = "no SAE is loaded: set sae PATH, or start with --sae PATH"
        raise CommandError(message, "no-sae", col=what.col)
    if name == "pairs":
        found = replace(found, parts=(_head(snapshot, words, what),))
    source: list[Word] = []
    while words:
        match words[0].text:
            case "from" if edit == "patch":
                source, words = words[:2], words[2:]
            case "by":
                found = _by_position(found, words, what)
            case "in":
                found = replace(found, parts=_within(snapshot, found, words))
            case text if text.startswith("@") and not words[0].quoted:
                found = _placed(session, found, words.pop(0))
            case _:
                break
    if found.by_token and found.at is not None and name != "latents":
        raise CommandError("by position takes every token: leave out @POS", "bad-argument", col=what.col)
    change = _patch(found, words or source) if edit == "patch" else _ablation(snapshot, found, what, words)
    return replace(found, changes=(change,))


def _head(snapshot: Snapshot, words: list[Word], what: Word) -> Component:
    if not words:
        message = f"{what.text} of which head: sweep patch {what.text} L1H2"
        raise CommandError(message, "missing-argument", col=what.col)
    word = words.pop(0)
    part = node_word(snapshot, word)
    if part.placed or len(part.components) > 1 or part.component.kind is not Kind.HEAD:
        raise CommandError(f"{word.text!r} isn't a head: name one, as in L1H2", "bad-node", col=word.col)
    return part.component


def _by_position(found: Sweep, words: list[Word], what: Word) -> Sweep:
    by = words.pop(0)
    if not words or words.pop(0).text not in ("position", "token"):
        raise CommandError("by what: sweep patch heads by position", "bad-argument", col=by.col)
    if found.what not in BY_HEAD:
        message = f"{found.what} is by position already: heads, q, k, v and pattern can be"
        raise CommandError(message, "bad-argument", col=what.col)
    return replace(found, by_token=True)


def _within(snapshot: Snapshot, found: Sweep, words: list[Word]) -> tuple[Component, ...]:
    """The heads, the layers or the latents that `in L9,L10H0` and `in M3,Fa2.17` name."""
    before = words.pop(0)
    if words and found.what == "latents":
        return _latents_within(snapshot, words.pop(0))
    if not words or found.what == "pairs":
        raise CommandError("in which layers or heads: in L9, in L9H9,L10H0", "bad-argument", col=before.col)
    word, config = words.pop(0), snapshot.info.config
    parts = node_word(snapshot, word).components
    if found.what in BY_LAYER:
        return tuple(dict.fromkeys(Component(Kind.ATTN, part.layer) for part in parts))
    heads = [
        Component(Kind.HEAD, part.layer, index)
        for part in parts
        if part.kind is not Kind.MLP
        for index in (range(config.n_head) if part.index is None else (part.index,))
    ]
    if not heads:
        raise CommandError(f"{word.text!r} has no heads: name layers or heads", "bad-node", col=word.col)
    return tuple(dict.fromkeys(heads))


def _latents_within(snapshot: Snapshot, word: Word) -> tuple[Component, ...]:
    parts = node_word(snapshot, word).components
    other = next((part for part in parts if part.kind not in (Kind.LATENT, Kind.ATTN, Kind.MLP)), None)
    if other is not None:
        message = f"{other} is no latent: name latents or lines with an SAE, in Fm3.17,A2"
        raise CommandError(message, "bad-node", col=word.col)
    return parts


def _placed(session: Session, found: Sweep, word: Word) -> Sweep:
    text = word.text.removeprefix("@")
    if found.over:
        known = roles_over(session, found)
        if text not in known:
            right = did_you_mean(text, known) or f": it has {', '.join(known)}"
            raise CommandError(f"no role {text!r} in the set{right}", "bad-role", col=word.col)
    else:
        refuse_place(session.snapshot, text, word)
    return replace(found, at=text)


def _patch(found: Sweep, words: list[Word]) -> Movable:
    """`from B`, which goes without saying, or `from 17`."""
    example = None
    if words:
        texts = [word.text for word in words]
        if texts[0] != "from" or len(texts) != 2 or not re.fullmatch(r"B|[0-9]{1,9}", texts[1]):
            message = f"unexpected {texts[0]!r}: sweep patch {found.what} [@POS] [in NODES] from B"
            raise CommandError(message, "bad-argument", col=words[0].col)
        example = None if texts[1] == "B" else int(texts[1])
    if example is not None and (found.over or found.into_b):
        message = "over prompts and into B, the values are those of prompt and counterfactual: leave out from"
        raise CommandError(message, "bad-argument", col=words[0].col)
    key = 0 if found.what == "pairs" else None
    return Patch(Component(found.kind, 0, 0), Span(0, 0), Span(0, 0), key, key, example)


def _ablation(snapshot: Snapshot, found: Sweep, what: Word, words: list[Word]) -> Movable:
    """What `ablate` makes of the words that are left."""
    kind = Kind.NEURON if found.what == "latents" else found.kind  # which takes what a latent takes
    part = Component(kind, 0, 0 if found.what in (*BY_HEAD, "pairs", "latents") else None)
    place = f"{part}@0<0" if found.what == "pairs" else str(part)
    args = (Word(place, what.col), *words)
    call = Call(Word("ablate", what.col), args, (), " ".join(word.text for word in args), what.col)
    (change,) = EDITS["ablate"](snapshot, call)
    assert isinstance(change, Ablate)  # of one part
    return change


def _steering(session: Session, found: Sweep, words: list[Word]) -> Sweep:
    """`NODE += -4:4 * DIRECTION`: what `steer` makes of the words with one coefficient, and all of them."""
    text = " ".join(quote(word.text) if word.quoted else word.text for word in words)
    amounts = tuple(np.linspace(*AMOUNTS, STEPS).tolist())
    for word in words:
        if not word.quoted and (match := _RANGE.fullmatch(word.text)):
            amounts = _amounts(match, word)
            text = text.replace(word.text, "1", 1)
            break
    (call,) = parse_line(f"steer {text}", lambda command, option: None)
    try:
        changes = EDITS["steer"](session.snapshot, call)
    except CommandError as error:
        raise CommandError(error.message, error.code, error.hint, words[0].col) from None
    steers = tuple(change for change in changes if isinstance(change, Steer) and change.high is None)
    if not steers or len(steers) < len(changes):
        message = "a clamp has no coefficient: sweep steer N1.5 = -4:4"
        raise CommandError(message, "bad-argument", col=words[0].col)
    at = _role_of(session, steers, words[0]) if found.over else None
    return replace(found, changes=steers, amounts=amounts, at=at)


def _amounts(match: re.Match[str], word: Word) -> tuple[float, ...]:
    first, last = (number(Word(match[side], word.col)) for side in ("first", "last"))
    count = int(match["count"] or STEPS)
    if count < 2:
        raise CommandError("a range has at least 2 steps: -4:4:9", "bad-number", col=word.col)
    return tuple(np.linspace(first, last, count).tolist())


def _role_of(session: Session, steers: tuple[Steer, ...], word: Word) -> str | None:
    """The role of the token that is steered, so that it is found in every prompt; None for all tokens."""
    state = session.state
    names = {0: START, **{pos: role for role, pos in state.roles.items()}, state.end: END}
    spans = {change.span for change in steers}
    span = spans.pop()
    if span is None and not spans:
        return None
    if spans or span is None or len(span) > 1 or span.first not in names or steers[0].key is not None:
        message = "over prompts one token is steered that has a role, or every token: resid_pre.2@END"
        raise CommandError(message, "bad-role", col=word.col)
    return names[span.first]
