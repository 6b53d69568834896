"""A line carried out and looked at: what happens on the engine thread, between two moments of the screen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from model.components import Component
from tdb_tui.commands import Done, execute, registry
from tdb_tui.commands.paging import while_typed
from tdb_tui.edits import stack
from tdb_tui.errors import CommandError, Interrupted
from tdb_tui.language.registry import Repeat
from tdb_tui.machine.devices import ComputeError, compute_errors
from tdb_tui.session import Session
from tdb_tui.settings import setting
from tdb_tui.views.data import Look
from tdb_tui.views.look import Looker

MOST_WEIGHED = 12
"Edits that are weighed for who sees the stack; `edits` weighs any number."


@dataclass(frozen=True, slots=True)
class Seen:
    """What the screen shows of its own accord."""

    head: Component | None = None
    "The head that it points at; a command that shows another replaces it."
    panes: frozenset[str] = frozenset()
    "Those in view that are computed only for who sees them."
    pointed: Mapping[str, str] = field(default_factory=dict[str, str])
    "`.`: what is under the cursor, as a command calls it; left out where nothing is."
    node: str = ""
    "The node under the cursor, as a command calls it."
    typed: str = ""
    "A text for the page's component that is still being typed."


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    done: tuple[Done, ...] = ()
    look: Look | None = None
    "None where nobody waits for it, or it could not be made."
    complaint: str = ""
    "Why there is no look."
    other_head: bool = False
    "Whether a command has shown another head than the session showed before."


def turn(session: Session, looker: Looker, line: str | None, seen: Seen, wanted: Callable[[], bool]) -> Turn:
    """Carry out `line`, then look at the result if it is still wanted.  Only a defect of ours raises."""
    before, session.pointed = session.state.head, seen.pointed
    done = tuple(execute(session, line)) if line is not None else ()
    other = session.state.head != before
    if not wanted():
        return Turn(done, other_head=other)
    session.engine.interrupt.clear()  # what was stopped is to be seen as far as it came
    shown = None if other else seen.head
    views = {each.reply.view for each in done[-1:] if each.reply is not None and each.reply.view is not None}
    if {"edits", "lists"} & (seen.panes | views):
        _weigh(session, wanted)
    try:
        with compute_errors():
            look = looker.look(
                while_typed(session, seen.typed),
                shown,
                seen.panes | views,
                seen.node,
                unsaved=not session.saved,
            )
            return Turn(done, look, other_head=other)
    except Interrupted:
        return Turn(done, None, "interrupted: the panes show what was before", other)
    except ComputeError as error:
        return Turn(done, None, f"{error}: the panes show what was before", other)


def _weigh(session: Session, wanted: Callable[[], bool]) -> None:
    """Run what says what each edit is worth, as long as nothing else waits; what cannot be run stays unknown."""
    inputs = session.state.inputs
    off = session.snapshot.waiting is not None or setting(session.state, "measure") == "off"
    if off or len(inputs.edits) > MOST_WEIGHED:
        return
    try:
        with compute_errors():
            for each in stack.wanted(inputs):
                if not wanted():
                    return
                session.engine.value(each)
    except (CommandError, ComputeError, Interrupted):
        session.engine.interrupt.clear()


def repetition(last: Done | None, line: str) -> str | None:
    """What an empty line does after a command: the line again, the next page, or None for nothing."""
    if last is None or last.reply is None:
        return None
    match registry.find(last.cmd.split()[0]).repeat:
        case Repeat.LITERAL:
            return line
        case Repeat.CONTINUE:
            return last.reply.more
        case Repeat.NOTHING:
            return None
