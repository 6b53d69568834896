"""The debugger itself, what `tdb-tui PROMPT` is: the screen, or without a terminal the batch or the report."""

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from typer.main import get_command

from tdb_tui import __version__
from tdb_tui.errors import CommandError, ComputeFailed
from tdb_tui.exits import USAGE, fail
from tdb_tui.journal.finding import find_journal, journal_folder
from tdb_tui.journal.records import Kept
from tdb_tui.options import Options
from tdb_tui.programs import PROGRAMS, make_app
from tdb_tui.starting import open_session, taught

if TYPE_CHECKING:
    from tdb_tui.files.sourcing import ScriptLine

EPILOG = f"""Also: {", ".join(f"tdb-tui {name} ({what})" for name, what in PROGRAMS.items())}.
In the program, ? or help lists the commands."""

command_line = make_app(completes=True)
command_line.command(epilog=EPILOG)(Options)
command = get_command(command_line)


def run(words: Sequence[str]) -> int:
    """Do what the words of a command line say; the exit code."""
    options = command(list(words), prog_name="tdb-tui", standalone_mode=False)
    if not isinstance(options, Options):  # --help ends with a code
        return options
    if options.version:
        print(versions())
        return 0
    if options.spec is not None:
        return _spec(options.spec)
    kept = None
    if options.resume:
        try:
            kept = find_journal(journal_folder(), options.prompt)
        except CommandError as error:
            return fail(str(error), USAGE)
        options = options.resumed(kept.header["options"])
    if options.tutor:
        options = taught(options)
    if complaint := options.complaint():
        return fail(complaint, USAGE)
    batch = options.batch or options.json
    if not batch and not options.tutor and (options.plain or _is_dumb()):
        return _plain(options, words, kept)
    if options.tutor and (batch or not _has_screen()):
        return _lesson(options)
    if batch or ((options.execute or options.file) and not _has_screen()):
        return _batch(options, words, kept)
    return _screen(options, words, kept) if _has_screen() else _report(options, kept)


def versions() -> str:
    """This program's, those of what it stands on, and the device, without loading any of it."""
    from importlib.metadata import version

    torch = version("torch")
    cuda = Path("/dev/nvidiactl").exists() and "+cpu" not in torch
    mps = (sys.platform, platform.machine()) == ("darwin", "arm64")
    device = "cuda" if cuda else "mps" if mps else "cpu"
    return f"tdb-tui {__version__}  torch {torch}  textual {version('textual')}  device {device}"


def _spec(form: str) -> int:
    from tdb_tui.programs.docs import pages

    if form != "json":
        return fail(f"no form {form!r}: --spec json", USAGE)
    print(pages()["spec"].read_text(encoding="utf-8"), end="")
    return 0


def _batch(options: Options, words: Sequence[str], kept: Kept | None) -> int:
    from tdb_tui.batch import complain, run_batch
    from tdb_tui.files.sourcing import ScriptLine

    try:
        script = list(_script(words))
        session, notes = open_session(options, kept)
    except CommandError as error:
        complain(error)
        return _start_code(error)
    for note in notes:
        complain(note, mark="note:")
    if kept is not None and kept.pending is not None:
        script.insert(0, ScriptLine(kept.pending, ""))
    return run_batch(session, script, options.json, options.keep_going)


def _lesson(options: Options) -> int:
    """Play the lesson through, as its reader would."""
    from tdb_tui.batch import complain, play_lesson

    try:
        session, _ = open_session(options)
    except CommandError as error:
        complain(error)
        return _start_code(error)
    return play_lesson(session)


def _plain(options: Options, words: Sequence[str], kept: Kept | None) -> int:
    from tdb_tui.batch import complain
    from tdb_tui.files.sourcing import ScriptLine
    from tdb_tui.plain import run_plain

    try:
        script = list(_script(words))
        session, notes = open_session(options, kept)
    except CommandError as error:
        complain(error)
        return _start_code(error)
    if kept is not None and kept.pending is not None:
        script.insert(0, ScriptLine(kept.pending, ""))
    return run_plain(session, notes, script)


def _report(options: Options, kept: Kept | None) -> int:
    from tdb_tui.batch import complain
    from tdb_tui.machine.devices import ComputeError, compute_errors
    from tdb_tui.report import report

    try:
        session, notes = open_session(replace(options, journal=False), kept)  # nothing will be carried out
        with compute_errors():
            said = report(session.snapshot)
    except CommandError as error:
        complain(error)
        return _start_code(error)
    except ComputeError as error:
        complain(str(error))
        return ComputeFailed(str(error)).exit_code
    print("\n".join([*(f"note: {note}" for note in notes), *said]))
    return 0


def _screen(options: Options, words: Sequence[str], kept: Kept | None) -> int:
    """The screen, which imports torch behind its first frame."""
    from tdb_tui.screen import run_screen

    try:
        commands = [line.text for line in _script(words)]
    except CommandError as error:
        return fail(str(error), USAGE)
    return run_screen(options, [*commands, *(["tutor"] if options.tutor else [])], kept)


def _start_code(error: CommandError) -> int:
    """Before the first command, what is no fault of the model or the machine is one of the command line."""
    return USAGE if error.exit_code == 1 else error.exit_code


def _script(words: Sequence[str]) -> "Iterator[ScriptLine]":
    """Commands of -e and lines of -x in the order given, those that belong together as one."""
    from tdb_tui.files.sourcing import blocks

    return blocks(_given(words))


def _given(words: Sequence[str]) -> "Iterator[ScriptLine]":
    """The same one by one, as the parsed options no longer know them."""
    from tdb_tui.files.sourcing import ScriptLine, script_lines

    valued = {name for each in command.params if not getattr(each, "is_flag", True) for name in each.opts}
    following = iter(words)
    for word in following:
        if word == "--":
            return
        name, joined, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        if name in valued:
            value = value if joined else next(following, "")
        if name in ("-e", "--execute"):
            yield ScriptLine(value, "")
        elif name in ("-x", "--file"):
            yield from script_lines(Path(value))


def _has_screen() -> bool:
    """Whether a person sits at a terminal that can be drawn on; standard output elsewhere wants text."""
    return sys.stdin.isatty() and sys.stdout.isatty() and not _is_dumb()


def _is_dumb() -> bool:
    """Whether a person sits at a terminal that knows nothing but lines."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") == "dumb"
