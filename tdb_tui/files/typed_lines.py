"""Lines that were typed, kept from one start to the next: JSON Lines that only their owner can read."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from platformdirs import user_state_path

MOST = 5000
"Lines kept."


def history_file() -> Path:
    return user_state_path("tdb-tui") / "history.jsonl"


def read_lines(path: Path) -> list[str]:
    """Oldest first.  What cannot be read is left out: a history is no reason not to start."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = list(_lines(text))
    if len(lines) > 2 * MOST:
        _write(path, "".join(map(_entry, lines[-MOST:])), os.O_TRUNC)
    return lines[-MOST:]


def add_line(path: Path, line: str) -> None:
    """Put a line at the end, whatever other program is doing the same.  Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(path, _entry(line), os.O_APPEND)


def _write(path: Path, text: str, how: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)  # prompts may be private
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def _entry(line: str) -> str:
    return json.dumps({"line": line, "at": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n"


def _lines(text: str) -> Iterator[str]:
    for row in text.splitlines():
        try:
            line = json.loads(row)["line"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(line, str) and line.isprintable() and line:
            yield line
