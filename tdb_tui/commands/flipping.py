"""`why not`: the fewest nodes whose values from prompt B turn the answer over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from model.components import Component, Kind
from model.dictionaries import LETTER_OF
from model.edits.interventions import Patch, Span, text_of
from model.effects.latents import STREAM, line_of_place
from model.latents import moved_by_patch
from model.measured.flips import Flip, smallest_flip
from model.metrics import Metric, Quantity
from model.sites import Where
from tdb_tui.commands.opposite import own_place, place_of
from tdb_tui.commands.table import command
from tdb_tui.edits import editing
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import metric_text, quoted, signed
from tdb_tui.language.arguments import option_integer, position
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat
from tdb_tui.readings import Reading
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import Edit
from tdb_tui.sweeps.latents import places_in_use
from tdb_tui.tables.flip_tables import no_flip, result, said, tops
from tdb_tui.tables.sides import partners

LIMIT = 20
MOST = 40_000
"Candidates: as many as GPT-2 small has neurons at one token."
USUAL, OF_DICTIONARIES = ("heads", "mlps"), ("latents", "errors")
KINDS = {
    "heads": Kind.HEAD,
    "mlps": Kind.MLP,
    "attns": Kind.ATTN,
    "neurons": Kind.NEURON,
    "embeds": Kind.EMBED,
    "latents": Kind.LATENT,
    "errors": Kind.ERROR,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which nodes may be patched."""

    kinds: tuple[str, ...]
    "Empty: heads and MLPs, or what has been swapped in in their places."
    pos: int | None
    "One token's only; None is every token's."
    whole: bool
    "Whether a component is patched at every token at once."


@command(
    "whynot",
    "flip",
    usage="[heads] [mlps] [attns] [neurons] [embeds] [latents] [errors] [@POS] [per component] [--limit N] [--apply]",
    group="tracing",
    repeat=Repeat.NOTHING,
    options={"limit": True, "apply": False},
    complete=("flip", "pos"),
    examples=("whynot heads", "whynot heads mlps per component --limit 8"),
)
def whynot(session: Session, call: Call) -> Reply:
    """Why does the model not give prompt B's answer: the fewest nodes whose values from B turn the answer over.

    Heads and MLPs at each token unless kinds or a token are named; where `latents` has swapped latents in, these and
    what they leave over (`errors`) in their places.  `per component` patches a component at every token at once.
    Nodes are added one by one, always the one that then does most, and those that the set can do without are taken out
    again; every number is measured.  `alone` is what a node does by itself, `in the set` what the set would lose
    without it.  The answer is turned over when the metric has changed its sign: the distractor has passed the target.
    What is then said, the likeliest token, is printed beside it: with a B that swaps the two names it is the
    distractor, with a B of other names it may be a third.  --apply makes the patches, as one edit.
    `why not` is the same.
    """
    snapshot = session.snapshot
    wanted = _wanted(snapshot, call)
    limit = option_integer(call, "limit", LIMIT, "a number of nodes", least=1)
    metric = _question(snapshot)
    candidates = list(_candidates(snapshot, wanted))
    if len(candidates) > MOST:
        hint = "name a token (@END), or kinds with fewer"
        raise CommandError(f"{len(candidates):,} nodes are too many to measure: {hint}", code="too-many")
    if not candidates:
        raise CommandError("nothing to patch: no token there has a counterpart in B", code="no-partner")
    flip = _searched(session, metric, candidates, limit)
    patches = tuple(candidates[at] for at in flip.members)
    found = result(snapshot, flip, patches, len(candidates))
    if not flip.flips:
        message = no_flip(snapshot, _kinds_of(candidates), flip, patches)
        if call.has("apply"):
            raise CommandError(f"{message}: nothing was made", code="no-flip")
        return Reply((message,), found)
    after = _patched(session, patches)
    lines = (*said(snapshot, metric, flip, patches, after, len(candidates)),)
    found |= {"command": text_of(patches), "top": tops(snapshot, after)}
    if not call.has("apply"):
        return Reply((*lines, f"whynot --apply makes it: {text_of(patches)}"), found)
    made = editing.make(session, patches)
    return Reply((*lines, *made.lines), {**made.result, **found}, script=text_of(patches))


def _wanted(snapshot: Snapshot, call: Call) -> Wanted:
    kinds, pos, whole = list[str](), None, False
    words = list(call.args)
    while words:
        word = words.pop(0)
        if word.text.startswith("@"):
            pos = None if word.text == "@*" else position(snapshot, word)
        elif word.text == "per":
            _per(word, words)
            whole = True
        elif word.text in KINDS:
            kinds.append(word.text)
        else:
            right = did_you_mean(word.text, KINDS) or f": {', '.join(KINDS)}, @POS, per component"
            raise CommandError(f"unknown word {word.text!r}{right}", "bad-argument", col=word.col)
    if whole and pos is not None:
        raise CommandError("per component is at every token: leave the token out", code="bad-argument")
    if {"latents", "errors"} & set(kinds) and not snapshot.now.trace.dictionaries:
        raise CommandError("no SAE is loaded: set sae PATH, or start with --sae PATH", code="no-sae")
    return Wanted(tuple(dict.fromkeys(kinds)), pos, whole)


def _kinds_of(candidates: Sequence[Patch]) -> list[str]:
    """The words for what was looked at."""
    found = {patch.component.kind for patch in candidates}
    return [word for word, kind in KINDS.items() if kind in found]


