"""A real HTTP server on loopback that holds published files, and gives them out well or badly."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.loopback import listening

Behave = Callable[[int, str], tuple[int, dict[str, str], bytes] | float | None]
"""The number of the request and its path -> what is sent instead: status, headers, content; or seconds to hang first."""


@dataclass
class Server:
    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def holding(files: Mapping[str, bytes], behave: Behave = lambda number, path: None) -> Iterator[Server]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            with lock:
                found.asked.append(path)
                number = len(found.asked) - 1
            instead = behave(number, path)
            if isinstance(instead, float):
                time.sleep(instead)
            there = (200, {}, files[path]) if path in files else (404, {}, b"<Error>BlobNotFound</Error>")
            status, headers, content = instead if isinstance(instead, tuple) else there
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                pass  # who asked has given up, as some tests want

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with listening(Handler) as url:
        found = Server(url)
        yield found
