"""A journal's contents: JSON lines, the last of which may be torn off.  Neither torch nor a session is needed here."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdb_tui.errors import CommandError

SCHEMA = "tdb-journal/1"

MOST_TRIES = 2
"A line during which the program has ended so often is not begun again."

SLOW_MS = 2000.0
"What took longer and changed nothing is not carried out again."


@dataclass(frozen=True, slots=True)
class Said:
    """One command's answer as it was shown."""

    cmd: str
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    view: str | None = None
    error: str | None = None
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Executed:
    """A line that was carried out, and what came of it."""

    line: str
    said: tuple[Said, ...]
    changed: frozenset[str]
    "Of `state`, `sweep` and `names`, what was different afterwards."
    value: float | None
    "The metric afterwards."
    script: tuple[str, ...]
    "What it added to the session as a script."
    history: tuple[str, ...]
    "The line, and those of a script that it ran."
    pointed: Mapping[str, str]
    "What `.` and `$marks` stood for."
    state: Mapping[str, Any] | None = None
    "The whole session afterwards, where carrying out the line again may not lead there: it reads a file, say."

    @property
    def ms(self) -> float:
        return sum(said.ms for said in self.said)

    @property
    def worked(self) -> bool:
        """Whether any command of it did."""
        return any(said.error is None for said in self.said)


@dataclass(frozen=True, slots=True)
class Kept:
    """A journal, read."""

    path: Path
    header: Mapping[str, Any]
    lines: tuple[Executed, ...]
    unfinished: str | None
    "The line that was being carried out when the program ended."
    tries: int
    "How often the program ended during that line."
    screen: Mapping[str, Any] | None
    "What the screen showed of its own accord."
    cells: Mapping[str, Mapping[int, float]]
    "Of sweeps, what had been measured: by the name of what decides it, place -> value."
    whole: int
    "Bytes up to the end of the last line that is not torn off."

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def pending(self) -> str | None:
        """The line to be carried out first: the unfinished one, unless it is what ends the program."""
        return self.unfinished if self.tries < MOST_TRIES else None

    @property
    def prompt(self) -> str:
        options = self.header["options"]
        return str(options.get("prompt") or options.get("prompts") or "")


def encoded(record: Mapping[str, Any]) -> bytes:
    """A record as a line."""
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read_journal(path: Path) -> Kept:
    """A journal.  What was torn off or overwritten is passed over.  Raises CommandError for a file that is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(
            f"cannot read {path}: {(error.strerror or str(error)).lower()}", code="no-file"
        ) from None
    whole = data.rfind(b"\n") + 1
    records = list(_records(data[:whole]))
    header = records[0] if records else {}
    found = header.get("schema")
    if found is None or not isinstance(header.get("options"), dict):
        raise CommandError(f"{path} isn't a tdb-tui journal: it has no header", code="bad-file")
    if found != SCHEMA:
        raise CommandError(f"{path} is {found}: this version reads {SCHEMA}", code="bad-file")
    try:
        return _kept(path, header, records[1:], whole)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CommandError(f"{path} is damaged: {error}", code="bad-file") from None


def _records(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # half a line, or blocks that never reached the disk
        if isinstance(record, dict):
            yield record


def _kept(path: Path, header: dict[str, Any], records: list[dict[str, Any]], whole: int) -> Kept:
    lines: list[Executed] = []
    begun: dict[str, Any] | None = None
    tries, screen, cells = 0, None, dict[str, dict[int, float]]()
    for record in records:
        if "begin" in record:
            same = begun is not None and begun["begin"] == record["begin"]
            begun, tries = record, tries + 1 if same else 1
        elif "end" in record and begun is not None:
            lines.append(_executed(begun, record["end"]))
            begun, tries = None, 0
        elif "screen" in record:
            screen = dict(record["screen"])
        elif "cells" in record:
            found = zip(record["at"], record["values"], strict=True)
            cells.setdefault(str(record["cells"]), {}).update((int(at), float(value)) for at, value in found)
    unfinished = None if begun is None else str(begun["begin"])
    return Kept(path, header, tuple(lines), unfinished, tries, screen, cells, whole)


def _executed(begun: Mapping[str, Any], end: Mapping[str, Any]) -> Executed:
    said = (
        Said(
            str(each["cmd"]),
            tuple(map(str, each.get("lines", ()))),
            tuple(map(str, each.get("warnings", ()))),
            each.get("view"),
            each.get("error"),
            float(each.get("ms", 0.0)),
        )
        for each in end["said"]
    )
    return Executed(
        str(begun["begin"]),
        tuple(said),
        frozenset(map(str, end["changed"])),
        None if end["value"] is None else float(end["value"]),
        tuple(map(str, end["script"])),
        tuple(map(str, end["history"])),
        {str(name): str(text) for name, text in begun.get("pointed", {}).items()},
        end.get("state"),
    )
