"""`tdb-tui serve`: requests in lines, over a pipe and over a socket."""

import json
import socket
import stat
import threading
from pathlib import Path

import pytest

from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError
from tdb_tui.serving import serve, serve_socket
from tests.sessions import PROMPT, begin, load, write_model
from tests.test_cli import in_a_process


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def engine(model: Path) -> Engine:
    return load(model)


def test_requests_are_answered_in_order_and_carry_their_id(engine: Engine) -> None:
    said: list[str] = []
    requests = [
        '{"cmd": "n ;; w", "id": "a"}\n',
        "\n",
        "ablate L0H0\n",
        "zzz\n",
        '{"cmd": 1}\n',
        "{\n",
        "q\n",
        "n\n",
    ]
    assert serve(begin(engine), requests, said.append)
    entries = [json.loads(line) for line in said]
    assert [(entry["n"], entry["ok"], entry.get("id")) for entry in entries] == [
        (1, True, "a"), (2, True, "a"), (3, True, None), (4, False, None), (5, False, None), (6, False, None), (7, True, None),
    ]  # fmt: skip
    assert [entry["error"]["code"] for entry in entries if not entry["ok"]][1:] == [
        "bad-request",
        "bad-request",
    ]
    assert entries[2]["result"]["delta"] == entries[2]["result"]["after"] - entries[2]["result"]["before"]


def test_a_socket_serves_one_client_after_the_other_on_one_session(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "s"
    session = begin(engine)
    thread = threading.Thread(target=serve_socket, args=(session, path))
    thread.start()
    for commands in ("n 2\n", "w\nq\n"):
        while True:
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(str(path))
                except OSError:
                    continue
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                client.sendall(commands.encode())
                client.shutdown(socket.SHUT_WR)
                answers = client.makefile().read().splitlines()
                break
    thread.join(10)
    assert len(answers) == 2
    assert session.state.place.line == 2 and not path.exists()


def test_a_path_that_is_taken_is_refused(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    with pytest.raises(CommandError, match=r"cannot listen at .*: address already in use"):
        serve_socket(begin(engine), tmp_path / "s")
    assert (tmp_path / "s").exists()


def test_the_program_answers_a_pipe(model: Path) -> None:
    ask = ("serve", PROMPT, "--target", "Mary", "--model", str(model))
    run = in_a_process(*ask, input=b'args\n{"cmd": "n", "id": 7}\n')
    entries = [json.loads(line) for line in run.stdout.splitlines()]
    assert (
        run.returncode == 0 and [entry["cmd"] for entry in entries] == ["args", "n"] and entries[1]["id"] == 7
    )
    assert in_a_process("serve").returncode == 2
