"""Tracing upstream: what made this neuron fire, why this head looks there, where its value comes from."""

from dataclasses import replace

from model.components import Kind, Node
from model.targets import Via
from tdb_tui.commands.ranking import ranked_rows, rows_result
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import frame_label, metric_text, node_label, quoted, signed
from tdb_tui.language.arguments import integer, node_word, one_node
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import Frame, RankView

VIAS = tuple(via.value for via in Via)


@command(
    "trace",
    "tr",
    usage="NODE [via q|k|qk|v] [of NODE]",
    group="tracing",
    repeat=Repeat.NOTHING,
    complete=("node", "via"),
    examples=("trace L1H3@END via v", "trace N0.5@END"),
)
def trace(session: Session, call: Call) -> Reply:
    """Ask about a node instead of the metric: a new frame, for which every pane reads.

    neuron, MLP   its pre-activation; an MLP's as far as the frame before wants them
    latent        its pre-activation, through the MLP, or through all heads' queries, keys and values
    head via q    its score from the query to a key, through the query; via k through the key; via qk both (twice)
    head via v    what it writes as far as the frame before wants it, its attention held

    A head without a key is traced to the key it reads most; via v without a key, to all of them.  `of NODE` traces
    for that frame rather than the last.  `u` and `d` walk the frames; the rows and biases of each add up to it, as the
    node itself meets the stream where edges into it are edited; what a path or an edit of its input has given it is
    constant (`BT`).  An embedding (`trace E@Mary`) is where a trail ends: it pushes no frame, and says which token
    that is.
    """
    if len(call.args) == 1 and node_word(session.snapshot, call.args[0]).component.kind.group == "embed":
        return _end(session, one_node(session.snapshot, call.args[0]))
    frames = traced(session.snapshot, call)
    part, pos = frames[-1].node.component, max(session.snapshot.now.asked(frames).positions)
    state = replace(
        session.state,
        frames=frames,
        frame=len(frames),
        rank=RankView(latents=session.state.rank.latents),
        pos=pos,
    )
    session.go(replace(state, head=part) if part.kind is Kind.HEAD else state)
    return _answer(session)


@command(
    "up",
    "u",
    usage="[COUNT]",
    group="tracing",
    repeat=Repeat.LITERAL,
    examples=("trace L1H3@END via v ;; u", "trace M0@END ;; u 1"),
)
def up(session: Session, call: Call) -> Reply:
    """To the older frame, towards the metric."""
    count = integer(call.args[0], "a count", least=1) if call.args else 1
    if session.state.frame == 0:
        raise CommandError("Oldest frame", code="no-frame")
    return _select(session, max(0, session.state.frame - count))


@command(
    "down",
    "d",
    usage="[COUNT]",
    group="tracing",
    repeat=Repeat.LITERAL,
    examples=("trace L1H3@END via v ;; u ;; d", "trace M0@END ;; u ;; d 1"),
)
def down(session: Session, call: Call) -> Reply:
    """To the newer frame, upstream."""
    count = integer(call.args[0], "a count", least=1) if call.args else 1
    if session.state.frame == len(session.state.frames):
        raise CommandError("Newest frame", code="no-frame")
    return _select(session, min(len(session.state.frames), session.state.frame + count))


def traced(snapshot: Snapshot, call: Call) -> tuple[Frame, ...]:
    """The frames that a `trace` command leads to, the new one last.  Raises CommandError."""
    if not call.args:
        raise CommandError("trace which node: trace L1H3@END via v", code="missing-argument")
    via, trail = _how(snapshot, list(call.args[1:]))
    frames = (*trail, _frame(snapshot, call.args[0], via))
    try:
        snapshot.now.asked(frames)
    except ValueError as error:
        raise CommandError(str(error), "bad-node", col=call.args[0].col) from None
    return frames


def frame_lines(snapshot: Snapshot) -> list[str]:
    """The frames, newest last, `>` before the selected one."""
    state = snapshot.state
    lines: list[str] = []
    for number in range(len(state.frames) + 1):
        mark = ">" if number == state.frame else " "
        value = snapshot.now.asked(state.frames[:number]).value if number else snapshot.now.value
        lines.append(f"{mark} {number} {frame_text(snapshot, number)}  {signed(value)}")
    return lines


