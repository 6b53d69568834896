"""The manual page, and the program as data for other programs, both from the tables that it runs on."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tdb_tui.commands import registry
from tdb_tui.commands.helping import GROUPS
from tdb_tui.contract import ENTRY, RESULTS
from tdb_tui.exits import EXIT_CODES
from tdb_tui.keys import KEYS
from tdb_tui.language.registry import GLOBAL_OPTIONS, Command
from tdb_tui.programs import PROGRAMS
from tdb_tui.programs.debug import command as command_line
from tdb_tui.settings import SETTINGS
from tdb_tui.topics import TOPICS

SPEC = "tdb-spec/1"
FILES = (
    ("$XDG_STATE_HOME/tdb-tui/history.jsonl", "lines typed at the screen"),
    ("$XDG_STATE_HOME/tdb-tui/journals/", "what --resume goes on from"),
    ("$XDG_STATE_HOME/tdb-tui/crash.txt", "the report of a defect"),
)


def spec() -> str:
    """Commands, their arguments, settings, keys and exit codes as JSON."""
    data = {
        "schema": SPEC,
        "options": [_option(each) for each in command_line.params],
        "subcommands": dict(PROGRAMS),
        "commands": [_command(each) for each in registry],
        "global_options": _flags(GLOBAL_OPTIONS),
        "settings": [
            {"name": each.name, "default": each.default, "choices": list(each.choices), "help": each.help}
            for each in SETTINGS
        ],
        "keys": [
            {
                "keys": list(key.keys),
                "shown": key.shown,
                "command": key.command or key.opens,
                "help": key.help,
            }
            for key in KEYS
        ],
        "topics": sorted(TOPICS),
        "json": {"entry": ENTRY, "results": RESULTS},
        "exit_codes": {str(code): meaning for code, meaning in EXIT_CODES.items()},
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def manual() -> str:
    """The page for man(1), in roff."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield ".TH TDB-TUI 1"
    yield ".ad l"
    yield from _section("NAME", ["tdb-tui - a pdb for the forward pass of GPT-2, in a terminal"])
    yield ".SH SYNOPSIS"
    yield ".B tdb-tui"
    yield _roff("PROMPT --target TOKEN [--distractor TOKEN] [OPTIONS]")
    for name in PROGRAMS:
        yield ".br"
        yield f".B tdb-tui {name}"
    yield from _section("DESCRIPTION", [(command_line.help or "").strip()])
    yield from _terms("OPTIONS", map(_term, command_line.params))
    yield from _terms("SUBCOMMANDS", PROGRAMS.items())
    for group in GROUPS:
        members = (each for each in registry if each.group == group)
        yield from _terms(f"COMMANDS: {group.upper()}", ((_usage(each), each.summary) for each in members))
    yield from _terms("KEYS", ((key.shown, key.help) for key in KEYS))
    yield from _terms("SETTINGS", ((each.name, f"{each.help} (default {each.default})") for each in SETTINGS))
    yield from _terms("EXIT STATUS", ((str(code), meaning) for code, meaning in EXIT_CODES.items()))
    yield from _terms("FILES", FILES)
    yield from _section("SEE ALSO", ["tdb-tui docs, and help in the program"])


def _section(title: str, paragraphs: Iterable[str]) -> Iterator[str]:
    yield f".SH {title}"
    yield from map(_roff, paragraphs)


def _terms(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f".SH {title}"
    for term, text in rows:
        yield ".TP"
        yield f".B {_roff(term)}"
        yield _roff(text)


def _roff(text: str) -> str:
    """Text that is only text to roff."""
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace("\n", " ")
    safe = "".join(sign if sign.isascii() else f"\\[u{ord(sign):04X}]" for sign in safe)
    return f"\\&{safe}" if safe[:1] in (".", "'") else safe


def _usage(command: Command) -> str:
    return f"{', '.join((command.name, *command.aliases))} {command.usage}".rstrip()


def _flags_of(param: Any) -> list[str]:
    """`-e`, `--execute`; empty for an argument, which has no dashes."""
    return [name for name in (*param.opts, *param.secondary_opts) if name.startswith("-")]


def _term(param: Any) -> tuple[str, str]:
    return _spelled(param), param.help or ""


def _spelled(param: Any) -> str:
    """`--device VALUE`, or the argument's name."""
    names = ", ".join(_flags_of(param)) or str(param.name).upper()
    return names if _is_flag(param) or not _flags_of(param) else f"{names} VALUE"


def _is_flag(param: Any) -> bool:
    return getattr(param, "is_flag", False)


def _option(param: Any) -> dict[str, Any]:
    return {
        "name": param.name,
        "flags": _flags_of(param),
        "takes_value": not _is_flag(param),
        "repeats": param.multiple,
        "help": param.help or "",
    }


def _command(command: Command) -> dict[str, Any]:
    return {
        "name": command.name,
        "aliases": list(command.aliases),
        "usage": command.usage,
        "group": command.group,
        "summary": command.summary,
        "help": command.help,
        "examples": list(command.examples),
        "options": _flags(command.options),
        "arguments": list(command.complete),
        "empty_line": command.repeat.value,
    }


def _flags(options: Any) -> dict[str, dict[str, bool]]:
    return {name: {"takes_value": takes} for name, takes in options.items()}
