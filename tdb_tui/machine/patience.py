"""Asking a server over HTTP that may be slow, busy or broken: again after longer and longer waits, but not for ever."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx

from model.printable import printable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    tries: int = 6
    timeout: float = 60.0
    "Seconds for one answer."
    first_wait: float = 1.0
    "Seconds before the second try; each wait is twice the one before, and a little more by chance."
    longest_wait: float = 60.0


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    asked_wait: float
    "Seconds that the server asks to be left alone."
    content: bytes


class Unreadable(ValueError):
    """What came is no answer: worth another try."""


class Refused(Exception):
    """An answer that asking again would not change."""

    def __init__(self, status: int, content: bytes) -> None:
        super().__init__(status)
        self.status, self.content = status, content


class NoAnswer(Exception):
    """None in all tries; says what went wrong the last time, without control characters."""


async def patiently(
    send: Callable[[], Awaitable[Response]],
    read: Callable[[bytes], T],
    patience: Patience,
    waits: Callable[[float], object],
    complaint: Callable[[bytes], str],
) -> T:
    """What `read` makes of the answer.  `waits` is told of every wait, `complaint` finds the reason in a bad answer.

    Raises Refused and NoAnswer.
    """
    wait, why = patience.first_wait, ""
    for number in range(patience.tries):
        if number:
            waits(wait)
            await asyncio.sleep(wait * (1 + random.random() / 4))
            wait = min(2 * wait, patience.longest_wait)
        try:
            async with asyncio.timeout(patience.timeout):  # httpx's own is for each part of an answer
                got = await send()
            if got.status == 200:
                return read(got.content)
        except (httpx.TimeoutException, TimeoutError):
            why = f"no answer within {patience.timeout:g} s"
            continue
        except httpx.HTTPError as error:
            why = f"{type(error).__name__}: {error}"
            continue
        except Unreadable as error:
            why = str(error)
            continue
        if got.status != 429 and got.status < 500:
            raise Refused(got.status, got.content)
        why = f"{got.status} {complaint(got.content)}"
        wait = max(wait, min(got.asked_wait, patience.longest_wait))
    raise NoAnswer(f"no answer in {patience.tries} tries, the last time: {printable(why)}")


async def received(stream: httpx.Response, largest: int) -> Response:
    """A streamed answer, cut off after `largest` bytes and one."""
    content = bytearray()
    async for part in stream.aiter_bytes():
        content += part
        if len(content) > largest:
            break
    return Response(stream.status_code, _seconds(stream.headers.get("retry-after")), bytes(content))


def _seconds(header: str | None) -> float:
    """A Retry-After in seconds; 0 where there is none, or it is a date."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0
