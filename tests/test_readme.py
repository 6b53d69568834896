"""What README.md shows is what happens.  TDB_UPDATE=1 puts in what happens now: read the difference."""

import os
import re
import shlex
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from tdb_tui.commands import execute, registry
from tdb_tui.engine import load_engine
from tdb_tui.files.output import as_text
from tdb_tui.keys import KEYS
from tdb_tui.machine.models import DEMO
from tdb_tui.programs import PROGRAMS, debug, load_program
from tdb_tui.session import Session, start

UPDATE = bool(os.environ.get("TDB_UPDATE"))
ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
TRANSCRIPTS = [text for _, text in BLOCKS if text.startswith("(tdb) ")]
NUMBER = re.compile(r"[-+]?\d*\.\d+(e[-+]\d+)?|\d+ ms")
"Another processor may round differently."


@pytest.fixture
def session() -> Session:
    """The README's first command."""
    words = shlex.split(BLOCKS[[kind for kind, _ in BLOCKS].index("sh")][1].partition("&& tdb-tui ")[2])
    prompt, *options = words
    given = dict(zip(options[::2], options[1::2], strict=True))
    engine = load_engine(DEMO, "gpt2-demo", "", device="cpu")
    return start(engine, prompt, [given["--target"]], [given["--distractor"]])[0]


def replayed(session: Session, line: str) -> str:
    """A line and what it answers, as a batch prints them."""
    said = [f"(tdb) {line}"]
    for done in execute(session, line):
        assert done.reply is not None, done.error
        said += as_text(done.reply).splitlines()
    return "\n".join(text.rstrip() for text in said)


def masked(text: str) -> str:
    """Numbers and the room they take are left open, words and addresses are not."""
    return re.sub(r" +", " ", NUMBER.sub("#", text))


@pytest.mark.parametrize("transcript", TRANSCRIPTS)
def test_a_transcript_is_what_the_demo_model_answers(session: Session, transcript: str) -> None:
    lines = re.findall(r"^\(tdb\) (.*)$", transcript, re.MULTILINE)
    answered = "\n".join(replayed(session, line) for line in lines)
    if UPDATE:
        path = ROOT / "README.md"
        path.write_text(
            path.read_text(encoding="utf-8").replace(transcript.strip(), answered), encoding="utf-8"
        )
    else:
        assert masked(answered) == masked(transcript.strip())


def test_there_is_a_transcript() -> None:
    assert TRANSCRIPTS


def test_every_option_named_exists() -> None:
    programs = [debug.command, *(get_command(load_program(name)) for name in PROGRAMS)]
    # `sae train` and `sae eval` are commands of one program
    below = [
        command
        for program in programs
        if isinstance(program, TyperGroup)
        for command in program.commands.values()
    ]
    commands = [*programs, *below]
    options = {
        name
        for command in commands
        for option in command.params
        for name in (*option.opts, *option.secondary_opts)
    }
    options |= {"--no-python", "--nproc-per-node"}  # torchrun's
    options |= {f"--{name}" for each in registry for name in each.options}
    assert {name for name in re.findall(r"(?<![\w-])--[a-z][\w-]*", README)} <= options


def test_every_key_named_exists() -> None:
    table = README.partition("## Keys")[2].partition("\n## ")[0]
    named = {key for row in table.splitlines() for key in re.findall(r"`(.+?)`", row)}
    assert named <= {word for key in KEYS for word in key.shown.split()}
