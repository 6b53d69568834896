"""Why a head looks where it does: a score by what wrote its query and by what wrote its key, against the other keys."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model.about.scores import ScoreParts, row_scores, score_parts
from model.components import Kind, Node
from model.nodes import Floats
from model.targets import Via
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.formats import node_label, probability, signed, token_label
from tdb_tui.language.arguments import one_node, option_integer, position
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session, Snapshot

ROWS = 8
SIDES = {Via.Q: "query", Via.K: "key"}


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One end of a score, its parts for the key asked about."""

    via: Via
    nodes: tuple[Node, ...]
    "What wrote there, at the token that this end reads."
    score: Floats
    "Each node's part in the score: [node]."
    contrast: Floats
    "The same minus its part in what the key is compared with: [node]."
    shown: tuple[int, ...]
    "Rows by the size of their contrast, the largest first."

    @property
    def biases(self) -> list[int]:
        return [row for row, node in enumerate(self.nodes) if node.component.kind.group == "bias"]

    def balance(self, values: Floats, target: float) -> dict[str, float]:
        """The rows shown, every bias, and the rest, adding up to the target."""
        biases = self.biases
        rows = float(values[[row for row in self.shown if row not in biases]].sum())
        total, bias = float(values.sum()), float(values[biases].sum())
        return {
            "rows": rows,
            "biases": bias,
            "rest": total - bias - rows,
            "sum": total,
            "target": target,
            "difference": total - target,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    node: Node
    against: int | None
    score: float
    rest: float
    "The score of what it is compared with."
    weight: float
    "The attention that came of it."
    sides: tuple[Side, Side]


@command(
    "why",
    usage="HEAD[@QUERY[<KEY]] [against KEY] [-n N]",
    group="tracing",
    options={"n": True},
    complete=("node", "against", "pos"),
    examples=("why L2H1@END", "why L2H1@END<START against 3 -n 5"),
)
def why(session: Session, call: Call) -> Reply:
    """Why does a head attend to a token: its score before the softmax, by what wrote the query and what wrote the key.

    Without a key, the one that it reads most.  Each source has two numbers: its part in this score, and that minus
    its mean part in the scores of the query's other keys, all counting the same (`against KEY`: minus its part in
    that key's score).  Only the difference matters to a softmax, so rows are ordered by it.  Layer norm's scale is
    held.  The query's rows and the key's cut up the same score, each adding up to all of it; they are not added to
    each other.  `-n 0` shows every row.
    """
    if not call.args:
        raise CommandError("why which head: why L1H3@END<START", code="missing-argument")
    snapshot = session.snapshot
    node, against = _asked(snapshot, call)
    count = option_integer(call, "n", ROWS, "a number of rows")
    try:
        answer = _answer(snapshot, node, against, count)
    except ValueError as error:
        raise CommandError(str(error), "bad-node", col=call.args[0].col) from None
    rows = [row for side in answer.sides for row in _rows(side)]
    return Reply(
        tuple(_said(snapshot, answer)),
        {
            "node": str(node),
            "query": node.pos,
            "key": node.key,
            "against": against,
            "score": answer.score,
            "rest": answer.rest,
            "contrast": answer.score - answer.rest,
            "attention": answer.weight,
            "rows": rows,
            "balance": {side.via.value: _books(answer, side) for side in answer.sides},
        },
    )


def _asked(snapshot: Snapshot, call: Call) -> tuple[Node, int | None]:
    """The pair asked about, and the one key that it is compared with, if it is."""
    word, *others = call.args
    node = one_node(snapshot, word)
    if node.component.kind is not Kind.HEAD:
        message = f"{node.component} attends to nothing: name a head, as in L{node.component.layer}H0@END"
        raise CommandError(message, "bad-node", col=word.col)
    if node.key is None:
        pattern = snapshot.now.pattern(node.component)[node.pos]
        node = replace(node, key=int(pattern[: node.pos + 1].argmax()))
    if not others:
        return node, None
    if others[0].text == "against" and len(others) == 1:
        raise CommandError(
            f"against which key: why {word.text} against KEY", "missing-argument", col=others[0].col
        )
    if others[0].text != "against" or len(others) != 2:
        wrong = others[0] if others[0].text != "against" else others[-1]
        raise CommandError(
            f"unexpected {wrong.text!r}: why {word.text} against KEY", "bad-argument", col=wrong.col
        )
    return node, position(snapshot, others[1])


def _answer(snapshot: Snapshot, node: Node, against: int | None, count: int) -> Answer:
    """Raises ValueError where there is nothing to compare with."""
    run, key = snapshot.now, node.key or 0
    found = {via: score_parts(run.model, run.trace, node.component, node.pos, via) for via in (Via.Q, Via.K)}
    scores = row_scores(run.trace, node.component, node.pos)
    others = [at for at in range(node.pos + 1) if at != key] if against is None else [against]
    query, keys = (_side(each, node, against, count) for each in found.values())
    weight = float(run.pattern(node.component)[node.pos, key])
    return Answer(node, against, float(scores[key]), float(scores[others].mean()), weight, (query, keys))


def _side(found: ScoreParts, node: Node, against: int | None, count: int) -> Side:
    at, key = (node.pos if found.via is Via.Q else node.key or 0), node.key or 0
    contrast = found.contrast(key, against)
    order = np.argsort(-np.abs(contrast), kind="stable")[: count or None]
    nodes = tuple(Node(source, at) for source in found.sources)
    return Side(found.via, nodes, found.parts[:, key], contrast, tuple(int(row) for row in order))


def _rows(side: Side) -> list[dict[str, Any]]:
    """The rows shown, as plain values."""
    found: list[dict[str, Any]] = []
    for row in side.shown:
        node, part = side.nodes[row], side.nodes[row].component
        found.append(
            {
                "side": side.via.value,
                "node": str(node),
                "kind": part.kind.group,
                "layer": part.layer if part.kind.has_layer else None,
                "index": part.index,
                "pos": node.pos,
                "score": float(side.score[row]),
                "contrast": float(side.contrast[row]),
            }
        )
    return found


def _books(answer: Answer, side: Side) -> dict[str, dict[str, float]]:
    return {
        "score": side.balance(side.score, answer.score),
        "contrast": side.balance(side.contrast, answer.score - answer.rest),
    }


def _said(snapshot: Snapshot, answer: Answer) -> list[str]:
    tokens, tokenizer = snapshot.state.inputs.prompt.tokens, snapshot.tokenizer
    node, others = answer.node, answer.node.pos
    if answer.against is not None:
        beside = f"key {token_label(answer.against, tokens, tokenizer)}"
    else:
        beside = f"mean of the {others} other keys" if others > 1 else "the other key"
    said = [
        f"{node_label(node, tokens, tokenizer)}  score {signed(answer.score)}  "
        f"{beside} {signed(answer.rest)}  contrast {signed(answer.score - answer.rest)}  "
        f"attention {probability(answer.weight)}"
    ]
    for side in answer.sides:
        said += _table(snapshot, answer, side)
    return said


def _table(snapshot: Snapshot, answer: Answer, side: Side) -> tuple[str, ...]:
    """One side's rows and its books."""
    tokens, tokenizer = snapshot.state.inputs.prompt.tokens, snapshot.tokenizer
    books = _books(answer, side)
    biases = set(side.biases)
    hidden = len(side.nodes) - len(biases | set(side.shown))
    cells = [(f"by the {SIDES[side.via]}", "score", "contrast")]
    for row in side.shown:
        label = node_label(side.nodes[row], tokens, tokenizer)
        among = "  (among the biases)" if row in biases else ""
        cells.append((label + among, signed(float(side.score[row])), signed(float(side.contrast[row]))))
    last = [("every bias", "biases"), ("sum", "sum"), ("difference from the score", "difference")]
    if hidden:
        last.insert(0, (f"{hidden} more", "rest"))
    cells += [(name, signed(books["score"][at]), signed(books["contrast"][at])) for name, at in last]
    return columns(cells, "-rr")
