"""What stands behind a number: the tree upstream."""

from dataclasses import replace

from model.upstream.branches import Branch, as_dict, as_dot
from tdb_tui.commands.table import command
from tdb_tui.commands.tracing import frame_text, traced
from tdb_tui.errors import CommandError
from tdb_tui.formats import node_label, signed
from tdb_tui.language.arguments import number, option_integer
from tdb_tui.language.parsing import Call, Word
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import Tree
from tdb_tui.tables.trees import CLOSED, rows, tree_of


@command(
    "upstream",
    "ut",
    usage="[NODE [via q|k|qk|v]] [-d DEPTH] [-n N] [--threshold EFFECT] [--neurons] [--out FILE.dot|FILE.json]",
    group="tracing",
    options={"d": True, "n": True, "threshold": True, "neurons": False},
    complete=("node", "via"),
    examples=("upstream", "upstream -d 2 -n 3 --threshold 0.1"),
)
def upstream(session: Session, call: Call) -> Reply:
    """What moves the selected frame, and what moves that in turn: a tree of the strongest contributors.

    Each node's effect is on the root, along the branch down to it; a head is opened through the input that moves
    it most.  Kept are the N strongest of each node, down to DEPTH steps, if they move the root by EFFECT or more;
    `+` is one that could be opened further: `fold` does.  With a NODE it is traced first, as `trace NODE` does, and
    the tree is that of its frame.  `--neurons` shows neurons in place of MLPs; where `latents` has swapped latents in,
    they and what they leave over are its nodes.  `--out FILE.dot` is for graphviz to draw.
    """
    state = session.state
    if call.args:
        frames = traced(session.snapshot, call)
        state = replace(state, frames=frames, frame=len(frames))
    usual = Tree()
    shown = Tree(
        option_integer(call, "d", usual.depth, "a depth"),
        option_integer(call, "n", usual.top, "a number of rows", least=1),
        _threshold(call),
        call.has("neurons"),
    )
    session.go(replace(state, tree=shown))
    return tree_reply(session)


def tree_reply(session: Session) -> Reply:
    """The tree as text, as JSON and for graphviz."""
    snapshot = session.snapshot
    root, shown = tree_of(snapshot, session.engine.stop_here), snapshot.state.tree
    name = frame_text(snapshot, snapshot.state.frame)
    lines = _lines(snapshot, root)
    footer = f"{len(lines)} branches, {shown.top} of each, {shown.depth} deep; fold 0.1 opens or closes one"
    return Reply(
        (f"{name}  {signed(root.effect)}", *lines, footer),
        {"tree": as_dict(root), "dot": as_dot(root, name)},
        view="tree",
    )


def _threshold(call: Call) -> float:
    """The smallest effect to keep, 0 where none is given.  Raises CommandError."""
    for option in reversed(call.options):
        if option.name == "threshold":
            effect = number(Word(option.value or "", option.col))
            if effect < 0:
                message = f"threshold {effect:g} is negative: it is the smallest effect of either sign"
                raise CommandError(message, "bad-number", col=option.col)
            return effect
    return 0.0


def _lines(snapshot: Snapshot, root: Branch) -> tuple[str, ...]:
    tokens, tokenizer = snapshot.state.inputs.prompt.tokens, snapshot.tokenizer
    found: list[str] = []
    for row in rows(root):
        via = f" via {row.branch.via.value}" if row.branch.via else ""
        more = f"  {CLOSED}" if row.sign == CLOSED else ""
        label = node_label(row.node, tokens, tokenizer)
        found.append(f"{row.guide}{label}{via}  {signed(row.branch.effect)}{more}")
    return tuple(found)
