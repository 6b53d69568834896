"""Everything that is written before a question is asked, added up: what is a bias, and what is none."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from model.components import Component, Kind, Node
from model.reference.dictionaries import side_by_side
from model.reference.passes import Pass
from model.reference.questions import Question, norm_name, reread
from model.reference.run import PlainGPT2
from model.reference.splices import MATRICES, STREAM, Place, line_of_place, out_of, parts_at
from model.reference.writes import places_after, replaced, write_of


def books(
    plain: PlainGPT2, run: Pass, question: Question, places: Sequence[Place] = ()
) -> tuple[float, float]:
    """The direct effects of every part that is no bias, and of every bias and the question's own constants.

    With the dictionaries at `places` on the books, what they put out beside their latents is a bias.
    """
    parts, biases = 0.0, constants(plain, run, question)
    for pos in sorted({read.pos for read in question.reads}):
        for write, is_bias in _writes(plain, run, question.line, pos, places):
            effect = float(reread(plain, run, question, pos, write))
            parts, biases = (parts, biases + effect) if is_bias else (parts + effect, biases)
    return parts, biases


def constants(plain: PlainGPT2, run: Pass, question: Question) -> float:
    """What a question has from no write: its own constant, and the bias of the layer norm that it reads through."""
    found = question.constant
    for read in () if question.raw else question.reads:
        if question.line == plain.last:
            found += float(run["final_bias", 0][read.pos] @ read.vector)
        else:
            found += float(plain.weight(f"{norm_name(question.line)}.bias") @ read.vector)
    return found


def writers(plain: PlainGPT2, run: Pass, before: int, pos: int) -> Iterator[tuple[Node, bool]]:
    """Everything that writes at a token before a line, once, and whether it is a bias."""
    for line in range(before):
        yield from _on_line(plain, run, line, pos)
        yield from ((Node(place, pos), False) for place in places_after(line) if replaced(run, place, pos))


def _writes(
    plain: PlainGPT2, run: Pass, before: int, pos: int, places: Sequence[Place]
) -> Iterator[tuple[Tensor, bool]]:
    """Everything that is written there, dictionaries at some places in the place of what they take apart."""
    taken = {line_of_place(at): at for at in places}
    first = max((line for line, at in taken.items() if at[0] in STREAM), default=0)
    for line in range(first, before):
        at = taken.get(line)
        if at is not None:
            yield from _taken_apart(plain, run, at, pos)
        else:
            yield from _written(plain, run, line, pos)
        for place in places_after(line):
            is_after = (
                at is None or at[0] not in STREAM or (at[0], place.kind) == ("resid_post", Kind.RESID_PRE)
            )
            if is_after and replaced(run, place, pos):
                yield write_of(plain, run, Node(place, pos)), False


def _on_line(plain: PlainGPT2, run: Pass, line: int, pos: int) -> Iterator[tuple[Node, bool]]:
    if line == 0:
        yield Node(Component(Kind.EMBED), pos), False
        return
    layer, attends = (line - 1) // 2, bool(line % 2)
    whole = Component(Kind.ATTN if attends else Kind.MLP, layer)
    parts = [Component(Kind.HEAD, layer, head) for head in range(plain.n_head)]
    for part in parts if attends and not replaced(run, whole, pos) else [whole]:
        yield Node(part, pos), False
    yield Node(Component(Kind.ATTN_BIAS if attends else Kind.MLP_BIAS, layer), pos), True


def _written(plain: PlainGPT2, run: Pass, line: int, pos: int) -> Iterator[tuple[Tensor, bool]]:
    return ((write_of(plain, run, node), is_bias) for node, is_bias in _on_line(plain, run, line, pos))


def _taken_apart(plain: PlainGPT2, run: Pass, at: Place, pos: int) -> Iterator[tuple[Tensor, bool]]:
    """What a dictionary takes apart, its bias by itself, and beside one inside of a sub-layer that one's own bias."""
    line = line_of_place(at)
    whole = Component(Kind.ATTN if line % 2 else Kind.MLP, (line - 1) // 2)
    if at[0] in MATRICES and replaced(run, whole, pos):
        yield from _written(plain, run, line, pos)
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
    return sum(float(run["final_bias", 0][pos] @ read.vector) for read in question.reads if read.pos == pos)
