"""What the model would say: at a token, and after each line of the pass."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdb_tui import lines
from tdb_tui.commands.table import command
from tdb_tui.formats import probability, quoted, signed
from tdb_tui.language.arguments import at_most, integer, position
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session, Snapshot


@command(
    "logits",
    "lg",
    usage="[@POS] [N]",
    group="seeing",
    repeat=Repeat.CONTINUE,
    complete=("pos",),
    examples=("logits", "logits @END 5"),
)
def logits(session: Session, call: Call) -> Reply:
    """The most likely next tokens, the targets and distractors always among them."""
    at_most(call, 2)
    snapshot = session.snapshot
    pos, count = _place_and_count(snapshot, call, 10)
    rows = _likely(snapshot, pos, count)
    return Reply(likely_rows(snapshot, pos, count), {"pos": pos, "rows": rows}, view="next")


def likely_rows(snapshot: Snapshot, pos: int, count: int) -> tuple[str, ...]:
    """The most likely tokens after `pos` as text."""
    metric = snapshot.state.inputs.metric
    base = snapshot.base.logits(pos)
    cells = [("rank", "token", "p", "logit", "Δ base", "")]
    for row in _likely(snapshot, pos, count):
        token = row["id"]
        role = "target" if token in metric.targets else "distractor" if token in metric.distractors else ""
        delta = signed(row["logit"] - float(base[token]))
        name, p = quoted(snapshot.tokenizer, token), probability(row["prob"])
        cells.append((str(row["rank"]), name, p, f"{row['logit']:.2f}", delta, role))
    return columns(cells, "r-rrr-")


@command("lens", usage="[@POS]", group="seeing", complete=("pos",), examples=("lens", "lens @END"))
def lens(session: Session, call: Call) -> Reply:
    """What the model would say after each line if the rest were left out (logit lens), one row a line."""
    at_most(call, 1)
    snapshot = session.snapshot
    pos = position(snapshot, call.args[0]) if call.args else snapshot.state.pos
    read, deltas = snapshot.now.lens(pos), snapshot.now.deltas(pos)
    cells = [("line", "lens", "Δ", "rank", "top")]
    rows: list[dict[str, object]] = []
    for line in range(lines.count(snapshot.n_layer)):
        name = lines.name(line, snapshot.n_layer)
        rank = int(read.target_rank[line]) + 1
        tokens = [snapshot.tokenizer.text(int(token)) for token in read.top[line]]
        top = " ".join(
            f"{quoted(snapshot.tokenizer, int(token))} {probability(float(p))}"
            for token, p in zip(read.top[line], read.top_prob[line], strict=True)
        )
        cells.append((name, signed(float(read.value[line])), signed(float(deltas[line])), str(rank), top))
        rows.append(
            {
                "line": name,
                "ld": float(read.value[line]),
                "delta": float(deltas[line]),
                "target_rank": rank,
                "top": tokens,
            }
        )
    return Reply(columns(cells, "-rrr-"), {"pos": pos, "rows": rows})


def _likely(snapshot: Snapshot, pos: int, count: int) -> list[dict[str, Any]]:
    """The `count` most likely tokens after `pos`, then targets and distractors that are not among them."""
    logits, metric = snapshot.now.logits(pos), snapshot.state.inputs.metric
    order = (-logits).argsort(kind="stable")
    rank = order.argsort(kind="stable") + 1
    tokens = dict.fromkeys([*map(int, order[:count]), *metric.targets, *metric.distractors])
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
