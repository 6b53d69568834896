"""Snapshot -> everything on the screen.  What a pane showed before is kept where nothing it depends on has changed."""

from collections.abc import Collection
from dataclasses import replace

from model.components import Component
from tdb_tui.session import Snapshot
from tdb_tui.views import rows
from tdb_tui.views.attention import attention, heads
from tdb_tui.views.branches import TreeView
from tdb_tui.views.data import AttentionView, Look, RankedView, RowsView, StripsView
from tdb_tui.views.heat import HeatView
from tdb_tui.views.inspect import inspect
from tdb_tui.views.listing import listing
from tdb_tui.views.page import page
from tdb_tui.views.ranked import ranked
from tdb_tui.views.strips import token_effects
from tdb_tui.views.sweep import sweep
from tdb_tui.views.title import title
from tdb_tui.views.tokens import tokens
from tdb_tui.views.trajectory import trajectory
from tdb_tui.views.tree import tree


class Looker:
    """Makes looks of one session's snapshots, ranking again only when the run or the question has changed."""

    def __init__(self) -> None:
        self._key: object = None
        self._ranked: RankedView | None = None
        self._tree_key: object = None
        self._tree: TreeView | None = None
        self._strips_key: object = None
        self._strips: StripsView | None = None
        self._heat_key: object = None
        self._heat: HeatView | None = None
        self._map_key: object = None
        self._map: AttentionView | None = None
        self._inspect_key: object = None
        self._inspect: RowsView | None = None

    def look(
        self,
        snapshot: Snapshot,
        head: Component | None = None,
        panes: Collection[str] = (),
        node: str = "",
        unsaved: bool = False,
    ) -> Look:
        """`head` is the one under the cursor of the ranked components; None shows the session's own.

        `node` is what the cursor is on, for the pane that tells about it.

        The tree and the strips are computed where they are among the `panes`, and given where they are known.
        """
        shown = snapshot.state.head if head is None else head
        return Look(
            title=title(snapshot),
            tokens=tokens(snapshot, shown),
            listing=listing(snapshot),
            ranked=self.ranked(snapshot),
            tree=self._upstream(snapshot, "tree" in panes),
            strips=self._sums(snapshot, "strips" in panes),
            heat=self.heat(snapshot),
            page=page(snapshot),
            inspect=self._inspected(snapshot, node) if "inspect" in panes else None,
            attention=self._attention(snapshot, shown),
            heads=heads(snapshot, shown),
            trajectory=trajectory(snapshot),
            edits=rows.edits(snapshot),
            stops=rows.stops(snapshot),
            displays=rows.displays(snapshot),
            tops=rows.tops(snapshot),
            edits_of=rows.edits_of(snapshot, frozen=False),
            frozen=rows.edits_of(snapshot, frozen=True),
            marks=snapshot.state.marked,
            unsaved=unsaved,
        )

    def ranked(self, snapshot: Snapshot) -> RankedView:
        """The ranked components; the same view again where nothing has changed."""
        state = snapshot.state
        scale = state.settings.get("scale")
        shown = state.rank, state.draft, state.frame, scale, snapshot.kept
        key = snapshot.asked, snapshot.asked.known, *shown
        if self._ranked is None or key != self._key:
            self._key, self._ranked = key, ranked(snapshot)
        return self._ranked

    def _attention(self, snapshot: Snapshot, head: Component) -> AttentionView:
        key = snapshot.asked, snapshot.state.weighed, snapshot.state.pos, head
        if self._map is None or key != self._map_key:
            self._map_key, self._map = key, attention(snapshot, head)
        return self._map

    def heat(self, snapshot: Snapshot) -> HeatView | None:
        """The last sweep; the same view again where it is the same."""
        key = snapshot.sweep, snapshot.state.inputs
        if key != self._heat_key:
            self._heat_key, self._heat = key, sweep(snapshot)
        return self._heat

    def _inspected(self, snapshot: Snapshot, node: str) -> RowsView:
        state = snapshot.state
        key = snapshot.asked, snapshot.decided.inputs, state.pos, state.circuits, state.marks, node
        if self._inspect is None or key != self._inspect_key:
            self._inspect_key, self._inspect = key, inspect(snapshot, node)
        return self._inspect

    def _upstream(self, snapshot: Snapshot, wanted: bool) -> TreeView | None:
        key = snapshot.asked, snapshot.state.tree, snapshot.state.frame, snapshot.state.settings.get("scale")
        if key != self._tree_key:
            if not wanted:
                return None
            self._tree_key, self._tree = key, tree(snapshot)
        return self._tree

    def _sums(self, snapshot: Snapshot, wanted: bool) -> StripsView | None:
        key = snapshot.asked, snapshot.state.frame
        if key != self._strips_key:
            if not wanted:
                return None
            self._strips_key, self._strips = key, token_effects(snapshot)
        return None if self._strips is None else replace(self._strips, cursor=snapshot.state.pos)
