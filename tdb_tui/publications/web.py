"""A publisher's files, over HTTP or from a folder that mirrors them."""

from collections.abc import Sequence
from pathlib import Path

import httpx

from explanations.published.parsing import LARGEST
from explanations.published.records import PublishedError
from model.printable import printable
from tdb_tui.machine.patience import NoAnswer, Patience, Refused, Response, patiently, received

PATIENCE = Patience(tries=4, longest_wait=20)
MISSING = (403, 404)
"What servers answer for a file that is not there; blob stores also say that it is forbidden."


class Web:
    """Belongs to one event loop."""

    def __init__(self, base: str, key: str | None = None, patience: Patience = PATIENCE) -> None:
        self.base, self._patience = base.rstrip("/"), patience
        headers = {"x-api-key": key} if key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=patience.timeout, follow_redirects=True)
        self.fetched = 0
        "Files that were brought here."

    async def close(self) -> None:
        await self._client.aclose()

    async def first(self, paths: Sequence[str]) -> tuple[bytes, str] | None:
        """The first of these files that is there, and its address; None where none is.  Raises PublishedError."""
        for path in paths:
            if (found := await self.get(path)) is not None:
                return found, f"{self.base}/{path}"
        return None

    async def get(self, path: str) -> bytes | None:
        """None where there is no such file.  Raises PublishedError."""
        if not self.base.startswith(("http://", "https://")):
            return self._on_disk(Path(self.base).expanduser() / path)
        url = f"{self.base}/{path}"
        try:
            found = await patiently(
                lambda: self._send(url), bytes, self._patience, lambda seconds: None, _reason
            )
        except Refused as refused:
            if refused.status in MISSING:
                return None
            raise PublishedError(f"{url} was refused: {refused.status} {_reason(refused.content)}") from None
        except NoAnswer as error:
            raise PublishedError(f"{url} gave {error}") from None
        self.fetched += 1
        return found

    async def _send(self, url: str) -> Response:
        async with self._client.stream("GET", url) as response:
            return await received(response, LARGEST)

    def _on_disk(self, path: Path) -> bytes | None:
        try:
            with path.open("rb") as file:
                found = file.read(LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PublishedError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
        self.fetched += 1
        return found


def _reason(content: bytes) -> str:
    return printable(" ".join(content[:200].decode("utf-8", "replace").split()))
