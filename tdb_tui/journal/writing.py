"""Writing a journal: each line, before and after it is carried out, at once.  Losing it never disturbs the session."""

import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdb_tui import __version__
from tdb_tui.journal.finding import new_name, prune
from tdb_tui.journal.records import SCHEMA, Kept, encoded, finite
from tdb_tui.journal.whole import whole

if TYPE_CHECKING:
    from tdb_tui.commands import Done
    from tdb_tui.session import Savepoint, Session

MOST_LINES = 400
"Of each answer: what the log can show of it again."


class Journal:
    """An open journal.  A record is one write, so that those of two threads do not mix."""

    def __init__(self, file: int, path: Path, kept: Kept | None = None) -> None:
        self._file = file
        self.path = path
        self.kept = kept
        "What it held when it was opened to go on with, None for a new one."
        self.broken = ""
        "Why it is not written to any more."

    @classmethod
    def begin(cls, folder: Path, options: Mapping[str, Any], model: Mapping[str, Any]) -> "Journal":
        """A new one, readable by its owner only; the oldest are removed.  Raises OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{new_name()}.jsonl"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        _lock(file)
        header = {"schema": SCHEMA, "version": __version__, "model": dict(model), "options": dict(options)}
        os.write(file, encoded(header))
        prune(folder)
        return cls(file, path)

    @classmethod
    def go_on(cls, kept: Kept) -> "Journal":
        """Go on with one; a line torn off at its end is removed.  Raises OSError."""
        file = os.open(kept.path, os.O_WRONLY | os.O_APPEND)
        _lock(file)
        os.ftruncate(file, kept.whole)
        os.write(file, encoded({"resumed": __version__}))
        return cls(file, kept.path, kept)

    def carried_out(
        self, session: "Session", line: str, carry_out: Callable[["Session", str], "list[Done]"]
    ) -> "list[Done]":
        """Carry out a line, having written down that it begins, and write down what came of it."""
        pointed = {"pointed": dict(session.pointed)} if session.pointed else {}
        self._write({"begin": line, **pointed})
        before, names, scripted = session.savepoint(), session.python_names, len(session.done)
        earlier = len(session.history)
        done: list[Done] = []
        try:
            done = carry_out(session, line)
        finally:  # a defect of ours is no reason to begin the line again
            script = session.done[scripted:] if len(session.done) > scripted else []
            end = _end(session, line, done, before, names)
            self._write({"end": {**end, "script": script, "history": session.history[earlier:]}})
        if self.broken and done and done[-1].reply is not None:
            reply = done[-1].reply
            told, self.broken = f"the journal ends here, so --resume comes back to this: {self.broken}", ""
            done[-1] = replace(done[-1], reply=replace(reply, warnings=(*reply.warnings, told)))
        return done

    def show(self, screen: Mapping[str, Any]) -> None:
        """Write down what the screen shows of its own accord."""
        self._write({"screen": dict(screen)})

    def measured(self, name: str, places: Sequence[int], values: Sequence[float]) -> None:
        """Write down cells of a sweep: where each stands, and its value."""
        self._write({"cells": name, "at": list(places), "values": list(values)})

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._file < 0:
            return
        try:
            os.write(self._file, encoded(record))
        except OSError as error:
            self.broken = (error.strerror or str(error)).lower()
            self.close()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _lock(file: int) -> None:
    """So that no other program goes on with it meanwhile."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        pass


def _end(
    session: "Session",
    line: str,
    done: "list[Done]",
    before: "Savepoint",
    names: Mapping[str, object],
) -> dict[str, Any]:
    changed = _changed(session, before, names)
    record = {
        "said": [_said(each) for each in done],
        "changed": changed,
        "value": finite(session.snapshot.now.value),
    }
    cut_short = any(each.interrupted or (each.error is not None and each.error.partial) for each in done)
    if "state" in changed and "names" not in changed and (cut_short or _reads_a_file(line)):
        record["state"] = whole(session)
    return record


def _changed(session: "Session", before: "Savepoint", names: Mapping[str, object]) -> list[str]:
    then = before.snapshot
    state = session.state != then.state or (session.past, session.future) != (
        list(before.past),
        list(before.future),
    )
    found = {
        "state": state,
        "sweep": session.sweep is not then.sweep,
        "names": session.python_names is not names,
    }
    return [name for name, is_so in found.items() if is_so]


def _reads_a_file(line: str) -> bool:
    """Whether a word of it names a file that is there, and that may be another one tomorrow."""
    words = (word.rpartition("=")[2].strip("\"'") for word in line.split())
    try:
        return any(Path(word).expanduser().is_file() for word in words if word)
    except (OSError, ValueError, RuntimeError):
        return False


def _said(done: "Done") -> dict[str, Any]:
    found: dict[str, Any] = {"cmd": done.cmd, "ms": round(done.ms, 3)}
    if done.error is not None:
        found["error"] = str(done.error)
    if done.reply is not None:
        found["lines"] = list(done.reply.lines[:MOST_LINES])
        found["view"] = done.reply.view
        if done.reply.warnings:
            found["warnings"] = list(done.reply.warnings)
    return found
