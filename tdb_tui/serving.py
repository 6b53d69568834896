"""Requests for a session, a line each, answered with the JSON lines of the batch: for notebooks and other programs."""

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tdb_tui.commands import execute
from tdb_tui.errors import CommandError
from tdb_tui.files.output import as_json
from tdb_tui.session import Session


def serve(session: Session, requests: Iterable[str], answer: Callable[[str], object]) -> bool:
    """Carry out requests until they end; whether `quit` has asked for the end.

    A request is a command, or an object `{"cmd": "...", "id": ...}` whose `id` its answers carry.  A line of several
    commands is answered with several lines.
    """
    number = 0
    for request in requests:
        if not request.strip():
            continue
        try:
            line, extra = _read(request)
        except CommandError as error:
            number += 1
            answer(as_json(number, request.strip(), 0.0, None, error))
            continue
        for done in execute(session, line):
            number += 1
            entry = as_json(number, done.cmd, done.ms, done.reply, done.error)
            answer(json.dumps(json.loads(entry) | extra, sort_keys=True) if extra else entry)
            if done.reply is not None and done.reply.quits:
                return True
    return False


def _read(request: str) -> tuple[str, dict[str, Any]]:
    """The command, and what its answers carry.  Raises CommandError."""
    if not request.lstrip().startswith("{"):
        return request.strip(), {}
    try:
        found = json.loads(request)
    except (ValueError, RecursionError):
        raise CommandError(
            "a request that begins with { is an object of JSON, on one line", "bad-request"
        ) from None
    if not isinstance(found.get("cmd"), str):
        raise CommandError('a request names its command: {"cmd": "rank", "id": 1}', "bad-request")
    return found["cmd"], {"id": found["id"]} if "id" in found else {}


def serve_socket(session: Session, path: Path) -> None:
    """Answer on a Unix socket that only its owner can open, one client after the other, until one quits.

    Raises CommandError where there is something already, or a socket cannot be.
    """
    with _listening(path) as server:
        while True:
            client, _ = server.accept()
            with client, client.makefile("r", encoding="utf-8", newline="\n") as requests:
                try:
                    if serve(
                        session, requests, lambda text, to=client: to.sendall(f"{text}\n".encode("ascii"))
                    ):
                        return
                except (BrokenPipeError, ConnectionResetError, UnicodeDecodeError):
                    continue  # this one has gone; the session waits for the next


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        before = os.umask(0o177)
        try:
            server.bind(str(path))
        except OSError as error:
            message = f"cannot listen at {path}: {(error.strerror or str(error)).lower()}"
            raise CommandError(message, code="no-file") from None
        finally:
            os.umask(before)
        try:
            server.listen()
            yield server
        finally:
            path.unlink(missing_ok=True)
