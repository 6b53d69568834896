"""Which files of other people may run commands: those whose contents have once been agreed to."""

import hashlib
import json
from pathlib import Path

from tdb_tui.files.output import write_whole
from tdb_tui.files.saved_values import read_json

SCHEMA = "tdb-trust/1"


def trust_file() -> Path:
    from platformdirs import user_state_path

    return user_state_path("tdb-tui") / "trusted.json"


def digest(path: Path) -> str:
    """SHA-256 of a file's contents.  Raises OSError."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_trusted(path: Path) -> bool:
    """Whether just these contents have been agreed to at this place.  Raises OSError, and CommandError."""
    return _trusted().get(str(path.resolve())) == digest(path)


def trust(path: Path) -> None:
    """Agree to what a file holds now.  Raises OSError, and CommandError where that cannot be kept."""
    kept = trust_file()
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {**_trusted(), str(path.resolve()): digest(path)}
    write_whole(kept, json.dumps({"schema": SCHEMA, "files": files}, indent=1) + "\n")


def _trusted() -> dict[str, str]:
    kept = trust_file()
    return dict(read_json(kept, "list of trusted files", SCHEMA)["files"]) if kept.exists() else {}
