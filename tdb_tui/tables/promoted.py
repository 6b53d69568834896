"""What a node is about, in tokens, and which tokens such lists leave out; refusals as sentences for who asked."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.about import reads
from model.about.reads import Ends, TokenRead, Unit
from model.components import Node
from model.gpt2 import GPT2
from model.tokenizer import Tokenizer
from tdb_tui.errors import CommandError
from tdb_tui.formats import quoted, signed
from tdb_tui.readings import Reading
from tdb_tui.replies import columns
from tdb_tui.session import Snapshot


def promoted(reading: Reading, node: Node, unit: Unit = Unit.LOGIT) -> NDArray[np.float64]:
    """A node's direct effect on each token's logit, in logits, the scale at its own token frozen: [vocab].

    Raises CommandError for a part that puts nothing out.
    """
    try:
        return reads.promoted(reading.model, reading.trace, node, unit)
    except ValueError as error:
        raise CommandError(str(error), code="bad-node") from None


def driving(snapshot: Snapshot, node: Node) -> tuple[TokenRead, ...]:
    """What each token's embedding, added at a token that the node reads, would add to it, the scale frozen.

    Raises CommandError for a node that nothing drives.
    """
    run = snapshot.now
    try:
        return reads.driving(run.model, run.trace, node, None, snapshot.asked.target)
    except ValueError as error:
        raise CommandError(str(error), code="bad-node") from None


def rare(snapshot: Snapshot) -> NDArray[np.bool_]:
    """Tokens that lists leave out: those that training has hardly seen, by `model.about.reads`: bool [vocab]."""
    return _rare(snapshot.now.model, snapshot.tokenizer)


@lru_cache(maxsize=1)  # the weights never change, and every list asks
def _rare(model: GPT2, tokenizer: Tokenizer) -> NDArray[np.bool_]:
    return reads.untrained(model.wte.weight, reads.impossible(tokenizer, model.config.n_vocab))


def left_out(snapshot: Snapshot, everything: bool) -> NDArray[np.bool_] | None:
    """The tokens to leave out of a list, or None where all are asked for."""
    return None if everything else rare(snapshot)


def left_out_line(exclude: NDArray[np.bool_] | None) -> tuple[str, ...]:
    """Says that tokens are missing; nothing where none are."""
    count = 0 if exclude is None else int(exclude.sum())
    if not count:
        return ()
    verb = "is" if count == 1 else "are"
    return (
        f"{count} token{'s' * (count != 1)} that training has hardly seen {verb} left out: --all lists all",
    )


def after(ends: Ends, first: int) -> Ends:
    """Both ends without the first of each."""
    return Ends(ends.top[first:], ends.bottom[first:])


def ends_lines(tokenizer: Tokenizer, ends: Ends, header: Sequence[str] = ()) -> tuple[str, ...]:
    """Both ends of a list side by side, `header` above them."""
    cells = [tuple(header)] if header else []
    for (up, a), (down, b) in zip(ends.top, ends.bottom, strict=True):
        cells.append((quoted(tokenizer, up), signed(a), quoted(tokenizer, down), signed(b)))
    return columns(cells, "-r-r")


def end_rows(
    tokenizer: Tokenizer, end: Sequence[tuple[int, float]], scores: NDArray[np.float64] | None = None
) -> list[dict[str, Any]]:
    """One end of a list as plain values: `token`, `id`, `effect`, and a second score where there is one."""
    rows: list[dict[str, Any]] = [
        {"token": tokenizer.text(id), "id": id, "effect": effect} for id, effect in end
    ]
    if scores is not None:
        for row in rows:
            row["score"] = float(scores[row["id"]])
    return rows
