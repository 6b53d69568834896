"""`export FILE.py`: a script on the libraries alone that computes the same numbers."""

import ast
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from model.sites import Site
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.dictionaries import MLP1, random_dictionary, write_dictionaries
from tests.sessions import SHAPE, begin, do, fail, load, write_model

ROOT = Path(__file__).parents[1]
DIGITS = 1e-9
SESSIONS: dict[str, tuple[str, ...]] = {
    "no edits": (),
    "ablations": (
        "ablate L0H{0,2},M0@2:3 scale 0.5", "ablate N1.5@END value 0.123456789", "ablate L2H1@END<Mary",
        "ablate BU value 0.1", "ablate E@3 scale -2", "name i2 one neuron's value",
    ),
    "patches": ("patch L1H2@END from B@3", "patch L2H2@END<Mary from B@END<Mary#2", "patch M2 from B"),
    "means of the prompt itself": ("set means positions", "ablate A1 mean", "ablate N0.3 mean"),
    "means of other prompts": ("set means prompts.txt", "ablate A1 mean", "ablate L2H0@END mean"),
    "a divergence": ("set metric kl @9", "ablate M1", "ablate M2 scale 3"),
    "an activation": ("set metric activation L3H1@END<Mary", "ablate L1H1"),
    "a direction": ("set metric direction Anna at A2 @4", "ablate M0@2"),
    "one switched off": ("ablate M0", "ablate M1", "ablate M2", "disable i2", "move i3 1"),
    "noise and resampling": (
        "set means prompts.txt", "ablate L1H2 noise 0.5 seed 3", "ablate M1@END resample seed 1", "ablate all but L1H3,M0 mean",
    ),
    "frozen": ("freeze L2H1.pattern", "ablate M0@2", "freeze ln", "ablate L0H1 scale 3"),
    "steered": (
        'steer resid_pre.1@END += 4 * dir(" Mary" - " John")', "steer N1.5@END = 12", "set metric direction Mary at A3",
    ),
    "inside": ("patch L1H2.q@END from B", "patch L2.v from B", "ablate resid_mid.2@3 scale 2"),
    "paths and edges": (
        "path L0H1 -> L2H1.q from B", "edge ablate L0H1 -> L2H1.q, M0 -> U", "edge patch L0H2@END -> L2H1 from B",
    ),
    "latents": (
        "set sae saes", "ablate Fm1.3", "steer Fa2.7@END += 2", "ablate Xm1@END", "patch Fm1.5@END from B", "ablate M0@2",
    ),
    "another prompt": ("prompt --no-bos Anna went to the store", "ablate L1H1@2"),
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    Path("saes").mkdir()
    write_dictionaries(Path("saes"), (random_dictionary(at, SHAPE) for at in (MLP1, (Site.ATTN_OUT, 2))))
    Path("prompts.txt").write_text(" Mary went to the store\n John gave Anna a drink and then went to the\n")
    return begin(engine)


def expected(session: Session) -> list[tuple[str, float]]:
    """What the script is to print: the baseline, the metric after each edit in force, and after all."""
    result = do(session, "edits").result
    rows = [row for row in result["rows"] if row["enabled"]]
    names = [f"after {row['id']} {row['command']}" + f" ({row['name']})" * bool(row["name"]) for row in rows]
    values = [row["cumulative"] for row in rows]
    return [("baseline", result["base"]), *zip(names, values, strict=True), ("edited", result["value"])]


def printed(text: str) -> list[tuple[str, float]]:
    parts = (line.partition("\t") for line in text.splitlines())
    return [(name, float(value)) for value, _, name in parts]


def same(found: list[tuple[str, float]], wanted: list[tuple[str, float]]) -> None:
    assert [name for name, _ in found] == [name for name, _ in wanted]
    for (name, one), (_, other) in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, rel=DIGITS, abs=DIGITS), name


@pytest.mark.parametrize("name", SESSIONS)
def test_the_script_computes_what_the_session_shows(
    session: Session, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    do(session, *SESSIONS[name], "export it.py")
    runpy.run_path("it.py", run_name="__main__")
    same(printed(capsys.readouterr().out), expected(session))


def test_the_script_stands_alone(session: Session, tmp_path: Path) -> None:
    do(
        session,
        "set means prompts.txt",
        *SESSIONS["ablations"],
        "patch L1H2 from B",
        "ablate A3 mean",
        "export it.py",
    )
    source = Path("it.py").read_text()
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name.partition(".")[0] for name in imported} == {"functools", "pathlib", "torch", "model"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "it.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    same(printed(done.stdout), expected(session))


def test_other_weights_are_refused_in_a_sentence(session: Session, tmp_path: Path) -> None:
    do(session, "ablate M0", "export it.py")
    other = write_model(tmp_path / "other", seed=1)
    text = Path("it.py").read_text()
    line = next(line for line in text.splitlines() if line.startswith("MODEL"))
    Path("it.py").write_text(text.replace(line, f"MODEL = Path({str(other)!r})"))
    with pytest.raises(SystemExit, match="holds other weights: set MODEL to where these are"):
        runpy.run_path("it.py", run_name="__main__")


def test_texts_of_any_kind_stay_in_their_comments(session: Session) -> None:
    do(
        session,
        r'prompt " Mary\nimport os \x1b[31m \u202e and"',
        "ablate M0",
        'name i1 """é"""',
        "export it.py",
    )
    source = Path("it.py").read_text()
    assert source.isascii() and "\x1b" not in source
    ast.parse(source)
    runpy.run_path("it.py", run_name="script")


KINDS = "cannot write .pyc: .html, .md, .txt, .tdb, .py, .json, .jsonl, .csv, .svg or .dot"


def test_a_file_of_another_kind_is_still_refused(session: Session) -> None:
    error = fail(session, "export it.pyc").error
    assert error is not None and error.message == KINDS