def _per(word: Word, words: list[Word]) -> None:
    if not words or words.pop(0).text != "component":
        raise CommandError("per what: per component", "bad-argument", col=word.col)


def _question(snapshot: Snapshot) -> Metric:
    """The logit difference whose sign is to change.  Raises CommandError where B does not change it."""
    now, other = snapshot.now, snapshot.other
    if other is None:
        raise CommandError("no prompt B: set one with 'prompt B TEXT' or --prompt-b", code="no-prompt-b")
    metric, tokenizer = now.metric, snapshot.tokenizer
    if metric.quantity is Quantity.LOGIT_DIFF:
        if now.value * other.value >= 0:
            values = f"{signed(now.value)} here and {signed(other.value)} there"
            message = (
                f"B gives no other answer: {metric_text(metric, tokenizer, snapshot.state.end)} is {values}"
            )
            raise CommandError(message, code="no-flip")
        return metric
    says, there = (int(each.logits(each.metric.pos).argmax()) for each in (now, other))
    if says == there:
        raise CommandError(f"B gives no other answer: both say {quoted(tokenizer, says)}", code="no-flip")
    return Metric(Quantity.LOGIT_DIFF, (says,), (there,), metric.pos)


def _candidates(snapshot: Snapshot, wanted: Wanted) -> Iterator[Patch]:
    """One patch a node, in the order of the pass."""
    state = snapshot.state
    other = state.inputs.prompt_b
    assert other is not None  # the question has been asked
    length, there = state.end + 1, place_of(snapshot.tokenizer, other.tokens, state.roles_b)
    partner = partners(own_place(snapshot), there)
    if wanted.whole and length != len(other.tokens):
        lengths = f"A has {length} tokens and B has {len(other.tokens)}"
        raise CommandError(f"{lengths}: per component needs as many in both", code="bad-lengths")
    places = [(at, int(partner[at])) for at in (range(length) if wanted.pos is None else [wanted.pos])]
    places = [(here, there) for here, there in places if there >= 0]
    nodes = dict.fromkeys(_nodes(snapshot, wanted.kinds, places))
    if wanted.whole:
        whole = Span(0, state.end)
        yield from (Patch(part, whole, whole) for part in dict.fromkeys(part for part, _ in nodes))
        return
    partners_of = dict(places)
    for part, at in nodes:
        there = partners_of[at]
        yield Patch(part, Span(at, at), Span(there, there))


def _nodes(
    snapshot: Snapshot, kinds: Sequence[str], places: Sequence[tuple[int, int]]
) -> Iterator[tuple[Component, int]]:
    """The parts and tokens that may be patched; of latents those that have another activation in B."""
    now, swapped = snapshot.now, frozenset[str]() if kinds else snapshot.state.rank.latents
    wanted = kinds or (*USUAL, *(OF_DICTIONARIES if swapped else ()))
    dictionaries = (
        places_in_use(now.asked(), snapshot.state.rank.latents) if {*OF_DICTIONARIES} & {*wanted} else ()
    )
    for part in _parts(snapshot, [kind for kind in wanted if kind not in OF_DICTIONARIES]):
        if kinds or not any(_stands_for(at, part) for at in dictionaries):
            yield from ((part, here) for here, _ in places)
    other, here, there = now.asked().run.sources.other, [at for at, _ in places], [at for _, at in places]
    assert other is not None  # there is a prompt B
    for site, layer in dictionaries:
        letter = LETTER_OF[site]
        if "latents" in wanted:
            found = moved_by_patch(now.trace, (site, layer), other, here, there)
            for pos, index in zip(found.pos.tolist(), found.index.tolist(), strict=True):
                yield Component(Kind.LATENT, layer, index, letter), pos
        if "errors" in wanted:
            yield from ((Component(Kind.ERROR, layer, None, letter), pos) for pos in here)


def _stands_for(at: Where, part: Component) -> bool:
    """Whether what a dictionary takes apart has this part in it."""
    line = line_of_place(at)
    return part.line is not None and (part.line <= line if at[0] in STREAM else part.line == line)


def _parts(snapshot: Snapshot, kinds: Sequence[str]) -> Iterator[Component]:
    config = snapshot.info.config
    many = {Kind.HEAD: config.n_head, Kind.NEURON: config.d_mlp}
    for kind in (KINDS[name] for name in kinds):
        if kind is Kind.EMBED:
            yield Component(kind)
            continue
        for layer in range(config.n_layer):
            indices = range(many[kind]) if kind in many else [None]
            yield from (Component(kind, layer, index) for index in indices)


def _searched(session: Session, metric: Metric, candidates: Sequence[Patch], limit: int) -> Flip:
    engine, now = session.engine, session.snapshot.now
    run = now.asked().run
    search = smallest_flip(run.model, run.trace, metric, candidates, run.sources, limit=limit, also=run.also)
    try:
        while True:
            step = next(search)
            engine.progress = f"{step.chosen + 1}: {step.done}/{step.of}"
    except StopIteration as stop:
        return stop.value
    except ValueError as error:
        raise CommandError(str(error), code="no-flip") from None
    finally:
        engine.progress = ""


def _patched(session: Session, patches: tuple[Patch, ...]) -> Reading:
    """The run with the patches made."""
    inputs = session.state.inputs
    edit = Edit(session.state.next_edit, patches, text_of(patches))
    return session.engine.reading(replace(inputs, edits=(*inputs.edits, edit)))
