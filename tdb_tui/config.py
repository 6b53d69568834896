"""The configuration file, TOML: defaults for options, settings of every session, keys and colours."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.options import IN_FILES, LISTS, Options

TABLES = ("settings", "keys", "theme")


@dataclass(frozen=True, slots=True)
class Config:
    path: Path
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    "What an option is where the command line does not say."
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    "What `set` would be told at the start of every session."
    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    "Which keys do what, by the names of `tdb-tui docs keys`; see `keymap.remapped`."
    theme: Mapping[str, Any] = field(default_factory=dict[str, Any])
    "Colours, likewise."


def config_folder() -> Path:
    from platformdirs import user_config_path

    return user_config_path("tdb-tui")


def read_config(path: str | None) -> Config:
    """The file given, else `config.toml` in the user's folder where there is one.  Raises CommandError."""
    file = config_folder() / "config.toml" if path is None else Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path is None:
            return Config(file)
        raise CommandError(f"cannot read {file}: no such file", code="no-file") from None
    except OSError as error:
        raise CommandError(f"cannot read {file}: {(error.strerror or '').lower()}", code="no-file") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not TOML: {error}", code="bad-config") from None
    import tomllib  # only where there is something to be read by it

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{file} is not TOML: {error}", code="bad-config") from None
    return Config(file, _options(file, data), *(_table(file, data, name) for name in TABLES))


def _options(file: Path, data: Mapping[str, Any]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in data.items():
        name = key.replace("-", "_")
        if key in TABLES:
            continue
        if name not in IN_FILES:
            known = sorted((*IN_FILES, *TABLES))
            right = did_you_mean(name, known) or f": {', '.join(known)}"
            raise CommandError(f"{file}: unknown key {key!r}{right}", code="bad-config")
        if name in LISTS:
            found[name] = _texts(file, key, value)
            continue
        truth = isinstance(getattr(Options(), name), bool) or name == "mouse"
        if not isinstance(value, bool if truth else str):
            kind = "true or false" if truth else "a text in quotes"
            raise CommandError(f"{file}: {key} is {value!r}: write {kind}", code="bad-config")
        found[name] = value
    return found


def _texts(file: Path, key: str, value: object) -> list[str]:
    """`"a"` or `["a", "b"]`."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        message = f"{file}: {key} is {value!r}: write a text in quotes, or several in square brackets"
        raise CommandError(message, code="bad-config")
    return [str(each) for each in texts]


def _table(file: Path, data: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise CommandError(f"{file}: {name} is {table!r}: write it as a table, [{name}]", code="bad-config")
    for key, value in table.items() if name == "keys" else ():
        if not isinstance(value, str):
            raise CommandError(
                f"{file}: [keys] {key} is {value!r}: write a text in quotes", code="bad-config"
            )
    if name == "settings":
        return {key: str(value) for key, value in table.items()}
    return dict(table)
