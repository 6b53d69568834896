"""`tdb-tui pull NAME`: a model from the Hugging Face hub into its own cache.

`HF_ENDPOINT`, `HF_HOME` and the other variables of `huggingface_hub` are honoured.
"""

import errno
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tdb_tui.machine.downloads import (
    HubFile,
    Progress,
    PullError,
    endpoint,
    fetch,
    file_away,
    http_error,
    locate,
)
from tdb_tui.machine.models import find_cached, missing_parts, repositories

TOKENIZER = ("vocab.json", "merges.txt", "tokenizer.json", "added_tokens.json")
WEIGHTS = (
    r"model\.safetensors",
    r"model\.safetensors\.index\.json|model-\d+-of-\d+\.safetensors",
    r"pytorch_model\.bin",
    r"pytorch_model\.bin\.index\.json|pytorch_model-\d+-of-\d+\.bin",
)
"""The ways that weights come, the preferred first."""


class Unreachable(PullError):
    """No network, or none wanted."""


class PullInterrupted(PullError):
    """Ctrl-C: what has arrived is kept."""


def pull(name: str, *, progress: Progress = lambda file, done, total: None) -> Path:
    """Download what a model needs, and only that; its directory in the Hugging Face cache.

    Files that are there already are not fetched again, and a file that stopped half-way goes on from there.
    Without a network, a model that is complete in the cache will do.  Raises PullError.
    """
    try:
        with one_sentence("model", name, f"tdb-tui pull {name}"):
            return _pull_first(name, progress)
    except Unreachable:
        cached = find_cached(name)
        if cached is None or missing_parts(cached):
            raise
        return cached


def _pull_first(name: str, progress: Progress) -> Path:
    """From the first of the addresses that a short name stands for which exists."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    *older, last = repositories(name)
    for repository in older:
        try:
            return _pull_from(repository, HfApi().model_info(repository, revision="main"), progress)
        except RepositoryNotFoundError:
            continue
    return _pull_from(last, HfApi().model_info(last, revision="main"), progress)


def _pull_from(repository: str, info: Any, progress: Progress) -> Path:
    names = choose([sibling.rfilename for sibling in info.siblings or []])
    if not names:
        raise PullError(f"{repository} is not a GPT-2 in Hugging Face's format: nothing was downloaded")
    return bring(repository, names, progress)[0].parent


def bring(repository: str, names: list[str], progress: Progress) -> list[Path]:
    """Fetch files of a repository into the cache; where each lies.  Raises PullError, and what the library does."""
    files = [locate(repository, file) for file in names]
    _check_space(repository, files)
    for file in files:
        fetch(file, progress)
    return [Path(file_away(repository, file)) for file in files]


def choose(names: list[str]) -> list[str]:
    """Of a repository's files, those that are needed: configuration, tokenizer, and weights in one form."""
    forms = ([name for name in names if re.fullmatch(form, name)] for form in WEIGHTS)
    weights = next((form for form in forms if form), [])
    tokenizer = [name for name in TOKENIZER if name in names]
    complete = "config.json" in names and weights and tokenizer
    return ["config.json", *tokenizer, *sorted(weights)] if complete else []


def _check_space(repository: str, files: list[HubFile]) -> None:
    files[0].blob.parent.mkdir(parents=True, exist_ok=True)
    needed, free = sum(file.to_come for file in files), shutil.disk_usage(files[0].blob.parent).free
    if needed > free:
        where = files[0].blob.parent.parent.parent
        raise PullError(
            f"{repository} needs {needed / 1e6:.0f} MB more: {where} has {free / 1e6:.0f} MB free"
        )


@contextmanager
def one_sentence(what: str, name: str, command: str) -> Iterator[None]:
    """Whatever goes wrong in between is a PullError; `command` is what brings the rest of a `what` called `name`."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    logging.set_verbosity_error()
    again = f"run '{command}' again to go on from there"
    try:
        yield
    except PullError:
        raise
    except KeyboardInterrupt as error:
        raise PullInterrupted(f"interrupted, what has arrived is kept: {again}") from error
    except HFValidationError as error:
        example = "gpt2, or OWNER/NAME" if what == "model" else "OWNER/NAME"
        raise PullError(f"'{name}' is not a Hugging Face id: {example}") from error
    except GatedRepoError as error:
        raise PullError(f"{name} is gated: ask for access on its page and set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise PullError(f"no {what} '{name}' at {endpoint()}: is the name right, or is it private") from error
    except OfflineModeIsEnabled as error:
        raise Unreachable(f"HF_HUB_OFFLINE is set and {name} is not in the cache: unset it") from error
    except HfHubHTTPError as error:
        raise PullError(f"{endpoint()} answered {error.response.status_code}: {again}") from error
    except http_error() as error:
        raise Unreachable(f"cannot reach {endpoint()} ({type(error).__name__}): {again}") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full" if full else str(error).splitlines()[0]
        raise PullError(f"{what}: {'make room and ' if full else ''}{again}") from error


def draw_bar(stream: Any = None) -> Progress:
    """A progress bar of one line for each file, on stderr; without a terminal, a line when a file is done."""
    out = sys.stderr if stream is None else stream
    terminal = out.isatty()

    def draw(file: str, done: int, total: int) -> None:
        filled = 30 * done // total if total else 30
        line = f"{file:<24.24} [{'#' * filled:<30}] {done / 1e6:7.1f} / {total / 1e6:.1f} MB"
        if terminal:
            out.write(f"\r{line}" + "\n" * (done == total))
        elif done == total:
            out.write(f"{line}\n")
        out.flush()

    return draw
