"""The ranked rows as text and as JSON."""

from math import isnan

import numpy as np
from numpy.typing import NDArray

from explanations.records import Best
from model.components import Component, Kind, Node
from model.latents import token_attribution
from model.nodes import NONE, NodeTable
from tdb_tui.asked import Balance
from tdb_tui.effects import Effect
from tdb_tui.formats import plain, signed, token_label
from tdb_tui.replies import columns
from tdb_tui.session import Snapshot
from tdb_tui.state import RankView
from tdb_tui.tables.chosen import column
from tdb_tui.tables.estimates import MARK, disagreeing
from tdb_tui.tables.examples import scored_text
from tdb_tui.tables.ranking import Ranked

LEGEND = f"{MARK} total and measured disagree: 'estimates' says why"
SAYS = 56
"Letters of an explanation beside a row."


def text_rows(snapshot: Snapshot, shown: Ranked, rows: range) -> tuple[str, ...]:
    """These places of the order, in columns."""
    tokens = snapshot.state.inputs.prompt.tokens
    chosen = shown.rows(rows)
    table = shown.table.take(chosen)
    effect = Effect.PATCHED if shown.by == "patched" else Effect.ABLATED
    measured = shown.measured(snapshot.asked, rows, effect)
    misled = _disagreeing(snapshot, shown, rows)
    mark = ("",) if misled.any() else ()
    after = ("norm", "attn" if shown.by == "attn" else "act", "reads") if shown.groups is None else ("rows",)
    said = said_of(snapshot, table)
    says = ("says",) if any(said) else ()
    cells = [("#", "node", "total", "direct", effect.value, *mark, *after, *says)]
    for row in range(len(table)):
        cells.append(
            (
                str(rows.start + row + 1),
                table.name(row, lambda pos: token_label(pos, tokens, snapshot.tokenizer)),
                signed(float(table.total[row])),
                signed(float(table.direct[row])),
                "" if isnan(measured[row]) else signed(float(measured[row])),
                *(MARK if misled[row] else each for each in mark),
                *_after(snapshot, shown, table, row, int(chosen[row])),
                *((_short(scored_text(best)) if (best := said[row]) else "",) if says else ()),
            )
        )
    legend = (LEGEND,) if mark else ()
    return *columns(cells, f"r-rrr{'-' * len(mark)}rr-"), *legend


def _disagreeing(snapshot: Snapshot, shown: Ranked, rows: range) -> NDArray[np.bool_]:
    """At which of these places the estimate of an ablation and its measurement disagree: [row]."""
    table, known = shown.table.take(shown.rows(rows)), shown.measured(snapshot.asked, rows, Effect.ABLATED)
    return disagreeing(table, known, snapshot.asked.value)


def said_of(snapshot: Snapshot, table: NodeTable) -> list[Best | None]:
    """The best explanation of each row's component that the stores have."""
    parts = [table.component(row) for row in range(len(table))]
    best = snapshot.best(list(dict.fromkeys(str(part) for part in parts if part is not None)))
    return [best.get(str(part)) for part in parts]


def _short(text: str) -> str:
    return text if len(text) <= SAYS else f"{text[: SAYS - 1]}…"


def _after(snapshot: Snapshot, shown: Ranked, table: NodeTable, row: int, place: int) -> tuple[str, ...]:
    """What stands after the effects: norm, activation and token read, or how many rows a group has."""
    if shown.groups is not None:
        return (f"{shown.groups.count[place]:,}",)
    node = table.node(row)
    read = _read_token(snapshot, node.component, node.pos) if node.key is None else ""
    size = shown.values[place] if shown.by == "attn" else table.act[row]
    return plain(float(table.write_norm[row])), plain(float(size)), read


def _read_token(snapshot: Snapshot, part: Component, pos: int) -> str:
    """The token that a head or an attention latent reads most at a query, `-> Mary`; nothing for other parts."""
    if part.kind is Kind.LATENT and part.site in "az":
        now = snapshot.now
        key = int(token_attribution(now.model, now.trace, Node(part, pos)).argmax())
    elif part.kind is Kind.HEAD:
        key = int(np.argmax(snapshot.now.pattern(part)[pos]))
    else:
        return ""
    tokens = snapshot.state.inputs.prompt.tokens
    label = token_label(key, tokens, snapshot.tokenizer)
    return "→" + (snapshot.tokenizer.display(tokens[key]).strip() if label.isdigit() else label)


def footer(view: RankView, shown: Ranked, count: int, books: Balance) -> str:
    """What is shown of how many, and the books of the first `count`."""
    where = "" if shown.only is None else f" @{shown.only}"
    where += f" where {view.where}" if view.where is not None else ""
    groups = "" if shown.groups is None else f" groups per {view.per}"
    parts = f"rows {signed(books.rows)}, biases {signed(books.biases)}, rest {signed(books.rest)}"
    total = f"sum {signed(books.sum)} of {signed(books.target)}, difference {books.difference:.1e}"
    return f"shown {count:,} of {len(shown):,}{groups}{where}  direct: {parts}, {total}"


def json_rows(snapshot: Snapshot, shown: Ranked, rows: range) -> list[dict[str, object]]:
    """These places of the order, as the contract of the JSON has them."""
    chosen = shown.rows(rows)
    table = shown.table.take(chosen)
    effects = {effect.value: shown.measured(snapshot.asked, rows, effect) for effect in Effect}
    count = np.ones(len(table)) if shown.groups is None else shown.groups.count[chosen]
    weights = column(snapshot.asked, table, shown.groups, "attn")
    misled, unmeasured = _disagreeing(snapshot, shown, rows), np.isnan(effects[Effect.ABLATED.value])
    said = said_of(snapshot, table)
    return [
        _row(table, at)
        | {name: _known(values[at]) for name, values in effects.items()}
        | {"attn": _known(weights[at])}
        | {"disagrees": None if unmeasured[at] else bool(misled[at])}
        | {"count": int(count[at])}
        | {"explanation": best.text if (best := said[at]) else None, "score": best.score if best else None}
        for at in range(len(table))
    ]


def _row(table: NodeTable, row: int) -> dict[str, object]:
    part = table.component(row)
    has_layer = table.layer[row] != NONE if part is None else part.kind.has_layer
    return {
        "node": table.name(row),
        "kind": table.group(row),
        "layer": int(table.layer[row]) if has_layer else None,
        "index": None if part is None else part.index,
        "pos": _there(table.pos[row]),
        "key": _there(table.key[row]),
        "act": _known(table.act[row]),
        "write_norm": _known(table.write_norm[row]),
        "direct": float(table.direct[row]),
        "total": float(table.total[row]),
    }


def _known(value: float) -> float | None:
    return None if isnan(value) else float(value)


def _there(place: int) -> int | None:
    return None if place == NONE else int(place)


def json_books(books: Balance) -> dict[str, float]:
    names = ("rows", "biases", "rest", "sum", "target", "difference")
    return {name: getattr(books, name) for name in names}
