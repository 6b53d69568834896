"""The widgets of the screen, where they stand, what they show, which of them is active."""

from dataclasses import replace
from typing import Protocol

from textual.app import ComposeResult
from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import Layout, WidgetPlacement
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget

from model.components import Component
from tdb_tui.keymap import Keymap
from tdb_tui.palette import BOLD
from tdb_tui.panes.arrangement import Arrangement, Wishes, arrange
from tdb_tui.panes.attention import Attention
from tdb_tui.panes.command_line import CommandLine
from tdb_tui.panes.command_line import Owner as LineOwner
from tdb_tui.panes.heads import Heads
from tdb_tui.panes.heatmap import HeatMap
from tdb_tui.panes.hints import Hints
from tdb_tui.panes.listing import Listing
from tdb_tui.panes.log import Log
from tdb_tui.panes.page import Page
from tdb_tui.panes.paint import Spans
from tdb_tui.panes.pane import Divider, Painted, Pane
from tdb_tui.panes.ranked import Ranked
from tdb_tui.panes.rows import Rows
from tdb_tui.panes.small import Small
from tdb_tui.panes.strips import Strips
from tdb_tui.panes.terminal import Terminal
from tdb_tui.panes.title import Status, Title
from tdb_tui.panes.tokens import Tokens
from tdb_tui.panes.trajectory import Trajectory
from tdb_tui.panes.tree import Tree
from tdb_tui.views.data import Look, RankedView
from tdb_tui.views.heat import HeatView

WANTED = frozenset({"tree", "strips", "inspect", "edits"})
"Panes that are computed only for those who see them."


class Owner(LineOwner, Protocol):
    """Who carries out what the screen asks for."""

    @property
    def terminal(self) -> Terminal:
        """What it is drawn on."""
        ...

    def submit(self, line: str) -> None:
        """A key stands for this command."""

    def complain(self, sentence: str) -> None:
        """A key means nothing here, and why."""

    def looked(self, head: Component | None) -> None:
        """The cursor of the ranked components has come to a head, or to something else."""

    def copy(self, text: str, said: str) -> None:
        """Text is for the clipboard; `said` is what the log calls it."""

    def wanted(self) -> None:
        """A pane has come into view that nothing has been computed for."""


class Flat(Layout):
    """Places widgets where `arrange` says: no containers, and nothing to measure."""

    name = "flat"

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> list[WidgetPlacement]:
        assert isinstance(parent, Desk)
        boxes = parent.arranged(size).boxes
        return [
            WidgetPlacement(Region(*boxes[child.id]), NULL_OFFSET, NULL_SPACING, child)
            for child in children
            if child.id is not None and child.id in boxes
        ]


class Prompt(Painted):
    text = "(tdb) "

    def show(self, text: str) -> None:
        self.text = text
        self.update()

    def paint(self, y: int) -> Spans:
        return ((self.text, BOLD),)


