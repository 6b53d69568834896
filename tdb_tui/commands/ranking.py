"""`rank`: which components make the metric what it is."""

import time
from dataclasses import replace

from tdb_tui.commands.rank_words import effects_needed, read_view
from tdb_tui.commands.table import command
from tdb_tui.effects import Effect, Progress
from tdb_tui.errors import CommandError, Interrupted
from tdb_tui.formats import frame_label, metric_text
from tdb_tui.language.arguments import option_integer, unpaged
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat
from tdb_tui.metrics import caveats
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot
from tdb_tui.settings import setting
from tdb_tui.state import RankView
from tdb_tui.tables.ranked_rows import footer, json_books, json_rows, text_rows
from tdb_tui.tables.ranking import Ranked, is_long, ranked

ROWS = 25
MEASURED_AT_ONCE = 25
"Rows that are measured after every ranking."
MOST_EDITS_AT_ONCE = 2_000
"Of groups, which take many: above this they are not measured before somebody asks."
MOST_MEASURED = 20_000
MOST_PRINTED = 1_000_000
STREAM_SECONDS = 0.3


@command(
    "rank",
    "rk",
    usage="[heads|mlps|neurons|pairs|attns|embeds|wte|wpe|biases|components|parts|all]"
    " [by total|direct|measured|patched|norm|act|attn] [@POS] [in NODES] [+|-]"
    " [per component|head|layer|token] [each K] [-n N] [where EXPR]",
    group="seeing",
    repeat=Repeat.CONTINUE,
    options={"n": True, "from": True},
    complete=("kind", "pos", "node"),
    examples=("rank all by direct -n 0", "rank heads per component where abs(total) > 0.1"),
)
def rank(session: Session, call: Call) -> Reply:
    """Rank nodes by what they do to the metric.

    direct   the node's write read by the final layer norm, its scale frozen: adds up to the metric
    total    activation x gradient, an estimate of what the node does by every path
    measured the target minus the target with the node ablated (zero) and everything after it run again
    patched  the same with the node's value from prompt B, at the same token, instead of zero
    norm     length of the node's write;  act  its activation
    attn     a pair's attention weight; of a head, that of the token which it reads most (so heads and pairs only)

    The first rows are measured after every ranking (`set measure off` leaves that out); `by measured` measures all.
    What has been measured is kept, also where the command is stopped.  `!` marks a row whose estimate, total, would
    mislead: another sign than measured, or more than three times apart; `estimates` says why.

    `rank all -n 0` prints every row with every bias, and the books: their sum, the metric, the difference.
    `rank parts` is the same with the embedding of the token (WTE) and of the position (WPE) apart.
    Without a position every token's nodes are ranked.  `+` or `-` keeps one sign.  `-n 0` shows every row, and
    `each 5` the first five of every kind.

    `per component` adds up a component's rows over all tokens (`L9H9@*`), `per layer` and `per token` the rows of
    those; measured is then all of it edited together.  A group has no norm, activation and attention.

    `where` keeps the rows (or groups) of which an expression over total direct measured patched norm act attn
    layer index pos key kind count is true, as in `where kind == "mlp" or abs(total) > 0.5`; a row without one of the
    values that it takes is left out.

    `--from N` goes on after N rows, as `c` or Enter do.  Of more than two million rows (neurons or pairs of a long
    prompt) a page at a time is made, 10,000 rows of it at hand on the screen, of all that the order has.
    """
    view = read_view(session.snapshot, call)
    count, first = (
        option_integer(call, *option, "a number of rows") for option in (("n", ROWS), ("from", 0))
    )
    _measure_needed(session, view)
    snapshot = session.snapshot
    view = replace(view, first=first if is_long(snapshot.asked, view) else 0)
    shown = _printable(ranked(snapshot.asked, view, min(count or MOST_PRINTED, MOST_PRINTED)), count, first)
    last = len(shown) if count == 0 else min(first + count, len(shown))
    rows = range(first, max(first, last))
    few = len(rows) <= MEASURED_AT_ONCE and shown.edits(rows) <= MOST_EDITS_AT_ONCE
    if few and setting(session.state, "measure") == "auto":
        _measure(session, view, shown, rows, Effect.ABLATED)
    session.go(replace(session.state, rank=view))
    books = shown.balance(snapshot.asked, last)
    return Reply(
        lines=(*text_rows(snapshot, shown, rows), footer(view, shown, last, books)),
        result={
            "target": _target(snapshot),
            "rows": json_rows(snapshot, shown, rows),
            "balance": json_books(books),
        },
        warnings=_caveats(snapshot),
        more=f"{unpaged(call)} --from {last}" if last < len(shown) else None,
        view="rank",
    )


def _printable(shown: Ranked, count: int, first: int = 0) -> Ranked:
    """The ranking.  Raises CommandError for more rows than anybody reads, all of them where `count` is 0."""
    rows = min(count or len(shown), len(shown) - first)
    if rows > MOST_PRINTED:
        message = f"{rows:,} rows are too many at once: -n 1000 shows as many, --from N goes on"
        raise CommandError(message, code="too-many")
    return shown


