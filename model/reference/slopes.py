"""What nodes do to a question in a run whose readers do not all read one stream: slopes, by running it again.

Along an edge that carries something else nothing of the tail arrives, and no gradient of the stream knows of it.  So
a node is scaled a little either way and the pass is made again: in float64 that is exact to many more digits than a
screen shows.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from model.components import DICTIONARY, RESIDUAL, Component, Kind, Node
from model.edits.directions import Direction
from model.edits.interventions import Ablate, Mode, Span, Steer
from model.reference import effects
from model.reference.books import constants, writers
from model.reference.edits import edits, place_of
from model.reference.passes import NOTHING, Given, Pass
from model.reference.questions import Question, reread, seen_by, value_of
from model.reference.run import PlainGPT2, Tick, no_tick
from model.reference.splices import Place
from model.reference.told import Told, apart, told
from model.reference.wiring import Reads, Scales
from model.reference.writes import line_of, replaced, write_of

STEP = 1e-3
"""Of the node's write, either way."""

Step = Callable[[float], Ablate | Steer]
"""How much more of a node -> the change that makes it."""


def is_wired(run: Pass) -> bool:
    """Whether readers of a run may meet streams of their own."""
    _, edges, paths = apart(run.changes)
    return bool(edges or paths)


def effects_of(
    plain: PlainGPT2,
    run: Pass,
    question: Question,
    node: Node,
    given: Given = NOTHING,
    held: str = "target",
    tick: Tick = no_tick,
) -> effects.Effects:
    """The measures of a node.  Raises ValueError for what has none here."""
    if node.component.kind is Kind.FINAL_BIAS:
        return effects.effects_of(plain, run, question, node, ())
    if node.component.kind in DICTIONARY:
        raise ValueError(f"what {node.component} does where edges are edited is unknown to it")
    if node.component.kind in RESIDUAL:
        return _of_an_edit(plain, run, question, node, given, held, tick)
    none = tuple(each * 0 for each in run.stream)
    found = effects.effects_of(plain, run, question, node, none)
    if line_of(node.component) >= question.line or not write_of(plain, run, node).any():
        return found
    total = _slope(plain, run, question, _scaled(node), given, held, tick)
    if (bias := _bias_of(run, node)) is not None:
        total -= _slope(plain, run, question, _scaled(bias), given, held, tick)
    return replace(found, total=total, direct=found.direct - _less(plain, run, question, node, given))


def _bias_of(run: Pass, node: Node) -> Node | None:
    """The bias in a whole sub-layer's output where it has a row of its own: no edit has replaced the whole."""
    kind = {Kind.ATTN: Kind.ATTN_BIAS, Kind.MLP: Kind.MLP_BIAS}.get(node.component.kind)
    if kind is None or replaced(run, node.component, node.pos):
        return None
    return replace(node, component=Component(kind, node.component.layer))


def books(plain: PlainGPT2, run: Pass, question: Question, given: Given = NOTHING) -> tuple[float, float]:
    """The direct effects of all that is no bias, what edges and paths add among it, and of biases and constants."""
    biases = 0.0
    for pos in sorted({read.pos for read in question.reads}):
        for node, is_bias in writers(plain, run, question.line, pos):
            if is_bias:
                write = write_of(plain, run, node)
                biases += float(reread(plain, run, question, pos, write))
                biases -= _less(plain, run, question, node, given)
    written = _read_at_scale(plain, run, run, question)
    return written - biases, biases + constants(plain, run, question)


def _of_an_edit(
    plain: PlainGPT2, run: Pass, question: Question, node: Node, given: Given, held: str, tick: Tick
) -> effects.Effects:
    """What edits of the stream have added at a place; where the question reads there, what edges add for it, too."""
    pos, line = node.pos, line_of(node.component)
    added = write_of(plain, run, node) if line else run.stream[0][pos] * 0
    if line >= question.line:
        return effects.Effects(1.0, float(added.norm()), 0.0, 0.0)
    if node.component != _place_read(plain, question):
        direct = float(reread(plain, run, question, pos, added))
        more = _moved(node, added)
        total = 0.0 if more is None else _slope(plain, run, question, more, given, held, tick)
        return effects.Effects(1.0, float(added.norm()), direct, total)
    every, whole, direct, total = run.stream[line][pos], added, 0.0, 0.0
    for reader in dict.fromkeys(
        read.reader for read in question.reads if read.pos == pos and read.vector.any()
    ):
        own = run.stream_of(question.line, reader)[pos] - every
        of_it = replace(question, reads=tuple(read for read in question.reads if read.reader == reader))
        less = sum(
            (
                _missing(plain, run, question, each, reader, given)
                for each, _ in writers(plain, run, question.line, pos)
                if each.component.kind not in RESIDUAL
            ),
            own * 0,
        )
        whole, vector = whole + own, added + own + less
        direct += float(reread(plain, run, of_it, pos, vector))
        total += _read_slope(plain, run, of_it, pos, vector, held)
    return effects.Effects(1.0, float(whole.norm()), direct, total)


def _place_read(plain: PlainGPT2, question: Question) -> Component:
    """The place of the stream before the line that reads."""
    layer = (question.line - 1) // 2
    if question.line == plain.last:
        return Component(Kind.RESID_POST, plain.n_layer - 1)
    return Component(Kind.RESID_PRE if question.line % 2 else Kind.RESID_MID, layer)


