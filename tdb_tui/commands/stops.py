"""Breakpoints, watches and displays."""

from dataclasses import replace

from tdb_tui import lines
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, Unconfirmed
from tdb_tui.language.arguments import at_most, integer, line_number, number
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Stale
from tdb_tui.replies import Reply, columns, note
from tdb_tui.scope import shown, typed_value, value_of
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import Display, State, Stop


@command(
    "break",
    "b",
    usage="[LINE|NODE|any [, EXPR]]",
    group="stops",
    stale=Stale.OF_NO_RUN,
    complete=("node", "expr"),
    examples=("b A2", "b any, ld > 1"),
)
def break_(session: Session, call: Call) -> Reply:
    """Stop before a line, always or where an expression holds; without an argument, list the stops."""
    return _break(session, call, temporary=False)


@command(
    "tbreak",
    usage="LINE|NODE|any [, EXPR]",
    group="stops",
    stale=Stale.OF_NO_RUN,
    complete=("node", "expr"),
    examples=("tbreak A2", "tbreak M1, ld < 0"),
)
def tbreak(session: Session, call: Call) -> Reply:
    """A breakpoint that is gone once it has been hit."""
    return _break(session, call, temporary=True)


@command(
    "watch",
    usage="EXPR [by X]",
    group="stops",
    stale=Stale.OF_NO_RUN,
    complete=("expr",),
    examples=("watch rank('Mary') == 1", "watch ld by 0.5"),
)
def watch(session: Session, call: Call) -> Reply:
    """Stop after the line that changes an expression: a truth, a number's sign, or a number by X or more."""
    if not call.args:
        raise CommandError("watch what: watch ld, watch rank('Mary') == 1", code="missing-argument")
    typed, by = call.rest(), None
    if len(call.args) > 2 and call.args[-2].text == "by":
        by = abs(number(call.args[-1]))
        typed = replace(typed, text=typed.text[: call.args[-2].col - typed.col].rstrip())
    expression = _expression(session.snapshot, typed)
    stop = Stop(session.state.next_stop, watch=True, expression=expression, by=by)
    _with_stops(session, (*session.state.stops, stop), fresh=True)
    every = f" by {by:g}" if by is not None else ""
    return note(f"Watch {stop.number}: {expression}{every}", stop=stop.name)


@command(
    "clear",
    "cl",
    usage="[NUM...|NODE|--all]",
    group="stops",
    stale=Stale.OF_NO_RUN,
    options={"all": False},
    complete=("stop",),
    examples=("b A1 ;; cl 1", "cl --all"),
)
def clear(session: Session, call: Call) -> Reply:
    """Remove breakpoints and watches: by number, those at a line, or all of them with --all.

    Without an argument it asks whether all of them are meant; a script cannot be asked and says --all.
    """
    stops = session.state.stops
    if call.has("all"):
        at_most(call, 0)
        gone = stops
    elif not call.args and stops:
        question = "Clear the stop?" if len(stops) == 1 else f"Clear all {len(stops)} stops?"
        raise Unconfirmed(
            f"{question} cl --all does (or give numbers, a line)", question=question, then="clear --all"
        )
    else:
        gone = tuple(dict.fromkeys(stop for word in call.args for stop in _named(session.snapshot, word)))
    _with_stops(session, tuple(stop for stop in stops if stop not in gone))
    said = tuple(f"Deleted {described(session.snapshot, stop)}" for stop in gone)
    return Reply(said or ("No stops",), {"deleted": [stop.name for stop in gone]})


