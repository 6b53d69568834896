"""JSON files that people may have changed: read, told apart by their schema, and checked value by value."""

import json
import math
from pathlib import Path
from typing import Any

from tdb_tui.errors import CommandError


def read_json(path: Path, what: str, schema: str) -> dict[str, Any]:
    """A file's contents.  Raises CommandError for a file that is no `what`, or of another version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(
            f"cannot read {path}: {(error.strerror or str(error)).lower()}", code="no-file"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise CommandError(f"{path} isn't a tdb-tui {what}: it is not JSON", code="bad-file") from None
    found = data.get("schema") if isinstance(data, dict) else None
    if found is None:
        raise CommandError(
            f'{path} isn\'t a tdb-tui {what}: missing "schema" (expected "{schema}")', code="bad-file"
        )
    if found != schema:
        raise CommandError(f"{path} is {found}: this version reads {schema}", code="bad-file")
    return data


def as_whole(value: object, most: float = math.inf) -> int:
    """A whole number from 0 on.  Raises ValueError, as the others do, for anything else."""
    if type(value) is not int or not 0 <= value <= most:
        limit = "" if most == math.inf else f" from 0 to {most}"
        raise ValueError(f"{value!r} where a whole number{limit} belongs")
    return value


def as_number(value: object) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        raise ValueError(f"{value!r} where a number belongs")
    return value


def as_truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} where true or false belongs")
    return value


def as_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} where a text belongs")
    return value


def as_name(value: object, most: int) -> str:
    """A text of one line."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > most:
        raise ValueError(f"{value!r} where a name belongs")
    return value