class Desk(Screen[None], inherit_bindings=False):
    """The widgets and their places.  It does not know what keys do."""

    # The library repaints the whole screen when the focus moves; every widget here says itself what has changed.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)
    AUTO_FOCUS = ""

    def __init__(self, opening: str, prompt: str, history: list[str], owner: Owner, keymap: Keymap) -> None:
        super().__init__()
        self.keymap = keymap
        self._flat = Flat()
        self.owner = owner
        self.wishes = Wishes()
        self.look: Look | None = None
        self.title_line, self.status = Title("title", opening), Status("status")
        self.tokens = Tokens("tokens", prompt)
        self.listing, self.ranked, self.attention = Listing("code"), Ranked("rank"), Attention("attn")
        self.heads = Heads("heads")
        self.upstream, self.sums, self.heat = Tree("tree"), Strips("strips"), HeatMap("heat")
        self.page = Page("page")
        self.edits = Rows("edits", 5, "interventions")
        self.stops = Rows("stops", 6, "stop points")
        self.displays = Rows("displays", 7, "display")
        self.next_tokens, self.about = Rows("next", 9, "next tokens"), Rows("inspect", "I", "inspect")
        self.trajectory, self.log_pane = Trajectory("trajectory"), Log("log")
        self.prompt, self.line = Prompt("prompt"), CommandLine("line", history, owner)
        self.hints = Hints("hints")
        self.active = self._before_page = "code"
        self.listing.active = True
        self.hints.items, self.hints.always = keymap.hints(), keymap.always

    def compose(self) -> ComposeResult:
        yield from (self.title_line, self.status, self.tokens)
        yield from (self.listing, self.ranked, self.attention, self.upstream, self.sums, self.heat, self.page)
        yield from (self.heads, self.next_tokens, self.about)
        yield from (self.edits, self.stops, self.displays, self.trajectory, self.log_pane)
        yield from (Divider("bar1"), Divider("bar2"), Divider("bar3"))
        yield from (self.prompt, self.line, self.hints, Small("small"))

    # Where things stand.

    @property
    def layout(self) -> Layout:
        return self._flat

    def arranged(self, size: Size) -> Arrangement:
        rows, other = self.tokens.wanted(size.width)
        heads = self.wishes.heads if self.look is None else len(self.look.heads.values)
        wishes = replace(self.wishes, token_rows=rows, other=other, heads=heads)
        found = arrange(size.width, size.height, wishes)
        self.tokens.shaded = found.shaded
        below = self.trajectory if "trajectory" in found.boxes else self.log_pane
        self.trajectory.joints = self.log_pane.joints = ()
        below.joints = tuple(found.boxes[bar][0] for bar in ("bar1", "bar2", "bar3") if bar in found.boxes)
        return found

    def wish(self, **wishes: str | bool | None) -> None:
        """Change what is shown where."""
        wanted = replace(self.wishes, **wishes)  # pyright: ignore[reportArgumentType]
        if wanted != self.wishes:
            self.wishes = wanted
            self.lay_out()
            self.arranged(self.size)
            self.log_pane.update()  # the lines between panes end at its rule
            self.trajectory.update()
            self._want()

    def lay_out(self) -> None:
        """Arrange everything anew.  A widget is asked, for the library forgets the arrangement of what contains it."""
        self.status.refresh(layout=True)

    def seen(self) -> frozenset[str]:
        """Panes in view that are computed only for those who see them."""
        return frozenset(WANTED & self.arranged(self.size).boxes.keys())

    def _want(self) -> None:
        """Ask for what has come into view and is not there."""
        look = self.look
        if look is not None and any(
            getattr(look, name) is None or (name == "edits" and look.edits.partial) for name in self.seen()
        ):
            self.owner.wanted()

    def in_view(self, pane: str) -> bool:
        return pane in self.arranged(self.size).boxes

    def pane(self, name: str) -> Pane:
        return {pane.id: pane for pane in self.query(Pane)}[name]

    # What is shown.

    def show(self, look: Look) -> None:
        wanted = self.tokens.wanted(self.size.width)
        first, self.look = self.look is None, look
        for pane in (self.listing, self.ranked, self.upstream):
            pane.marked = frozenset(look.marks)
        self.title_line.show(look.title)
        self.tokens.show(look.tokens)
        self.listing.show(look.listing)
        self.ranked.show(look.ranked)
        self.attention.show(look.attention)
        self.heads.show(look.heads)
        self.upstream.show(look.tree)
        self.sums.show(look.strips)
        self.heat.show(look.heat)
        self.page.show(look.page)
        self.trajectory.show(look.trajectory)
        for pane, view in (
            (self.edits, look.edits),
            (self.stops, look.stops),
            (self.displays, look.displays),
            (self.next_tokens, look.tops),
            (self.about, look.inspect),
        ):
            if view is not None:
                pane.show(view)
        if first or wanted != self.tokens.wanted(self.size.width):
            self.lay_out()

    def stream(self, view: RankedView | HeatView | None) -> None:
        """Show how far the ranked components, or a sweep, have been measured."""
        if self.look is None:
            return
        if isinstance(view, HeatView):
            self.look = replace(self.look, heat=view)
            self.heat.show(view)
        elif view is not None:
            self.look = replace(self.look, ranked=view)
            self.ranked.show(view)

    def bring(self, pane: str) -> None:
        """Make a pane visible where the layout shows one at a time; the keys go with it if theirs is hidden."""
        pane = "edits" if pane == "lists" else pane
        if self.in_view(pane):
            return
        view = "lists" if pane in ("edits", "stops", "displays") else pane
        self.wish(view=view, zoom=None, half=False)
        if not self.in_view(self.active):
            self.activate(pane)

    def activate(self, name: str) -> None:
        """Give a pane the keys."""
        self.bring(name)
        before, self.active = self.active, name
        for pane in (self.pane(before), self.pane(name)):
            pane.active = pane.id == name
            pane.update()
        self.show_hints()
        if name == "rank":
            self.owner.looked(self.ranked.head())

    def read_log(self, first: int) -> None:
        """Lay the log open at a line, until a key closes it."""
        self.log_pane.reading = True
        self.wish(zoom="log", half=False)
        self.call_after_refresh(self.log_pane.show_from, first)

    @property
    def reads_page(self) -> bool:
        """Whether the keys are the page's."""
        return self.active == "page" and bool(self.page.view.rows)

    def open_page(self) -> None:
        """Lay the page open, until a key closes it: the keys go back to the pane that they came from."""
        if self.active != "page":
            self._before_page = self.active
        self.wish(zoom="page", half=False)
        self.activate("page")

    def close(self) -> bool:
        """Close what is laid open; whether anything was."""
        if self.wishes.zoom is None:
            return False
        if self.wishes.zoom == "page" and self.wishes.view != "page":
            self.activate(self._before_page)
        self.log_pane.reading = False
        self.wish(zoom=None, half=False)
        self.call_after_refresh(self.log_pane.show_end)
        return True

    def show_hints(self, message: str = "") -> None:
        """The keys of the active pane, or a message in their place."""
        self.hints.always = self.keymap.always
        self.hints.show(self.keymap.hints(self.active), message)
