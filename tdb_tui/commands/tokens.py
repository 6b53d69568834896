"""What a node is about, in tokens: those that it argues for, and those that drive it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.about.reads import Ends, Unit, top_tokens
from model.components import Kind, Node
from model.targets import Via
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import quoted, signed, token_label
from tdb_tui.language.arguments import at_most, one_node, option_integer, unpaged
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session, Snapshot
from tdb_tui.tables.promoted import after, driving, end_rows, ends_lines, left_out, left_out_line, promoted

SIDES = ("in", "out")
ROWS, DRIVING_ROWS = 10, 12


@command(
    "top",
    usage="NODE [in|out] [-n N] [--scores] [--all]",
    group="seeing",
    repeat=Repeat.CONTINUE,
    options={"n": True, "from": True, "scores": False, "all": False},
    complete=("node", "side"),
    examples=("top L1H3@END", "top M0@END -n 5 --scores"),
)
def top(session: Session, call: Call) -> Reply:
    """Tokens whose logits a node pushes up and down, in logits; with `in`, the tokens that drive it, as `drives`.

    Its write goes through the final layer norm, the scale at its own token frozen.  `--scores` adds the Transformer
    Debugger's score, which is neither centred nor divided by that scale and so no logit.  Tokens that the model's
    training has hardly seen are left out, by a rule on their embeddings; `--all` lists them too.  An empty line shows
    the next ones.
    """
    if not call.args:
        raise CommandError("top of which node: top L1H3@END", code="missing-argument")
    at_most(call, 2)
    word, *sides = call.args
    if sides and _side(sides[0]) == "in":
        return _drives(session.snapshot, call, ROWS)
    snapshot = session.snapshot
    node = one_node(snapshot, word)
    count = option_integer(call, "n", ROWS, "a count", least=1)
    exclude = left_out(snapshot, call.has("all"))
    first = option_integer(call, "from", 0, "a number of tokens")
    ends = after(top_tokens(promoted(snapshot.now, node), first + count, exclude), first)
    more = f"{unpaged(call)} --from {first + count}" if len(ends.top) == count else None
    scores = promoted(snapshot.now, node, Unit.TDB) if call.has("scores") else None
    return Reply(
        (*_out_lines(snapshot, ends, scores), *left_out_line(exclude)),
        {
            "node": str(node),
            "up": end_rows(snapshot.tokenizer, ends.top, scores),
            "down": end_rows(snapshot.tokenizer, ends.bottom, scores),
            "left_out": 0 if exclude is None else int(exclude.sum()),
        },
        more=more,
    )


@command(
    "drives",
    usage="NODE [-n N] [--all]",
    group="tracing",
    options={"n": True, "all": False},
    complete=("node",),
    examples=("drives N0.5@END", "drives L1H3@END<START"),
)
def drives(session: Session, call: Call) -> Reply:
    """Tokens whose embedding drives a neuron, or a head's score through its query and through its key.

    What adding the token's embedding to the residual stream there would add, the layer norm's scale held.  A head
    without a key is asked about the key that it reads most.  Tokens that the model's training has hardly seen are
    left out; `--all` lists them too.
    """
    at_most(call, 1)
    if not call.args:
        raise CommandError(
            "what drives which node: drives N0.5@END, drives L1H3@END", code="missing-argument"
        )
    return _drives(session.snapshot, call, DRIVING_ROWS)


def _side(word: Word) -> str:
    if word.text not in SIDES:
        guess = did_you_mean(word.text, SIDES) or ": in (what drives it) or out (what it promotes)"
        raise CommandError(f"unknown side {word.text!r}{guess}", "bad-argument", col=word.col)
    return word.text


def _out_lines(snapshot: Snapshot, ends: Ends, scores: NDArray[np.float64] | None) -> tuple[str, ...]:
    tokenizer = snapshot.tokenizer
    if scores is None:
        return ends_lines(tokenizer, ends, ("up", "logits", "down", "logits"))
    cells = [("up", "logits", "score", "down", "logits", "score")]
    for pair in zip(ends.top, ends.bottom, strict=True):
        (a, up, x), (b, down, y) = (
            (quoted(tokenizer, id), signed(effect), signed(float(scores[id]))) for id, effect in pair
        )
        cells.append((a, up, x, b, down, y))
    return columns(cells, "-rr-rr")


def _drives(snapshot: Snapshot, call: Call, rows: int) -> Reply:
    count = option_integer(call, "n", rows, "a count", least=1)
    exclude = left_out(snapshot, call.has("all"))
    node = _with_key(snapshot, one_node(snapshot, call.args[0]))
    try:
        reads = driving(snapshot, node)
    except CommandError as error:
        raise CommandError(error.message, error.code, col=call.args[0].col) from None
    said: list[str] = []
    result: list[dict[str, object]] = []
    for side, read in zip(_inputs(node), reads, strict=True):
        ends = top_tokens(read.scores, count, exclude)
        at = token_label(read.pos, snapshot.state.inputs.prompt.tokens, snapshot.tokenizer)
        up, down = (end_rows(snapshot.tokenizer, end) for end in (ends.top, ends.bottom))
        said += [f"{side} at {at}", *ends_lines(snapshot.tokenizer, ends)]
        result.append({"side": side, "pos": read.pos, "up": up, "down": down})
    same = "what drives a node is the Transformer Debugger's score as it stands: --scores adds none"
    return Reply(
        (*said, *left_out_line(exclude)),
        {
            "node": str(node),
            "reads": result,
            "left_out": 0 if exclude is None else int(exclude.sum()),
        },
        warnings=(same,) if call.has("scores") else (),
    )


def _with_key(snapshot: Snapshot, node: Node) -> Node:
    """A head's row becomes the pair with the key that it reads most."""
    if node.component.kind is not Kind.HEAD or node.key is not None:
        return node
    return replace(node, key=int(snapshot.now.pattern(node.component)[node.pos].argmax()))


def _inputs(node: Node) -> tuple[str, ...]:
    return (Via.Q.value, Via.K.value) if node.component.kind is Kind.HEAD else ("input",)
