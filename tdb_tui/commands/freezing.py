"""`freeze`: values held as they are without any edit, while the rest runs again."""

from model.components import Component, Kind
from model.edits.interventions import Change, Freeze, Span
from tdb_tui.commands.table import command
from tdb_tui.edits import editing
from tdb_tui.edits.editing import Changes, refuse_silent
from tdb_tui.errors import CommandError
from tdb_tui.language.arguments import at_most, located, node_words, span_of
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot

EVERY = {"attn": (Kind.PATTERN,), "ln": (Kind.LN1_SCALE, Kind.LN2_SCALE), "mlp": (Kind.MLP,)}
"Words for a kind of node in every layer; `ln` is the final layer norm's scale too."


@command(
    "freeze",
    usage="attn|ln|mlp|NODES [@POS]",
    group="changing",
    repeat=Repeat.NOTHING,
    complete=("node",),
    examples=("freeze attn", "freeze L1H3@END"),
)
def freeze(session: Session, call: Call) -> Reply:
    """Hold values as they are in this prompt without any edit, while the rest runs again.

      attn    every head's attention pattern: edits then act through values alone
      ln      every layer norm's scale: what reads the residual stream is then linear in it
      mlp     every MLP's output
      NODES   any: L1H3, L2H0.q, resid_mid.1, ln_final_scale

    Without a position, every token of the prompt.  Where nothing before it is edited, a frozen value is what it would
    be anyway.
    """
    text = ""
    if call.args and call.args[0].text.partition("@")[0] in EVERY:
        span = _span(session.snapshot, call)
        text = f"freeze {call.args[0].text.partition('@')[0]}@{'*' if span is None else span}"
    return editing.make(session, freezes(session.snapshot, call), text)


def freezes(snapshot: Snapshot, call: Call) -> Changes:
    """The changes that a `freeze` command stands for.  Raises CommandError."""
    if not call.args:
        raise CommandError("freeze what: freeze attn, freeze ln, freeze L1H3@END", code="missing-argument")
    word = call.args[0]
    name, span = word.text.partition("@")[0], _span(snapshot, call)
    if name in EVERY and not word.quoted:
        return tuple(_every(name, span, snapshot.n_layer))
    found = node_words(snapshot, word)
    refuse_silent(found, word)
    return tuple(
        Freeze(part, each.span if each.placed else span, each.key)
        for each in found
        for part in each.components
    )


def _every(name: str, span: Span | None, n_layer: int) -> list[Change]:
    parts = [Component(kind, layer) for layer in range(n_layer) for kind in EVERY[name]]
    if name == "ln":
        parts.append(Component(Kind.LN_FINAL_SCALE))
    return [Freeze(part, span) for part in parts]


def _span(snapshot: Snapshot, call: Call) -> Span | None:
    """`freeze attn @END`, `freeze attn@END`: where, None for every token."""
    at_most(call, 2)
    word = call.args[0]
    written = word.text.partition("@")[2] if word.text.partition("@")[0] in EVERY else ""
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
