"""What the model would say: at a token, and after each line of the pass."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdb_tui import lines
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.formats import probability, quoted, signed
from tdb_tui.language.arguments import at_most, integer, line_number, option_integer, position, unpaged
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session, Snapshot

LENS_TOKENS = 3


@command(
    "logits",
    "lg",
    usage="[@POS] [N]",
    group="seeing",
    repeat=Repeat.CONTINUE,
    options={"from": True},
    complete=("pos",),
    examples=("logits", "logits @END 5"),
)
def logits(session: Session, call: Call) -> Reply:
    """The most likely next tokens, the targets and distractors always among them; an empty line shows the next ones."""
    at_most(call, 2)
    snapshot = session.snapshot
    pos, count = _place_and_count(snapshot, call, 10)
    first = option_integer(call, "from", 0, "a number of tokens")
    rows = _likely(snapshot, pos, count, first)
    more = f"{unpaged(call)} --from {first + count}" if first + count < snapshot.info.config.n_vocab else None
    return Reply(likely_rows(snapshot, pos, count, first), {"pos": pos, "rows": rows}, view="next", more=more)


def likely_rows(snapshot: Snapshot, pos: int, count: int, first: int = 0) -> tuple[str, ...]:
    """The most likely tokens after `pos` as text."""
    metric = snapshot.state.inputs.metric
    base = snapshot.base.logits(pos)
    cells = [("rank", "token", "p", "logit", "Δ base", "")]
    for row in _likely(snapshot, pos, count, first):
        token = row["id"]
        role = "target" if token in metric.targets else "distractor" if token in metric.distractors else ""
        delta = signed(row["logit"] - float(base[token]))
        name, p = quoted(snapshot.tokenizer, token), probability(row["prob"])
        cells.append((str(row["rank"]), name, p, f"{row['logit']:.2f}", delta, role))
    return columns(cells, "r-rrr-")


@command(
    "lens",
    usage="[@POS|@all] [LINE] [-n TOKENS]",
    group="seeing",
    options={"n": True},
    complete=("pos", "node"),
    examples=("lens @END", "lens @all A2 -n 1"),
)
def lens(session: Session, call: Call) -> Reply:
    """What the model would say after each line if the rest were left out (logit lens), one row a line.

    With a LINE only after that one; `@all` reads at every token.  `-n` says how many of the likeliest tokens.
    """
    snapshot = session.snapshot
    positions, line = _places_and_line(snapshot, call)
    count = option_integer(call, "n", LENS_TOKENS, "a number of tokens", least=1)
    if count > LENS_TOKENS:
        raise CommandError(f"the lens keeps {LENS_TOKENS} tokens: logits shows more", "bad-number")
    said: list[str] = []
    rows: list[dict[str, object]] = []
    for pos in positions:
        found = _lens_rows(snapshot, pos, line)
        rows += found if len(positions) == 1 else [{"pos": pos, **row} for row in found]
        heading = f"@{pos} {quoted(snapshot.tokenizer, snapshot.state.inputs.prompt.tokens[pos])}"
        said += [heading] if len(positions) > 1 else []
        said += _lens_lines(snapshot, pos, found, count)
    where = positions[0] if len(positions) == 1 else positions
    return Reply(tuple(said), {"pos": where, "rows": rows})


def _places_and_line(snapshot: Snapshot, call: Call) -> tuple[list[int], int | None]:
    """`@all A3`, in either order.  A word without @ that is no line is a position.  Raises CommandError."""
    at_most(call, 2)
    positions, line = [snapshot.state.pos], None
    for word in call.args:
        if word.text in ("@all", "@*"):
            positions = list(range(snapshot.state.end + 1))
        elif re.fullmatch(r"[AM]\d+|[EU]|L\d+H?\d*", word.text):
            line = line_number(snapshot, word)
        else:
            positions = [position(snapshot, word)]
    if len(call.args) == 2 and line is None:
        extra = call.args[1]
        raise CommandError(f"unexpected {extra.text!r}: lens @END A3", "bad-argument", col=extra.col)
    return positions, line


def _lens_rows(snapshot: Snapshot, pos: int, only: int | None) -> list[dict[str, object]]:
    read, deltas = snapshot.now.lens(pos), snapshot.now.deltas(pos)
    return [
        {
            "line": lines.name(line, snapshot.n_layer),
            "ld": float(read.value[line]),
            "delta": float(deltas[line]),
            "target_rank": int(read.target_rank[line]) + 1,
            "top": [snapshot.tokenizer.text(int(token)) for token in read.top[line]],
        }
        for line in range(lines.count(snapshot.n_layer))
        if only in (None, line)
    ]


def _lens_lines(snapshot: Snapshot, pos: int, rows: list[dict[str, object]], count: int) -> tuple[str, ...]:
    read = snapshot.now.lens(pos)
    names = [lines.name(line, snapshot.n_layer) for line in range(lines.count(snapshot.n_layer))]
    cells = [("line", "lens", "Δ", "rank", "top")]
    for row in rows:
        line = names.index(str(row["line"]))
        top = " ".join(
            f"{quoted(snapshot.tokenizer, int(token))} {probability(float(p))}"
            for token, p in zip(read.top[line][:count], read.top_prob[line], strict=False)
        )
        lens, delta = (signed(float(values[line])) for values in (read.value, snapshot.now.deltas(pos)))
        cells.append((names[line], lens, delta, str(row["target_rank"]), top))
    return columns(cells, "-rrr-")


def _likely(snapshot: Snapshot, pos: int, count: int, first: int = 0) -> list[dict[str, Any]]:
    """The `count` most likely tokens after `pos` from the `first` on, then targets and distractors not among them."""
    logits, metric = snapshot.now.logits(pos), snapshot.state.inputs.metric
    order = (-logits).argsort(kind="stable")
    rank = order.argsort(kind="stable") + 1
    tokens = dict.fromkeys([*map(int, order[first : first + count]), *metric.targets, *metric.distractors])
    logprob = _log_softmax(logits)
    return [
        {
            "token": snapshot.tokenizer.text(token),
            "id": token,
            "logit": float(logits[token]),
            "logprob": float(logprob[token]),
            "prob": float(np.exp(logprob[token])),
            "rank": int(rank[token]),
        }
        for token in tokens
    ]


def _place_and_count(snapshot: Snapshot, call: Call, count: int) -> tuple[int, int]:
    """`@POS N`, in either order; the token cursor and `count` where they are not given."""
    pos = snapshot.state.pos
    for word in call.args:
        if word.text.startswith("@"):
            pos = position(snapshot, word)
        else:
            count = integer(word, "a position (@END) or a count", least=1)
    return pos, count


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())