def _measure_needed(session: Session, view: RankView) -> None:
    """Measure every row that the order or the filter needs measured.  Raises CommandError for too many."""
    needed = effects_needed(view)
    if not needed:
        return
    if Effect.PATCHED in needed:
        refuse_unpatchable(session.snapshot)
    filtered = effects_needed(replace(view, by="total"))
    before = replace(view, by="total", sign="", each=None, where=None if filtered else view.where)
    shown = ranked(session.snapshot.asked, before, MOST_MEASURED)
    every = range(len(shown))
    edits = shown.edits(every)
    if edits > MOST_MEASURED:
        hint = "give a position (@END), components (in L2), or a filter (where abs(total) > 0.1)"
        raise CommandError(f"{edits:,} nodes are too many to measure: {hint}", code="too-many")
    for effect in needed:
        _measure(session, view, shown, every, effect)


def refuse_unpatchable(snapshot: Snapshot) -> None:
    """Raises CommandError where there is no prompt B whose tokens stand where this prompt's do."""
    other, length = snapshot.state.inputs.prompt_b, len(snapshot.state.inputs.prompt.tokens)
    if other is None:
        raise CommandError("no prompt B: set one with 'prompt B TEXT' or --prompt-b", code="no-prompt-b")
    if len(other.tokens) != length:
        message = f"prompt B has {len(other.tokens)} tokens and the prompt {length}"
        right = "give one of the same length (prompt B TEXT), or patch by position (patch L0H1@END from B@3)"
        raise CommandError(f"{message}: {right}", code="bad-lengths")


def _measure(session: Session, view: RankView, shown: Ranked, rows: range, effect: Effect) -> None:
    """Edit each row and run again.  Interrupted, what has been measured is kept and shown."""
    snapshot, state = session.snapshot, replace(session.state, rank=view)
    progress: Progress | None = None
    streamed = time.monotonic()
    try:
        for progress in shown.measure(snapshot.asked, rows, effect):
            session.engine.progress = f"{progress.done}/{progress.of}"
            if session.streamed is not None and time.monotonic() - streamed > STREAM_SECONDS:
                session.streamed(replace(snapshot, state=state))
                streamed = time.monotonic()
    except Interrupted:
        if progress is None:
            raise
        session.go(state)
        said = f"{progress.done:,} of {progress.of:,} rows are measured and kept"
        message = f"interrupted: {said}, the same command goes on from there"
        raise CommandError(message, code="interrupted", partial=True) from None
    finally:
        session.engine.progress = ""


def ranked_rows(snapshot: Snapshot, count: int) -> tuple[str, ...]:
    """The first rows of the current ranking as text, and its books."""
    shown = first_page(snapshot, count)
    rows = range(min(count, len(shown)))
    return (
        *text_rows(snapshot, shown, rows),
        footer(snapshot.state.rank, shown, len(rows), shown.balance(snapshot.asked, len(rows))),
    )


def first_page(snapshot: Snapshot, count: int = 1) -> Ranked:
    """The current ranking, its first `count` rows at hand."""
    return ranked(snapshot.asked, replace(snapshot.state.rank, first=0), count)


def ranked_report(snapshot: Snapshot) -> Reply:
    """All rows of the current ranking, as `rank -n 0` gives them.  Raises CommandError for too many."""
    shown = _printable(first_page(snapshot, MOST_PRINTED), 0)
    return Reply(ranked_rows(snapshot, len(shown)), rows_result(snapshot, len(shown)))


def rows_result(snapshot: Snapshot, count: int = ROWS) -> dict[str, object]:
    """The first rows of the current ranking as JSON, and its books."""
    shown = first_page(snapshot, count)
    last = min(count, len(shown))
    return {
        "target": _target(snapshot),
        "rows": json_rows(snapshot, shown, range(last)),
        "balance": json_books(shown.balance(snapshot.asked, last)),
    }


def _caveats(snapshot: Snapshot) -> tuple[str, ...]:
    if snapshot.state.trail:
        return ()  # a frame is linear in what it reads
    return caveats(snapshot.now.metric, bool(snapshot.state.inputs.changes))


def _target(snapshot: Snapshot) -> dict[str, object]:
    """What is ranked for: the metric, or a frame."""
    state, frame = snapshot.state, snapshot.state.frame
    return {
        "metric": snapshot.now.metric.quantity.value if frame == 0 else state.frames[frame - 1].unit,
        "text": target_text(snapshot),
        "frame": frame,
        "pos": max(snapshot.asked.positions),
        "value": snapshot.now.value if frame == 0 else snapshot.asked.value,
    }


def target_text(snapshot: Snapshot) -> str:
    """`' Mary' - ' John' @END`, or `L9H9@END<Mary via q` for a frame."""
    state = snapshot.state
    if not state.trail:
        return metric_text(snapshot.now.metric, snapshot.tokenizer, state.end)
    return frame_label(state.trail[-1], state.inputs.prompt.tokens, snapshot.tokenizer)