@command(
    "condition",
    usage="NUM [EXPR]",
    group="stops",
    stale=Stale.OF_NO_RUN,
    complete=("stop", "expr"),
    examples=("b A1 ;; condition 1 ld < 0", "condition 1"),
)
def condition(session: Session, call: Call) -> Reply:
    """Give a breakpoint a condition, or take it away."""
    if not call.args:
        raise CommandError("Breakpoint number expected", code="bad-stop")
    stop = numbered_stop(session.snapshot, call.args[0])
    if stop.watch:
        raise CommandError(
            f"{stop.name} is a watch: a condition belongs to a breakpoint",
            code="bad-stop",
            col=call.args[0].col,
        )
    expression = _expression(session.snapshot, call.rest(1)) if len(call.args) > 1 else ""
    replace_stop(session, stop, replace(stop, expression=expression))
    if expression:
        return note(f"New condition set for breakpoint {stop.number}.")
    return note(f"Breakpoint {stop.number} is now unconditional.")


@command(
    "ignore",
    usage="NUM [COUNT]",
    group="stops",
    stale=Stale.OF_NO_RUN,
    complete=("stop",),
    examples=("b A1 ;; ignore 1 2", "ignore 1"),
)
def ignore(session: Session, call: Call) -> Reply:
    """Pass over the next COUNT crossings of a stop."""
    at_most(call, 2)
    if not call.args:
        raise CommandError("Breakpoint number expected", code="bad-stop")
    stop = numbered_stop(session.snapshot, call.args[0])
    count = integer(call.args[1], "a count") if len(call.args) > 1 else 0
    replace_stop(session, stop, replace(stop, ignore=count))
    name = f"{'watch' if stop.watch else 'breakpoint'} {stop.number}"
    if count:
        return note(f"Will ignore next {count} crossing{'s' * (count != 1)} of {name}.")
    return note(f"Will stop next time {name} is reached.")


@command(
    "display",
    usage="[EXPR]",
    group="stops",
    complete=("expr",),
    examples=("display ld", "display rank('Mary')"),
)
def display(session: Session, call: Call) -> Reply:
    """Print an expression after each stop where it has changed; without an argument, list what is displayed."""
    state = session.state
    if not call.args:
        rows = display_rows(state)
        return Reply(
            columns(rows) or ("Nothing is displayed: display EXPR",),
            {"displays": [list(row) for row in rows]},
        )
    expression = _expression(session.snapshot, call.rest())
    value = shown(value_of(session.snapshot, expression))
    new = Display(state.next_display, expression, value)
    session.go(replace(state, displays=(*state.displays, new), next_display=state.next_display + 1))
    return note(f"{new.name} {expression}: {value}", display=new.name, value=value)


@command(
    "undisplay",
    usage="[NUM...]",
    group="stops",
    stale=Stale.OF_NO_RUN,
    complete=("display",),
    examples=("display ld ;; undisplay 1", "undisplay"),
)
def undisplay(session: Session, call: Call) -> Reply:
    """Stop displaying some expressions, or all."""
    gone = [numbered_display(session.state, word) for word in call.args]
    kept = tuple(each for each in session.state.displays if gone and each not in gone)
    session.go(replace(session.state, displays=kept))
    return note(f"{len(kept)} displayed")


def display_rows(state: State) -> list[tuple[str, ...]]:
    """Name, on or off, expression and what it was last, for listings."""
    return [(each.name, "y" if each.enabled else "n", each.expression, each.last) for each in state.displays]


def stop_rows(snapshot: Snapshot) -> list[tuple[str, ...]]:
    """Name, on or off, what stops, how often it has, and what it then does: for listings."""
    rows: list[tuple[str, ...]] = []
    for stop in snapshot.state.stops:
        keep = "once" if stop.temporary else "keep"
        rows.append(
            (
                stop.name,
                keep,
                "y" if stop.enabled else "n",
                _what(snapshot, stop),
                f"hits {stop.hits}",
                " ;; ".join(stop.commands),
            )
        )
    return rows


def _break(session: Session, call: Call, temporary: bool) -> Reply:
    snapshot = session.snapshot
    if not call.args:
        rows = stop_rows(snapshot)
        return Reply(columns(rows) or ("No stops",), {"stops": [list(row) for row in rows]})
    place, expression = _place_and_condition(snapshot, call)
    stop = Stop(session.state.next_stop, watch=False, expression=expression, line=place, temporary=temporary)
    _with_stops(session, (*session.state.stops, stop), fresh=True)
    kind = "Temporary breakpoint" if temporary else "Breakpoint"
    return note(f"{kind} {stop.number} at {_what(snapshot, stop, numbered=True)}", stop=stop.name)


