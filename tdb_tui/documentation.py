"""The reference pages, made from the tables that the program runs on: `python -m tdb_tui.documentation` writes them."""

from collections.abc import Iterable
from pathlib import Path

from tdb_tui.commands import registry
from tdb_tui.commands.helping import GROUPS, help_text
from tdb_tui.contract import ENTRY, RESULTS
from tdb_tui.exits import EXIT_CODES
from tdb_tui.keys import KEYS
from tdb_tui.manual import manual, spec
from tdb_tui.settings import SETTINGS
from tdb_tui.topics import TOPICS

DOCS = Path(__file__).parent / "docs"


def pages() -> dict[str, str]:
    """File name -> text of every page."""
    return {
        "commands.md": commands(),
        "keys.md": keys(),
        "json.md": json(),
        "tdb-tui.1": manual(),
        "spec.json": spec(),
    }


def commands() -> str:
    """Every command with its help and examples, the topics, and the settings."""
    parts = [
        "# Commands\n\nAny unambiguous beginning of a name will do; `;;` separates commands on one line.\n"
    ]
    for group in GROUPS:
        parts.append(f"## {group}\n")
        for each in registry:
            if each.group == group:
                parts.append(f"### {each.name}\n\n```\n" + "\n".join(help_text(each)) + "\n```\n")
    for name, text in TOPICS.items():
        parts.append(f"## {name}\n\n```\n{text}\n```\n")
    parts.append(
        "## settings\n\n"
        + _table(("name", "default", "meaning"), ((s.name, s.default, s.help) for s in SETTINGS))
    )
    return "\n".join(parts)


def keys() -> str:
    """Every key and the command that it runs."""
    rows = ((f"`{key.shown}`", f"`{key.id}`", key.command and f"`{key.command}`", key.help) for key in KEYS)
    said = "A key runs a command, and the log shows which.  The ids are what `[keys]` in the configuration takes."
    return f"# Keys\n\n{said}\n\n" + _table(("key", "id", "command", "does"), rows)


def json() -> str:
    """The JSON lines of `--batch --json`, and the exit codes."""
    parts = ["# JSON\n\nWith `--batch --json`, one object a command on standard output and nothing else.\n"]
    parts.append(_table(("key", "holds"), ((f"`{key}`", text) for key, text in ENTRY.items())))
    for name, result in RESULTS.items():
        parts.append(
            f"## {name}\n\n"
            + _table(("result", "holds"), ((f"`{key}`", text) for key, text in result.items()))
        )
    parts.append(
        "## exit codes\n\n"
        + _table(("code", "meaning"), ((str(code), text) for code, text in EXIT_CODES.items()))
    )
    return "\n".join(parts)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines) + "\n"
    )


if __name__ == "__main__":
    DOCS.mkdir(exist_ok=True)
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
