"""Replies as text, as JSON lines, and as files.  A file is written whole to a temporary name and renamed."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from tdb_tui.errors import CommandError
from tdb_tui.files import html
from tdb_tui.replies import Reply
from tdb_tui.sweeps.files import cell_rows, svg

SCHEMA = "tdb-tui/1"


def as_text(reply: Reply) -> str:
    """A reply as a person reads it, notes first."""
    return "\n".join(reply.said)


def as_json(number: int, cmd: str, ms: float, reply: Reply | None, error: CommandError | None) -> str:
    """One executed command as one line of JSON; floats with all their digits, not-finite ones as null."""
    entry: dict[str, Any] = {
        "schema": SCHEMA,
        "n": number,
        "cmd": cmd,
        "ok": reply is not None,
        "ms": round(ms, 3),
    }
    if reply is not None:
        entry |= {"result": reply.result, "warnings": list(reply.warnings)}
    if error is not None:
        entry["error"] = {"code": error.code, "message": error.message, "hint": error.hint, "col": error.col}
    return json.dumps(_finite(entry), sort_keys=True)  # in ASCII: any terminal and any encoding can hold it


def result_json(reply: Reply) -> str:
    """What a command answers, without the entry around it."""
    return json.dumps(_finite(reply.result), sort_keys=True)


def write_reply(reply: Reply, path: Path) -> None:
    """Write a reply to a file, as what its suffix says.  Raises CommandError."""
    write_whole(path, reply_text(reply, path.suffix) + "\n")


def reply_text(reply: Reply, suffix: str) -> str:
    """A reply as what a suffix says.  Raises CommandError."""
    match suffix:
        case ".json":
            text = json.dumps(_finite(reply.result), ensure_ascii=False, indent=1)
        case ".jsonl" if "rows" in reply.result:
            text = "\n".join(json.dumps(_finite(row), ensure_ascii=False) for row in reply.result["rows"])
        case ".svg" if "axes" in reply.result:
            text = svg(reply.result)
        case ".csv" | ".tsv":
            text = _separated(reply, "," if suffix == ".csv" else "\t")
        case ".dot" if "dot" in reply.result:
            text = str(reply.result["dot"])
        case ".html":
            text = _page(reply)
        case ".txt" | ".md" | "":
            text = as_text(reply) if suffix != ".md" else f"```\n{as_text(reply)}\n```"
        case _:
            raise CommandError(
                f"cannot write {suffix} files: .json, .csv, .tsv, .html, .txt or .md", code="bad-file"
            )
    return text


def _page(reply: Reply) -> str:
    """What was printed, and its rows as a table, as a page of its own."""
    rows = [row for row in reply.result.get("rows", ()) if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    simple = [{name: _cell(value) for name, value in row.items()} for row in rows]
    sections = (
        html.Section("Answer", html.lines([*reply.warnings, *reply.lines])),
        html.Section("Rows", html.table(simple, names)),
        html.Section("Picture", svg(reply.result) if "axes" in reply.result else ""),
    )
    return html.page("tdb-tui", (), sections)


def write_whole(path: Path, text: str) -> None:
    """Write a text so that nobody ever sees half of it.  Raises CommandError."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise CommandError(f"cannot write {path}: the text is not valid Unicode", code="bad-file") from None
    write_bytes(path, data)


@contextmanager
def nothing_written() -> Iterator[None]:
    """Files stay as they are meanwhile: commands are carried out again that wrote them long ago."""
    token = _WRITING.set(False)
    try:
        yield
    finally:
        _WRITING.reset(token)


_WRITING = ContextVar("writing", default=True)


def writes() -> bool:
    """Whether what commands do beyond the session is to be done: not where they are carried out a second time."""
    return _WRITING.get()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that nobody ever sees half of it.  Raises CommandError."""
    if not _WRITING.get():
        return
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(0o666 & ~_umask())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise CommandError(
            f"cannot write {path}: {(error.strerror or str(error)).lower()}", code="no-file"
        ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _separated(reply: Reply, separator: str) -> str:
    """The reply's rows as lines of values, names first."""
    import csv
    import io

    found = reply.result
    rows: Sequence[dict[str, Any]] = cell_rows(found) if "axes" in found else found.get("rows", ())
    if not rows or not isinstance(rows[0], dict):
        raise CommandError("this command has no rows to write: use .json or .txt", code="bad-file")
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, fieldnames=names, delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().rstrip("\n")


def _cell(value: Any) -> Any:
    """Lists and objects as JSON."""
    return json.dumps(_finite(value), ensure_ascii=False) if isinstance(value, (list, tuple, dict)) else value


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    match value:
        case float() if value != value or value in (float("inf"), float("-inf")):
            return None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
