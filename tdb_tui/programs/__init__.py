"""Subcommands.  Each is a module of its own here, imported only when its name is the first word.

A new one is a module with `app`, a Typer application whose functions return the exit code, and a line in `PROGRAMS`.
"""

from importlib import import_module

import typer

PROGRAMS = {
    "pull": "download a model",
    "collate": "dataset examples of every component, from a corpus",
    "explain": "say what components do, into a store",
    "docs": "show a reference page",
    "doctor": "print versions, devices and what the terminal can do",
}
"Name -> what it is for, as the help of tdb-tui lists them."


def make_app() -> typer.Typer:
    """An application that leaves errors and exit codes to `tdb_tui.cli`."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def load_program(name: str) -> typer.Typer:
    """The application of a subcommand."""
    return import_module(f"{__name__}.{name}").app
