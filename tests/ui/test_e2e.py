"""The program in a real terminal: tmux types, and reads what is on the screen."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.demo.bpe import learn_merges, save_bpe
from tests.tiny import random_model
from tests.ui.screens import PROMPT, SHAPE, WORDS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux, a terminal to drive"),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with random weights, named as the published ones."""
    path = tmp_path_factory.mktemp("models") / "gpt2-random"
    path.mkdir()
    model = random_model(SHAPE, dtype=torch.float32)
    tensors = {name: x.contiguous() for name, x in model.state_dict().items() if name != "lm_head.weight"}
    save_file(tensors, path / "model.safetensors")
    shape = {
        "n_layer": SHAPE.n_layer,
        "n_head": SHAPE.n_head,
        "n_embd": SHAPE.d_model,
        "n_inner": SHAPE.d_mlp,
    }
    sizes = {"n_positions": SHAPE.n_ctx, "vocab_size": SHAPE.n_vocab, "layer_norm_epsilon": SHAPE.ln_eps}
    (path / "config.json").write_text(json.dumps({"model_type": "gpt2", **shape, **sizes}), encoding="utf-8")
    save_bpe(learn_merges(Counter(f" {word.strip(',')}" for word in [*WORDS, "When"]), 1000), path)
    return path


class Terminal:
    """A tmux server of its own, with one shell in it."""

    def __init__(self, home: Path, width: int, height: int) -> None:
        self._home = home
        self._socket = f"tdb-{os.getpid()}-{time.monotonic_ns()}"
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "PS1": "$ ", "PYTHONPATH": str(ROOT)}
        shell = ["bash", "--norc", "--noprofile"]
        start = ["-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "-c", str(home)]
        self._tmux(*start, *shell, env=environment)

    def _tmux(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        command = ["tmux", "-L", self._socket, *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    def keys(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def screen(self, escapes: bool = False) -> str:
        return self._tmux("capture-pane", "-p", *(["-e"] if escapes else []))

    def record(self) -> None:
        """Keep what programs write from now on."""
        self._tmux("pipe-pane", "-o", f"cat >> {shlex.quote(str(self._home / 'written'))}")

    def recorded(self) -> str:
        return (self._home / "written").read_bytes().decode("utf-8", "replace")

    def counted(self, quiet: float = 0.3) -> int:
        """Bytes recorded, once none come for a while."""
        path, last = self._home / "written", -1
        while (now := path.stat().st_size if path.exists() else 0) != last:
            last = now
            time.sleep(quiet)
        return now

    def wait(self, *needles: str, seconds: float = 30) -> str:
        """The screen, once all of these are on it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shown = self.screen()
            if all(needle in shown for needle in needles):
                return shown
            time.sleep(0.05)
        raise AssertionError(f"{needles} not on the screen:\n{self.screen()}")

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path, 80, 24)
    yield opened
    opened.close()


def run(terminal: Terminal, directory: Path, before: str = "", after: str = "") -> None:
    command = shlex.join(
        [
            sys.executable,
            "-m",
            "tdb_tui",
            PROMPT,
            "--target",
            "Mary",
            "--distractor",
            "John",
            "--model",
            str(directory),
        ]
    )
    terminal.type(f"{before} {command} {after}; echo left with $?")
    terminal.keys("Enter")


def test_a_first_session(terminal: Terminal, directory: Path) -> None:
    run(terminal, directory)
    terminal.wait("1 code", "2 ranked", "idle", "0 -> E")
    terminal.keys("n")
    terminal.wait("> A0 attn @END", "1 -> A0")
    terminal.keys("c")
    terminal.wait("The pass finished")
    terminal.type(":rank heads by direct @END")
    terminal.wait("(tdb) rank heads by direct @END")
    terminal.keys("Enter")
    shown = terminal.wait("2 ranked · heads direct · @END")
    before = shown.splitlines()[0]
    terminal.keys("2", "x")
    terminal.wait("(tdb) ablate L", "→")
    terminal.keys("z")
    terminal.wait("undid", before.split("│")[-2].strip())
    terminal.keys("q")
    terminal.wait("leave without saving?")
    terminal.keys("y")
    terminal.wait("left with 0")
    terminal.type("stty -a")
    terminal.keys("Enter")
    assert " echo " in terminal.wait("icanon")


def test_suspending_and_coming_back_draws_the_screen_again(terminal: Terminal, directory: Path) -> None:
    run(terminal, directory)
    terminal.wait("0 -> E", "idle")
    terminal.keys("C-z")
    terminal.wait("Stopped")
    terminal.type("fg")
    terminal.keys("Enter")
    terminal.wait("0 -> E", "idle", "2 ranked")
    terminal.keys("n")
    terminal.wait("1 -> A0")
    terminal.keys("q")
    terminal.wait("$ fg")
    terminal.type("echo ended with $?")
    terminal.keys("Enter")
    terminal.wait("ended with 0")


def test_resizing_the_terminal_draws_the_layout_for_its_size(terminal: Terminal, directory: Path) -> None:
    run(terminal, directory)
    terminal.wait("0 -> E", "idle")
    terminal.resize(120, 40)
    terminal.wait("3 attention", "7 display")
    terminal.resize(50, 12)
    terminal.wait("terminal too small")
    terminal.resize(80, 24)
    terminal.wait("0 -> E", "2 ranked")
    terminal.keys("q")
    terminal.wait("left with 0")


def test_without_color_and_with_ascii_the_program_runs_all_the_same(
    terminal: Terminal, directory: Path
) -> None:
    run(terminal, directory, "NO_COLOR=1", "--ascii")
    shown = terminal.wait("0 -> E", "idle")
    assert shown.isascii()
    terminal.keys("n", "2", "j", "j", "v", "?")
    terminal.wait("type to filter")
    terminal.keys("C-g")
    terminal.wait("1 -> A0")
    terminal.keys("q")
    terminal.wait("left with 0")


def test_a_model_that_is_not_there_is_one_sentence(terminal: Terminal, directory: Path) -> None:
    run(terminal, directory / "nowhere")
    shown = terminal.wait("left with 3", "***")
    assert "*** no directory" in shown
    assert "Traceback" not in shown


def colours(shown: str) -> set[str]:
    """Kinds of colour among escape sequences, `38;5` and such; what is bold or reversed is no colour."""
    kinds: set[str] = set()
    for codes in re.findall(r"\x1b\[([0-9;]*)m", shown):
        kinds |= {"truecolor"} if re.search(r"[34]8;2;", codes) else set()
        kinds |= {"256"} if re.search(r"[34]8;5;", codes) else set()
        codes = re.sub(r"[34]8;5;\d+", "", codes)
        kinds |= {"16"} if re.search(r"(^|;)(3[0-7]|9[0-7]|4[0-7]|10[0-7])(;|$)", codes) else set()
    return kinds


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        ("", "", {"256"}),
        ("", "--color 256", {"256"}),
        ("", "--color 16", {"16"}),
        ("", "--color none", set[str]()),
        ("NO_COLOR=1", "", set[str]()),
        ("TERM=linux", "", {"16"}),
    ],
)
def test_a_terminal_is_sent_the_colours_it_has(
    terminal: Terminal, directory: Path, before: str, after: str, allowed: set[str]
) -> None:
    run(terminal, directory, before, after)
    terminal.wait("0 -> E", "idle")
    terminal.keys("x", "v")
    terminal.wait("3 attention", "1 iv")
    assert colours(terminal.screen(escapes=True)) <= allowed
    if allowed:
        assert colours(terminal.screen(escapes=True)), "there is colour"
    if "linux" in before:
        assert terminal.screen().isascii()


def test_an_old_locale_gets_ascii(terminal: Terminal, directory: Path) -> None:
    run(terminal, directory, "LC_ALL=C LANG=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0")
    assert terminal.wait("0 -> E", "idle").isascii()


def test_a_dumb_terminal_gets_lines_at_a_prompt_and_ctrl_c_and_ctrl_d_do_there_what_they_do_in_pdb(
    terminal: Terminal, directory: Path
) -> None:
    run(terminal, directory, "TERM=dumb")
    terminal.wait("h lists commands, q quits", "(tdb)")
    terminal.type("n")
    terminal.keys("Enter")
    terminal.wait("> A0 attn @END")
    terminal.type("some words")
    terminal.keys("C-c")
    terminal.wait("q quits)")
    terminal.type("abl")
    terminal.keys("Tab")
    terminal.wait("(tdb) ablate")
    terminal.keys("C-u")
    terminal.keys("C-d")
    terminal.wait("left with 0")


def test_a_storm_of_resizes_ends_with_the_layout_of_the_last(terminal: Terminal, directory: Path) -> None:
    run(terminal, directory)
    terminal.wait("0 -> E", "idle")
    terminal.keys("n", "n", "2", "j", "j")
    for step in range(30):
        terminal.resize(60 + 5 * step, 16 + step)
    terminal.resize(40, 10)
    terminal.wait("terminal too small", "needed  60 x 16")
    terminal.resize(200, 50)
    terminal.wait("I inspect", "9 next tokens", "2 -> M0")
    terminal.resize(80, 24)
    shown = terminal.wait("2 -> M0", "2 ranked", "? keys")
    assert any("> 3 L" in row or "> 3 M" in row for row in shown.splitlines()), "the cursor stayed"
    terminal.keys("q")
    terminal.wait("left with 0")


def test_a_terminal_too_small_takes_commands_and_q(terminal: Terminal, directory: Path) -> None:
    terminal.resize(40, 10)
    run(terminal, directory)
    terminal.wait("terminal too small", "now     40 x 10")
    terminal.type(":next")
    terminal.wait("(tdb) next")
    terminal.keys("Enter")
    terminal.resize(80, 24)
    terminal.wait("1 -> A0")
    terminal.resize(40, 10)
    terminal.wait("too small")
    terminal.keys("q")
    terminal.wait("left with 0")


def test_a_held_key_is_not_lost(terminal: Terminal, directory: Path) -> None:
    run(terminal, directory)
    terminal.wait("0 -> E", "idle")
    terminal.keys(*["n"] * 12)
    terminal.wait("12 -> M5")


def test_a_redirected_output_gets_the_report_and_nothing_is_drawn(
    terminal: Terminal, directory: Path, tmp_path: Path
) -> None:
    run(terminal, directory, "", "> answer.txt")
    terminal.wait("left with 0")
    assert "\x1b" not in (answer := (tmp_path / "answer.txt").read_text(encoding="utf-8"))
    assert "ranked components" in answer


@pytest.mark.parametrize(("before", "mouse"), [("", True), ("SSH_CONNECTION='a 1 b 22'", False)])
def test_over_ssh_the_mouse_is_left_to_the_terminal(
    terminal: Terminal, directory: Path, before: str, mouse: bool
) -> None:
    terminal.record()
    run(terminal, directory, before)
    terminal.wait("0 -> E", "idle")
    assert ("\x1b[?1003h" in terminal.recorded()) is mouse


def test_bytes_of_a_step_and_a_letter_in_a_terminal_of_256_colours(
    terminal: Terminal, directory: Path
) -> None:
    """What the program writes to the terminal, counted where tmux reads it."""
    terminal.record()
    run(terminal, directory)
    terminal.wait("0 -> E", "idle")
    sent: dict[str, int] = {}
    for name, keys, needle in (
        ("step", "n", "1 -> A0"),
        ("another step", "n", "2 -> M0"),
        ("line", ":", "run"),
    ):
        before = terminal.counted()
        terminal.type(keys)
        terminal.wait(needle)
        sent[name] = terminal.counted() - before
    for letter in "abla":
        before = terminal.counted()
        terminal.type(letter)
        time.sleep(0.3)
        sent[letter] = terminal.counted() - before
    before = terminal.counted()
    time.sleep(2)
    sent["idle"] = terminal.counted() - before
    print(sent)
    assert max(sent["step"], sent["another step"]) <= 8_000
    assert sent["line"] <= 3_000
    assert all(0 < sent[letter] <= 300 for letter in "abla")
    assert sent["idle"] == 0
