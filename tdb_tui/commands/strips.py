"""`strips`: effects summed token by token."""

from collections.abc import Sequence

import numpy as np

from model.nodes import NONE
from tdb_tui.asked import Asked
from tdb_tui.commands.comparing import measure_of
from tdb_tui.commands.opposite import Opposite, caveats, clauses, opposite
from tdb_tui.commands.ranking import target_text
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.formats import quoted, signed
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session, Snapshot
from tdb_tui.tables.strips import EDITS, NAMES, By, Strips, less, strips

CLAUSES = {
    "by": "by total, by direct",
    "against": "against base, against B",
    "with": "with IO=Mary#2",
}
MEASURES: dict[str, By] = {"total": "total", "direct": "direct"}
ALSO = ("unpaired", "value_bias", "biases", EDITS)


@command(
    "strips",
    usage="[by total|direct] [against base|B] [with POS=POS,...] [--edits]",
    group="seeing",
    options={"edits": False},
    complete=("kind",),
    examples=("strips by direct", "ablate L1H3 ;; strips against base"),
)
def token_effects(session: Session, call: Call) -> Reply:
    """Effects summed over all layers, token by token: embeddings, MLPs, attention by query and by key.

    query   what heads write at the token that reads;  key  what they read from the token that is read

    edits   what edits of the residual stream have added to it (steering, patches of it), where there are any

    Query and key have one sum, but for edited heads, which are no sum over keys.  The value's bias is in every
    pair, and so in `key`; the last line says how much of it that is.  `against` shows differences.
    """
    snapshot = session.snapshot
    words, said = clauses(call, CLAUSES)
    if words:
        message = f"unexpected {words[0].text!r}: strips by direct, strips against B"
        raise CommandError(message, "bad-argument", col=words[0].col)
    by = MEASURES[measure_of(said.get("by"), MEASURES)]
    if "against" in said:
        return _against(session, opposite(session, said["against"], said.get("with"), call.has("edits")), by)
    if call.has("edits") or "with" in said:
        raise CommandError("against what: strips against B", code="missing-argument")
    found, tokens = strips(snapshot.asked, by), snapshot.state.inputs.prompt.tokens
    return Reply(
        (*_table(snapshot, tokens, found), _footer(found, snapshot.asked.value if by == "direct" else None)),
        {**_asks(snapshot, by), "sums": _sums(found), "rows": _rows(snapshot, tokens, found)},
        warnings=caveats(snapshot),
    )


def _against(session: Session, other: Opposite, by: By) -> Reply:
    """Now minus the other side, tokens that only the other has at the end."""
    snapshot, tokens, theirs = session.snapshot, session.state.inputs.prompt.tokens, other.place.tokens
    if not isinstance(other.asked, Asked):
        message = "strips are compared with base or B: a kept run has rows only"
        raise CommandError(message, code="bad-argument")
    now, there = strips(snapshot.asked, by), strips(other.asked, by)
    change = less(now, there, other.partner)
    alone = np.setdiff1d(np.arange(len(theirs)), other.partner).tolist()
    every, partner = [*tokens, *(theirs[pos] for pos in alone)], [*other.partner.tolist(), *alone]
    rows = _rows(snapshot, every, change)
    notes: list[str] = []
    for at, (row, pos) in enumerate(zip(rows, partner, strict=True)):
        row["right_pos"] = None if pos == NONE else pos
        row["pos"] = at if at < len(tokens) else None
        same = pos != NONE and theirs[pos] == every[at]
        named = "" if pos == NONE else f"{other.name}: {quoted(snapshot.tokenizer, theirs[pos])}"
        notes.append(f"only {other.name}" if at >= len(tokens) else "" if same else named or "only now")
    whole = snapshot.asked.value - other.asked.value if by == "direct" else None
    return Reply(
        (f"now minus {other.name}", *_table(snapshot, every, change, notes), _footer(change, whole)),
        {
            **_asks(snapshot, by),
            "against": other.name,
            "rows": rows,
            "left": {"rows": _rows(snapshot, tokens, now), "sums": _sums(now)},
            "right": {"rows": _rows(snapshot, theirs, there), "sums": _sums(there)},
            "sums": _sums(change),
        },
        warnings=(*caveats(snapshot), *other.warnings),
    )


def _asks(snapshot: Snapshot, by: By) -> dict[str, object]:
    return {"target": {"text": target_text(snapshot), "value": snapshot.asked.value}, "by": by}


def _table(
    snapshot: Snapshot, tokens: Sequence[int], found: Strips, notes: Sequence[str] = ()
) -> tuple[str, ...]:
    cells = [
        (
            str(at),
            snapshot.tokenizer.display(token),
            *(signed(float(getattr(found, name)[at])) for name in found.names),
            notes[at] if notes else "",
        )
        for at, token in enumerate(tokens)
    ]
    totals = ("", "sum", *(signed(float(getattr(found, name).sum())) for name in found.names), "")
    return columns([("#", "token", *found.names, ""), *cells, totals], f"r-{'r' * len(found.names)}-")


def _footer(found: Strips, target: float | None) -> str:
    """What stands between `query` and `key`, and for direct effects the books."""
    said = f"key: value biases {signed(float(found.value_bias.sum()))}"
    unpaired = float(found.unpaired.sum())
    if found.unpaired.any():
        said += f", without edited heads {signed(unpaired)}"
    said += f"  biases {signed(float(found.biases.sum()))}, sum {signed(found.sum)}"
    return said if target is None else f"{said} of {signed(target)}, difference {found.sum - target:.1e}"


def _sums(found: Strips) -> dict[str, float]:
    sums = {name: float(getattr(found, name).sum()) for name in (*NAMES, *ALSO)}
    return {**sums, "sum": found.sum}


def _rows(snapshot: Snapshot, tokens: Sequence[int], found: Strips) -> list[dict[str, object]]:
    return [
        {
            "pos": at,
            "text": snapshot.tokenizer.text(token),
            **{name: float(getattr(found, name)[at]) for name in (*NAMES, *ALSO)},
        }
        for at, token in enumerate(tokens)
    ]
