"""The debugger itself, what `tdb-tui PROMPT` is: the screen, or without a terminal the batch or the report."""

import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from typer.main import get_command

from tdb_tui import __version__
from tdb_tui.config import config_folder, read_config
from tdb_tui.conversion import leave_texts
from tdb_tui.crash import Crashed
from tdb_tui.errors import CommandError, ComputeFailed
from tdb_tui.exits import USAGE, fail
from tdb_tui.options import IN_FILES, Options
from tdb_tui.programs import PROGRAMS, make_app
from tdb_tui.starting import Start, open_session, taught

if TYPE_CHECKING:
    from tdb_tui.config import Config
    from tdb_tui.files.sourcing import ScriptLine
    from tdb_tui.journal.records import Kept
    from tdb_tui.session import Session

ORIGINS = {"COMMANDLINE": "flag", "ENVIRONMENT": "env", "DEFAULT_MAP": "file"}
"What the command line's library calls where a value comes from, and what we do."

EPILOG = f"""Also: {", ".join(f"tdb-tui {name} ({what})" for name, what in PROGRAMS.items())}.
In the program, ? or help lists the commands."""

app = make_app(completes=True)
app.command(epilog=EPILOG)(Options)
command = get_command(app)
leave_texts(command)


def run(words: Sequence[str]) -> int:
    """Do what the words of a command line say; the exit code."""
    options, _ = parsed(words, {})
    if options.version:
        print(versions())
        return 0
    if options.spec is not None:
        return _spec(options.spec)
    kept = None
    try:
        config = read_config(options.config)
        options, origins = parsed(words, config.options)
        if options.paths:
            return _paths(config)
        if options.resume:
            from tdb_tui.journal.finding import find_journal, journal_folder

            kept = find_journal(journal_folder(), options.prompt)
            options = options.resumed(kept.header["options"])
    except CommandError as error:
        return fail(str(error), USAGE)
    if options.tutor:
        options = taught(options)
    if complaint := options.complaint():
        return fail(complaint, USAGE)
    batch = options.batch or options.json
    start = Start(options, words, config, origins, kept)
    if not batch and not options.tutor and (options.plain or _is_dumb()):
        return _plain(start)
    if options.tutor and (batch or not _has_screen()):
        return _lesson(options)
    if batch or ((options.execute or options.file) and not _has_screen()):
        return _batch(start)
    return _screen(start) if _has_screen() else _report(options, kept)


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


def parsed(words: Sequence[str], defaults: Mapping[str, object]) -> tuple[Options, dict[str, str]]:
    """The options, and where each comes from: default, file, env or flag."""
    context = command.make_context(
        "tdb-tui", list(words), default_map=dict(defaults), auto_envvar_prefix="TDB"
    )
    with context:
        options = command.invoke(context)
    sources = {
        name: context.get_parameter_source(name) for name in Options.__dataclass_fields__ if name in IN_FILES
    }
    return options, {
        name: ORIGINS.get(getattr(source, "name", ""), "default") for name, source in sources.items()
    }


def _paths(config: "Config") -> int:
    """Print where things are kept."""
    from tdb_tui.journal.finding import journal_folder

    state = journal_folder().parent
    rows = {
        "config": config.path,
        "commands": config_folder() / "rc.tdb",
        "journals": journal_folder(),
        "reports of crashes": state,
        "trusted files": state / "trusted.json",
        "copied text": state / "clip.txt",
    }
    for name, path in rows.items():
        print(f"{name:<20}{path}{'' if path.exists() else '  (not there)'}")
    return 0


def _batch(start: Start) -> int:
    from tdb_tui.batch import complain, run_batch

    options, kept = start.options, start.kept
    try:
        script = _lines(start, person=False)
        session, notes = open_session(options, kept, start.about)
    except CommandError as error:
        complain(error)
        return _start_code(error)
    for note in notes:
        complain(note, mark="note:")
    try:
        return run_batch(session, script, options.json, options.keep_going)
    except BrokenPipeError:
        raise
    except Exception as error:
        raise _crashed(session, start.options) from error
    finally:
        _close(session)


def _lines(start: Start, person: bool) -> "list[ScriptLine]":
    """What is carried out first: what was under way when a session ended, or else start-up files; then -e and -x."""
    from tdb_tui.files.sourcing import ScriptLine
    from tdb_tui.startup import startup_lines

    given = list(_script(start.words))
    if start.kept is None:
        return [*startup_lines(start.options, start.config, person), *given]
    return [*([ScriptLine(start.kept.pending, "")] if start.kept.pending is not None else []), *given]


def _lesson(options: Options) -> int:
    """Play the lesson through, as its reader would."""
    from tdb_tui.batch import complain, play_lesson

    try:
        session, _ = open_session(options)
    except CommandError as error:
        complain(error)
        return _start_code(error)
    return play_lesson(session)


def _plain(start: Start) -> int:
    from tdb_tui.batch import complain
    from tdb_tui.plain import run_plain

    try:
        script = _lines(start, person=sys.stdin.isatty())
        session, notes = open_session(start.options, start.kept, start.about)
    except CommandError as error:
        complain(error)
        return _start_code(error)
    try:
        return run_plain(session, notes, script)
    except BrokenPipeError:
        raise
    except Exception as error:
        raise _crashed(session, start.options) from error
    finally:
        _close(session)


def _crashed(session: "Session", options: Options) -> Crashed:
    return Crashed(session.history, session.state.inputs.prompt.text, options.crash_text)


def _close(session: "Session") -> None:
    """Let others go on with the session's journal."""
    if session.journal is not None:
        session.journal.close()


def _report(options: Options, kept: "Kept | None") -> int:
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


def _screen(start: Start) -> int:
    """The screen, which imports torch behind its first frame."""
    from tdb_tui.screen import run_screen

    try:
        commands = [line.text for line in _lines(start, person=True)]
    except CommandError as error:
        return fail(str(error), USAGE)
    return run_screen(start, [*commands, *(["tutor"] if start.options.tutor else [])])


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