def _place_and_condition(snapshot: Snapshot, call: Call) -> tuple[int | None, str]:
    """`A9, ld < 0` -> its line and its condition; `any` has no line."""
    first, after = call.args[0], call.rest(1)
    ended = first.text.endswith(",")
    where = replace(first, text=first.text.removesuffix(","))
    if after.text.startswith(",") and not ended:
        ended, after = True, replace(after, text=after.text[1:].lstrip(), col=call.rest(1).col + 1)
    if after.text and not ended:
        hint = f"a condition follows a comma: {call.name.text} {where.text}, {after.text}"
        raise CommandError(hint, "bad-argument", col=after.col)
    line = None if where.text == "any" else line_number(snapshot, where)
    if line is None and not after.text:
        raise CommandError("any needs a condition: b any, ld > 1", code="missing-argument", col=where.col)
    return line, _expression(snapshot, after) if after.text else ""


def _expression(snapshot: Snapshot, typed: Word) -> str:
    """A typed expression, checked by computing it here and now; a complaint points into the line."""
    typed_value(snapshot, replace(typed, quoted=False))
    return typed.text


def numbered_display(state: State, word: Word) -> Display:
    """The display of that number, `d1` or `1`.  Raises CommandError."""
    number = integer(Word(word.text.removeprefix("d"), word.col), "a display's number")
    for each in state.displays:
        if each.number == number:
            return each
    raise CommandError(f"no display {number}: display lists them", "bad-stop", col=word.col)


def _named(snapshot: Snapshot, word: Word) -> tuple[Stop, ...]:
    """The stop of that number, or those at that line."""
    if word.text.lstrip("bw").isdecimal():
        return (numbered_stop(snapshot, word),)
    if not any(letter.isdigit() for letter in word.text) and word.text not in ("E", "U"):
        raise CommandError("Breakpoint number expected", code="bad-stop", col=word.col)
    line = line_number(snapshot, word)
    found = tuple(stop for stop in snapshot.state.stops if stop.line == line)
    if not found:
        raise CommandError(f"There are no breakpoints at {word.text}", code="bad-stop", col=word.col)
    return found


def numbered_stop(snapshot: Snapshot, word: Word) -> Stop:
    """The stop of that number.  Raises CommandError."""
    digits = word.text.lstrip("bw")
    if not digits.isdecimal():
        raise CommandError("Breakpoint number expected", code="bad-stop", col=word.col)
    for stop in snapshot.state.stops:
        if str(stop.number) == digits:
            return stop
    raise CommandError(f"Breakpoint number {digits} out of range", code="bad-stop", col=word.col)


def _with_stops(session: Session, stops: tuple[Stop, ...], fresh: bool = False) -> None:
    session.go(replace(session.state, stops=stops, next_stop=session.state.next_stop + fresh))


def replace_stop(session: Session, old: Stop, new: Stop) -> None:
    _with_stops(session, tuple(new if stop is old else stop for stop in session.state.stops))


def described(snapshot: Snapshot, stop: Stop) -> str:
    """What a stop is, in words."""
    return (
        f"watch {stop.number}: {stop.expression}"
        if stop.watch
        else f"breakpoint {stop.number} at {_what(snapshot, stop)}"
    )


def _what(snapshot: Snapshot, stop: Stop, numbered: bool = False) -> str:
    if stop.watch:
        return stop.expression + (f" by {stop.by:g}" if stop.by is not None else "")
    where = "any line" if stop.line is None else lines.name(stop.line, snapshot.n_layer)
    if numbered and stop.line is not None:
        where += f" (line {stop.line})"
    return f"{where} if {stop.expression}" if stop.expression else where