def _read_slope(
    plain: PlainGPT2, run: Pass, question: Question, pos: int, vector: Tensor, held: str
) -> float:
    """The question by more of a vector in the streams that it reads at a token; `held` none: norms live."""
    if held != "none":
        return float(reread(plain, run, question, pos, vector))

    def at(step: float) -> float:
        found = 0.0
        for read in question.reads:
            x = run.stream_of(question.line, read.reader)[read.pos]
            x = x + step * vector if read.pos == pos else x
            found += float(seen_by(plain, run, question, x, read.pos) @ read.vector)
        return found

    return _five_points(at)


def _scaled(node: Node) -> Step:
    return lambda step: _times(node, 1 + step)


def _times(node: Node, factor: float) -> Ablate:
    return Ablate(node.component, Span(node.pos, node.pos), node.key, Mode.SCALE, factor)


def _moved(node: Node, vector: Tensor) -> Step | None:
    """More of a vector at a place of the stream, None where there is none of it."""
    if not vector.any():
        return None
    direction = Direction("what edits add", tuple(vector.tolist()))
    span = Span(node.pos, node.pos)
    return lambda step: Steer(node.component, span, amount=step, direction=direction)


def _slope(
    plain: PlainGPT2, run: Pass, question: Question, change: Step, given: Given, held: str, tick: Tick
) -> float:
    """By the size of a change, what paths hand to their receivers being as it was."""
    scales = Scales(_reads(plain, run, given)) if held == "all" else None

    def at(step: float) -> float:
        moved = plain.run(run.tokens, (*run.changes, change(step)), given, tick, run.handed, scales)
        if held == "none":
            return value_of(plain, moved, question)
        return _read_at_scale(plain, run, moved, question)

    return _five_points(at)


def _five_points(at: Callable[[float], float]) -> float:
    """The slope at nothing, with an error of STEP^4."""
    near, far = (at(step) - at(-step) for step in (STEP, 2 * STEP))
    return (8 * near - far) / (12 * STEP)


def _read_at_scale(plain: PlainGPT2, run: Pass, moved: Pass, question: Question) -> float:
    """The question of a moved run, its layer norm's scale as it was."""
    return sum(
        float(
            reread(
                plain,
                run,
                replace(question, reads=(read,)),
                read.pos,
                moved.stream_of(question.line, read.reader)[read.pos],
            )
        )
        for read in question.reads
    )


def _less(plain: PlainGPT2, run: Pass, question: Question, node: Node, given: Given) -> float:
    """What a question would read more of a node, were its edges not edited."""
    found = 0.0
    for reader in dict.fromkeys(read.reader for read in question.reads if read.pos == node.pos):
        of_it = replace(question, reads=tuple(read for read in question.reads if read.reader == reader))
        missing = _missing(plain, run, question, node, reader, given)
        found += float(reread(plain, run, of_it, node.pos, missing))
    return found


def _missing(
    plain: PlainGPT2, run: Pass, question: Question, node: Node, reader: Component | None, given: Given
) -> Tensor:
    """What one reader would meet more of a node, its bias apart, were its edges not edited: [d_model]."""
    reads = _reads(plain, run, given)
    reader = Component(Kind.UNEMBED) if question.line == plain.last else reader
    seen = Told({})
    if reader is not None:
        seen = told(reader, reads.edges, (plain.n_layer, plain.n_head), len(run.tokens))
    line = line_of(node.component)
    if all(line_of(part) != line for part, _ in seen.carried):
        return run.stream[0][0] * 0
    single, _, _ = apart(run.changes)
    more = _times(node, 2.0)
    twice = replace(reads, values=_with(plain, reads, more), made=edits([*single, more], given))
    one, other = (
        twice.stream(question.line, each)[node.pos] - reads.stream(question.line, each)[node.pos]
        for each in (Told({}), seen)
    )
    bias = _bias_of(run, node)
    own = one * 0 if bias is None else _missing(plain, run, question, bias, reader, given)
    return one - other - own


def _reads(plain: PlainGPT2, run: Pass, given: Given) -> Reads:
    """The writes of a run, to be added up again."""
    single, edges, _ = apart(run.changes)
    return Reads(plain, run.values, edits(single, given), edges, given)


def _with(plain: PlainGPT2, reads: Reads, change: Ablate) -> Mapping[Place, Tensor]:
    """The run's values with one changed, and those of the wholes that it is part of."""
    (name, layer), values = place_of(change), dict(reads.values)
    values[name, layer] = edits([change], reads.source)(name, layer, values[name, layer])
    if name == "pattern":
        values["z", layer] = reads.made("z", layer, values["pattern", layer] @ values["v", layer])
    if name in ("pattern", "z", "attn_bias"):
        heads = (values["z", layer][head] @ plain.output(layer, head) for head in range(plain.n_head))
        values["attn_out", layer] = reads.made(
            "attn_out", layer, sum(heads, start=values["attn_bias", layer])
        )
    if name in ("post", "mlp_bias"):
        out = values["post", layer] @ plain.weight(f"h.{layer}.mlp.c_proj.weight")
        values["mlp_out", layer] = reads.made("mlp_out", layer, out + values["mlp_bias", layer])
    if name in ("embed", "positions"):
        values["resid_pre", 0] = reads.made("resid_pre", 0, values["embed", 0] + values["positions", 0])
    return values
