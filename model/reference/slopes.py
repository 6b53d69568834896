"""What nodes do to a question in a run whose readers do not all read one stream: slopes, by running it again.

Along an edge that carries something else nothing of the tail arrives, and no gradient of the stream knows of it.  So
a node is scaled a little either way and the pass is made again: in float64 that is exact to many more digits than a
screen shows.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from model.components import DICTIONARY, RESIDUAL, Component, Kind, Node
from model.edits.interventions import Ablate, Mode, Span
from model.reference import effects
from model.reference.books import books as unwired_books
from model.reference.books import constants
from model.reference.edits import edits, place_of
from model.reference.passes import NOTHING, Given, Pass
from model.reference.questions import Question, reread, value_of
from model.reference.run import PlainGPT2, Tick, no_tick
from model.reference.splices import Place
from model.reference.told import apart, told
from model.reference.wiring import Reads, Scales
from model.reference.writes import line_of

STEP = 1e-3
"""Of the node's write, either way."""


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
        raise ValueError(f"what edits of edges and paths add at {node.component} is unknown to it")
    none = tuple(each * 0 for each in run.stream)
    found = effects.effects_of(plain, run, question, node, none)
    if line_of(node.component) >= question.line:
        return found
    total = _slope(plain, run, question, node, given, held, tick)
    direct = found.direct
    if question.line == plain.last:
        direct = _direct(plain, run, question, node, given)
    if node.component.kind in (Kind.ATTN, Kind.MLP):  # a row of its own has the bias
        bias = Kind.ATTN_BIAS if node.component.kind is Kind.ATTN else Kind.MLP_BIAS
        own = replace(node, component=Component(bias, node.component.layer))
        total -= _slope(plain, run, question, own, given, held, tick)
        if question.line == plain.last:
            direct -= _direct(plain, run, question, own, given)
    return replace(found, total=total, direct=direct)


def books(plain: PlainGPT2, run: Pass, question: Question, given: Given = NOTHING) -> tuple[float, float]:
    """The direct effects of all that is no bias, what edges and paths add among it, and of biases and constants."""
    if question.line != plain.last:
        return unwired_books(plain, run, question)
    biases = 0.0
    for pos in sorted({pos for pos, _ in question.reads}):
        for layer in range(plain.n_layer):
            for kind in (Kind.ATTN_BIAS, Kind.MLP_BIAS):
                biases += _direct(plain, run, question, Node(Component(kind, layer), pos), given)
    written = _read_at_scale(plain, run, run, question)
    return written - biases, biases + constants(plain, run, question)


def _scaled(node: Node, factor: float) -> Ablate:
    return Ablate(node.component, Span(node.pos, node.pos), node.key, Mode.SCALE, factor)


def _slope(
    plain: PlainGPT2, run: Pass, question: Question, node: Node, given: Given, held: str, tick: Tick
) -> float:
    """By the node's size, what paths hand to their receivers being as it was: five points, an error of STEP^4."""
    scales = Scales(_reads(plain, run, given)) if held == "all" else None

    def at(factor: float) -> float:
        changes = (*run.changes, _scaled(node, factor))
        moved = plain.run(run.tokens, changes, given, tick, run.handed, scales)
        if held == "none":
            return value_of(plain, moved, question)
        return _read_at_scale(plain, run, moved, question)

    near, far = (at(1 + step) - at(1 - step) for step in (STEP, 2 * STEP))
    return (8 * near - far) / (12 * STEP)


def _read_at_scale(plain: PlainGPT2, run: Pass, moved: Pass, question: Question) -> float:
    """The question of a moved run, its layer norm's scale as it was."""
    stream = moved.stream[question.line - 1]
    return sum(
        float(reread(plain, run, replace(question, reads=((pos, read),)), pos, stream[pos]))
        for pos, read in question.reads
    )


def _direct(plain: PlainGPT2, run: Pass, question: Question, node: Node, given: Given) -> float:
    """What the unembedding's own stream would have more of, were there one more of the node and nothing else moved."""
    reads, end = _reads(plain, run, given), Component(Kind.UNEMBED)
    seen = told(end, reads.edges, (plain.n_layer, plain.n_head), len(run.tokens))
    more = replace(reads, values=_with(plain, reads, _scaled(node, 2.0)))
    added = more.stream(plain.last, seen) - reads.stream(plain.last, seen)
    return float(reread(plain, run, question, node.pos, added[node.pos]))


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