def frame_text(snapshot: Snapshot, number: int) -> str:
    """`' Mary' - ' John' @END` for 0, `L9H9@END<Mary via q` for a frame."""
    state = snapshot.state
    if number == 0:
        return metric_text(snapshot.now.metric, snapshot.tokenizer, state.end)
    return frame_label(state.frames[number - 1], state.inputs.prompt.tokens, snapshot.tokenizer)


def _select(session: Session, number: int) -> Reply:
    session.go(replace(session.state, frame=number))
    return _answer(session)


def _answer(session: Session) -> Reply:
    snapshot = session.snapshot
    number = snapshot.state.frame
    value = snapshot.asked.value if number else snapshot.now.value
    frame = snapshot.state.frames[number - 1] if number else None
    unit = f"  ({frame.unit})" if frame else ""
    said = f"frame {number}: {frame_text(snapshot, number)}  {signed(value)}{unit}"
    return Reply(
        (said, *ranked_rows(snapshot, 8)),
        {
            "frame": {"number": number, "description": frame_text(snapshot, number)},
            "value": value,
            **rows_result(snapshot),
        },
        view="frame",
    )


def _end(session: Session, node: Node) -> Reply:
    """At the token that a trail has come to, which then is that of the token cursor."""
    snapshot = session.go(replace(session.state, pos=node.pos))
    tokens, tokenizer = snapshot.state.inputs.prompt.tokens, snapshot.tokenizer
    trail = [frame_text(snapshot, number) for number in range(snapshot.state.frame, -1, -1)]
    said = f"the trail ends at token {node.pos}, {quoted(tokenizer, tokens[node.pos])}"
    crumbs = " < ".join([node_label(node, tokens, tokenizer), *trail])
    token = {"pos": node.pos, "id": tokens[node.pos], "text": tokenizer.text(tokens[node.pos])}
    return Reply((f"{said}: {crumbs}",), {**_answer(session).result, "token": token})


def _how(snapshot: Snapshot, words: list[Word]) -> tuple[Via | None, tuple[Frame, ...]]:
    """`via q of NODE` -> through which input, and the frames that the new one comes after."""
    via: Via | None = None
    trail = snapshot.state.trail
    while words:
        word = words.pop(0)
        if word.text not in ("via", "of") or not words:
            expected = "trace NODE via q, k, qk or v, of NODE"
            raise CommandError(f"unexpected {word.text!r}: {expected}", "bad-argument", col=word.col)
        following = words.pop(0)
        if word.text == "via":
            if following.text not in VIAS:
                suggestion = did_you_mean(following.text, VIAS) or ": q, k, qk or v"
                raise CommandError(
                    f"unknown input {following.text!r}{suggestion}", "bad-argument", col=following.col
                )
            via = Via(following.text)
        else:
            trail = _trail_to(snapshot, following)
    return via, trail


def _trail_to(snapshot: Snapshot, word: Word) -> tuple[Frame, ...]:
    """The frames up to the last one about that component."""
    frames = snapshot.state.frames
    found = node_word(snapshot, word)
    for number in range(len(frames), 0, -1):
        node = frames[number - 1].node
        if node.component == found.component and (
            not found.placed or found.span is None or found.span.first == node.pos
        ):
            return frames[:number]
    raise CommandError(f"{word.text} is no frame: where lists them", "no-frame", col=word.col)


def _frame(snapshot: Snapshot, word: Word, via: Via | None) -> Frame:
    node = one_node(snapshot, word)
    if node.component.kind is Kind.HEAD:
        via = via or Via.V
        if node.key is None and via is not Via.V:
            pattern = snapshot.now.pattern(node.component)
            node = Node(node.component, node.pos, int(pattern[node.pos].argmax()))
    elif via is not None:
        raise CommandError(
            f"{node.component} has no {via.value} input: only heads do", "bad-argument", col=word.col
        )
    return Frame(node, via)
