"""`compare` and `keep`: every measure of every node against the baseline, prompt B, or a run that was kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tdb_tui.asked import MAX_ROWS, Asked
from tdb_tui.commands.opposite import Opposite, caveats, clauses, opposite, own_place
from tdb_tui.commands.ranking import MEASURED_AT_ONCE, MOST_MEASURED, target_text
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.files import kept
from tdb_tui.files.kept import About, Question, described
from tdb_tui.files.saving import weights_hash
from tdb_tui.language.arguments import file_path, option_integer, position, unpaged
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.replies import Reply, note
from tdb_tui.session import Session, Snapshot
from tdb_tui.settings import setting
from tdb_tui.tables.ranking import KINDS
from tdb_tui.tables.side_tables import Drawn
from tdb_tui.tables.sides import MEASURES, Comparison, Ints, compared, live

ROWS = 25
CLAUSES = {
    "by": "by total, by direct, by measured, by norm or by act",
    "against": "against base, against B, against FILE",
    "with": "with IO=Mary#2",
}
ALWAYS_KEPT, KEPT_IF_FEW = ("all", "parts", "attns"), ("neurons", "pairs")
FEW = 1_000_000
"Rows: 80 MB of columns."


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which differences, in which order."""

    kinds: tuple[str, ...]
    by: str
    pos: int | None
    sign: str


@command(
    "compare",
    "cmp",
    usage="[KINDS] [against base|B|FILE] [with POS=POS,...] [by total|direct|measured|norm|act] [@POS] [+|-]"
    " [-n N] [--wide] [--edits]",
    group="seeing",
    repeat=Repeat.CONTINUE,
    options={"n": True, "from": True, "wide": False, "edits": False},
    complete=("kind", "pos"),
    examples=(
        "ablate L1H3 ;; compare heads against base",
        "keep before.run ;; compare all against before.run by direct",
    ),
)
def compare(session: Session, call: Call) -> Reply:
    """Two runs side by side: every measure now, on the other side, and the difference; the largest comes first.

    against base   the prompt without edits
    against B      prompt B, read at its own end; --edits makes the current edits there too
    against FILE   a run that `keep FILE` wrote

    Prompts of one length are joined by address, others by role: START, END, texts that are as often in both, and
    `with IO=Mary#2` (a token here = a token there).  A node that a side lacks counts there as nothing, so the
    differences of `compare all by direct` add up to the metrics' difference.  --wide shows both sides of all measures.
    """
    snapshot = session.snapshot
    words, said = clauses(call, CLAUSES)
    wanted = _wanted(snapshot, words, said.get("by"))
    other = opposite(session, said.get("against"), said.get("with"), call.has("edits"))
    found, notes = _compared(snapshot, other, wanted)
    if wanted.by == "measured":
        _measure_all(session, found)
    order = found.order(wanted.by, wanted.sign)
    first, count = (option_integer(call, *each, "a number of rows") for each in (("from", 0), ("n", ROWS)))
    last = len(order) if count == 0 else min(first + count, len(order))
    rows = order[first:last]
    if len(rows) <= MEASURED_AT_ONCE and setting(session.state, "measure") == "auto":
        _measure(session, found, rows)
    drawn = Drawn(found, wanted.by, snapshot.tokenizer)
    return Reply(
        (*drawn.table(rows, first, call.has("wide")), *drawn.footer(last, len(order))),
        {
            "by": wanted.by,
            "joined_by": "role" if other.by_role else "address",
            "partners": other.partner.tolist(),
            **drawn.summary(),
            "rows": drawn.rows(rows),
        },
        warnings=(*caveats(snapshot), *other.warnings, *notes),
        more=f"{unpaged(call)} --from {last}" if last < len(order) else None,
    )


@command(
    "keep",
    usage="FILE [KINDS]",
    group="keeping",
    stale=Stale.REFUSED,
    complete=("file", "kind"),
    examples=("keep before.run", "keep pairs.run pairs ;; compare pairs against pairs.run"),
)
def keep(session: Session, call: Call) -> Reply:
    """Write the current run's node table to a file, for `compare against FILE`.

    Without kinds every kind is kept; pairs and neurons only where they are a million rows or fewer.  What has been
    measured is kept too.  The file is safetensors (float64 columns, JSON in its header) and is for this model only.
    """
    if not call.args:
        raise CommandError("keep in which file: keep before.run", code="missing-argument")
    snapshot, asked, path = session.snapshot, session.snapshot.asked, file_path(call.args[0])
    kinds = _kinds(call.args[1:]) or _usual_kinds(asked)
    _refuse_many(sum(map(asked.rows_of, kinds)))
    inputs = snapshot.state.inputs
    question = Question(
        target_text(snapshot),
        snapshot.now.metric.quantity.value,
        inputs.treatment.value,
        described(snapshot.state.trail),
        asked.value,
    )
    edits = tuple(edit.text for edit in inputs.edits if edit.enabled)
    about = About(snapshot.info.name, weights_hash(session), own_place(snapshot), question, edits)
    rows = kept.keep(path, about, asked, kinds)
    return note(
        f"kept {path}: {rows:,} rows ({', '.join(kinds)})", file=str(path), rows=rows, kinds=list(kinds)
    )


