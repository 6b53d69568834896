"""The program in a process of its own that has been forked from one in which everything is imported: a start in no time."""

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["tdb_tui.programs.debug", "tdb_tui.commands", "tdb_tui.batch", "tdb_tui.engine"]
)


def start(*words: str, state: Path, out: Path) -> BaseProcess:
    """`tdb-tui WORDS`, its journals below `state`; standard output goes to `out`, standard error beside it."""
    run = _FORKS.Process(target=_program, args=(words, str(state), str(out)))
    run.start()
    return run


def _program(words: tuple[str, ...], state: str, out: str) -> None:
    os.environ["XDG_STATE_HOME"] = state
    for descriptor, name in ((1, out), (2, f"{out}.err")):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, descriptor)
    sys.argv = ["tdb-tui", *words]
    from tdb_tui import cli

    sys.exit(cli.main())
