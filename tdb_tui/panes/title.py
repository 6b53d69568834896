"""Row 1: model, metric, values; and beside it what the engine is doing."""

from rich.cells import cell_len, set_cell_size
from rich.style import Style

from tdb_tui import __version__
from tdb_tui.glyphs import AXIS, UNKNOWN
from tdb_tui.palette import BOLD, DIM, PLAIN, WARNING
from tdb_tui.panes.paint import Spans
from tdb_tui.panes.pane import Painted
from tdb_tui.views.data import TitleView

BETWEEN = f" {AXIS} "
PROMPT = 24
"Cells that the beginning of a prompt takes at least."


class Title(Painted):
    def __init__(self, name: str, opening: str) -> None:
        super().__init__(name)
        self.view: TitleView | None = None
        self.opening = opening
        "What stands here until there is a session."

    def show(self, view: TitleView) -> None:
        self.view = view
        self.update()

    def paint(self, y: int) -> Spans:
        if self.view is None:
            return ((self.opening, PLAIN),)
        parts = fitting(self.view, self.size.width)
        spans: list[tuple[str, Style]] = []
        for at, part in enumerate(parts):
            style = BOLD if part.startswith(self.view.value) else PLAIN
            spans += [(BETWEEN, DIM)] * bool(at) + [(part, style)]
        return tuple(spans)


def fitting(view: TitleView, width: int) -> list[str]:
    """The parts that fit, by rank: value, frame, frames before it, model, edits, device, probability, the rest."""
    short = f"{view.value}{view.mark}"
    value = f"{view.value}  {view.probability}{view.mark}" if view.probability else short
    model = f"{view.model} {view.device}"
    trail = view.metric.split(" < ")
    shorter = [" < ".join([*trail[:steps], UNKNOWN]) for steps in range(len(trail) - 1, 0, -1)]
    program = f"tdb-tui {__version__}"
    for choice in (
        [program, view.model, view.device, view.metric, value, view.spelled],
        [program, view.model, view.device, view.metric, value, view.counts],
        [model, view.metric, value, view.counts],
        [model, view.metric, short, view.counts],
        [view.model, view.metric, short, view.counts],
        [view.metric, short, view.counts],
        [view.metric, short],
        *([metric, short] for metric in shorter),
    ):
        parts = [part for part in choice if part]
        left = width - cell_len(BETWEEN.join(parts))
        if left >= 0:
            return _with_prompt(parts, view.prompt, left) if choice[0] == program else parts
    return [short]


def _with_prompt(parts: list[str], prompt: str, left: int) -> list[str]:
    """The parts with as much of the prompt before the metric as goes into what is `left` of the row."""
    name, room = "A: ", left - len(BETWEEN)
    if not prompt or room < PROMPT:
        return parts
    shown = f"{name}{prompt}"
    if cell_len(shown) > room:
        shown = f"{set_cell_size(shown, room - 1).rpartition(' ')[0]} {UNKNOWN}"
    return [*parts[:3], shown, *parts[3:]]


class Status(Painted):
    """The title's last slot: a widget of its own, so that progress costs a few bytes and not a row."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.text = "loading"
        self.took = ""
        "How long the last command has taken, shown at rest where there is room."

    def show(self, text: str) -> None:
        self.text = text
        self.update()

    def paint(self, y: int) -> Spans:
        resting = self.text == "idle"
        took = f"{self.took:>8}{BETWEEN}" if resting and self.took else ""
        took = took if self.size.width >= len(took) + len(AXIS) + 1 + len(self.text) else ""
        return ((f"{AXIS} ", DIM), (took, DIM), (self.text, DIM if resting else WARNING))