def _wanted(snapshot: Snapshot, words: Sequence[Word], by: Word | None) -> Wanted:
    pos: int | None = None
    sign, kinds = "", list[Word]()
    for word in words:
        if word.text in ("+", "-"):
            sign = word.text
        elif word.text.startswith("@"):
            pos = None if word.text == "@*" else position(snapshot, word)
        else:
            kinds.append(word)
    return Wanted(_kinds(kinds) or KINDS["components"], measure_of(by, MEASURES), pos, sign)


def measure_of(word: Word | None, known: Mapping[str, str] | Sequence[str]) -> str:
    """The measure that `by` names, the first of `known` without a word.  Raises CommandError."""
    names = list(known)
    if word is None:
        return names[0]
    if word.text not in names:
        suggestion = did_you_mean(word.text, names) or ": " + ", ".join(names)
        raise CommandError(f"unknown measure {word.text!r}{suggestion}", "bad-argument", col=word.col)
    return word.text


def _kinds(words: Sequence[Word]) -> tuple[str, ...]:
    found: list[str] = []
    for word in words:
        if word.text not in KINDS:
            suggestion = did_you_mean(word.text, [*KINDS, *CLAUSES]) or f": {', '.join(KINDS)}"
            raise CommandError(f"unknown word {word.text!r}{suggestion}", "bad-argument", col=word.col)
        found += KINDS[word.text]
    return tuple(dict.fromkeys(found))


def _usual_kinds(asked: Asked) -> tuple[str, ...]:
    always, more = ([kind for name in names for kind in KINDS[name]] for names in (ALWAYS_KEPT, KEPT_IF_FEW))
    return tuple(dict.fromkeys([*always, *(kind for kind in more if asked.rows_of(kind) <= FEW)]))


def _refuse_many(rows: int) -> None:
    if rows > MAX_ROWS:
        message = f"{rows:,} rows are too many to keep: name kinds with fewer, as in keep FILE all"
        raise CommandError(message, code="too-many")


def _compared(snapshot: Snapshot, other: Opposite, wanted: Wanted) -> tuple[Comparison, tuple[str, ...]]:
    """Both sides joined; at what is asked about only, where all tokens would be too many rows."""
    asked, pos = snapshot.asked, wanted.pos
    rows = sum(map(asked.rows_of, wanted.kinds))
    if isinstance(other.asked, Asked):
        rows = max(rows, sum(map(other.asked.rows_of, wanted.kinds)))
    many = pos is None and rows > MAX_ROWS
    if many:
        pos = max(asked.positions)
    left = live("now", own_place(snapshot), asked, wanted.kinds, pos)
    found = compared(left, other.side(wanted.kinds, pos), other.partner)
    return found, (f"too many rows for every token: those at token {pos}",) if many else ()


def _measure_all(session: Session, found: Comparison) -> None:
    """Measure every row on both sides.  Raises CommandError for too many, and for a kept run that has no such."""
    right = found.right
    if not isinstance(right.measured, Asked) and bool(np.isnan(right.measured).all()):
        message = f"{right.name} keeps no measured effect of these: rank them by measured before keep"
        raise CommandError(message, code="not-kept")
    if len(found) > MOST_MEASURED:
        hint = "give a position (@END) or a kind with fewer"
        raise CommandError(f"{len(found):,} nodes are too many to measure: {hint}", code="too-many")
    _measure(session, found, np.arange(len(found)))


def _measure(session: Session, found: Comparison, rows: Ints) -> None:
    """Ablate the nodes of some rows on every side that is a run at hand."""
    for side, of_side in ((found.left, found.of_left), (found.right, found.of_right)):
        if isinstance(side.measured, Asked):
            nodes = [side.table.node(int(row)) for row in of_side[rows] if row >= 0]
            for progress in side.measured.measure(nodes):
                session.engine.progress = f"{side.name} {progress.done}/{progress.of}"
    session.engine.progress = ""
