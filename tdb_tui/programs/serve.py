"""`tdb-tui serve`: a session for other programs, asked and answered in lines."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tdb_tui.exits import INTERRUPTED, USAGE, fail
from tdb_tui.programs import make_app

app = make_app()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    at: Annotated[
        str | None, typer.Option("--socket", help="A Unix socket to make, for others to open.")
    ] = None,
) -> int:
    """Answer commands from standard input, or a socket, with the JSON lines of --batch --json.

    All else is as for tdb-tui itself: tdb-tui serve PROMPT --target Mary.  A request is a command on a line, or an
    object {"cmd": "rank", "id": 1} whose id its answers carry; quit ends it.
    """
    from tdb_tui.batch import complain
    from tdb_tui.config import read_config
    from tdb_tui.errors import CommandError
    from tdb_tui.programs.debug import parsed

    try:
        options, _ = parsed(context.args, read_config(None).options)
        if complaint := options.complaint():
            return fail(complaint, USAGE)
        from tdb_tui.serving import serve as answer_lines
        from tdb_tui.serving import serve_socket
        from tdb_tui.starting import open_session

        session, notes = open_session(options)
        for note in notes:
            complain(note, mark="note:")
        if at is None:
            answer_lines(session, sys.stdin, lambda text: print(text, flush=True))
        else:
            serve_socket(session, Path(at))
    except CommandError as error:
        complain(error)
        return USAGE if error.exit_code == 1 else error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
