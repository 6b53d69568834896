"""`!`: Python on the recorded pass, for what no command says."""

import ast
import code
import contextlib
import io
import traceback
from types import CodeType
from typing import Any

from model.printable import printable
from model.sites import Site
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, Interrupted
from tdb_tui.language.arguments import at_most
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply
from tdb_tui.session import Session

NAME = "<!>"


@command(
    "!", usage="PYTHON", group="seeing", examples=("! trace[Site.PATTERN, 0].shape", "! session.state.pos")
)
def python(session: Session, call: Call) -> Reply:
    """Run Python and print the value of its last expression.

    Knows `trace` (the run: trace[Site.Z, 3]), `base` (the run without edits), `reading`, `model`, `tokens`,
    `session`, `Site`, `torch` and `np`.  Names that it sets stay until the program ends.
    """
    source = call.args[0].text if call.args else ""
    if not source:
        raise CommandError("! needs Python after it: ! trace[Site.PATTERN, 0].shape", code="missing-argument")
    names = _names(session)
    printed = io.StringIO()
    try:
        statements, last = _compiled(source)
        with contextlib.redirect_stdout(printed):
            exec(statements, names)
            value = None if last is None else eval(last, names)
    except Interrupted:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises is the answer to it
        said = traceback.format_exception_only(error)[-1].strip()
        raise CommandError(printable(said), code="python") from None
    session.python_names = {name: names[name] for name in names if not name.startswith("__")}
    text = printed.getvalue() + ("" if value is None else repr(value))
    return Reply(
        tuple(printable(line) for line in text.splitlines()),
        {"value": None if value is None else repr(value)},
    )


@command("interact", "py", group="seeing", examples=("py", "interact"))
def interact(session: Session, call: Call) -> Reply:
    """Python at a prompt, with the names that `!` knows; Ctrl-D comes back.  Only where there is a terminal."""
    at_most(call, 0)
    if not session.at_terminal:
        raise CommandError(
            "py asks a person at a terminal: here write ! before a line of Python", code="no-terminal"
        )
    return Reply(("back from Python",), opens_python=True, script="")


def ask_python(session: Session) -> None:
    """Read and carry out lines of Python until the user has had enough; what they name stays."""
    names = _names(session)
    banner = "Python; Ctrl-D goes back.  Names: " + ", ".join(sorted(names))
    code.interact(banner, local=names, exitmsg="")
    session.python_names = {name: names[name] for name in names if not name.startswith("__")}


def _compiled(source: str) -> tuple[CodeType, CodeType | None]:
    """All statements, and the last one apart where it is an expression."""
    tree = ast.parse(source, NAME)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        return compile(tree, NAME, "exec"), None
    tree.body.pop()
    return compile(tree, NAME, "exec"), compile(ast.Expression(last.value), NAME, "eval")


def _names(session: Session) -> dict[str, Any]:
    import numpy as np
    import torch

    now, base = session.snapshot.now, session.snapshot.base
    return {
        **session.python_names,
        "session": session,
        "reading": now,
        "trace": now.trace,
        "base": base.trace,
        "model": now.model,
        "tokens": now.trace.tokens,
        "Site": Site,
        "torch": torch,
        "np": np,
    }
