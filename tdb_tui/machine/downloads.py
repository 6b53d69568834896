"""One file from the Hugging Face hub into its cache, going on where it stopped.

`huggingface_hub` finds, authorises and files things; only the bytes are brought here, since the library drops
the part it has when it is interrupted.
"""

import hashlib
import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RETRIES = 5

Progress = Callable[[str, int, int], None]
"""(file name, bytes here, bytes in all), called as they arrive."""


class PullError(RuntimeError):
    """A download that did not succeed; one sentence."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository, and where the cache has it."""

    name: str
    url: str
    etag: str
    size: int
    blob: Path
    """Where the cache keeps the content, named by its hash."""

    @property
    def partial(self) -> Path:
        return self.blob.with_name(self.blob.name + ".incomplete")

    @property
    def lock(self) -> Path:
        folder = self.blob.parent.parent
        return folder.parent / ".locks" / folder.name / f"{self.etag}.lock"

    @property
    def to_come(self) -> int:
        """Bytes still to be fetched."""
        if self.blob.is_file():
            return 0
        return self.size - (self.partial.stat().st_size if self.partial.is_file() else 0)


def locate(repository: str, name: str) -> HubFile:
    """What the hub says of one file, without fetching it."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import repo_folder_name

    about = get_hf_file_metadata(hf_hub_url(repository, name, revision="main"))
    if about.etag is None or about.size is None or "/" in about.etag:
        raise PullError(f"the server does not say what {name} is: is HF_ENDPOINT a Hugging Face hub")
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    return HubFile(name, about.location, about.etag, about.size, folder / "blobs" / about.etag)


def fetch(file: HubFile, progress: Progress) -> None:
    """Bring one file's content into the cache, adding to what an earlier attempt left."""
    from huggingface_hub.utils import WeakFileLock

    file.lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(file.lock):
        if file.blob.is_file():
            return progress(file.name, file.size, file.size)
        with _Counted(file, progress) as partial:
            _complete(file, partial)
        _verify(file)
        file.partial.replace(file.blob)


def _complete(file: HubFile, partial: io.FileIO) -> None:
    """Ask until all is here; give up after RETRIES times in a row that brought nothing."""
    from huggingface_hub.errors import HfHubHTTPError

    failures = 0
    while partial.tell() < file.size:
        before = partial.tell()
        try:
            _receive(file, partial)
        except HfHubHTTPError:  # an answer, which asking again would not change
            raise
        except http_error():
            if failures == RETRIES:
                raise
            time.sleep(failures)
        failures = 0 if partial.tell() > before else failures + 1


def _receive(file: HubFile, partial: io.FileIO) -> None:
    """One answer, written as it comes in: no more is lost than what is on its way."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    headers = build_hf_headers() if file.url.startswith(f"{endpoint()}/") else {}
    headers |= {"Accept-Encoding": "identity", "Range": f"bytes={partial.tell()}-"}
    with get_session().stream("GET", file.url, headers=headers, follow_redirects=True) as response:
        hf_raise_for_status(response)
        if response.status_code != 206:  # the server sends it from the beginning
            partial.truncate(0)
            partial.seek(0)
        for chunk in response.iter_bytes():
            partial.write(chunk)


def http_error() -> type[Exception]:
    """The base of what the library's HTTP client raises, of whichever client it uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")


def endpoint() -> str:
    """The hub that is asked: HF_ENDPOINT, or huggingface.co."""
    from huggingface_hub import constants

    return constants.ENDPOINT


class _Counted(io.FileIO):
    """The partial file, telling as it grows."""

    def __init__(self, file: HubFile, progress: Progress) -> None:
        super().__init__(file.partial, "ab")
        self.file, self.progress = file, progress
        progress(file.name, self.tell(), file.size)

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        written = 0
        while written < len(view):  # a raw file may take less than it is given
            written += super().write(view[written:])
        self.progress(self.file.name, self.tell(), self.file.size)
        return written


def _verify(file: HubFile) -> None:
    """Size always, and SHA-256 where the hub names large files by it."""
    size = file.partial.stat().st_size
    damaged = size != file.size
    if not damaged and re.fullmatch("[0-9a-f]{64}", file.etag):
        with file.partial.open("rb") as content:
            damaged = hashlib.file_digest(content, "sha256").hexdigest() != file.etag
    if damaged:
        file.partial.unlink()
        raise PullError(f"{file.name} arrived damaged and was dropped: pull again")


def file_away(repository: str, file: HubFile) -> str:
    """Let the library link the content into its snapshot."""
    from huggingface_hub import hf_hub_download

    return hf_hub_download(repository, file.name, revision="main")
