"""What the panes of a saved session show, read back: the ranking asked for, the tree and its open branches."""

from collections.abc import Mapping, Sequence
from typing import Any

from model.addresses import AddressError, parse_component, split_node
from model.components import Node
from model.targets import Via
from tdb_tui.circuits.files import read_node
from tdb_tui.files.saved_values import as_name, as_text, as_truth, as_whole
from tdb_tui.language.filters import parse_filter
from tdb_tui.session import Session
from tdb_tui.state import LONGEST_NAME, Frame, RankView, Tree
from tdb_tui.tables.chosen import MEASURES
from tdb_tui.tables.ranking import KINDS, PER, SIDES


def read_marks(saved: Sequence[object]) -> tuple[str, ...]:
    """Marked nodes, as a command calls them.  Raises ValueError for a text that no node is called."""
    found = tuple(as_name(each, LONGEST_NAME) for each in saved)
    for each in found:
        split_node(each)
        if ";" in each or any(sign.isspace() for sign in each):
            raise ValueError(f"{each!r} where a node belongs")
    return found


def read_rank(session: Session, saved: Mapping[str, Any] | None, end: int, lenient: bool) -> RankView:
    """What `saving` wrote; the usual view where another model lacks a part of it.

    Raises AddressError, CommandError, KeyError, TypeError and ValueError.
    """
    if saved is None:
        return RankView()
    info = session.engine.info
    try:
        within = tuple(parse_component(as_text(part), info.config, info.name) for part in saved["within"])
    except AddressError:
        if not lenient:
            raise
        within = ()
    kinds = tuple(map(as_text, saved["kinds"]))
    if not kinds or not set(kinds) <= {kind for group in KINDS.values() for kind in group}:
        raise ValueError(f"{', '.join(kinds)} where kinds of nodes belong")
    pos, each, where = saved["pos"], saved["each"], saved["where"]
    return RankView(
        kinds,
        _one_of(saved["by"], MEASURES),
        None if pos is None else as_whole(pos, end),
        within,
        _one_of(saved["sign"], ("", "+", "-")),
        _one_of(saved["per"], ("", *PER)),
        None if where is None else parse_filter(as_text(where)),
        None if each is None else as_whole(each),
        frozenset(_one_of(side, SIDES) for side in saved.get("latents", [])),
    )


def read_tree(session: Session, saved: Mapping[str, Any] | None, length: int, lenient: bool) -> Tree:
    """What `saving` wrote, without the branches of another model.  Raises as `read_rank` does."""
    if saved is None:
        return Tree()
    turned = frozenset(
        (
            tuple(_frame(session, as_text(text), length) for text in each["frames"]),
            tuple(_node(session, text, length) for text in each["path"]),
        )
        for each in ([] if lenient else saved["turned"])
    )
    threshold = saved["threshold"]
    if type(threshold) not in (int, float) or not threshold >= 0:
        raise ValueError(f"{threshold!r} where a threshold belongs")
    depth, top = as_whole(saved["depth"]), as_whole(saved["top"])
    return Tree(depth, top, float(threshold), as_truth(saved["neurons"]), turned)


def _frame(session: Session, text: str, length: int) -> Frame:
    node, _, via = text.removeprefix("trace ").partition(" via ")
    return Frame(_node(session, node, length), Via(via) if via else None)


def _node(session: Session, text: object, length: int) -> Node:
    node = read_node(session, text, length, lenient=False)
    assert node is not None  # it would have raised
    return node


def _one_of(value: object, known: "Mapping[str, Any] | tuple[str, ...]") -> str:
    if value not in known:
        raise ValueError(f"{value!r} where one of {', '.join(filter(None, known))} belongs")
    return as_text(value)
