"""`ablate`: what components put out, replaced."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.components import Component, Kind
from model.edits.interventions import Ablate, AllBut, ChangeError, Mode, Span, drawn
from tdb_tui.commands.table import command
from tdb_tui.edits import editing
from tdb_tui.edits.editing import Changes, refuse_silent, stated
from tdb_tui.edits.substitution import losses_said, prompt_losses, substituted
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.language.arguments import NodeWord, integer, located, node_words, number, span_of
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot
from tdb_tui.settings import seed_of, setting

MODES = tuple(mode.value for mode in Mode)
SAID = "zero, mean, resample, noise SD, value X, scale X, cut"


@command(
    "ablate",
    "ab",
    usage="NODES|all[@POS] [but NODES] [zero|mean|resample [seed N]|noise SD [seed N]|value X|scale X|cut]",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    complete=("node", "mode"),
    examples=("ablate L1H3", "ablate all but L1H3,M0 zero"),
)
def ablate(session: Session, call: Call) -> Reply:
    """Replace what components put out, and run again from the first layer touched.

    Without a position, every token.  The mode is zero unless said otherwise or `set ablation` says so:
      mean            over the reference prompts (`set means`, else the prompt set), as `set means` matches tokens
      resample        the value in one of them, drawn by the seed; the answer names it
      noise SD        Gaussian noise added, of this standard deviation in the activation's own unit
      value, scale    a number in each place, a factor
      cut             a pair's score becomes minus infinity: the rest of the row shares its attention

    A head's row is edited at its output z, a whole layer's with `L2`; A and M whole, their bias included.  A pair
    (`L1H3@END<2`) is edited at its attention weight, the rest of the row staying as it is but for cut.  So are the
    places resid_pre.2, resid_mid.2, resid_post.2, L1H3.q, .k, .v, .pattern, and what layer norms divide by, which stays
    above 0: ln1_scale.2, ln2_scale.2, ln_final_scale.  `all` is every head and every MLP: `ablate all but L1H3,M0@END
    mean` leaves a circuit.  `Xm3` is what an SAE leaves over: without it, what it puts out stands in the place of what
    it takes apart (`Xm*`: of all), and the loss that is recovered is said.
    """
    changes = ablations(session.snapshot.planned, call)
    made = editing.make(session, changes, more=_told(session, changes))
    if not any(change.component.kind is Kind.ERROR for change in editing.singles(changes)):
        return made
    return _with_losses(session.snapshot, made)


def _with_losses(snapshot: Snapshot, made: Reply) -> Reply:
    """The answer, with what the dictionaries that now stand in place cost the prompt."""
    places = substituted(snapshot)
    if not places or snapshot.value is None:
        return made
    found = prompt_losses(snapshot, places)
    loss = {
        "clean": found.clean,
        "spliced": found.spliced,
        "zero": found.zeroed,
        "recovered": found.recovered,
    }
    lines = (*made.lines, f"    {losses_said(places, found)}")
    return replace(made, lines=lines, result={**made.result, "cross_entropy": loss})


def ablations(snapshot: Snapshot, call: Call) -> Changes:
    """The changes that an `ablate` command stands for.  Raises CommandError."""
    if not call.args:
        raise CommandError("ablate what: ablate L1H3, ablate M0@END", code="missing-argument")
    word = call.args[0]
    if word.text.partition("@")[0] == "all" and not word.quoted:
        return (_all_but(snapshot, word, list(call.args[1:])),)
    how = _how(snapshot, list(call.args[1:]))
    found = node_words(snapshot, word)
    refuse_silent(found, word)
    _check_source(snapshot, how, found)
    return stated(
        word,
        lambda: tuple(
            Ablate(part, each.span if each.placed else None, each.key, how.mode, how.amount, how.seed)
            for each in found
            for part in each.components
        ),
    )


@dataclass(frozen=True, slots=True)
class How:
    """What comes after the nodes."""

    mode: Mode
    amount: float = 0.0
    seed: int = 0


def _all_but(snapshot: Snapshot, word: Word, words: list[Word]) -> AllBut:
    """`all@END but L5H0,L3H5@END mean`."""
    _, at, pos = word.text.partition("@")
    span = located(word, lambda: span_of(snapshot, pos)) if at else None
    kept: list[tuple[Component, Span | None]] = []
    if words and words[0].text == "but":
        but = words.pop(0)
        while words and (words[0].text not in MODES or words[0].quoted):
            kept += _kept(snapshot, words.pop(0))
        if not kept:
            raise CommandError("all but what: ablate all but L5H0,M0 mean", "missing-argument", col=but.col)
    how = _how(snapshot, words)
    _check_source(snapshot, how, ())
    config, length = snapshot.info.config, snapshot.state.end + 1
    return AllBut(config.n_layer, config.n_head, length, span, tuple(kept), how.mode, how.amount, how.seed)


def _kept(snapshot: Snapshot, word: Word) -> list[tuple[Component, Span | None]]:
    found = node_words(snapshot, word)
    for each in found:
        wrong = next(
            (part for part in each.components if part.kind not in (Kind.HEAD, Kind.ATTN, Kind.MLP)), None
        )
        if wrong or each.key is not None:
            message = f"{wrong or word.text} is no head and no MLP: all but keeps those, as in L5H0,M0@END"
            raise CommandError(message, "bad-node", col=word.col)
    return [(part, each.span if each.placed else None) for each in found for part in each.components]


def _how(snapshot: Snapshot, words: list[Word]) -> How:
    """`scale 0.5`, `noise 1 seed 3` -> the mode and its numbers; the `ablation` setting where nothing is said."""
    if not words:
        return How(Mode(setting(snapshot.state, "ablation")), seed=seed_of(snapshot.state))
    word = words.pop(0)
    if word.text not in MODES:
        suggestion = did_you_mean(word.text, MODES) or f": {SAID}"
        raise CommandError(f"unknown mode {word.text!r}{suggestion}", "bad-mode", col=word.col)
    mode, amount, seed = Mode(word.text), 0.0, seed_of(snapshot.state)
    if mode.takes_number and not words:
        raise CommandError(f"{mode.value} takes a number: {mode.value} 0.5", "missing-argument", col=word.col)
    if mode.takes_number:
        amount = number(words.pop(0))
    if mode.takes_seed and len(words) > 1 and words[0].text == "seed":
        seed, words = integer(words[1], "a seed"), words[2:]
    if words:
        raise CommandError(
            f"unexpected {words[0].text!r} after {mode.value}", "bad-argument", col=words[0].col
        )
    if mode is Mode.NOISE and amount < 0:
        raise CommandError(f"{amount} is no standard deviation: 0 or more", "bad-number", col=word.col)
    return How(mode, amount, seed)


def _check_source(snapshot: Snapshot, how: How, found: Sequence[NodeWord]) -> None:
    """Raises CommandError where there is nothing to take a mean over or to draw from."""
    inputs, named = snapshot.state.inputs, how.mode.value
    if how.mode not in editing.DRAWING:
        return
    if inputs.means is None and snapshot.state.examples is None:
        message = f"{named} needs reference prompts: 'set means FILE' or 'set means positions'"
        if how.mode is Mode.RESAMPLE:
            message = f"{named} needs reference prompts: 'prompts ioi:50' or 'set means FILE'"
        raise CommandError(message, code="no-means")
    if how.mode is Mode.RESAMPLE and inputs.means is not None and not inputs.means.prompts:
        message = (
            "resample needs prompts to draw from: the means are those of the prompt itself ('set means set')"
        )
        raise CommandError(message, code="no-means")


def _told(session: Session, changes: Changes) -> list[str]:
    """What the edit's words leave open: what it covers, what it draws."""
    snapshot, said = session.snapshot, list[str]()
    (first, *_) = changes
    if isinstance(first, AllBut):
        said.append(_coverage(first))
    ablations = [each for each in editing.singles(changes) if isinstance(each, Ablate)]
    if ablations and ablations[0].mode is Mode.RESAMPLE:
        references = session.engine.references(editing.provided(snapshot, changes))
        try:
            numbers = sorted({references[drawn(each, references)].number or 0 for each in ablations})
        except ChangeError as error:
            raise CommandError(str(error), code="bad-edit") from None
        names = ", ".join(map(str, numbers))
        said.append(f"    drawn: example{'s' * (len(numbers) > 1)} {names} of {len(references)}")
    return said


def _coverage(change: AllBut) -> str:
    """How much of the model is ablated."""
    whole = Span(0, change.length - 1) if change.span is None else change.span
    parts: dict[Component, int] = {}
    for each in change.parts:
        parts[each.component] = parts.get(each.component, 0) + len(each.span or whole)
    counts = [
        (sum(part.kind is kind for part in parts), of, name)
        for kind, of, name in (
            (Kind.HEAD, change.n_layer * change.n_head, "heads"),
            (Kind.MLP, change.n_layer, "MLPs"),
        )
    ]
    partly = sum(size < len(whole) for size in parts.values())
    said = " and ".join(f"{count} of {of} {name}" for count, of, name in counts)
    return f"    covers {said}" + (f", {partly} of them at some tokens only" if partly else "")
