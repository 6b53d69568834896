"""What is written when a defect of ours ends the program: enough to mend it, none of the user's texts unasked."""

import os
import re
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

MOST = 50
"Commands in a report."

_ADDRESS = re.compile(
    r"-?\d+(\.\d+)?|-{1,2}[a-z][a-z-]*|[+-]|[LAMNBFEUX][\dAMHU.*{}<,-]*(@(-?\d+|END|START|\*)(<(-?\d+|END|START))?)?"
    r"|@(-?\d+|END|START|\*)|[biwd]\d+"
)
"Words that name a part of the model, a number or an option, and nothing of the user's own."

_NAME = re.compile(r"[a-z]{1,16}")


class Crashed(Exception):
    """A defect of ours during a session, with what had been asked of it; its cause is what happened."""

    def __init__(self, commands: Sequence[str], prompt: str, text: bool = False) -> None:
        super().__init__("a defect of ours")
        self.text = text
        "Whether the user has asked for the report to hold texts."
        self.commands = tuple(commands[-MOST:])
        self.prompt = prompt


def redacted(line: str) -> str:
    """A command without texts: `prompt "When ..."` is `prompt …`, `ablate L9H9@Mary mean` is `ablate … …`."""
    parts = line.split(";;")
    if line.lstrip().startswith("!"):
        return "! …"
    return " ;; ".join(_redacted(part.split()) for part in parts)


def _redacted(words: list[str]) -> str:
    first, rest = words[:1], words[1:]
    name = [word if _NAME.fullmatch(word) else "…" for word in first]
    return " ".join([*name, *(word if _ADDRESS.fullmatch(word) else "…" for word in rest)])


def write_report(error: BaseException, folder: Path, text: bool) -> Path:
    """A new file about a defect, readable by its owner only.  With `text` prompt and commands stand there as they were.

    Frames are named without the values in them.  Raises OSError.
    """
    cause = error.__cause__ if isinstance(error, Crashed) and error.__cause__ is not None else error
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    sections = [_about(), "".join(traceback.format_tb(cause.__traceback__)) + type(cause).__name__]
    if text:
        sections[-1] += f": {cause}"
    if isinstance(error, Crashed):
        lines = error.commands if text else [redacted(line) for line in error.commands]
        sections += [f"prompt: {error.prompt}"] if text else []
        sections.append("\n".join([f"last {len(lines)} commands:", *lines]))
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write("\n\n".join(sections) + "\n")
    return path


def _about() -> str:
    """Versions and the terminal, as `tdb-tui doctor` finds them."""
    from tdb_tui.machine.doctor import as_text, terminal, versions

    return as_text([*versions(), *terminal()])
