"""What a command answers with: plain data, drawn by whoever asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len


@dataclass(frozen=True, slots=True)
class Reply:
    lines: tuple[str, ...] = ()
    "For a person, as printed."
    result: dict[str, Any] = field(default_factory=dict[str, Any])
    "For a program, as the command's JSON."
    warnings: tuple[str, ...] = ()
    view: str | None = None
    "Which pane the answer is best seen in."
    more: str | None = None
    "The command for the next page, which an empty line then runs."
    quits: bool = False
    code: int = 0
    "The exit code to leave with."
    opens_python: bool = False
    "Whether the person at the terminal is to be given Python before anything else."
    script: str | None = None
    "The command that does the same in a script, where that is not the one typed; empty where a script needs none."

    @property
    def said(self) -> tuple[str, ...]:
        """All that a person is told, notes first."""
        return (*(f"note: {warning}" for warning in self.warnings), *self.lines)


def note(text: str, **result: Any) -> Reply:
    """A reply of one or more lines of text."""
    return Reply(tuple(text.splitlines()), result)


def columns(rows: Sequence[Sequence[str]], right: str = "") -> tuple[str, ...]:
    """Rows of text in aligned columns; `right` names those flushed right, as `"-r"` does the second of two."""
    if not rows:
        return ()
    widths = [max(cell_len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return tuple("  ".join(_cells(row, widths, right)).rstrip() for row in rows)


def _cells(row: Sequence[str], widths: Sequence[int], right: str) -> list[str]:
    padded: list[str] = []
    for at, (text, width) in enumerate(zip(row, widths, strict=True)):
        space = " " * (width - cell_len(text))
        padded.append(space + text if right[at : at + 1] == "r" else text + space)
    return padded
