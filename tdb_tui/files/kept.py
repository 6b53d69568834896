"""Node tables of one run as a file, to compare later runs with: safetensors, and JSON in its header.

A file holds numbers for one model's weights: it is refused for any other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model.nodes import KINDS, NONE, SITES, NodeTable, joined
from tdb_tui.asked import Asked
from tdb_tui.errors import CommandError
from tdb_tui.files.output import write_bytes
from tdb_tui.state import Frame
from tdb_tui.tables.sides import Place, Side, upstream_rows

SCHEMA = "tdb-run/2"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Question:
    """What the numbers are about."""

    text: str
    "As it is shown: `' Mary' - ' John' @END`."
    quantity: str
    treatment: str
    frames: tuple[tuple[str, int, int, str], ...]
    "Component, token, key (-1 for none) and input (empty for none) of each."
    value: float


@dataclass(frozen=True, slots=True)
class About:
    """The header of the file."""

    model: str
    hash: str
    "Of its weights."
    place: Place
    question: Question
    edits: tuple[str, ...]
    "The commands whose edits were in force."


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A run read back."""

    about: About
    tables: Mapping[str, tuple[NodeTable, Floats]]
    "Kind -> its rows, and what had been measured of them (else NaN)."

    def side(self, name: str, kinds: Sequence[str], pos: int | None) -> Side:
        """The rows of some kinds, at every token or at `pos` only.  Raises KeyError for a kind that is not kept."""
        table = joined([self.tables[kind][0] for kind in kinds])
        measured = np.concatenate([self.tables[kind][1] for kind in kinds])
        if pos is not None:
            keep = table.pos == pos
            table, measured = table.take(keep), measured[keep]
        return Side(name, self.about.place, self.about.question.value, table, measured)


def described(frames: Sequence[Frame]) -> tuple[tuple[str, int, int, str], ...]:
    """Frames as a file names them."""
    return tuple(
        (
            str(frame.node.component),
            frame.node.pos,
            NONE if frame.node.key is None else frame.node.key,
            frame.via.value if frame.via else "",
        )
        for frame in frames
    )


def keep(path: Path, about: About, asked: Asked, kinds: Sequence[str]) -> int:
    """Write what is asked of a run to a file; how many rows that are.  Raises CommandError."""
    tables = [upstream_rows(asked, kind) for kind in kinds]
    whole = joined(tables)
    columns = {field.name: np.ascontiguousarray(getattr(whole, field.name)) for field in fields(NodeTable)}
    columns["measured"] = asked.measured(whole)
    header = {
        **asdict(about),
        "kinds": [kind.name for kind in KINDS],  # what the numbers of the column `kind` mean
        "tables": [[kind, len(table)] for kind, table in zip(kinds, tables, strict=True)],
    }
    write_bytes(path, save(columns, metadata={"schema": SCHEMA, "run": json.dumps(header)}))
    return len(whole)


def read_run(path: Path, hash: str, n_vocab: int) -> Kept:
    """A file that `keep` wrote for the model with these weights.  Raises CommandError."""
    metadata, columns = _contents(path)
    found = metadata.get("schema")
    if found is None:
        message = f'{path} isn\'t a kept run: missing "schema" (expected "{SCHEMA}")'
        raise CommandError(message, code="bad-file")
    if found != SCHEMA:
        raise CommandError(f"{path} is {found}: this version reads {SCHEMA}", code="bad-file")
    try:
        data = json.loads(metadata["run"])
        about = _about(data, n_vocab)
        if about.hash != hash:
            message = (
                f"{path} is for {about.model} (weights {about.hash}), these are {hash}: start with that model"
            )
            raise CommandError(message, code="other-model")
        return Kept(about, _tables(data, columns, len(about.place.tokens)))
    except KeyError as error:
        raise CommandError(f"{path} is damaged: it has no {error.args[0]}", code="bad-file") from None
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CommandError(f"{path} is damaged: {error}", code="bad-file") from None


def _contents(path: Path) -> tuple[Mapping[str, str], dict[str, NDArray[Any]]]:
    try:
        path.open("rb").close()  # the library's words for a missing file are its own
        with safe_open(path, framework="numpy") as file:
            names: list[str] = list(file.keys())
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"cannot read {path}: {reason}", code="no-file") from None
    except (SafetensorError, ValueError, TypeError, AttributeError, UnicodeDecodeError):
        raise CommandError(f"{path} isn't a kept run: keep FILE writes one", code="bad-file") from None


def _about(data: Mapping[str, Any], n_vocab: int) -> About:
    place, question = data["place"], data["question"]
    tokens = tuple(_whole(token, n_vocab - 1) for token in place["tokens"])
    texts = tuple(_text(text) for text in place["texts"])
    if not tokens or len(texts) != len(tokens):
        raise ValueError(f"{len(texts)} texts for {len(tokens)} tokens")
    frames = [
        (_text(part), _whole(pos), NONE if key == NONE else _whole(key), _text(via))
        for part, pos, key, via in question["frames"]
    ]
    return About(
        _text(data["model"]),
        _text(data["hash"]),
        Place(tokens, texts, {_text(name): _whole(at) for name, at in place["names"].items()}),
        Question(
            _text(question["text"]),
            _text(question["quantity"]),
            _text(question["treatment"]),
            tuple(frames),
            float(question["value"]),
        ),
        tuple(_text(edit) for edit in data["edits"]),
    )


def _tables(
    data: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], length: int
) -> dict[str, tuple[NodeTable, Floats]]:
    """The tables kind by kind, every column checked."""
    counts = [(_text(kind), _whole(rows)) for kind, rows in data["tables"]]
    rows = sum(count for _, count in counts)
    names = [kind.name for kind in KINDS]
    meanings = np.array([names.index(name) for name in data["kinds"]])
    limits = {
        "kind": (0, len(meanings)),
        "site": (0, len(SITES)),
        "layer": (0, 1 << 10),
        "index": (NONE, 1 << 20),
    }
    limits |= {"pos": (0, length), "key": (NONE, length)}
    checked = {name: _column(columns[name], rows, *limits.get(name, ())) for name in (*_NAMES, "measured")}
    kind, site = meanings[checked["kind"]].astype(np.int8), checked["site"].astype(np.int8)
    whole = NodeTable(kind, site, *(checked[name] for name in _NAMES[2:]))
    found: dict[str, tuple[NodeTable, Floats]] = {}
    at = 0
    for name, count in counts:
        part = np.arange(at, at + count)
        found[name] = whole.take(part), checked["measured"][part]
        at += count
    return found


_NAMES = tuple(field.name for field in fields(NodeTable))


def _column(values: NDArray[Any], rows: int, least: int | None = None, below: int = 0) -> NDArray[Any]:
    """A column of the right length, of whole numbers from `least` to under `below` where these are given."""
    if values.shape != (rows,):
        raise ValueError(f"a column has {values.size} values for {rows} rows")
    if least is None:
        return values.astype(np.float64)
    if not np.issubdtype(values.dtype, np.integer) or not np.all((values >= least) & (values < below)):
        raise ValueError(f"a column has values that are not from {least} to {below - 1}")
    return values.astype(np.int64)


def _whole(value: object, most: int = 1 << 40) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r} where a whole number belongs")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} where text belongs")
    return value
