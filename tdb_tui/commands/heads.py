"""What a head does by its weights alone: what it copies, what it matches, whose output it reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len

from model.about.heads import Copied, Pair, View, composition, copied, ov, qk
from model.components import Component, Kind
from model.targets import Via
from model.tokenizer import Tokenizer
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.formats import plain, quoted
from tdb_tui.language.arguments import at_most, one_component, option_integer
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session
from tdb_tui.tables.promoted import end_rows, left_out, left_out_line

PAIRS, TOKENS, ROWS, WIDTH = 3, 10, 12, 78
VIAS: tuple[str, ...] = (Via.Q.value, Via.K.value, Via.V.value)


@dataclass(frozen=True, slots=True)
class Words:
    """How a circuit is spoken of."""

    product: str
    convention: str
    "What is folded in and what is left out, wherever that changes a number."
    score: str
    read: str
    write: str


OV = Words(
    "W_E W_V W_O W_U",
    "weights of ln_1 and ln_f folded in, scales and biases left out, mean logit taken off",
    "copy score",
    "reads",
    "writes",
)
QK = Words(
    "W_E W_Q W_K W_E / sqrt(d_head)",
    "weight of ln_1 folded in, scales and biases left out, mean over keys taken off",
    "like-to-like score",
    "query",
    "key",
)


@command(
    "ov",
    usage="HEAD [-n PAIRS] [--all]",
    group="seeing",
    options={"n": True, "all": False},
    complete=("node",),
    examples=("ov L1H3", "ov L1H3 -n 1"),
)
def ov_(session: Session, call: Call) -> Reply:
    """What a head writes for each token that it reads, by its weights alone: copy score and leading singular pairs.

    The copy score is the eigenvalues' sum over the sum of their absolute values (Elhage et al. 2021): 1 where a
    token raises its own logit, -1 where it lowers it.  Below it, how many of this prompt's tokens the head puts
    among its own top 5 logits, after the first MLP (Wang et al. 2022).  A pair is a direction among tokens read
    and one among logits written: its `+` ends belong together, and its `-` ends.  The model's weights stay as they
    are: this is a view.  Tokens that training has hardly seen are left out; `--all` counts them too.
    """
    model, tokens = session.snapshot.now.model, session.state.inputs.prompt.tokens
    head = _head(session, call, "ov")
    ids = sorted(set(tokens[int(session.state.inputs.prompt.prepended) :]))
    return _view(session, call, head, OV, ov, copied(model, head, ids) if ids else None, len(ids))


@command(
    "qk",
    usage="HEAD [-n PAIRS] [--all]",
    group="seeing",
    options={"n": True, "all": False},
    complete=("node",),
    examples=("qk L1H3", "qk L1H3 -n 1"),
)
def qk_(session: Session, call: Call) -> Reply:
    """Which tokens a head makes attend to which, by its weights alone: leading singular pairs of query and key.

    The score says whether tokens attend to their like: the eigenvalues' sum over the sum of their absolute values,
    1 to -1.  Positions are left out, and so is all that earlier layers write: a head may match by those instead.
    Tokens that training has hardly seen are left out; `--all` counts them too.
    """
    return _view(session, call, _head(session, call, "qk"), QK, qk)


@command(
    "compose",
    usage="HEAD [q|k|v] [-n N]",
    group="seeing",
    options={"n": True},
    complete=("node", "input"),
    examples=("compose L2H1", "compose L2H1 q -n 5"),
)
def compose(session: Session, call: Call) -> Reply:
    """How much of what each earlier head writes a head reads, through its query, key and value, by weights alone.

    |A B| / |A| |B| in Frobenius norms (Elhage et al. 2021), A what the earlier head moves, B what this one reads.
    Two random matrices meet a little as well: `chance` is what they come to, and only what is above it means
    something.  `-n 0` shows every head.
    """
    at_most(call, 2)
    head = _head(session, call, "compose", words=2)
    if head.layer == 0:
        raise CommandError(f"{head} is in the first layer: no head comes before it", "bad-node")
    vias = _vias(call)
    found = composition(session.snapshot.now.model, head)
    scores = dict(zip(VIAS, (found.query, found.key, found.value), strict=True))
    best = np.max([scores[via] for via in vias], 0)  # [layer, head]
    count = option_integer(call, "n", ROWS, "a number of rows") or best.size
    order = np.argsort(-best.ravel(), kind="stable")[:count]
    rows = [_composed(scores, int(at), found.query.shape[1]) for at in order]
    cells = [("head", *vias, "x chance")]
    cells += [
        (row["head"], *(f"{row[via]:.3f}" for via in vias), _beyond(row, vias, found.chance)) for row in rows
    ]
    said = f"{head} reads of earlier heads, |A B| / |A| |B|: chance is {found.chance:.3f}"
    result = {"head": str(head), "chance": found.chance, "by": list(vias), "rows": rows}
    return Reply((said, *columns(cells, "-" + "r" * (len(vias) + 1))), result)


def _head(session: Session, call: Call, name: str, words: int = 1) -> Component:
    """The head that a command is about.  Raises CommandError."""
    if not call.args:
        raise CommandError(f"{name} of which head: {name} L1H3", code="missing-argument")
    at_most(call, words)
    head = one_component(session.snapshot, call.args[0])
    if head.kind is not Kind.HEAD:
        message = f"{head} is no head: name one, as in L{head.layer}H0"
        raise CommandError(message, "bad-node", col=call.args[0].col)
    return head


def _vias(call: Call) -> tuple[str, ...]:
    if len(call.args) < 2:
        return VIAS
    word = call.args[1]
    if word.text not in VIAS:
        raise CommandError(f"unknown input {word.text!r}: q, k or v", "bad-argument", col=word.col)
    return (word.text,)


def _composed(scores: dict[str, NDArray[np.float64]], at: int, n_head: int) -> dict[str, Any]:
    layer, index = divmod(at, n_head)
    values = {via: float(each[layer, index]) for via, each in scores.items()}
    return {"head": str(Component(Kind.HEAD, layer, index)), "layer": layer, "index": index, **values}


def _beyond(row: dict[str, Any], vias: Sequence[str], chance: float) -> str:
    """Which input composes most, and how many times chance that is."""
    best = max(vias, key=lambda via: row[via])
    return f"{best} {row[best] / chance:.1f}"


def _view(
    session: Session,
    call: Call,
    head: Component,
    words: Words,
    make: Callable[..., View],
    seen: Copied | None = None,
    of: int = 0,
) -> Reply:
    """A circuit as its score and its leading pairs."""
    snapshot = session.snapshot
    exclude = left_out(snapshot, call.has("all"))
    count = option_integer(call, "n", PAIRS, "a number of pairs")
    view = make(snapshot.now.model, head, pairs=count, count=TOKENS, exclude=exclude)
    total = float((view.values**2).sum())
    shares = [pair.value**2 / total if total else 0.0 for pair in view.pairs]
    said = [f"{head}  {words.product}", f"({words.convention})", f"{words.score} {view.score:+.2f}"]
    if seen is not None:
        said.append(
            f"of this prompt's {of} different tokens, {seen.positive:.0%} are in their own top 5 logits, "
            f"{seen.negative:.0%} with the output negated"
        )
    for number, (pair, share) in enumerate(zip(view.pairs, shares, strict=True), start=1):
        said += [f"{number}  singular value {plain(pair.value)}, {share:.0%} of the squares"]
        said += _pair_lines(snapshot.tokenizer, pair, words)
    result: dict[str, Any] = {
        "head": str(head),
        "product": words.product,
        "convention": words.convention,
        "score": view.score,
        "values": view.values.tolist(),
        "rows": [
            _pair(snapshot.tokenizer, pair, share) for pair, share in zip(view.pairs, shares, strict=True)
        ],
        "left_out": 0 if exclude is None else int(exclude.sum()),
    }
    if seen is not None:
        result["copied"] = {"tokens": of, "positive": seen.positive, "negative": seen.negative}
    return Reply((*said, *left_out_line(exclude)), result)


def _pair_lines(tokenizer: Tokenizer, pair: Pair, words: Words) -> list[str]:
    lines: list[str] = []
    for sign, read, write in (
        ("+", pair.read.top, pair.write.top),
        ("-", pair.read.bottom, pair.write.bottom),
    ):
        lines.append(_fitting(f"   {sign} {words.read:<6}", tokenizer, read))
        lines.append(_fitting(f"     {words.write:<6}", tokenizer, write))
    return lines


def _fitting(line: str, tokenizer: Tokenizer, end: Sequence[tuple[int, float]]) -> str:
    """As many tokens as a line has room for, at least one."""
    for number, (id, _) in enumerate(end):
        word = f" {quoted(tokenizer, id)}"
        if number and cell_len(line) + cell_len(word) > WIDTH:
            break
        line += word
    return line


def _pair(tokenizer: Tokenizer, pair: Pair, share: float) -> dict[str, Any]:
    sides = {"read": pair.read, "write": pair.write}
    found = {
        side: {"up": end_rows(tokenizer, ends.top), "down": end_rows(tokenizer, ends.bottom)}
        for side, ends in sides.items()
    }
    return {"value": pair.value, "share": share, **found}
