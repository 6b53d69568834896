"""`freeze`: values held as they are without any edit, while the rest runs again."""

from collections.abc import Sequence
from itertools import chain

from model.components import INSIDE_HEADS, Component, Kind
from model.edits.compounds import listed, runs
from model.edits.interventions import Ablate, Change, Freeze, Patch, Span, Steer, place
from model.gpt2 import Config
from tdb_tui.commands.table import command
from tdb_tui.edits import editing
from tdb_tui.edits.editing import Changes, refuse_silent
from tdb_tui.errors import CommandError
from tdb_tui.language.arguments import NodeWord, at_most, located, node_words, span_of
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot

EVERY = {
    "attn": (Kind.PATTERN,),
    "ln": (Kind.LN1_SCALE, Kind.LN2_SCALE),
    "heads": (Kind.HEAD,),
    "mlp": (Kind.MLP,),
}
"Words for a kind of node in every layer; `ln` is the final layer norm's scale too."

WRITERS = ("heads", "mlp")
"What is held where nothing but exceptions are named."


@command(
    "freeze",
    usage="attn|ln|heads|mlp|NODES [@POS] | [heads|mlp] [@POS] --except NODES",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    options={"except": True},
    complete=("node",),
    examples=("freeze attn", "patch L0H1 from B ;; freeze --except L1H3"),
)
def freeze(session: Session, call: Call) -> Reply:
    """Hold values as they are in this prompt without any edit, while the rest runs again.

      attn    every head's attention pattern: edits then act through values alone
      ln      every layer norm's scale: what reads the residual stream is then linear in it
      heads   what every head writes
      mlp     every MLP's output
      NODES   any: L1H3, L2H0.q, resid_mid.1, ln_final_scale

    `freeze --except L1H3` holds every head and every MLP but that one and those that are edited already: what they
    do then reaches L1H3 and the logits on no other way (`path` takes the logits away too).

    Without a position, every token of the prompt.  Where nothing before it is edited, a frozen value is what it would
    be anyway.
    """
    if call.has("except"):
        text, changes = _all_but(session.snapshot.planned, call)
        return editing.make(session, changes, text)
    text = ""
    if call.args and call.args[0].text.partition("@")[0] in EVERY:
        span = _span(session.snapshot, call)
        text = f"freeze {call.args[0].text.partition('@')[0]}@{'*' if span is None else span}"
    return editing.make(session, freezes(session.snapshot.planned, call), text)


def freezes(snapshot: Snapshot, call: Call) -> Changes:
    """The changes that a `freeze` command stands for.  Raises CommandError."""
    if call.has("except"):
        return _all_but(snapshot, call)[1]
    if not call.args:
        raise CommandError("freeze what: freeze attn, freeze ln, freeze L1H3@END", code="missing-argument")
    word = call.args[0]
    name, span = word.text.partition("@")[0], _span(snapshot, call)
    if name in EVERY and not word.quoted:
        return tuple(_every(name, span, snapshot.info.config))
    found = node_words(snapshot, word)
    refuse_silent(found, word)
    return tuple(
        Freeze(part, each.span if each.placed else span, each.key)
        for each in found
        for part in each.components
    )


def _every(name: str, span: Span | None, config: Config) -> list[Change]:
    parts = list(chain.from_iterable(_parts(name, layer, config) for layer in range(config.n_layer)))
    if name == "ln":
        parts.append(Component(Kind.LN_FINAL_SCALE))
    return [Freeze(part, span) for part in parts]


def _parts(name: str, layer: int, config: Config) -> list[Component]:
    if name == "heads":
        return [Component(Kind.HEAD, layer, head) for head in range(config.n_head)]
    return [Component(kind, layer) for kind in EVERY[name]]


# All but some.


