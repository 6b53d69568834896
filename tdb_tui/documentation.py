"""The reference pages, made from the tables that the program runs on: `python -m tdb_tui.documentation` writes them."""

from collections.abc import Iterable
from pathlib import Path

from tdb_tui.commands import registry
from tdb_tui.commands.helping import GROUPS, help_text
from tdb_tui.contract import ENTRY, RESULTS
from tdb_tui.exits import CRASHED, INTERRUPTED
from tdb_tui.keys import KEYS
from tdb_tui.settings import SETTINGS
from tdb_tui.topics import TOPICS

DOCS = Path(__file__).parent / "docs"

EXIT_CODES = {
    0: "all commands succeeded",
    1: "a command failed",
    2: "the command line was wrong",
    3: "the model, its tokenizer or the device could not be had",
    4: "the computation failed: out of memory, numbers that are not finite",
    5: "an assertion failed",
    CRASHED: "a defect of the program: a report was written",
    INTERRUPTED: "interrupted",
}


def pages() -> dict[str, str]:
    """File name -> text of every page."""
    return {"commands.md": commands(), "keys.md": keys(), "json.md": json()}


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
    rows = ((f"`{key.shown}`", key.command and f"`{key.command}`", key.help) for key in KEYS)
    return "# Keys\n\nA key runs a command, and the log shows which.\n\n" + _table(
        ("key", "command", "does"), rows
    )


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
