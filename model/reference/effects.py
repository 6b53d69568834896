"""What nodes of a reference run do to a question.

direct    the node's write read by what asks, its layer norm's scale held: every write is read again, by itself
total     the write times the gradient right after its sub-layer, pulled back one sub-layer at a time
measured  the question before an edit minus after it, the whole pass run again
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.components import DICTIONARY, RESIDUAL, Component, Kind, Node
from model.edits.interventions import Ablate, Change, Mode, Steer
from model.reference.dictionaries import side_by_side
from model.reference.edits import NOTHING, Edit, Given, Pass, edits
from model.reference.questions import Question, live_value, norm_name, reread
from model.reference.run import PlainGPT2, Tick, no_tick
from model.reference.splices import (
    MATRICES,
    STREAM,
    Place,
    error_of,
    is_of_a_dictionary,
    line_of_place,
    out_of,
    parts_at,
    taken_apart,
)

TAKEN_APART = {
    "m": Kind.MLP,
    "p": Kind.NEURON,
    "a": Kind.ATTN,
    "z": Kind.HEAD,
    "r": Kind.RESID_PRE,
    "i": Kind.RESID_MID,
    "o": Kind.RESID_POST,
}
"""What dictionaries take apart, by their letters: all neurons and all heads, of those inside."""
INSIDE = {"p": Kind.MLP, "z": Kind.ATTN}


@dataclass(frozen=True, slots=True)
class Effects:
    """The measures of one node."""

    act: float
    write_norm: float
    direct: float
    total: float


def effects_of(
    plain: PlainGPT2, run: Pass, question: Question, node: Node, gradients: tuple[Tensor, ...]
) -> Effects:
    """Activation, write norm, direct and estimated total effect.  Raises ValueError for what has none."""
    part, pos = node.component, node.pos
    if part.kind is Kind.FINAL_BIAS:
        effect = final_bias(plain, run, question, pos)
        return Effects(1.0, float(run["final_bias", 0][pos].norm()), effect, effect)
    write = write_of(plain, run, node)
    act, line = 1.0, line_of(part)
    if part.kind is Kind.LATENT:
        act = float(parts_at(run, taken_apart(part)).latents[pos, part.index])
    elif part.kind is Kind.NEURON:
        act = float(run["post", part.layer][pos, part.index])
    elif node.key is not None:
        act = float(run["pattern", part.layer][part.index, pos, node.key])
    elif part.kind is Kind.HEAD and _replaced(run, Component(Kind.ATTN, part.layer), pos):
        act = 0.0
    if line >= question.line:
        return Effects(act, float(write.norm()), 0.0, 0.0)
    direct = float(reread(plain, run, question, pos, write))
    of_stream = part.kind in RESIDUAL or (part.kind in DICTIONARY and taken_apart(part)[0] in STREAM)
    left = 1.0 if of_stream else _left(run, line, pos)
    return Effects(act, float(write.norm()), direct, left * float(write @ gradients[line][pos]))


def _left(run: Pass, line: int, pos: int) -> float:
    """How much of what a line adds at a token edits of the stream right after it leave.

    Raises ValueError where these are of a dictionary's parts, which leave of every direction another share.
    """
    left = 1.0
    for change in run.changes:
        here = change.span is None or change.span.first <= pos <= change.span.last
        if edited(change) not in _streams(line) or not here:
            continue
        if is_of_a_dictionary(change):
            raise ValueError(f"how much '{change}' leaves of what comes before is unknown to it")
        if isinstance(change, Ablate) and change.mode is not Mode.NOISE:
            left *= change.amount if change.mode is Mode.SCALE else 0.0
        elif not isinstance(change, Ablate | Steer):
            left = 0.0
    return left


def _streams(line: int) -> list[Component]:
    """The places of the stream between a line and the next."""
    layer = (line - 1) // 2
    if line % 2:
        return [Component(Kind.RESID_MID, layer)]
    return [Component(Kind.RESID_POST, layer), Component(Kind.RESID_PRE, layer + 1)] if line else []


def books(
    plain: PlainGPT2, run: Pass, question: Question, places: Sequence[Place] = ()
) -> tuple[float, float]:
    """The direct effects of every part that is no bias, and of every bias and the question's own constants.

    With the dictionaries at `places` on the books, what they put out beside their latents is a bias.
    """
    parts, biases = 0.0, constants(plain, run, question)
    for pos in sorted({pos for pos, _ in question.reads}):
        for write, is_bias in _writes(plain, run, question.line, pos, places):
            effect = float(reread(plain, run, question, pos, write))
            parts, biases = (parts, biases + effect) if is_bias else (parts + effect, biases)
    return parts, biases


def constants(plain: PlainGPT2, run: Pass, question: Question) -> float:
    """What a question has from no write: its own constant, and the bias of the layer norm that it reads through."""
    found = question.constant
    for pos, read in () if question.raw else question.reads:
        if question.line == plain.last:
            found += float(run["final_bias", 0][pos] @ read)
        else:
            found += float(plain.weight(f"{norm_name(question.line)}.bias") @ read)
    return found


def _writes(
    plain: PlainGPT2, run: Pass, before: int, pos: int, places: Sequence[Place]
) -> Iterator[tuple[Tensor, bool]]:
    """Everything that is written at a token before a line, once, and whether it is a bias."""
    taken = {line_of_place(at): at for at in places}
    first = max((line for line, at in taken.items() if at[0] in STREAM), default=0)
    for line in range(first, before):
        at = taken.get(line)
        if at is not None:
            yield from _taken_apart(plain, run, at, pos)
        elif line == 0:
            yield write_of(plain, run, Node(Component(Kind.EMBED), pos)), False
        else:
            yield from _sublayer(plain, run, line, pos)
        for place in _streams(line):
            is_after = (
                at is None or at[0] not in STREAM or (at[0], place.kind) == ("resid_post", Kind.RESID_PRE)
            )
            if is_after and _replaced(run, place, pos):
                yield write_of(plain, run, Node(place, pos)), False


def _sublayer(plain: PlainGPT2, run: Pass, line: int, pos: int) -> Iterator[tuple[Tensor, bool]]:
    layer, attends = (line - 1) // 2, bool(line % 2)
    whole = Component(Kind.ATTN if attends else Kind.MLP, layer)
    parts = [Component(Kind.HEAD, layer, head) for head in range(plain.n_head)]
    for part in parts if attends and not _replaced(run, whole, pos) else [whole]:
        yield write_of(plain, run, Node(part, pos)), False
    bias = Component(Kind.ATTN_BIAS if attends else Kind.MLP_BIAS, layer)
    yield write_of(plain, run, Node(bias, pos)), True


def _taken_apart(plain: PlainGPT2, run: Pass, at: Place, pos: int) -> Iterator[tuple[Tensor, bool]]:
    """What a dictionary takes apart, its bias by itself, and beside one inside of a sub-layer that one's own bias."""
    line = line_of_place(at)
    whole = Component(Kind.ATTN if line % 2 else Kind.MLP, (line - 1) // 2)
    if at[0] in MATRICES and _replaced(run, whole, pos):
        yield from _sublayer(plain, run, line, pos)
        return
    out, aside = out_of(plain, at), parts_at(run, at).beside[pos]
    yield (side_by_side(at[0], run[at])[pos] - aside) @ out, False
    yield aside @ out, True
    if at[0] in MATRICES:
        bias = Component(Kind.ATTN_BIAS if line % 2 else Kind.MLP_BIAS, whole.layer)
        yield write_of(plain, run, Node(bias, pos)), True


def final_bias(plain: PlainGPT2, run: Pass, question: Question, pos: int) -> float:
    """What the final norm's bias at a token adds to a question that reads through it."""
    if question.raw or question.line != plain.last:
        return 0.0
    return sum(float(run["final_bias", 0][pos] @ read) for at, read in question.reads if at == pos)


def line_of(part: Component) -> int:
    """The line on which a component writes."""
    match part.kind:
        case Kind.EMBED | Kind.TOKEN_EMBED | Kind.POS_EMBED:
            return 0
        case Kind.HEAD | Kind.ATTN | Kind.ATTN_BIAS | Kind.RESID_MID:
            return 1 + 2 * part.layer
        case Kind.RESID_PRE:
            return 2 * part.layer
        case kind if kind in DICTIONARY:
            return line_of_place(taken_apart(part))
        case _:
            return 2 + 2 * part.layer


def write_of(plain: PlainGPT2, run: Pass, node: Node) -> Tensor:
    """What a node has put into the stream, nothing where an edit replaced the whole that it is part of: [d_model].

    Raises ValueError for parts that are no writers.
    """
    part, pos, layer = node.component, node.pos, node.component.layer
    if part.kind in (Kind.ATTN, Kind.MLP):
        name = "attn" if part.kind is Kind.ATTN else "mlp"
        whole = run[f"{name}_out", layer][pos]
        return whole if _replaced(run, part, pos) else whole - run[f"{name}_bias", layer][pos]
    write = _part_of(plain, run, node)
    gone = any(_replaced(run, whole, pos) for whole in _wholes(node))
    return torch.zeros_like(write) if gone else write


def edited(change: Change) -> Component:
    """What an edit replaces something of: of a dictionary's part what that takes apart."""
    part = change.component
    return Component(TAKEN_APART[part.site], part.layer) if is_of_a_dictionary(change) else part


def _of_dictionary(plain: PlainGPT2, run: Pass, node: Node) -> Tensor:
    part, pos, at = node.component, node.pos, taken_apart(node.component)
    parts, dictionary = parts_at(run, at), run.dictionaries[at]
    match part.kind:
        case Kind.LATENT:
            row = dictionary.decoder[part.index or 0].to(plain.dtype) * dictionary.factor(parts.read[pos])
            write = parts.latents[pos, part.index or 0] * row
        case Kind.SAE_BIAS:
            write = parts.beside[pos]
        case _:
            write = error_of(dictionary, run.values, parts)[pos]
    return write @ out_of(plain, at)


def _part_of(plain: PlainGPT2, run: Pass, node: Node) -> Tensor:
    if node.component.kind in DICTIONARY:
        return _of_dictionary(plain, run, node)
    part, pos, layer, index = node.component, node.pos, node.component.layer, node.component.index or 0
    match part.kind:
        case Kind.EMBED:
            return run.stream[0][pos]
        case Kind.TOKEN_EMBED:
            return run["embed", 0][pos]
        case Kind.POS_EMBED:
            return run["positions", 0][pos]
        case Kind.HEAD if node.key is None:
            return run["z", layer][index, pos] @ plain.output(layer, index)
        case Kind.HEAD:
            value = run["v", layer][index, node.key] @ plain.output(layer, index)
            return run["pattern", layer][index, pos, node.key] * value
        case Kind.NEURON:
            return run["post", layer][pos, index] * plain.weight(f"h.{layer}.mlp.c_proj.weight")[index]
        case Kind.ATTN_BIAS:
            return run["attn_bias", layer][pos]
        case Kind.MLP_BIAS:
            return run["mlp_bias", layer][pos]
        case Kind.RESID_PRE:
            return run["resid_pre", layer][pos] - run["resid_post", layer - 1][pos]
        case Kind.RESID_MID:
            return run["resid_mid", layer][pos] - run["resid_pre", layer][pos] - run["attn_out", layer][pos]
        case Kind.RESID_POST:
            return run["resid_post", layer][pos] - run["resid_mid", layer][pos] - run["mlp_out", layer][pos]
        case _:
            raise ValueError(f"{part} is no part that the independent pass knows")


def _wholes(node: Node) -> list[Component]:
    """What a node is part of: an edit of that takes its place."""
    part = node.component
    match part.kind:
        case Kind.HEAD if node.key is not None:
            return [Component(Kind.ATTN, part.layer), Component(Kind.HEAD, part.layer, part.index)]
        case Kind.HEAD | Kind.ATTN_BIAS:
            return [Component(Kind.ATTN, part.layer)]
        case Kind.NEURON | Kind.MLP_BIAS:
            return [Component(Kind.MLP, part.layer)]
        case Kind.TOKEN_EMBED | Kind.POS_EMBED:
            return [Component(Kind.EMBED)]
        case kind if kind in DICTIONARY and part.site in INSIDE:
            return [Component(INSIDE[part.site], part.layer)]
        case _:
            return []


def _replaced(run: Pass, part: Component, pos: int) -> bool:
    """Whether an edit replaced a part's whole output at a token."""
    heads = Component(Kind.HEAD, part.layer)  # of all at once
    return any(
        (edited(change) == part or (part.kind is Kind.HEAD and edited(change) == heads))
        and change.key is None
        and (change.span is None or change.span.first <= pos <= change.span.last)
        for change in run.changes
    )


def gradients(
    plain: PlainGPT2,
    run: Pass,
    question: Question,
    given: Given = NOTHING,
    held: str = "target",
    tick: Tick = no_tick,
) -> tuple[Tensor, ...]:
    """d question / d(residual stream after each line before the one that reads), [pos, d_model] each.

    `held` names the scales that count as constants: `target`, only the reader's; `all`; or `none`.
    """
    with torch.enable_grad():
        leaf = run.stream[question.line - 1].detach().requires_grad_()
        asked = torch.zeros((), dtype=plain.dtype)
        name = "ln_f" if question.line == plain.last else norm_name(question.line)
        for pos, read in question.reads:
            edit = run.scale_of(question.line, pos)
            seen = leaf[pos] if question.raw else plain.norm(name, leaf[pos], held != "none", edit)
            asked = asked + seen @ read
    found = [torch.autograd.grad(asked, leaf)[0]]
    for line in range(question.line - 1, 0, -1):
        tick()
        with torch.enable_grad():
            leaf = run.stream[line - 1].detach().requires_grad_()
            after = plain.step(line, leaf, _made_again(run, line, leaf, given), held == "all")
        found.append(torch.autograd.grad(after, leaf, found[-1])[0])
    return tuple(reversed(found))


def _made_again(run: Pass, line: int, entering: Tensor, given: Given) -> Edit:
    """The edits of a line that is run by itself, from what comes to it."""
    seen: dict[Place, Tensor] = {("resid_pre" if line % 2 else "resid_mid", (line - 1) // 2): entering}
    made = edits(run.changes, given, seen)

    def edit(name: str, layer: int, x: Tensor) -> Tensor:
        seen[name, layer] = made(name, layer, x)
        return seen[name, layer]

    return edit


def measured(
    plain: PlainGPT2,
    run: Pass,
    question: Question,
    change: Change,
    given: Given = NOTHING,
    tick: Tick = no_tick,
) -> float:
    """The question minus the question with a change made on top of the run's own."""
    edited = plain.run(run.tokens, (*run.changes, change), given, tick)
    before, after = (live_value(plain, each, question, question.line - 1) for each in (run, edited))
    return before - after
