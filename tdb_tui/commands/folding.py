"""What the screen shows: which pane, and how far the tree upstream is opened."""

from dataclasses import replace

from tdb_tui.commands.circuits import tree_reply
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.language.arguments import at_most
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Stale
from tdb_tui.replies import Reply
from tdb_tui.session import Session
from tdb_tui.tables.trees import path_to, tree_of

VIEWS = {
    "rank": "the ranked nodes",
    "attn": "a head's attention",
    "tree": "what is upstream, as a tree",
    "strips": "effects summed token by token",
    "heat": "the last sweep",
    "page": "what is known of the component asked about last",
    "lists": "interventions, stop points and displays",
    "next": "the next tokens",
}

WITHIN = {"edits": "lists", "stops": "lists", "displays": "lists", "sweep": "heat"}
"What else they are called."


@command(
    "view",
    "v",
    usage="|".join(VIEWS),
    group="seeing",
    stale=Stale.OF_NO_RUN,
    complete=("view",),
    examples=("view tree", "view strips"),
)
def view(session: Session, call: Call) -> Reply:
    """Bring a pane to the right-hand side of the screen, as the `v` key does in turn.

    rank    the ranked nodes;  attn  a head's attention;  next  the next tokens
    tree    what is upstream of the selected frame: Enter opens and closes a branch
    strips  effects summed token by token;  heat  the last sweep
    page    what is known of the component that `info` was last asked about
    lists   interventions, stop points and displays
    """
    if not call.args:
        raise CommandError(f"view what: {', '.join(VIEWS)}", code="missing-argument")
    at_most(call, 1)
    word = call.args[0]
    name = WITHIN.get(word.text, word.text)
    if name not in VIEWS:
        right = did_you_mean(name, VIEWS) or f": {', '.join(VIEWS)}"
        raise CommandError(f"no view {word.text!r}{right}", "bad-argument", col=word.col)
    return Reply((f"view: {VIEWS[name]}",), {"view": name}, view=name, script="")


@command(
    "fold",
    usage="BRANCH",
    group="tracing",
    examples=("fold 0.1", "upstream -d 1 ;; fold 0.0"),
)
def fold(session: Session, call: Call) -> Reply:
    """Close a branch of the tree upstream, or open one that is closed, also beyond the tree's depth.

    0 is the root, 0.2 its third branch and 0.2.1 the second branch of that.  Each frame keeps its own folds; edits
    leave them where they are.
    """
    if not call.args:
        raise CommandError("fold which branch: fold 0.2", code="missing-argument")
    at_most(call, 1)
    state, word = session.state, call.args[0]
    try:
        path, branch = path_to(tree_of(session.snapshot, session.engine.stop_here), word.text)
    except ValueError as error:
        raise CommandError(str(error), "bad-branch", col=word.col) from None
    if not branch.opens:
        message = f"{branch.node} has nothing upstream to open: heads, neurons and MLPs have"
        raise CommandError(message, "bad-branch", col=word.col)
    turned = state.tree.turned ^ {(state.trail, path)}
    session.go(replace(state, tree=replace(state.tree, turned=turned)))
    return tree_reply(session)
