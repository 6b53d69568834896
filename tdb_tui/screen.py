"""Starts the screen: what this terminal can show is settled here, before the terminal library is imported."""

import gc
import locale
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from tdb_tui.crash import Crashed
from tdb_tui.errors import CommandError
from tdb_tui.files.typed_lines import add_line, history_file, read_lines
from tdb_tui.keymap import remapped
from tdb_tui.starting import Start, open_session
from tdb_tui.theming import colours

if TYPE_CHECKING:
    from tdb_tui.session import Session

COLORS = {"auto": "auto", "truecolor": "truecolor", "256": "256", "16": "standard", "none": "auto"}
"What --color takes, and what the terminal library calls it."

LAYOUTS = {"auto": 3, "small": 1, "normal": 2, "wide": 3}
"What --layout takes, and how many panes it puts beside the listing at most."

ASCII_TERMINALS = re.compile(r"linux|dumb|vt\d+.*|ansi")
SWITCH_SECONDS = 0.0005
"How long a thread keeps Python to itself: short, so that keys are answered while the engine computes."


def run_screen(start: Start, commands: Sequence[str]) -> int:
    """Open the screen, load the model behind it, and stay until the user leaves; the exit code."""
    gc.disable()  # what is imported until a session is open stays: looking for what could go takes a tenth of the time
    try:
        return _run(start, commands)
    finally:
        gc.enable()


def _run(start: Start, commands: Sequence[str]) -> int:
    options, color = start.options, start.options.color
    if color not in COLORS:
        print(f"*** no color {color!r}: {', '.join(COLORS)}", file=sys.stderr)
        return 2
    if options.layout not in LAYOUTS:
        print(f"*** no layout {options.layout!r}: {', '.join(LAYOUTS)}", file=sys.stderr)
        return 2
    os.environ["TEXTUAL_COLOR_SYSTEM"] = COLORS[color]
    if color == "none":
        os.environ["NO_COLOR"] = "1"
    from tdb_tui.app import TdbApp
    from tdb_tui.panes.terminal import Manners
    from tdb_tui.panes.themes import unknown_theme

    if complaint := unknown_theme(options.theme):
        print(f"*** {complaint}", file=sys.stderr)
        return 2
    try:
        keymap, chosen = remapped(start.config.keys), colours(start.config.theme)
    except CommandError as error:
        print(f"*** {start.config.path}: {error}", file=sys.stderr)
        return 2
    sys.setswitchinterval(SWITCH_SECONDS)
    mouse = "SSH_CONNECTION" not in os.environ if options.mouse is None else options.mouse
    app = TdbApp(
        lambda: _open(start),
        options.prompt or options.prompts or "",
        options.model or "the model",
        commands,
        read_lines(history_file()),
        typed=partial(add_line, history_file()),
        ascii_only=options.ascii or _only_ascii(),
        theme=options.theme,
        columns=LAYOUTS[options.layout],
        keymap=keymap,
        colours=chosen,
        manners=Manners(not _is_console(), options.bell, mouse),
    )
    code = app.run(mouse=mouse)
    if app.failure is not None:
        session = app.session
        prompt = start.options.prompt or "" if session is None else session.state.inputs.prompt.text
        raise Crashed([] if session is None else session.history, prompt, options.crash_text) from app.failure
    return app.return_code or code or 0


def _open(start: Start) -> "tuple[Session, list[str]]":
    """Load the model, leaving a core for the screen.  Raises CommandError."""
    import torch

    torch.set_num_threads(max((os.cpu_count() or 1) - 1, 1))
    opened = open_session(start.options, start.kept, start.about)
    gc.freeze()
    gc.enable()
    return opened


def _only_ascii() -> bool:
    """Whether the terminal or the locale has no signs but ASCII's."""
    encoding = locale.getpreferredencoding(False).lower().replace("-", "")
    return encoding != "utf8" or _is_console()


def _is_console() -> bool:
    """Whether this is a terminal of ASCII alone, without a window around it."""
    return ASCII_TERMINALS.fullmatch(os.environ.get("TERM", "dumb")) is not None
