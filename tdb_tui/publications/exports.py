"""Exports of Neuronpedia's on disk: lines of JSON, or one list of objects, compressed or not."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from explanations.published.neuronpedia import exported, merged
from explanations.published.parsing import LARGEST, a_list, an_object, parsed
from explanations.published.records import Published, PublishedError

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
TOGETHER = 256
"Components that are handed on together."


def files_below(path: Path) -> list[Path]:
    """A file, or those of a folder and of the folders in it, in order.  Raises PublishedError where there are none."""
    if not path.exists():
        raise PublishedError(f"no file {path}, and no publisher of that name: openai or neuronpedia")
    found = (
        [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.name.endswith(ENDINGS))
    )
    if not found:
        raise PublishedError(f"{path} holds no export: files that end in {', '.join(ENDINGS)} were expected")
    return found


def read(paths: Iterable[Path], model: str, letter: str | None) -> Iterator[list[tuple[str, Published]]]:
    """(source, component), some at a time, each as far as its file knows it.  Raises PublishedError."""
    for path in paths:
        held: dict[str, tuple[str, Published]] = {}
        for found, place in _objects(path):
            about, each = exported(found, letter, place)
            if about != model:
                raise PublishedError(f"{place} is about {about}: this model has the shape of {model}")
            if len(held) >= TOGETHER and each.node not in held:
                yield list(held.values())
                held = {}
            known = held.get(each.node)
            held[each.node] = str(found["layer"]), each if known is None else merged(known[1], each)
        yield list(held.values())


def _objects(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Each object of a file, and where it stands."""
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            if number == 1 and line.lstrip().startswith(b"["):
                yield from _listed(path, line, lines)
                return
            if line.strip():
                yield parsed(line, f"{path}:{number}"), f"{path}:{number}"


def _listed(path: Path, first: bytes, lines: Iterable[bytes]) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a file that is one list."""
    whole = bytearray(first)
    for line in lines:
        whole += line
        if len(whole) > LARGEST:
            raise PublishedError(
                f"{path} is one list of more than {LARGEST >> 20} MB: use an export of lines"
            )
    try:
        found = json.loads(bytes(whole))
    except (ValueError, RecursionError) as error:
        raise PublishedError(f"{path} is not JSON") from error
    for number, each in enumerate(a_list(found, "it", str(path))):
        place = f"{path}[{number}]"
        yield an_object(each, "it", place), place


@contextmanager
def _open(path: Path) -> Iterator[Iterator[bytes]]:
    """Its lines; one longer than any published comes in two, which are no JSON."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield iter(lambda: file.readline(LARGEST + 1), b"")
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise PublishedError(f"{path} is damaged: {str(error).rstrip('.').lower()}") from error
    except OSError as error:
        raise PublishedError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def grouped(found: Sequence[tuple[str, Published]]) -> Iterator[tuple[str, list[Published]]]:
    """By source, in the order in which the sources come first."""
    sources = dict.fromkeys(source for source, _ in found)
    for source in sources:
        yield source, [each for one, each in found if one == source]
