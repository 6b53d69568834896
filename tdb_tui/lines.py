"""The lines of a pass: `E, A0, M0, A1, M1, ..., U`, numbered from 0 like source code."""

from model.components import RESIDUAL, Component, Kind


def count(n_layer: int) -> int:
    return 2 * n_layer + 2


def component(line: int, n_layer: int) -> Component:
    """What a line computes."""
    if line == 0:
        return Component(Kind.EMBED)
    if line == count(n_layer) - 1:
        return Component(Kind.UNEMBED)
    return Component(Kind.ATTN if line % 2 else Kind.MLP, (line - 1) // 2)


def name(line: int, n_layer: int) -> str:
    return str(component(line, n_layer))


def line_of(part: Component, n_layer: int) -> int:
    """The line that computes a component: a head's is its attention's, a neuron's its MLP's.

    Of a place of the residual stream, the line that reads it.
    """
    if part.line is None:
        return count(n_layer) - 1
    return part.line + 1 if part.kind in RESIDUAL else part.line


def word(line: int, n_layer: int) -> str:
    """`embed`, `attn`, `mlp` or `unembed`."""
    return component(line, n_layer).kind.group
