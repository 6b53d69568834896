"""Subcommands.  Each is a module of its own here, imported only when its name is the first word.

A new one is a module with `app`, a Typer application whose functions return the exit code, and a line in `PROGRAMS`.
"""

import os
from importlib import import_module

import typer

PROGRAMS = {
    "pull": "download a model, or SAEs",
    "collate": "dataset examples of every component, from a corpus",
    "explain": "say what components do, into a store",
    "published": "what others published about components, into a store",
    "serve": "answer the commands of other programs",
    "docs": "show a reference page",
    "sae": "train and judge sparse autoencoders",
    "doctor": "print versions, devices and what the terminal can do",
}
"Name -> what it is for, as the help of tdb-tui lists them."


ASKING = "_TDB_TUI_COMPLETE"
"Set where a shell asks what could be typed next."


def make_app(completes: bool = False) -> typer.Typer:
    """An application that leaves errors and exit codes to `tdb_tui.cli`; one of all has the options for shells."""
    completes = completes or ASKING in os.environ
    return typer.Typer(add_completion=completes, rich_markup_mode=None, pretty_exceptions_enable=False)


def asked_about() -> str | None:
    """The subcommand whose words a shell asks about, and which is taken out of its question; None where it is none."""
    name = next((name for name in ("_TYPER_COMPLETE_ARGS", "COMP_WORDS") if name in os.environ), None)
    asked = os.environ[name] if name else ""
    between = "\n" if "\n" in asked else " "
    words = asked.split(between)
    if name is None or len(words) < 3 or words[1] not in PROGRAMS:
        return None
    os.environ[name] = between.join([words[0], *words[2:]])
    if "COMP_CWORD" in os.environ:
        os.environ["COMP_CWORD"] = str(int(os.environ["COMP_CWORD"]) - 1)
    return words[1]


def load_program(name: str) -> typer.Typer:
    """The application of a subcommand."""
    return import_module(f"{__name__}.{name}").app
