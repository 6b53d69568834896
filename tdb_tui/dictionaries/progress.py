"""A training as it goes: a table that redraws itself in a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sae.training.loop import Progress
from tdb_tui.dictionaries.training import Step, Tokenising

EVERY = 10.0
"""Seconds between lines where there is no terminal."""


def show(steps: Iterable[Step], batch: int, stream: TextIO) -> Progress | None:
    """Run through the steps, drawing them; the last one of training, None where there was none."""
    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        return _lines(steps, batch, console)
    last, clock = None, Clock(batch)
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        for step in steps:
            last = step if isinstance(step, Progress) else last
            live.update(drawn(step, clock.note(step), batch))
    return last


def _lines(steps: Iterable[Step], batch: int, console: Console) -> Progress | None:
    last, said, clock = None, 0.0, Clock(batch)
    for step in steps:
        speed = clock.note(step)
        if isinstance(step, Progress):
            last = step
        if time.monotonic() - said >= EVERY or (isinstance(step, Progress) and step.step == step.steps):
            said = time.monotonic()
            console.print(line(step, speed), soft_wrap=True)
    return last


class Clock:
    """Activations a second since the first step that was seen."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self._first: tuple[int, float] | None = None

    def note(self, step: Step) -> float | None:
        if isinstance(step, Tokenising):
            return None
        now = time.monotonic()
        if self._first is None:
            self._first = step.step, now
            return None
        done, began = step.step - self._first[0], self._first[1]
        return done * self.batch / (now - began) if now > began else None


def line(step: Step, speed: float | None) -> str:
    """One step as one line: the dictionaries' figures on average, the most dead."""
    if isinstance(step, Tokenising):
        return f"{step.tokens:,} tokens of text"
    figures, count = step.figures, len(step.figures)
    loss, l0, fvu = (sum(getattr(f, name) for f in figures) / count for name in ("loss", "l0", "fvu"))
    dead = max(f.dead for f in figures)
    return (
        f"step {step.step}/{step.steps}  loss {loss:.4f}  L0 {l0:.1f}  FVU {fvu:.4f}  dead {dead}"
        f"{_speed(speed)}"
    )


def drawn(step: Step, speed: float | None, batch: int) -> Group | Text:
    """The same with a row for each dictionary and a bar."""
    if isinstance(step, Tokenising):
        return Text(line(step, None))
    table = Table(box=None, pad_edge=False)
    table.add_column("dictionary")
    for name in ("loss", "L0", "FVU", "dead"):
        table.add_column(name, justify="right")
    for f in step.figures:
        table.add_row(f.name, f"{f.loss:.4f}", f"{f.l0:.1f}", f"{f.fvu:.4f}", str(f.dead))
    filled = 30 * step.step // step.steps
    bar = f"step {step.step:,}/{step.steps:,} {'█' * filled}{'·' * (30 - filled)}"
    left = "" if not speed else f"  {duration((step.steps - step.step) * batch / speed)} left"
    return Group(table, Text(f"{bar}{_speed(speed)}{left}\nCtrl-C stops and keeps a checkpoint"))


def duration(seconds: float) -> str:
    """`40s`, `12m`, `3h 05m`"""
    if seconds < 60:
        return f"{seconds:.0f}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m"


def _speed(speed: float | None) -> str:
    return "" if speed is None else f"  {speed:,.0f} tokens/s"
