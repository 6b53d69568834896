"""The page of a component: what is known of it, and examples with their tokens shaded."""

from rich.style import Style

from tdb_tui.glyphs import CURSOR
from tdb_tui.palette import BLUE, DIM, ORANGE, PLAIN, SELECTED
from tdb_tui.panes.paint import Spans
from tdb_tui.panes.pane import Pane
from tdb_tui.views.data import PageView


class Page(Pane):
    """Blue is activation, stronger the larger; of a head blue is where it reads, orange what it reads there."""

    number = "E"
    filters = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.view = PageView("page", ())

    def show(self, view: PageView | None) -> None:
        if view is not None and view.title != self.view.title:
            self.cursor = self.top = 0
        self.view = view or self.view
        self.cursor = max(0, min(self.cursor, len(self.view.rows) - 1))
        self.keep_in_sight()
        self.update()

    def count(self) -> int:
        return len(self.view.rows)

    def shows(self) -> object:
        return self.view

    def title(self) -> str:
        return self.view.title

    def row(self, at: int, selected: bool) -> Spans:
        pointed = CURSOR if selected and self.active else " "
        return ((pointed, SELECTED), *((text, style_of(look)) for text, look in self.view.rows[at]))

    def below(self, at: int) -> Spans:
        return ((" info NODE shows a component here", DIM),) if at == 0 and not self.view.rows else ()

    def node(self) -> str | None:
        return self.view.title if self.view.rows else None


def style_of(look: str) -> Style:
    if not look.startswith("heat"):
        return DIM if look == "dim" else PLAIN
    level = int(look.removeprefix("heat"))
    if not level:
        return PLAIN
    return (BLUE if level > 0 else ORANGE)[abs(level) - 1]
