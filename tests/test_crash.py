"""The report of a crash: what mends it, and nothing of the user's own."""

import asyncio
import sys
from pathlib import Path

import pytest

from tdb_tui import cli
from tdb_tui.crash import MOST, Crashed, redacted, write_report
from tdb_tui.programs import debug
from tests.ui.screens import make_app, settled


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("ablate L9H9@END mean", "ablate L9H9@END …"),
        ("attn L9H9@Mary", "attn …"),
        ('prompt "my secret"', "prompt … …"),
        ("! open('secret').read() ;; n", "! …"),
        ("n 3 ;; note secret ;; rank -n 5 --json", "n 3 ;; note … ;; rank -n 5 --json"),
        ("Secret", "…"),
    ],
)
def test_commands_keep_their_addresses_and_lose_their_texts(line: str, shown: str) -> None:
    assert redacted(line) == shown


def failure() -> Crashed:
    secret = "a secret value"
    try:
        try:
            raise TypeError(secret)
        except TypeError as error:
            raise Crashed([f"token @{n}" for n in range(60)] + ['note "secret words"'], secret) from error
    except Crashed as crashed:
        return crashed


def test_a_report_has_versions_terminal_frames_and_the_last_commands(tmp_path: Path) -> None:
    path = write_report(failure(), tmp_path / "state", text=False)
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    for part in (
        "python",
        "torch",
        "textual",
        "terminal",
        "in failure",
        "TypeError",
        f"last {MOST} commands:",
        "note … …",
    ):
        assert part in text
    assert "token @11\n" in text and "token @10\n" not in text
    assert "secret words" not in text and "a secret value\n" not in text.replace(
        'secret = "a secret value"', ""
    )


def test_texts_stand_there_where_they_are_asked_for(tmp_path: Path) -> None:
    text = write_report(failure(), tmp_path, text=True).read_text()
    assert (
        'note "secret words"' in text
        and "TypeError: a secret value" in text
        and "prompt: a secret value" in text
    )


def test_a_defect_in_the_screen_leaves_without_showing_what_is_in_memory() -> None:
    async def play() -> BaseException | None:
        app = make_app()
        with pytest.raises(ZeroDivisionError):
            async with app.run_test() as pilot:
                await settled(app, pilot)
                app.call_later(lambda: 1 / 0)
                await pilot.pause()
        assert app._exit_renderables == []
        return app.failure

    assert isinstance(asyncio.run(play()), ZeroDivisionError)


def test_a_report_that_cannot_be_written_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "taken"))
    monkeypatch.setattr(debug, "open_session", lambda *_: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["tdb-tui", "x", "--target", "y", "--batch"])
    assert cli.main() == 70
    assert capsys.readouterr().err.startswith("*** internal error (ZeroDivisionError); no report: ")
