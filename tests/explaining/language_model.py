"""A real HTTP server on loopback that speaks like an OpenAI-compatible endpoint, well or badly."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from explanations.asking.requests import Message, Request
from tests.explanations.models import Speak, numbered
from tests.loopback import listening

Behave = Callable[[int, dict[str, Any]], tuple[int, dict[str, str], bytes] | float | None]
"""The number of the request and its body -> what is sent instead of an answer: status, headers and content; or seconds
to hang first; None: answer well.  Headers with TRICKLE send the content byte by byte, so many seconds apart."""
TRICKLE = "X-Trickle"


@dataclass
class Server:
    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0


def completion(text: str, logprobs: bool = False) -> bytes:
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
    if logprobs:
        choice["logprobs"] = {
            "content": [
                {
                    "token": said.text,
                    "logprob": -0.02,
                    "top_logprobs": [{"token": t, "logprob": p} for t, p in said.likely.items()],
                }
                for said in numbered(text)
            ]
        }
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}).encode()


@contextmanager
def serving(speak: Speak, behave: Behave = lambda number, body: None) -> Iterator[Server]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            text = self.rfile.read(length)
            if len(text) < length:
                return  # whoever asked has left
            body = json.loads(text)
            with lock:
                found.bodies.append(body)
                found.keys.append(self.headers.get("Authorization"))
                found.at_once += 1
                found.most_at_once = max(found.most_at_once, found.at_once)
                number = len(found.bodies) - 1
            try:
                self._answer(number, body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # who asked has given up, as some tests want
            finally:
                with lock:
                    found.at_once -= 1

        def _answer(self, number: int, body: dict[str, Any]) -> None:
            instead = behave(number, body)
            if isinstance(instead, float):
                time.sleep(instead)
            messages = tuple(Message(**each) for each in body["messages"])
            request = Request(messages, body["max_tokens"], logprobs=body.get("top_logprobs", 0))
            well = 200, {}, completion(speak(request), bool(body.get("logprobs")))
            status, headers, content = instead if isinstance(instead, tuple) else well
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if (pause := float(headers.get(TRICKLE, 0))) == 0:
                self.wfile.write(content)
                return
            for byte in content:
                self.wfile.write(bytes([byte]))
                time.sleep(pause)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with listening(Handler) as url:
        found = Server(f"{url}/v1")
        yield found
