"""`tdb-tui pull` against a server on this machine that answers as the Hugging Face hub does."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import torch

from model.gpt2 import GPT2, Config
from model.vocabulary import BYTE_OF
from model.weights import load_model, save_model
from tdb_tui.machine import pull as pulling
from tests.loopback import listening

COMMIT = "a" * 40


@dataclass
class Hub:
    """What the server holds, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    repository: str = "owner/tiny"
    break_after: int | None = None
    after_break: int | None = 503
    ranges: bool = True
    status: int | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def gets(self, file: str) -> list[str | None]:
        """The Range header of every GET of a file."""
        return [span for method, path, span in self.asked if method == "GET" and path.endswith(f"/{file}")]


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            hub.asked.append((self.command, self.path, self.headers.get("Range")))
            if hub.status is not None:
                return self.reply(hub.status, b"{}", {}, body)
            if self.path.split("?")[0] == f"/api/models/{hub.repository}/revision/main":
                siblings = [{"rfilename": name} for name in hub.files]
                about = {"id": hub.repository, "sha": COMMIT, "siblings": siblings}
                return self.reply(200, json.dumps(about).encode(), {"Content-Type": "application/json"}, body)
            file = self.path.removeprefix(f"/{hub.repository}/resolve/main/")
            if file not in hub.files:
                return self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
            self.send_content(hub.files[file], body)

        def send_content(self, content: bytes, body: bool) -> None:
            headers = {
                "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(content)),
            }
            asked = self.headers.get("Range") if hub.ranges else None
            start = int((asked or "bytes=0-")[6:].split("-")[0])
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.reply(206 if start else 200, content[start:], headers, body)

        def reply(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            if not body:
                return
            if hub.break_after is not None and len(content) > hub.break_after:
                self.wfile.write(content[: hub.break_after])
                self.wfile.flush()
                hub.status, hub.break_after = hub.after_break, None
                self.close_connection = True
                return
            self.wfile.write(content)

    return Handler


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    model = GPT2(Config(n_layer=2, n_head=2, d_model=32, d_mlp=128, n_ctx=64, n_vocab=257))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    save_model(model, directory)
    vocab = {character: byte for character, byte in BYTE_OF.items()} | {"<|endoftext|>": 256}
    (directory / "vocab.json").write_text(json.dumps(vocab))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    return files | {"flax_model.msgpack": b"x" * 1000, "README.md": b"a card"}


@pytest.fixture
def hub(checkpoint: dict[str, bytes]) -> Iterator[Hub]:
    hub = Hub(dict(checkpoint))
    with listening(handler(hub)) as hub.url:
        yield hub


PROGRAM = """
import sys
from tdb_tui.machine.pull import PullError, draw_bar, pull

try:
    print(pull(sys.argv[1], progress=draw_bar()))
except PullError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def run_pull(
    endpoint: str, home: Path, name: str = "owner/tiny", program: str = PROGRAM, **environment: str
) -> subprocess.CompletedProcess[str]:
    root = str(Path(pulling.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", program, name],
        env={"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": root, "PATH": ""} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_pulled_model_loads_and_nothing_else_was_fetched(hub: Hub, tmp_path: Path) -> None:
    done = run_pull(hub.url, tmp_path)
    assert done.returncode == 0, done.stderr
    directory = Path(done.stdout.strip())
    assert directory.is_relative_to(tmp_path)
    assert {path.name for path in directory.iterdir()} == {
        "config.json",
        "model.safetensors",
        "vocab.json",
        "merges.txt",
    }
    assert load_model(directory).config.n_layer == 2
    assert "model.safetensors" in done.stderr and "100.0" not in done.stdout


def test_a_second_pull_fetches_no_content(hub: Hub, tmp_path: Path) -> None:
    run_pull(hub.url, tmp_path)
    hub.asked.clear()
    assert run_pull(hub.url, tmp_path).returncode == 0
    assert all("/api/" in path for method, path, _ in hub.asked if method == "GET")


def test_a_broken_download_is_one_sentence_and_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.break_after = 20_000
    broken = run_pull(hub.url, tmp_path)
    assert broken.returncode == 1 and broken.stderr.strip().splitlines()[-1].startswith("PullError: ")
    assert "Traceback" not in broken.stderr and "again to go on from there" in broken.stderr
    (partial,) = tmp_path.rglob("*.incomplete")
    assert partial.stat().st_size == 20_000

    hub.status = None
    hub.asked.clear()
    done = run_pull(hub.url, tmp_path)
    assert done.returncode == 0, done.stderr
    assert hub.gets("model.safetensors") == ["bytes=20000-"]
    whole = (Path(done.stdout.strip()) / "model.safetensors").read_bytes()
    assert whole == hub.files["model.safetensors"]
    assert not list(tmp_path.rglob("*.incomplete"))


@pytest.mark.parametrize("ranges", [True, False])
def test_one_pull_outlives_a_broken_connection(hub: Hub, tmp_path: Path, ranges: bool) -> None:
    hub.break_after, hub.after_break, hub.ranges = 20_000, None, ranges
    done = run_pull(hub.url, tmp_path)
    assert done.returncode == 0, done.stderr
    assert hub.gets("model.safetensors") == ["bytes=0-", "bytes=20000-"]
    whole = (Path(done.stdout.strip()) / "model.safetensors").read_bytes()
    assert whole == hub.files["model.safetensors"]


def test_a_damaged_partial_file_is_noticed_and_dropped(hub: Hub, tmp_path: Path) -> None:
    content = hub.files["model.safetensors"]
    blobs = tmp_path / "hub" / "models--owner--tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hashlib.sha256(content).hexdigest()}.incomplete").write_bytes(b"\0" * 5_000)
    damaged = run_pull(hub.url, tmp_path)
    assert "model.safetensors arrived damaged and was dropped" in damaged.stderr
    assert run_pull(hub.url, tmp_path).returncode == 0


def test_interrupting_keeps_what_has_arrived(hub: Hub, tmp_path: Path) -> None:
    stop = "def stop(file, done, total):\n    if done and file == 'merges.txt': raise KeyboardInterrupt\n"
    program = stop + PROGRAM.replace("progress=draw_bar()", "progress=stop")
    stopped = run_pull(hub.url, tmp_path, program=program)
    assert stopped.stderr.strip() == (
        "PullInterrupted: interrupted, what has arrived is kept: "
        "run 'tdb-tui pull owner/tiny' again to go on from there"
    )
    hub.asked.clear()
    assert run_pull(hub.url, tmp_path).returncode == 0
    assert hub.gets("config.json") == [] and hub.gets("vocab.json") == []


def test_without_a_network_a_complete_model_is_found(hub: Hub, tmp_path: Path) -> None:
    online = run_pull(hub.url, tmp_path)
    nowhere = "http://127.0.0.1:9"  # the discard port: nobody listens
    for offline in (run_pull(nowhere, tmp_path), run_pull(hub.url, tmp_path, HF_HUB_OFFLINE="1")):
        assert offline.returncode == 0, offline.stderr
        assert offline.stdout == online.stdout


@pytest.mark.parametrize(
    ("name", "environment", "expected"),
    [
        ("owner/absent", {}, "no model 'owner/absent' at http://127.0.0.1"),
        ("not an id", {}, "'not an id' is not a Hugging Face id"),
        ("owner/tiny", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set and owner/tiny is not in the cache"),
        ("owner/tiny", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot reach http://127.0.0.1:9"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    hub: Hub, tmp_path: Path, name: str, environment: dict[str, str], expected: str
) -> None:
    failed = run_pull(hub.url, tmp_path, name, **environment)
    assert failed.returncode == 1
    assert expected in failed.stderr and len(failed.stderr.strip().splitlines()) == 1


def test_a_short_name_is_asked_for_where_the_hub_has_it_now_and_then_where_it_was(
    hub: Hub, tmp_path: Path
) -> None:
    for repository in ("openai-community/gpt2", "gpt2"):
        hub.repository = repository
        done = run_pull(hub.url, tmp_path / repository.replace("/", "-"), "gpt2")
        assert done.returncode == 0, done.stderr
        assert f"models--{repository.replace('/', '--')}" in done.stdout


def test_a_full_disk_is_noticed_before_anything_is_fetched(hub: Hub, tmp_path: Path) -> None:
    program = "import shutil\nshutil.disk_usage = lambda path: shutil._ntuple_diskusage(10, 9, 1)\n" + PROGRAM
    full = run_pull(hub.url, tmp_path, program=program)
    assert "MB more" in full.stderr and "0 MB free" in full.stderr
    assert hub.gets("model.safetensors") == []


def test_safetensors_are_preferred_and_shards_come_with_their_index() -> None:
    both = ["config.json", "merges.txt", "vocab.json", "pytorch_model.bin"]
    assert pulling.choose([*both, "model.safetensors", "tf_model.h5"]) == [
        "config.json",
        "vocab.json",
        "merges.txt",
        "model.safetensors",
    ]
    shards = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    assert set(pulling.choose([*both, *shards])) == {*both[:3], *shards}
    assert pulling.choose(both)[-1] == "pytorch_model.bin"
    assert pulling.choose(["README.md", "model.safetensors"]) == []
