"""Every example of the help, as it stands there, on the model that comes with the program."""

from pathlib import Path

import pytest

from tdb_tui.commands import execute, registry
from tdb_tui.engine import Engine, load_engine
from tdb_tui.machine.models import DEMO
from tdb_tui.saes import load_saes
from tdb_tui.session import Session, start
from tdb_tui.topics import TOPICS

PROMPT = "When Mary and John went to the store, John gave a drink to"
PROMPT_B = "When Mary and John went to the store, Mary gave a drink to"
FIRST = {
    "unalias look": ("alias look attn %1",), "unalias nn": ("alias nn n 2",), "redo": ("undo",), "r": ("n", "s"),
    "redo 2": ("undo 2",), "fold 0.1": ("upstream -d 1",),
}  # fmt: skip
"What must be so before an example means anything."


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(DEMO, "gpt2-demo", "", device="cpu")


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    opened, _ = start(engine, PROMPT, ["Mary"], ["John"], PROMPT_B)
    load_saes(opened, None)  # those that come with the model, as at every start
    opened.at_terminal = True
    for line in (
        "ablate L0H1",
        "ablate L0H2",
        "save ioi.json",
        "save session.json",
        "b A1",
        "display ld",
        "j 1",
    ):
        execute(opened, line)
    Path("ioi.tdb").write_text("n\nablate L1H1\n")
    return opened


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for command in registry for line in command.examples])
def test_an_example_runs(session: Session, line: str) -> None:
    for before in FIRST.get(line, ()):
        assert all(done.ok for done in execute(session, before))
    for done in execute(session, line):
        assert done.ok, f"{line}: {done.error}"


def test_topics_are_told(session: Session) -> None:
    for topic in TOPICS:
        assert all(done.ok for done in execute(session, f"h {topic}"))
