"""How soon the program answers: its help, and the first frame of its screen, beside the imports that they cannot do without.

python tests/bench/bench_start.py [--rounds N]

The floor of the help is Typer imported, that of the first frame Textual's application imported and nothing drawn.  The
bars are 0.15 s and 0.4 s; processor time is what another program on the machine disturbs least.  Bytecode is written first,
as it is where a program has been installed.
"""

import argparse
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.measuring import Row, Took, Work, in_turn, over, table

ROOT = Path(__file__).resolve().parents[2]
PROMPT = (
    "When Mary and John went to the store, John gave a drink to",
    "--target",
    "Mary",
    "--distractor",
    "John",
)
SIZE = struct.pack("HHHH", 40, 120, 0, 0)
DRAWN = b"(tdb)"
"What the last row but one of the first frame begins with."
TICKS = os.sysconf("SC_CLK_TCK")
BYTECODE = Path(tempfile.gettempdir()) / "tdb-tui-bytecode"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    works: dict[str, Work] = {
        "python": lambda: to_its_end("-c", "pass"),
        "floor of the help: import typer": lambda: to_its_end("-c", "import typer"),
        "tdb-tui --help": lambda: to_its_end("-m", "tdb_tui", "--help"),
        "floor of the frame: import textual.app": lambda: to_its_end("-c", "import textual.app"),
        "tdb-tui PROMPT, to the first frame": lambda: to_the_first_frame("-m", "tdb_tui", *PROMPT),
    }
    took = in_turn(works, parser.parse_args().rounds)
    floors = [
        "python",
        "python",
        "floor of the help: import typer",
        "python",
        "floor of the frame: import textual.app",
    ]
    rows = [
        Row(name, took[name], over(took[name], took[floor]))
        for name, floor in zip(works, floors, strict=True)
    ]
    print(table("starting", rows))


def to_its_end(*words: str) -> Took:
    """A program of Python's, run until it ends."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, *words], env=environment(), stdout=subprocess.DEVNULL) as run:
        _, status, used = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
    assert run.returncode == 0, words
    return Took(time.perf_counter() - began, used.ru_utime + used.ru_stime)


def to_the_first_frame(*words: str) -> Took:
    """The same in a terminal, until the screen has been drawn."""
    began = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, *words], environment())
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, SIZE)
    try:
        wait_for(terminal, DRAWN)
        return Took(time.perf_counter() - began, processor_time(pid))
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def wait_for(terminal: int, needle: bytes, seconds: float = 60) -> None:
    seen, end = b"", time.perf_counter() + seconds
    while needle not in seen:
        left = end - time.perf_counter()
        assert left > 0 and select.select([terminal], [], [], left)[0], seen
        seen += os.read(terminal, 65536)


def processor_time(pid: int) -> float:
    """Seconds that a process has used so far, in ticks of the system's clock."""
    fields: Sequence[str] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def environment() -> dict[str, str]:
    """A terminal's, with a folder for bytecode that the first round fills."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    own = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(BYTECODE)}
    return {**kept, **own, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}


if __name__ == "__main__":
    main()
