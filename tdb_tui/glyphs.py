"""The signs that the screen is drawn with, and what stands for each where a terminal has only ASCII.

Panes always draw the Unicode signs; the last step before the terminal exchanges them, cell for cell.
"""

from rich.cells import cell_len

SHADES = "·░▒▓█"
"Weights from nothing to all, in five steps."

EIGHTHS = "▁▂▃▄▅▆▇█"
"Heights within one row of the trajectory."

POSITIVE, NEGATIVE = "█", "▒"
"Bars of the two signs differ in shape as well as in colour."

AXIS, RULE, JOINT_BELOW, JOINT_ABOVE = "│", "─", "┬", "┴"
ARROW, LARGEST, CURSOR, EDITED = "->", ">>", ">", "*"
BREAK, DISABLED, CIRCUIT, MARKED = "B", "o", "C", "◆"
READS = "→"
DISAGREE = "!"
"What an estimate is followed by where what was measured disagrees with it."
UNKNOWN = "…"
LONE_SPACE = "␣"

_ASCII = str.maketrans(
    {
        "·": ".", "░": ":", "▒": "=", "▓": "+", "█": "#",
        "▁": "_", "▂": "_", "▃": ".", "▄": "-", "▅": "-", "▆": "=", "▇": "#",
        "│": "|", "─": "-", "┬": "+", "┴": "+", "├": "|", "└": "`", "→": ">", "←": "<", "↑": "^", "↓": "v", "⏎": "~",
        "−": "-", "Δ": "d", "Σ": "S", "…": "~", "⊢": "^", "↵": "$", "⇥": "%", "␣": "_", "×": "x", "◆": "@",
        "±": "~", "√": "r",
    }
)  # fmt: skip


def to_ascii(text: str) -> str:
    """`text` in ASCII and as wide as before; a sign that has no stand-in becomes `?` in each of its cells."""
    if text.isascii():
        return text
    return "".join(sign if sign.isascii() else "?" * cell_len(sign) for sign in text.translate(_ASCII))


def shade(weight: float) -> str:
    """A weight from 0 to 1 as one sign; weights below 0.05 are a dot."""
    if weight < 0.05:
        return SHADES[0]
    return SHADES[min(1 + int(weight * 4), 4)]
