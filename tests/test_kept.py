"""Runs kept in a file: read back they are the run, damaged or of another model they are refused in one sentence."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from model.components import Kind
from model.nodes import KINDS
from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.files.kept import SCHEMA
from tdb_tui.session import Session
from tests.sessions import ODD, PROMPT, begin, do, fail, load, write_model

LONGER = " then Mary and John went to the store, Mary gave Anna a drink"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


def test_a_kept_run_is_the_run_it_was_kept_from(session: Session) -> None:
    do(session, "rank all by measured @END -n 0", "keep before.run", "ablate L1H2", "ablate M0@3:5 scale 2")
    for line in ("heads", "all by direct", "pairs @END", "neurons @END by act", "biases"):
        one, other = (
            do(session, f"compare {line} against {each} -n 0").result for each in ("base", "before.run")
        )
        assert one["rows"] == other["rows"], line
        assert one["sums"] == other["sums"]
    rows = do(session, "compare heads against before.run @END by measured").result["rows"]
    assert len(rows) == 16 and None not in [row["measured_right"] for row in rows]


def test_a_kept_run_is_compared_with_another_prompt(session: Session) -> None:
    other = do(session, f'prompt B "{LONGER}"', "compare all against B -n 0").result
    do(session, f'prompt "{LONGER}"', "keep longer.run", f'prompt "{PROMPT}"')
    found = do(session, "compare all against longer.run -n 0").result
    assert found["rows"] == other["rows"] and found["sides"]["right"] == "longer.run"


def test_names_of_positions_are_kept_with_the_run(session: Session) -> None:
    do(
        session,
        "set pos IO=Mary",
        f'prompt "{LONGER}"',
        "set pos IO=Anna",
        "keep it.run",
        f'prompt "{PROMPT}"',
    )
    do(session, "set pos IO=Mary")
    partner = do(session, "compare embeds against it.run").result["partners"]
    assert partner[1] == do(session, f'prompt "{LONGER}"', "token @Anna").result["pos"]


def test_keeping_leaves_one_whole_file(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    do(session, "keep it.run all")
    before = Path("it.run").read_bytes()
    assert [path.name for path in Path().iterdir()] == ["it.run"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        error = fail(session, "keep it.run pairs").error
    assert error is not None and error.message == "cannot write it.run: no space left on device"
    assert Path("it.run").read_bytes() == before and [path.name for path in Path().iterdir()] == ["it.run"]
    assert "keep it.run all" not in session.done


def rewrite(
    path: Path, schema: str | None = SCHEMA, columns: dict[str, Any] | None = None, **changes: Any
) -> None:
    """The file with parts of it replaced."""
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        data = json.loads(file.metadata()["run"])
    metadata = {"run": json.dumps(data | changes)} | ({} if schema is None else {"schema": schema})
    tensors |= columns or {}
    save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, path, metadata=metadata)


def test_kinds_are_kept_by_name(session: Session) -> None:
    do(session, "keep it.run", "ablate L1H2")
    before = do(session, "compare all against it.run -n 0").result["rows"]
    with safe_open("it.run", framework="numpy") as file:
        kind = file.get_tensor("kind")
    names = [kind.name for kind in KINDS]
    rewrite(Path("it.run"), kinds=names[::-1], columns={"kind": (len(names) - 1 - kind).astype(np.int8)})
    assert do(session, "compare all against it.run -n 0").result["rows"] == before
    assert Kind.HEAD.name in names


def message_of(session: Session, line: str) -> str:
    before = session.snapshot
    error = fail(session, line).error
    assert error is not None and session.snapshot is before
    return error.message


def test_a_run_of_another_model_or_version_is_refused(session: Session, tmp_path: Path) -> None:
    do(begin(load(write_model(tmp_path / "odd", ODD))), "keep it.run")
    assert message_of(session, "compare against it.run").startswith("it.run is for odd (weights ")
    do(session, "keep it.run")
    rewrite(Path("it.run"), schema="tdb-run/9")
    assert (
        message_of(session, "compare against it.run") == "it.run is tdb-run/9: this version reads tdb-run/2"
    )
    rewrite(Path("it.run"), schema=None)
    assert message_of(session, "compare against it.run").endswith('missing "schema" (expected "tdb-run/2")')


@pytest.mark.parametrize(
    "change",
    [
        {"columns": {"pos": np.array([1, 2])}},
        {"columns": {"direct": np.zeros(3)}},
        {"tables": [["head", 3]]},
        {"tables": 5},
        {"kinds": ["HEAD"]},
        {"kinds": ["NOBODY"] * len(KINDS)},
        {"place": {"tokens": [1, 2], "texts": ["a"], "names": {}}},
        {"place": {"tokens": [10**9], "texts": ["a"], "names": {}}},
        {"question": None},
        {"edits": [3]},
    ],
)
def test_a_damaged_run_is_refused_in_one_sentence(session: Session, change: dict[str, Any]) -> None:
    do(session, "keep it.run all")
    rewrite(Path("it.run"), **change)
    assert message_of(session, "compare against it.run").startswith("it.run is damaged: ")


def test_any_damage_to_the_bytes_is_a_sentence_or_nothing(session: Session) -> None:
    do(session, "keep it.run mlps")
    whole, rng = Path("it.run").read_bytes(), random.Random(0)
    for _ in range(60):
        data = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(3):
            if data:
                data[rng.randrange(min(len(data), 1500))] = rng.randrange(256)
        Path("it.run").write_bytes(bytes(data))
        done = execute(session, "compare mlps against it.run")[-1]
        assert done.reply is not None or done.error is not None


def test_a_kept_run_with_another_target_is_compared_with_a_note(session: Session) -> None:
    do(session, "keep it.run", "target Anna")
    answer = do(session, "compare all against it.run by direct -n 0")
    assert answer.warnings == (
        "it.run was kept for ' Mary' - ' John' @END, this asks about ' Anna' - ' John' @END",
    )
    assert answer.result["sums"]["direct"]["difference"] == pytest.approx(
        answer.result["target"]["difference"], abs=1e-9
    )
