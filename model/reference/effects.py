"""What nodes of a reference run do to a question.

direct    the node's write read by what asks, its layer norm's scale held: every write is read again, by itself
total     the write times the gradient right after its sub-layer, pulled back one sub-layer at a time
measured  the question before an edit minus after it, the whole pass run again
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.components import DICTIONARY, RESIDUAL, Component, Kind, Node
from model.edits.interventions import Ablate, Change, Mode, Steer
from model.reference.books import final_bias
from model.reference.edits import edits
from model.reference.passes import NOTHING, Edit, Given, Pass
from model.reference.questions import Question, live_value, norm_name, reread
from model.reference.run import PlainGPT2, Tick, no_tick
from model.reference.splices import STREAM, Place, is_of_a_dictionary, parts_at, taken_apart
from model.reference.writes import edited, line_of, places_after, replaced, write_of


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
    elif part.kind is Kind.HEAD and replaced(run, Component(Kind.ATTN, part.layer), pos):
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
        if edited(change) not in places_after(line) or not here:
            continue
        if is_of_a_dictionary(change):
            raise ValueError(f"how much '{change}' leaves of what comes before is unknown to it")
        if isinstance(change, Ablate) and change.mode is not Mode.NOISE:
            left *= change.amount if change.mode is Mode.SCALE else 0.0
        elif not isinstance(change, Ablate | Steer):
            left = 0.0
    return left


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
        for read in question.reads:
            edit, x = run.scale_of(question.line, read.pos), leaf[read.pos]
            asked = asked + (x if question.raw else plain.norm(name, x, held != "none", edit)) @ read.vector
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
