"""Moving about on the screen: cursors, panes, views, finding, the mouse."""

from collections.abc import Callable

from textual.events import MouseScrollDown, MouseScrollUp

from tdb_tui.panes.arrangement import views
from tdb_tui.panes.attention import Attention
from tdb_tui.panes.desk import Desk
from tdb_tui.panes.pane import Pane
from tdb_tui.panes.rows import Rows
from tdb_tui.panes.selection import NODES, Selection, Unavailable
from tdb_tui.panes.strips import Strips
from tdb_tui.panes.trajectory import Trajectory
from tdb_tui.views.data import Look

ORDER = (
    "code",
    "rank",
    "attn",
    "tree",
    "strips",
    "heat",
    "page",
    "next",
    "inspect",
    "edits",
    "stops",
    "displays",
    "log",
)
"Panes as Tab goes through them."

BY_TOKEN = ("attn", "strips")
"Those whose cursor is the token cursor."


class Moves(Desk, inherit_bindings=False):
    words = ""
    "What was last looked for in a pane."
    _pointed = "code"
    "The pane whose cursor last pointed at a node."

    def with_fields(self, text: str, then: Callable[[str], object]) -> None:
        """Fill a command's fields from what is selected; say so where nothing is."""
        if "{" not in text:
            then(text)
            return
        if self.look is None:
            self.owner.complain("the model is still loading")
            return
        try:
            filled = text.format_map(self._selection(self.look))
        except Unavailable as error:
            self.owner.complain(str(error))
            return
        then(filled)

    def pointed(self) -> dict[str, str]:
        """What a typed `.` stands for; nothing where nothing is selected."""
        if self.look is None:
            return {}
        selection = self._selection(self.look)
        for field in ("node", "line"):
            try:
                return {".": selection[field]}
            except Unavailable:
                continue
        return {}

    def activate(self, name: str) -> None:
        """Give a pane the keys; what its cursor is on is then the selected node."""
        other = name in NODES and name != self._pointed
        if other:
            self._pointed = name
        super().activate(name)
        if other and self.in_view("inspect"):
            self.owner.wanted()

    def _selection(self, look: Look) -> Selection:
        listed = self.pane(self.active)
        return Selection(
            look,
            self.active,
            self.listing.selected(),
            self.ranked.cursor,
            listed.node() if isinstance(listed, Rows) else None,
            self.upstream.selected(),
            (self.heat.node, self.heat.command),
            self.page.view if self.reads_page else None,
            self.page.other(),
            self._pointed,
        )

    def selected(self) -> str:
        """The node that the cursor is on, as a command calls it; empty where it is on none."""
        if self.look is None:
            return ""
        try:
            return self._selection(self.look)["node"]
        except Unavailable:
            return ""

    def _move(self, by: int) -> None:
        name = "log" if self.log_pane.reading else self.active
        pane = self.pane(name)
        if name in BY_TOKEN:
            self._move_token(by)
            return
        pane.move(by)
        self._moved(name)

    def _moved(self, name: str) -> None:
        """A pane's cursor is on another row."""
        if name in NODES:
            self._pointed = name
        if name == "rank":
            self.owner.looked(self.ranked.head())
        if name in NODES and self.in_view("inspect"):
            self.owner.wanted()

    def _move_token(self, by: int) -> None:
        """Move the token cursor, to the first or last token where it is to go further; of a layer, the head."""
        shown = None if self.look is None else self.look.attention
        if self.active == "attn" and shown is not None and not shown.causal:
            to = max(0, min(shown.index + by, shown.heads[1] - 1))
            self.owner.submit(f"attn L{shown.layer}H{to} --by layer")
            return
        last = 0 if self.look is None else len(self.look.tokens.texts) - 1
        at = self.look.tokens.cursor if self.look is not None else 0
        to = max(0, min(at + by, last))
        if abs(by) > 1 and to != at:
            self.owner.submit(f"token @{to}")
        else:
            self.with_fields(f"token @{'{token_right}' if by > 0 else '{token_left}'}", self.owner.submit)

    def action_down(self) -> None:
        self._move(1)

    def action_up(self) -> None:
        self._move(-1)

    def action_left(self) -> None:
        self._sideways(-1)

    def action_right(self) -> None:
        self._sideways(1)

    def _sideways(self, by: int) -> None:
        """Over the columns of a map; elsewhere it moves the token cursor."""
        if self.active == "heat":
            self.heat.move_column(by)
        elif self.active == "page":
            self.page.move_token(by)
        else:
            self.with_fields(f"token @{'{token_right}' if by > 0 else '{token_left}'}", self.owner.submit)

    def action_beside(self, where: str) -> None:
        """On a page, the component beside it; elsewhere left and right move what `h` and `l` move."""
        if self.active == "page":
            self.with_fields(f"{{{where}}}", self.owner.submit)
        elif where in ("before", "after"):
            self._sideways(1 if where == "after" else -1)

    def action_page(self) -> None:
        """The page, of the selected component where there is none yet."""
        if self.page.view.rows:
            self.open_page()
        else:
            self.with_fields("info {node}", self.owner.submit)

    def action_first(self) -> None:
        self._move(-(10**9))

    def action_last(self) -> None:
        self._move(10**9)

    def action_half_down(self) -> None:
        self._move(max(self._page() // 2, 1))

    def action_half_up(self) -> None:
        self._move(-max(self._page() // 2, 1))

    def action_page_down(self) -> None:
        self._move(self._page())

    def action_page_up(self) -> None:
        self._move(-self._page())

    def _page(self) -> int:
        return self.pane("log" if self.log_pane.reading else self.active).rows_shown

    def action_pane(self, number: int | str) -> None:
        names = {pane.number: pane.id for pane in self.query(Pane)}
        if (name := names.get(number)) in ORDER:
            self.activate(name)
        elif name is not None:
            self.owner.complain(f"nothing to select in pane {number}")

    def action_next_pane(self) -> None:
        self._cycle(1)

    def action_pane_before(self) -> None:
        self._cycle(-1)

    def _cycle(self, step: int) -> None:
        shown = [name for name in ORDER if self.in_view(name)] or [self.active]
        at = shown.index(self.active) if self.active in shown else 0
        self.activate(shown[(at + step) % len(shown)])

    def action_next_view(self) -> None:
        """The next thing that the right-hand side can show at this width."""
        shown = views(self.size.width, self.size.height, self.wishes.columns)
        at = shown.index(self.wishes.view) if self.wishes.view in shown else 0
        view = shown[(at + 1) % len(shown)]
        self.wish(view=view, zoom=None, half=False)
        if self.active != "code":
            self.activate("edits" if view == "lists" else view)

    def action_zoom(self) -> None:
        """Half the screen, then all of it, then as it was."""
        if self.wishes.zoom is None:
            self.log_pane.reading = self.active == "log"
            self.wish(zoom=self.active, half=True)
        elif self.wishes.half:
            self.wish(half=False)
        else:
            self.close()

    def action_unzoom(self) -> None:
        """A step back."""
        if self.wishes.zoom == self.active and not self.wishes.half:
            self.wish(half=True)
        else:
            self.close()

    def action_inspect(self) -> None:
        """What there is to say about the selected node; once it stands there, the keys go to it."""
        if self.in_view("inspect"):
            self.activate("inspect")
        else:
            self.bring("inspect")

    def action_find_next(self) -> None:
        self.look_for(self.words, 1)

    def action_find_before(self) -> None:
        self.look_for(self.words, -1)

    def look_for(self, words: str, step: int = 1) -> None:
        """Move the pane's cursor to the next row with these words."""
        if not words:
            self.owner.complain("nothing to find: / asks for words")
            return
        self.words = words
        name = "log" if self.log_pane.reading else self.active
        pane = self.pane(name)
        start = pane.top if name == "log" else pane.cursor
        at = pane.find(words, start + step, step)
        if at is None:
            self.owner.complain(f"no row of pane {pane.number} has {words!r}")
        elif name in BY_TOKEN:
            self._move_token(at - start)
        else:
            pane.move_to(at)
            self._moved(name)

    def keep_rows(self, words: str) -> None:
        """Show the rows of the active pane that have these words, all of them for none."""
        pane = self.pane(self.active)
        if not pane.filters:
            self.owner.complain(
                f"pane {pane.number} is not a list: & goes with panes 0, 1, 2, 5, 6, 7, 9, E, I"
            )
            return
        pane.keep(words)
        self._moved(self.active)

    def unfilter(self) -> bool:
        """Show all rows of the active pane again; whether some were not shown."""
        pane = self.pane(self.active)
        if not pane.words:
            return False
        self.keep_rows("")
        return True

    # The mouse, where there is one.

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        self._scroll(event.screen_x, event.screen_y, 3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        self._scroll(event.screen_x, event.screen_y, -3)

    def _scroll(self, x: float, y: float, by: int) -> None:
        widget, _ = self.get_widget_at(int(x), int(y))
        if isinstance(widget, Pane) and not isinstance(widget, (Attention, Strips, Trajectory)):
            widget.move(by)
