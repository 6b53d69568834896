"""The program's way in: which subcommand it is, and how it ends.  Nothing heavy is imported before it is needed."""

import io
import os
import sys

import typer

from tdb_tui.crash import Crashed, write_report
from tdb_tui.exits import CRASHED, INTERRUPTED, USAGE, fail
from tdb_tui.guard import check_libraries
from tdb_tui.programs import ASKING, PROGRAMS, asked_about, load_program


def main() -> int:
    """Entry point of `tdb-tui`; its exit code."""
    code = _run()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # One of torchrun's processes: all is written, and gloo's threads abort one that takes Python down around them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _run() -> int:
    """Do what the command line says; the exit code."""
    check_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what an old locale cannot write is escaped
            stream.reconfigure(errors="backslashreplace")
    called = "tdb-tui"
    try:
        if ASKING in os.environ:  # a shell completes: the words are in its question
            about = asked_about()
            program = load_program("debug" if about is None else about)
            return program([], prog_name=called, standalone_mode=False) or 0
        if sys.argv[1:2] and sys.argv[1] in PROGRAMS:
            called = f"tdb-tui {sys.argv[1]}"
            return load_program(sys.argv[1])(sys.argv[2:], prog_name=called, standalone_mode=False) or 0
        from tdb_tui.programs import debug

        return debug.run(sys.argv[1:]) or 0
    except BrokenPipeError:  # whoever read us has heard enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except typer.Exit as exit_:
        return exit_.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        # click's usage errors, whose class typer does not export
        message = getattr(error, "format_message", None)
        return _crashed(error) if message is None else fail(f"{message()} ({called} --help)", USAGE)


def _crashed(error: Exception) -> int:
    """A defect of ours: one sentence, and a report without the user's texts unless they are asked for."""
    from platformdirs import user_state_path

    cause = error.__cause__ if isinstance(error, Crashed) else error
    said = f"internal error ({type(cause).__name__})"
    try:
        text = error.text if isinstance(error, Crashed) else "--crash-text" in sys.argv
        report = write_report(error, user_state_path("tdb-tui"), text)
    except OSError as failed:
        return fail(f"{said}; no report: {(failed.strerror or str(failed)).lower()}", CRASHED)
    return fail(f"{said}: a report is in {report}", CRASHED)
