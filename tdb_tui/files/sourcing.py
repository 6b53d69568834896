"""Files of commands, one a line: up to the first that fails, which is named with file and line."""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tdb_tui.errors import CommandError


@dataclass(frozen=True, slots=True)
class ScriptLine:
    text: str
    where: str
    "`ioi.tdb:12`; empty for a command given with -e."


def script_lines(path: Path) -> Iterator[ScriptLine]:
    """The lines of a file (`-`: standard input) that are not blank or comments.  Raises CommandError."""
    for number, text in enumerate(_read(path).splitlines(), start=1):
        if text.strip() and not text.lstrip().startswith("#"):
            yield ScriptLine(text, f"{path}:{number}")


@dataclass(slots=True)
class Block:
    """Lines that belong together: those from `commands` or `commands 1` to its `end`."""

    lines: list[str]

    @classmethod
    def begun(cls, text: str) -> "Block | None":
        """What a line begins, None where it is one by itself."""
        return cls([f"{text.strip()}:"]) if _BEGINS.fullmatch(text.strip()) else None

    def ends(self, text: str) -> bool:
        """Whether a line is the end; any other is taken."""
        if text.strip() == "end":
            return True
        self.lines.append(text.strip())
        return False

    @property
    def text(self) -> str:
        """All of it as one command of several lines."""
        return "\n".join(self.lines)


def blocks(lines: Iterable[ScriptLine]) -> Iterator[ScriptLine]:
    """The lines, those from `commands 1` to its `end` as one.  Raises CommandError where that is missing."""
    block, where = None, ""
    for line in lines:
        if block is None:
            block, where = Block.begun(line.text), line.where
            if block is None:
                yield line
        elif block.ends(line.text):
            yield ScriptLine(block.text, where)
            block = None
    if block is not None:
        at, name = f"{where}: " if where else "", block.lines[0].removesuffix(":")
        raise CommandError(f"{at}{name} has no end: write end below its last command", code="bad-syntax")


_BEGINS = re.compile(r"comm(a|an|and|ands)?(\s+[bw]?[0-9]+)?")


def _read(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"cannot read {path}: {(error.strerror or str(error)).lower()}", code="no-file"
        ) from None
    except UnicodeDecodeError:
        raise CommandError(f"cannot read {path}: it is not UTF-8 text", code="no-file") from None
