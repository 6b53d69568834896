"""Where journals are kept, which one is meant, and which are old enough to go."""

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tdb_tui.errors import CommandError
from tdb_tui.journal.records import Kept, read_journal

MOST = 50
"Journals kept: beyond it the oldest go."
LISTED = 5
"Named where the one asked for is not there."


def journal_folder() -> Path:
    from platformdirs import user_state_path

    return user_state_path("tdb-tui") / "journals"


def new_name() -> str:
    """`20261127-214729-4711`: sorts by time, and no two programs have the same."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"


def newest_first(folder: Path) -> list[Path]:
    """The last written to is the first."""
    found = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.jsonl")]
    return [path for _, path in sorted(found, reverse=True)]


def in_use(path: Path) -> bool:
    """Whether a program that runs is writing to it."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks
            return False
    return False


def find_journal(folder: Path, word: str | None) -> Kept:
    """The last session, or the one of a name (or its beginning), a file or a prompt.  Raises CommandError."""
    if word is not None and word.endswith(".jsonl"):
        return _free(read_journal(Path(word).expanduser()))
    free: list[Kept] = []
    running = 0
    for kept in _readable(folder):
        named = word is None or kept.name.startswith(word) or kept.prompt == word
        if named and in_use(kept.path):
            running += 1
        elif named:
            return kept
        elif len(free) < LISTED:
            free.append(kept)
    if running:
        raise CommandError("that session is still running: leave it first", code="in-use")
    listed = ", ".join(f"{kept.name} ({_short(kept.prompt)})" for kept in free)
    what = "no session" if word is None else f"no session {word!r}"
    raise CommandError(f"{what} to resume: {listed or f'none is kept in {folder}'}", code="no-session")


def _free(kept: Kept) -> Kept:
    if in_use(kept.path):
        raise CommandError(f"session {kept.name} is still running: leave it first", code="in-use")
    return kept


def _readable(folder: Path) -> Iterator[Kept]:
    for path in newest_first(folder):
        try:
            yield read_journal(path)
        except CommandError:  # of another version, or no journal: not what is looked for
            continue


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:22]} …"


def prune(folder: Path) -> None:
    """Remove the oldest journals beyond `MOST` that nobody is writing to."""
    for path in newest_first(folder)[MOST:]:
        if not in_use(path):
            path.unlink(missing_ok=True)
