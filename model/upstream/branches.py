"""A tree of what a target was made of, as plain values and as a drawing."""

from dataclasses import dataclass

from model.components import Node
from model.targets import Via


@dataclass(frozen=True, slots=True)
class Branch:
    """A node, and those upstream through which it was moved."""

    node: Node | None
    "None at the root, which is the target."
    via: Via | None
    "Through which of a head's inputs it was opened; None where it has but one, or stays closed."
    effect: float
    "On the root, in its unit, along the branches down to it; the target's value at the root."
    children: tuple["Branch", ...] = ()
    "The largest first."
    opens: bool = False
    "Whether it can be traced further; embeddings and edited parts cannot."


Json = dict[str, "str | float | bool | list[Json] | None"]


def as_dict(branch: Branch, id: str = "0") -> Json:
    """The tree in plain values, ready for JSON: id, node, via, effect, opens, children.

    An id is the way from the root, `0.2.1` the second child of the third: the same tree gives the same ids.
    """
    return {
        "id": id,
        "node": None if branch.node is None else str(branch.node),
        "via": None if branch.via is None else branch.via.value,
        "effect": branch.effect,
        "opens": branch.opens,
        "children": [as_dict(child, f"{id}.{at}") for at, child in enumerate(branch.children)],
    }


def as_dot(branch: Branch, name: str = "target") -> str:
    """The tree as a Graphviz digraph: a node once, an edge once with the sum of its branches' effects.

    Edges are labelled with the input that they enter and come in the order of the tree.
    """
    edges: dict[tuple[str, str, str], float] = {}
    names: dict[str, None] = {name: None}
    _collect(branch, name, names, edges)
    lines = ["digraph upstream {", "  rankdir=BT;", *(f"  {quoted(each)};" for each in names)]
    for (tail, head, via), effect in edges.items():
        label = f"{via} {effect:+.4g}".strip()
        lines.append(f"  {quoted(tail)} -> {quoted(head)} [label={quoted(label)}];")
    return "\n".join([*lines, "}", ""])


def quoted(text: str) -> str:
    """A name as Graphviz reads it, whatever is in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _collect(
    branch: Branch, name: str, names: dict[str, None], edges: dict[tuple[str, str, str], float]
) -> None:
    via = "" if branch.via is None else branch.via.value
    for child in branch.children:
        tail = str(child.node)
        names.setdefault(tail)
        edges[tail, name, via] = edges.get((tail, name, via), 0.0) + child.effect
        _collect(child, tail, names, edges)
