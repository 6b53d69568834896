"""Moving about in the recorded pass.  Pure: a snapshot in, a place and the reason for stopping there out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from model.components import Kind
from tdb_tui import lines
from tdb_tui.errors import CommandError
from tdb_tui.scope import opened, truth, watched
from tdb_tui.session import Snapshot
from tdb_tui.state import Place, State, Stop


@dataclass(frozen=True, slots=True)
class Motion:
    """Where a movement ended."""

    place: Place
    stops: tuple[Stop, ...]
    "With hits counted, and temporary ones that were hit gone."
    stopped_by: str | None = None
    "`b1`, `w2`, `end` or `start`; None where the movement ended by itself."
    message: str = ""
    "What a person is told about it, a line each stop."
    held: tuple[Stop, ...] = ()
    "The stops that stopped it."


def rows_inside(snapshot: Snapshot, line: int) -> int:
    """How many rows a line opens into: parts, the rest if any, the bias; 0 where there is nothing to step into."""
    opens = lines.component(line, snapshot.n_layer).kind in (Kind.ATTN, Kind.MLP)
    return len(opened(snapshot, line).rows) if opens else 0


def within(snapshot: Snapshot) -> Place:
    """Where the pass stands, inside of an opened line on a row that it has: other tokens have other latents."""
    place = snapshot.state.place
    if place.inside is None:
        return place
    rows = rows_inside(snapshot, place.line)
    return replace(place, inside=min(place.inside, rows - 1) if rows else None)


def finished(snapshot: Snapshot, place: Place) -> bool:
    return place.line >= lines.count(snapshot.n_layer)


def next_(snapshot: Snapshot) -> Motion:
    """Over the line, or over one row of an opened line."""
    place = snapshot.state.place
    _refuse_at_end(snapshot)
    after = 0 if place.inside is None else place.inside + 1
    if place.inside is None or after >= rows_inside(snapshot, place.line):
        return _run(snapshot, place.line + 1)
    return _still(snapshot, replace(place, inside=after))


def step(snapshot: Snapshot) -> Motion:
    """Into the line where it has an inside, else as `next_`."""
    place = snapshot.state.place
    _refuse_at_end(snapshot)
    if place.inside is None and rows_inside(snapshot, place.line):
        return _still(snapshot, replace(place, inside=0))
    return next_(snapshot)


def return_(snapshot: Snapshot) -> Motion:
    """To the end of the opened line."""
    place = snapshot.state.place
    if place.inside is None:
        raise CommandError("not inside a line: s steps into an attention or MLP line", code="not-inside")
    return _run(snapshot, place.line + 1)


def until(snapshot: Snapshot, target: int | None) -> Motion:
    """To `target`, or to the next line; stops on the way are honoured.  Raises CommandError for a line behind."""
    place = snapshot.state.place
    _refuse_at_end(snapshot)
    if target is None:
        return _run(snapshot, place.line + 1)
    if target <= place.line:
        raise CommandError('"until" line number is smaller than current line number', code="bad-line")
    return _run(snapshot, target)


def continue_(snapshot: Snapshot) -> Motion:
    """To the next stop or the end; from the end, over again from the start."""
    end = lines.count(snapshot.n_layer)
    if finished(snapshot, snapshot.state.place):
        return _run(snapshot, end, first=0)
    return _run(snapshot, end)


def reverse_next(snapshot: Snapshot) -> Motion:
    place = snapshot.state.place
    _refuse_at_start(place)
    if place.inside is None:
        return _still(snapshot, Place(place.line - 1))
    return _still(snapshot, replace(place, inside=place.inside - 1) if place.inside else Place(place.line))


def reverse_step(snapshot: Snapshot) -> Motion:
    """Back into the line just executed, at its last row."""
    place = snapshot.state.place
    _refuse_at_start(place)
    if place.inside is None and (rows := rows_inside(snapshot, place.line - 1)):
        return _still(snapshot, Place(place.line - 1, rows - 1))
    return reverse_next(snapshot)


def reverse_continue(snapshot: Snapshot) -> Motion:
    """Back to the stop before this one, or to the start."""
    state = snapshot.state
    _refuse_at_start(state.place)
    last = state.place.line if state.place.inside is not None else state.place.line - 1
    for line in range(last, -1, -1):
        for stop in state.stops:
            if stop.enabled and (message := _stops(snapshot, stop, line)):
                return Motion(Place(line), state.stops, stop.name, message, (stop,))
    return Motion(Place(0), state.stops, "start", "At the start of the pass")


def _run(snapshot: Snapshot, target: int, first: int | None = None) -> Motion:
    """Forward to `target` or to the first stop on the way, which begins at line `first`."""
    stops = snapshot.state.stops
    for line in range(snapshot.state.place.line + 1 if first is None else first, target + 1):
        held: list[tuple[Stop, str]] = []
        for stop in stops:
            message = _stops(snapshot, stop, line) if stop.enabled else None
            if message is None:
                continue
            stops = tuple(_crossed(stops, stop))
            if stop.ignore == 0:
                held.append((stop, message))
        if held:
            messages = "\n".join(message for _, message in held)
            return Motion(Place(line), stops, held[0][0].name, messages, tuple(stop for stop, _ in held))
    return _still(replace(snapshot, state=replace(snapshot.state, stops=stops)), Place(target))


def _crossed(stops: tuple[Stop, ...], crossed: Stop) -> Iterator[Stop]:
    for stop in stops:
        if stop is not crossed:
            yield stop
        elif stop.ignore:
            yield replace(stop, ignore=stop.ignore - 1)
        elif not stop.temporary:
            yield replace(stop, hits=stop.hits + 1)


def _stops(snapshot: Snapshot, stop: Stop, line: int) -> str | None:
    """Why `stop` holds the pass before `line`, or None."""
    if stop.watch:
        try:
            return watched(snapshot, stop, line) if line else None
        except CommandError as error:
            return f"Watch {stop.number}: {stop.expression} has no value: {error.message}"
    if stop.line not in (None, line) or line >= lines.count(snapshot.n_layer):
        return None
    try:
        if stop.expression and not truth(snapshot, stop.expression, Place(line)):
            return None
    except CommandError as error:  # as in pdb: a condition that cannot be told holds
        return f"Breakpoint {stop.number}: its condition {stop.expression} has no value: {error.message}"
    where = f"Breakpoint {stop.number} at {lines.name(line, snapshot.n_layer)}"
    return f"{where} if {stop.expression}" if stop.expression else where


def _still(snapshot: Snapshot, place: Place) -> Motion:
    if finished(snapshot, place):
        return Motion(place, snapshot.state.stops, "end")
    return Motion(place, snapshot.state.stops)


def _refuse_at_end(snapshot: Snapshot) -> None:
    if finished(snapshot, snapshot.state.place):
        raise CommandError("the pass has finished: c starts again, N steps back", code="at-end")


def _refuse_at_start(place: Place) -> None:
    if place == Place(0):
        raise CommandError("At the start of the pass", code="at-start")


def moved(state: State, motion: Motion) -> State:
    """The state after a movement."""
    return replace(state, place=motion.place, stops=motion.stops)
