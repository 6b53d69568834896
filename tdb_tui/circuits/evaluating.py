"""What a circuit keeps of the metric: every other head, and MLP, ablated; and what is left without it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from model.components import Component, Kind, Node
from model.dictionaries import place_of
from model.edits.compounds import runs
from model.edits.interventions import Ablate, Change, Mode, Span
from tdb_tui.circuits.drafts import Circuit, removing
from tdb_tui.scope import measures
from tdb_tui.session import Session
from tdb_tui.state import Edit

EDITED = (Kind.HEAD, Kind.ATTN, Kind.MLP, Kind.NEURON, Kind.LATENT, Kind.ERROR)
"Nodes that are ablated; embeddings, biases and what is only read are there in any case."


@dataclass(frozen=True, slots=True)
class Kept:
    whole: float
    "The metric as it is."
    kept: float
    "With every other node ablated."
    without: float
    "With the circuit's own ablated."
    none: float
    "With all of them ablated."

    @property
    def faithfulness(self) -> float | None:
        """(kept - none) / (whole - none), None where the two are the same (Wang et al. 2022, Marks et al. 2024)."""
        return (
            None if abs(self.whole - self.none) < 1e-9 else (self.kept - self.none) / (self.whole - self.none)
        )


def evaluate(session: Session, circuit: Circuit, mode: Mode) -> Kept:
    """Raises ComputeFailed and Interrupted."""
    nothing = replace(
        circuit, nodes=tuple(node for node in circuit.nodes if node.component.kind not in EDITED)
    )
    mlps = ablates_mlps(circuit)
    return Kept(
        session.snapshot.now.value,
        kept(session, circuit, mode, mlps),
        _value(session, tuple(_members(circuit, mode))),
        kept(session, nothing, mode, mlps),
    )


def ablates_mlps(circuit: Circuit) -> bool:
    """Whether MLPs outside the circuit are ablated: only where it has some, for most circuits are of heads."""
    return any(_holds(node.component, Component(Kind.MLP, node.component.layer)) for node in circuit.nodes)


def kept(session: Session, circuit: Circuit, mode: Mode, mlps: bool) -> float:
    """The metric with everything but the circuit ablated.  A neuron keeps its MLP, an attention its heads.

    Latents and errors keep what they are taken from, but of its dictionary nothing else at their tokens.
    """
    config, length = session.snapshot.info.config, session.state.end + 1
    parts = [
        Component(Kind.HEAD, layer, head) for layer in range(config.n_layer) for head in range(config.n_head)
    ]
    parts += [Component(Kind.MLP, layer) for layer in range(config.n_layer) if mlps]
    changes: list[Change] = []
    for part in parts:
        held = {node.pos for node in circuit.nodes if _holds(node.component, part)}
        away = [pos for pos in range(length) if pos not in held]
        changes += (Ablate(part, span, mode=mode) for span in runs(away))
    changes += _of_dictionaries(circuit, mode)
    return _value(session, tuple(changes))


def prune(session: Session, circuit: Circuit, threshold: float, mode: Mode) -> Iterator[tuple[int, Circuit]]:
    """The circuit without nodes whose loss changes what it keeps by less than `threshold`, the weakest tried first.

    Yields how many nodes have been tried, and what is left by then.  Raises ComputeFailed and Interrupted.
    """
    mlps, now = ablates_mlps(circuit), session.snapshot.now
    candidates = [node for node in circuit.nodes if node.component.kind in EDITED]
    candidates.sort(key=lambda node: abs(measures(now, node).total))
    before = kept(session, circuit, mode, mlps)
    for tried, node in enumerate(candidates, start=1):
        smaller = removing(circuit, (node,))
        after = kept(session, smaller, mode, mlps)
        if abs(after - before) < threshold:
            circuit, before = smaller, after
        yield tried, circuit


def _of_dictionaries(circuit: Circuit, mode: Mode) -> Iterator[Change]:
    """What a dictionary has beside the circuit's own parts of it, its bias left: at each token where it has some.

    Where the circuit has the whole that a dictionary takes apart, nothing of it is ablated.
    """
    nodes = [node for node in circuit.nodes if node.component.kind in (Kind.LATENT, Kind.ERROR)]
    for part, pos in dict.fromkeys(
        (replace(node.component, kind=Kind.LATENT, index=None), node.pos) for node in nodes
    ):
        if any(_is_whole(node.component, part) and node.pos == pos for node in circuit.nodes):
            continue
        here = [
            node.component for node in nodes if node.pos == pos and place_of(node.component) == place_of(part)
        ]
        kept = tuple(each.index for each in here if each.index is not None)
        yield Ablate(part, Span(pos, pos), mode=mode, but=kept)
        error = replace(part, kind=Kind.ERROR)
        if error not in here:
            yield Ablate(error, Span(pos, pos), mode=mode)


def _is_whole(part: Component, of: Component) -> bool:
    """Whether a part is what a dictionary takes apart, all of it."""
    whole = {"m": Kind.MLP, "p": Kind.MLP, "a": Kind.ATTN, "z": Kind.ATTN}.get(of.site)
    return part.kind is whole and part.layer == of.layer


def _holds(part: Component, other: Component) -> bool:
    """Whether a node of the circuit keeps another component as it is."""
    if part.layer != other.layer:
        return False
    if part.kind in (Kind.LATENT, Kind.ERROR):
        return part.site in ("az" if other.kind is Kind.HEAD else "mp")
    if other.kind is Kind.HEAD:
        return part == other or part.kind is Kind.ATTN
    return part.kind in (Kind.MLP, Kind.NEURON)


def _members(circuit: Circuit, mode: Mode) -> Iterator[Change]:
    for node in circuit.nodes:
        if node.component.kind in EDITED:
            yield _ablated(node, mode)


def _ablated(node: Node, mode: Mode) -> Ablate:
    return Ablate(node.component, Span(node.pos, node.pos), mode=mode)


def _value(session: Session, changes: tuple[Change, ...]) -> float:
    inputs = session.state.inputs
    edit = Edit(0, changes, "circuit eval")
    with session.engine.runs.unkept():
        return session.engine.value(replace(inputs, edits=(*inputs.edits, edit) if changes else inputs.edits))