def _all_but(snapshot: Snapshot, call: Call) -> tuple[str, Changes]:
    """`freeze heads@END --except L1H3`, its exceptions spelled out, and what it changes.  Raises CommandError."""
    option = next(option for option in call.options if option.name == "except")
    typed = Word(option.value or "", option.col)
    names, span = WRITERS, None
    if call.args:
        span, first = _span(snapshot, call), call.args[0].text.partition("@")[0]
        if first and first not in WRITERS:
            message = f"all {first} but some cannot be held: freeze --except L1H3, freeze heads --except L1H3"
            raise CommandError(message, "bad-argument", col=call.args[0].col)
        names = (first,) if first else names
    left = _exceptions(snapshot, typed)
    changes = tuple(chain.from_iterable(_but(snapshot, name, span, left) for name in names))
    if not changes:
        raise CommandError(f"nothing is left to hold but {typed.text}", "bad-argument", col=typed.col)
    what = "" if names == WRITERS and span is None else f" {_place_of(names, span)}"
    return f"freeze{what} --except {listed([place(part, at, None) for part, at in left])}", changes


def _place_of(names: Sequence[str], span: Span | None) -> str:
    """`heads@*`, `@14`."""
    return f"{'' if names == WRITERS else names[0]}@{'*' if span is None else span}"


Left = tuple[Component, Span | None]


def _exceptions(snapshot: Snapshot, word: Word) -> list[Left]:
    """What is not held and where: those named, and what edits in force change."""
    named = node_words(snapshot, word)
    for each in named:
        for part in each.components:
            if part.kind not in (Kind.HEAD, Kind.ATTN, Kind.MLP) or each.key is not None:
                message = f"{part} is no head and no MLP: --except leaves those out, as in L5H0,M0@END"
                raise CommandError(message, "bad-node", col=word.col)
    found = list(chain.from_iterable(_placed(each) for each in named))
    for change in snapshot.state.inputs.changes:
        owner = _owner(change.component) if isinstance(change, Ablate | Patch | Steer) else None
        if owner is not None:
            found.append((owner, change.span))
    return list(dict.fromkeys(found))


def _owner(part: Component) -> Component | None:
    """Whose write an edit of a part changes; None for what is no part of a head or an MLP."""
    match part.kind:
        case Kind.HEAD | Kind.ATTN | Kind.MLP:
            return part
        case kind if kind in INSIDE_HEADS and part.index is not None:
            return Component(Kind.HEAD, part.layer, part.index)
        case kind if kind in INSIDE_HEADS or kind is Kind.ATTN_BIAS or part.site in ("a", "z"):
            return Component(Kind.ATTN, part.layer)
        case kind if kind in (Kind.NEURON, Kind.MLP_BIAS) or part.site in ("m", "p"):
            return Component(Kind.MLP, part.layer)
        case _:
            return None


def _placed(word: NodeWord) -> list[Left]:
    return [(part, word.span if word.placed else None) for part in word.components]


def _but(snapshot: Snapshot, name: str, span: Span | None, left: Sequence[Left]) -> list[Change]:
    """Every part of a kind held where it is not left out."""
    config, end = snapshot.info.config, snapshot.state.end
    held: list[Change] = []
    for part in chain.from_iterable(_parts(name, layer, config) for layer in range(config.n_layer)):
        whole = Component(Kind.ATTN, part.layer) if part.kind is Kind.HEAD else part
        spans = [at for each, at in left if each in (part, whole)]
        if not spans:
            held.append(Freeze(part, span))
        elif None not in spans:
            out = {pos for at in spans if at is not None for pos in range(at.first, at.last + 1)}
            asked = range(end + 1) if span is None else range(span.first, span.last + 1)
            held += [Freeze(part, at) for at in runs([pos for pos in asked if pos not in out])]
    return held


def _span(snapshot: Snapshot, call: Call) -> Span | None:
    """`freeze attn @END`, `freeze attn@END`: where, None for every token."""
    at_most(call, 2)
    word = call.args[0]
    written = word.text.partition("@")[2] if word.text.partition("@")[0] in (*EVERY, "") else ""
    if len(call.args) == 2:
        if "@" in word.text or not call.args[1].text.startswith("@"):
            extra = call.args[1]
            raise CommandError(
                f"unexpected {extra.text!r}: a position was expected, as in freeze attn @END",
                "bad-argument",
                col=extra.col,
            )
        word, written = call.args[1], call.args[1].text.removeprefix("@")
    at = Word(written, word.col)
    return located(at, lambda: span_of(snapshot, written)) if written else None
