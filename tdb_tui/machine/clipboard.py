"""Copying from a program on the far side of SSH and tmux: the terminal is asked (OSC 52), and a file keeps the text.

Nobody answers whether the terminal took it, so the text always stands in a file too, and what is said names that file.
"""

import base64
import os
from collections.abc import Callable, Mapping
from pathlib import Path

MOST = 74_000
"Characters after encoding that terminals take; beyond, some cut the text and some drop it."
FILE = "clip.txt"


def sequence(text: str, tmux: bool = False) -> str | None:
    """What asks a terminal to take `text` (OSC 52), None where it is too long for that.

    Inside tmux it is sent to tmux, which keeps it where `set-clipboard` is on, and through tmux to the terminal, which
    hears it where `allow-passthrough` is on.
    """
    encoded = base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")
    if len(encoded) > MOST:
        return None
    asking = f"\x1b]52;c;{encoded}\x07"
    return asking + "\x1bPtmux;" + asking.replace("\x1b", "\x1b\x1b") + "\x1b\\" if tmux else asking


def copy(
    text: str,
    send: Callable[[str], object],
    environment: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> str:
    """Send `text` to the terminal's clipboard and keep it in a file; where it is now, in a few words.

    `send` writes to the terminal, past whatever else is on its way there.
    """
    tmux = bool(environment.get("TMUX"))
    asking = sequence(text, tmux)
    if asking is not None:
        send(asking)
    kept = _kept(text, folder)
    if asking is None:
        return f"{len(text):,} characters, too many for a terminal's clipboard: {kept or 'not copied'}"
    hint = " (tmux needs set -g set-clipboard on)" if tmux else ""
    return f"clipboard{hint}" + (f" and {kept}" if kept else "")


def _kept(text: str, folder: Path | None) -> Path | None:
    """The file that holds the text now, readable by its owner only; None where it cannot be written."""
    from platformdirs import user_state_path

    path = (folder or user_state_path("tdb-tui")) / FILE
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
    except OSError:
        return None
    return path
