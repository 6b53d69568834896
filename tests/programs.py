"""The program as its users call it, without a process of its own: quicker by all that Python imports."""

import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tdb_tui import cli


def tdb_tui(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Its exit code, and what it says."""
    said = [str(word) for word in words]
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
    ):
        patch.setattr(sys, "argv", ["tdb-tui", *said])
        for name, value in environment.items():
            patch.setenv(name, value)
        code = cli.main()
    return subprocess.CompletedProcess(said, code, out.getvalue(), err.getvalue())
