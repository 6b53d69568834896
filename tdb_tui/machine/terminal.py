"""What the terminal can show, decided before the screen's library reads it from the environment."""

import locale
import os

COLORS = {"auto": "auto", "truecolor": "truecolor", "256": "256", "16": "standard", "none": "standard"}
"What `--color` takes, and what Textual calls it."


def dress(color: str) -> str:
    """Set the colours that the screen will use; a complaint about a word that is none."""
    if color not in COLORS:
        return f"--color {color}: one of {', '.join(COLORS)} was expected"
    os.environ["TEXTUAL_COLOR_SYSTEM"] = COLORS[color]
    os.environ["TEXTUAL_ANIMATIONS"] = "none"
    os.environ["TEXTUAL_SMOOTH_SCROLL"] = "0"
    if color == "none":
        os.environ["NO_COLOR"] = "1"
    return ""


def ascii_only() -> bool:
    """Whether the terminal or the locale has no block characters."""
    term = os.environ.get("TERM", "")
    encoding = locale.getpreferredencoding(False).lower().replace("-", "")
    return term in ("linux", "dumb") or term.startswith("vt") or encoding != "utf8"
