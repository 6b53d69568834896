"""The investigation as one HTML page that stands alone: no script, no network, everything drawn in it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from model.printable import printable

CELL = 14
"Pixels of a cell in an attention map."

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.3em; } h2 { font-size: 1.1em; margin-top: 2em; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: 1px 9px 1px 0; text-align: left; }
td.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.plus { color: #005faf; } td.minus { color: #875f00; }
code, pre, .token { font-family: ui-monospace, monospace; font-size: 13px; } pre { background: #f5f5f5; padding: .6em; }
.token { background: #f0f0f0; border-radius: 3px; padding: 0 3px; margin: 1px; white-space: pre; }
.maps { display: flex; flex-wrap: wrap; gap: 1.5em; } figure { margin: 0; } figcaption { font-size: 13px; }
"""


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    body: str
    "HTML already."


def page(title: str, facts: Sequence[tuple[str, str]], sections: Iterable[Section]) -> str:
    """A whole page; a section without a body is left out."""
    rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in facts)
    shown = "".join(f"<h2>{_text(each.title)}</h2>\n{each.body}\n" for each in sections if each.body)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{_text(title)}</h1>\n<table>{rows}</table>\n{shown}</body></html>\n"
    )


def tokens(texts: Sequence[str]) -> str:
    """A prompt token by token, each with its number in its tooltip."""
    return "".join(f'<span class="token" title="@{at}">{_text(text)}</span>' for at, text in enumerate(texts))


def lines(texts: Iterable[str]) -> str:
    """Lines as they were typed or printed."""
    said = "\n".join(_text(text) for text in texts)
    return f"<pre>{said}</pre>" if said else ""


def table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Rows of values: numbers to the right, with their sign and its colour."""
    if not rows:
        return ""
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(_cell(row.get(name)) for name in names) + "</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"<td>{'' if value is None else _text(str(value))}</td>"
    if isinstance(value, int):
        return f'<td class="n">{value}</td>'
    sign = "plus" if value > 0 else "minus"
    return f'<td class="n {sign}">{value:+.4g}</td>'


def attention(head: str, pattern: Sequence[Sequence[float]], texts: Sequence[str]) -> str:
    """A head's attention under its name."""
    return f"<figure><figcaption>{_text(head)}</figcaption>{attention_svg(pattern, texts)}</figure>"


def attention_svg(pattern: Sequence[Sequence[float]], texts: Sequence[str]) -> str:
    """An attention pattern [query][key] as an SVG: a row is what a token reads, each cell's weight in its tooltip."""
    size, left = CELL * len(pattern), 90
    cells = "".join(
        f'<rect x="{left + CELL * key}" y="{CELL * query}" width="{CELL}" height="{CELL}" '
        f'fill="{_grey(weight)}"><title>{_text(texts[query])} reads {_text(texts[key])}: {weight:.3f}</title></rect>'
        for query, row in enumerate(pattern)
        for key, weight in enumerate(row[: query + 1])
    )
    labels = "".join(
        f'<text x="{left - 4}" y="{CELL * at + CELL - 3}" text-anchor="end">{_text(text)}</text>'
        for at, text in enumerate(texts)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + size}" height="{size}" '
        f'font-family="monospace" font-size="10">{labels}{cells}</svg>'
    )


def _grey(weight: float) -> str:
    """White for nothing, dark for everything."""
    shade = round(250 - 220 * max(0.0, min(weight, 1.0)))
    return f"#{shade:02x}{shade:02x}{shade:02x}"


def _text(text: str) -> str:
    """As text of a page: nothing in it acts on the page, or on a terminal that shows its source."""
    return escape(printable(text))
