"""Moving through the recorded pass, forwards and backwards, and running it again."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from model.components import Kind
from tdb_tui import lines, stepping
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, ComputeFailed
from tdb_tui.files.edit_files import reseeded
from tdb_tui.formats import probability, quoted, signed
from tdb_tui.language.arguments import at_most, integer, line_number, option_integer
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat
from tdb_tui.machine.devices import DeviceError
from tdb_tui.opened import Inside
from tdb_tui.replies import Reply
from tdb_tui.scope import last_delta, lens_so_far, opened, shown, value_of
from tdb_tui.session import Session, Snapshot
from tdb_tui.settings import with_setting
from tdb_tui.state import Place
from tdb_tui.stepping import Motion, finished, moved
from tdb_tui.stop_commands import carry_out, is_silent


@command("next", "n", usage="[COUNT]", group="running", repeat=Repeat.LITERAL, examples=("n", "n 3"))
def next_(session: Session, call: Call) -> Reply:
    """Execute the line, or the row of an opened line.

    Shows what the line added to the metric through the logit lens, read at the token cursor.
    """
    return _repeated(session, call, stepping.next_)


@command("step", "s", usage="[COUNT]", group="running", repeat=Repeat.LITERAL, examples=("s", "s 2"))
def step(session: Session, call: Call) -> Reply:
    """Enter the line: an attention line opens into its heads, an MLP line into its strongest neurons.

    Where `latents` has swapped latents in, into those that are active at the token cursor, the strongest first, with
    the rest in one row, the SAE's bias and what it leaves over.  On a line with no inside it is `next`.
    """
    return _repeated(session, call, stepping.step)


@command("return", "r", group="running", repeat=Repeat.LITERAL, examples=("s ;; r", "r"))
def return_(session: Session, call: Call) -> Reply:
    """Finish the opened line."""
    at_most(call, 0)
    return _arrived(session, call, stepping.return_(session.snapshot), "--Return-- ")


@command(
    "until",
    "unt",
    usage="[LINE|NODE]",
    group="running",
    repeat=Repeat.LITERAL,
    complete=("node",),
    examples=("unt", "unt A2"),
)
def until(session: Session, call: Call) -> Reply:
    """Run to a line further on: the next one, a number, or what a line computes.  Stops on the way hold it."""
    at_most(call, 1)
    target = line_number(session.snapshot, call.args[0]) if call.args else None
    return _arrived(session, call, stepping.until(session.snapshot, target))


@command("continue", "c", "cont", group="running", repeat=Repeat.LITERAL, examples=("c", "b A3 ;; c"))
def continue_(session: Session, call: Call) -> Reply:
    """Run to the next stop, or to the end of the pass; from the end, start over."""
    at_most(call, 0)
    return _arrived(session, call, stepping.continue_(session.snapshot))


@command("jump", "j", usage="LINE|NODE", group="running", complete=("node",), examples=("j 0", "j A2"))
def jump(session: Session, call: Call) -> Reply:
    """Move the arrow only: nothing is computed again, no stop holds."""
    if not call.args:
        raise CommandError("jump to which line: j 0, j A2", code="missing-argument")
    at_most(call, 1)
    line = line_number(session.snapshot, call.args[0])
    snapshot = session.go(session.state.at(Place(line)))
    return Reply((f"{_here(snapshot)} (view only, nothing recomputed)",), _result(snapshot, None))


@command(
    "rn",
    "reverse-next",
    usage="[COUNT]",
    group="running",
    repeat=Repeat.LITERAL,
    examples=("n ;; rn", "n 3 ;; rn 2"),
)
def reverse_next(session: Session, call: Call) -> Reply:
    """Step back over a line."""
    return _repeated(session, call, stepping.reverse_next)


@command(
    "rs",
    "reverse-step",
    usage="[COUNT]",
    group="running",
    repeat=Repeat.LITERAL,
    examples=("n 2 ;; rs", "n 2 ;; rs 2"),
)
def reverse_step(session: Session, call: Call) -> Reply:
    """Step back into the line just executed."""
    return _repeated(session, call, stepping.reverse_step)


@command(
    "rc", "reverse-continue", group="running", repeat=Repeat.LITERAL, examples=("c ;; rc", "b A1 ;; c ;; rc")
)
def reverse_continue(session: Session, call: Call) -> Reply:
    """Go back to the stop before this place, or to the start."""
    at_most(call, 0)
    return _arrived(session, call, stepping.reverse_continue(session.snapshot))


@command(
    "run",
    "restart",
    usage="[--device D] [--seed N]",
    group="running",
    options={"device": True, "seed": True},
    examples=("run", "ablate L1H3 noise 1 ;; run --seed 3"),
)
def run(session: Session, call: Call) -> Reply:
    """Compute the baseline and the current run again from nothing, and go back to the first line.

    Edits, stops and displays stay; edits that wait (`set autorun off`) are made.  `--device cuda:1` computes there
    from now on; `--seed 3` draws anew what edits have drawn (resample, noise), in one step that undo takes back, and
    is the seed of what is drawn from now on.
    """
    at_most(call, 0)
    began = time.perf_counter()
    try:
        with _moved(session, call.option("device")):
            snapshot = _again(session, call)
    except ComputeFailed as error:
        if session.snapshot.waiting is not None:
            error.message += ": the edits wait on, undo takes one back"
        raise
    took = (time.perf_counter() - began) * 1000
    base, now = snapshot.base.value, snapshot.now.value
    text = f"reran in {took:.0f} ms: {signed(base)} (baseline)" + (
        f" -> {signed(now)}" if now != base else ""
    )
    said = (text + (f" on {snapshot.info.device}" if call.has("device") else ""), _here(snapshot))
    # a script may run on another machine
    script = re.sub(r"\s--device(\s+|=)\S+", "", call.text)
    return Reply(said, {"baseline": base, "value": now, "device": snapshot.info.device}, script=script)


@contextmanager
def _moved(session: Session, device: str | None) -> Iterator[None]:
    """With the model on another device, which is taken back where the run there fails.  Raises CommandError."""
    before = session.engine.info.device
    try:
        if device is None:
            session.engine.forget()
        else:
            session.engine.move(device)
        yield
    except DeviceError as error:
        raise CommandError(str(error), code="bad-device") from None
    except BaseException:
        if session.engine.info.device != before:
            session.engine.move(before)
        raise


def _again(session: Session, call: Call) -> Snapshot:
    """The run at its first line, what edits draw drawn by `--seed` where that is given."""
    state = session.decided.at(Place())
    if not call.has("seed"):
        return session.go(state)
    seed = option_integer(call, "seed", 0, "a seed")
    state = with_setting(state, "seed", str(seed))
    edits = reseeded(session.snapshot.planned, seed)
    if edits == state.inputs.edits:
        return session.go(state)
    return session.change(replace(state.inputs, edits=edits), call.text, state, at_once=True)


def _repeated(session: Session, call: Call, move: Callable[[Snapshot], Motion]) -> Reply:
    """One movement, or as many as were asked for; a stop or an end cuts it short."""
    at_most(call, 1)
    count = integer(call.args[0], "a count", least=1) if call.args else 1
    snapshot, motion = session.snapshot, None
    for _ in range(count):
        try:
            motion = move(snapshot)
        except CommandError:
            if motion is None:
                raise
            break
        snapshot = replace(snapshot, state=moved(snapshot.state, motion))
        if motion.stopped_by is not None:
            break
    assert motion is not None  # count is at least 1
    return _arrived(session, call, motion)


def _arrived(session: Session, call: Call, motion: Motion, prefix: str = "") -> Reply:
    """Commit a movement, say where it led, and do what the stops that hold it are told to."""
    before = session.state.place
    snapshot = session.go(moved(session.state, motion))
    said = motion.message.splitlines()
    if motion.place != before:
        said += [prefix + _executed(snapshot)] if motion.place != Place(0) else []
    said += [_finished(snapshot) if finished(snapshot, motion.place) else _here(snapshot)]
    told = ([] if is_silent(motion.held) else said) + _displays(session)
    result = _result(session.snapshot, motion.stopped_by)
    if not any(stop.commands for stop in motion.held):
        return Reply(tuple(told), result)
    try:
        ran = carry_out(session, motion.held)
    except CommandError:
        session.done.append(call.text)  # the movement stands
        raise
    result |= {**(ran.moved or {}), "commands": ran.results}
    return Reply((*told, *ran.lines), result, quits=ran.quits)


def _executed(snapshot: Snapshot) -> str:
    """`A9  delta +2.94  ld +4.42  top-1 ' Mary' (.38)`, or what has just been opened."""
    place, n_layer, pos = snapshot.state.place, snapshot.n_layer, snapshot.state.pos
    if place.inside == 0:
        return f"--Call-- {lines.name(place.line, n_layer)}, {_called(opened(snapshot, place.line))}"
    delta, so_far = (read(snapshot, place) for read in (last_delta, lens_so_far))
    if place.inside:
        name = opened(snapshot, place.line).names[place.inside - 1]
        return f"{name}  Δ {signed(delta)}  lens {signed(so_far)}"
    read = snapshot.now.lens(pos)
    line = place.line - 1
    top = (
        f"{quoted(snapshot.tokenizer, int(read.top[line, 0]))} ({probability(float(read.top_prob[line, 0]))})"
    )
    return f"{lines.name(line, n_layer)}  Δ {signed(delta)}  lens {signed(so_far)}  top-1 {top}"


def _here(snapshot: Snapshot) -> str:
    """`> M9 mlp @END`: the line to be executed next."""
    place = snapshot.state.place
    if finished(snapshot, place):
        return "> the end of the pass"
    at = "END" if snapshot.state.pos == snapshot.state.end else str(snapshot.state.pos)
    if place.inside is not None:
        row = opened(snapshot, place.line).names[place.inside]
        return f"> {row} in {lines.name(place.line, snapshot.n_layer)} @{at}"
    return f"> {lines.name(place.line, snapshot.n_layer)} {lines.word(place.line, snapshot.n_layer)} @{at}"


def _finished(snapshot: Snapshot) -> str:
    logits = snapshot.now.logits(snapshot.state.inputs.metric.pos)
    best = int(logits.argmax())
    raised = np.exp(logits - logits.max())
    p = probability(float(raised[best] / raised.sum()))
    value = signed(snapshot.now.value)
    return f"The pass finished: {quoted(snapshot.tokenizer, best)} p {p}  metric {value}.  c starts again, N steps back"


def _called(inside: Inside) -> str:
    """`8 heads and the bias`, `17 latents of Fm3, its bias BFm3 and what it leaves over, Xm3`."""
    if len(inside.after) == 1:
        rows = len(inside.rows) - 1
        return f"{rows} {'heads' if inside.after[0].kind is Kind.ATTN_BIAS else 'neuron rows'} and the bias"
    (bias, error, *of_the_line), count = inside.after, len(inside.parts) + inside.rest
    named = f"latent{'s' * (count != 1)} of {str(bias).removeprefix('B')}"
    more = "".join(f", and the bias {part}" for part in of_the_line)
    return f"{count} {named}, its bias {bias} and what it leaves over, {error}{more}"


def _displays(session: Session) -> list[str]:
    """Displayed expressions whose value has changed since they were last printed."""
    printed: list[str] = []
    displays = []
    for display in session.state.displays:
        if not display.enabled:
            displays.append(display)
            continue
        try:
            value = shown(value_of(session.snapshot, display.expression))
        except CommandError as error:  # another prompt may not have the token that it names
            value = error.message
        if value != display.last:
            was = f"  [was {display.last}]" if display.last else ""
            printed.append(f"{display.name} {display.expression}: {value}{was}")
        displays.append(replace(display, last=value))
    session.go(replace(session.state, displays=tuple(displays)))
    return printed


def _result(snapshot: Snapshot, stopped_by: str | None) -> dict[str, object]:
    place, n_layer = snapshot.state.place, snapshot.n_layer
    return {
        "line": None if finished(snapshot, place) else lines.name(place.line, n_layer),
        "number": place.line,
        "inside": place.inside,
        "delta": last_delta(snapshot, place),
        "ld": lens_so_far(snapshot, place),
        "stopped_by": stopped_by,
    }
