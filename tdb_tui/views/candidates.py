"""What could stand at a place of the command line in this session, for completion."""

from model.components import RESIDUAL, Component, Kind
from tdb_tui.session import Snapshot
from tdb_tui.settings import SETTINGS
from tdb_tui.tables.ranking import KINDS, MEASURES, PER
from tdb_tui.views.ranked import position_labels

MODES = ("zero", "mean", "resample", "noise", "value", "scale", "cut")


def candidates(snapshot: Snapshot, kind: str, beginning: str) -> list[str]:
    """Words of a kind that begin so, the likeliest first."""
    words = {
        "node": lambda: _nodes(snapshot),
        "pos": lambda: _positions(snapshot),
        "token": lambda: _positions(snapshot),
        "setting": lambda: [each.name for each in SETTINGS],
        "via": lambda: ["via", "q", "k", "qk", "v", "of"],
        "mode": lambda: list(MODES),
        "side": lambda: ["in", "out"],
        "input": lambda: ["q", "k", "v"],
        "against": lambda: ["against"],
        "draft": lambda: _drafts(snapshot),
        "kind": _rank_words,
        "prompts": _prompts,
        "table": _tables,
        "stop": lambda: _stops(snapshot),
        "edit": lambda: [f"i{edit.number}" for edit in snapshot.state.inputs.edits],
        "turn": lambda: ["up", "down"],
        "stack": lambda: ["save", "load"],
        "checkpoint": lambda: _checkpoints(snapshot),
        "run": lambda: ["base", "now", "B", *_checkpoints(snapshot)],
        "flip": lambda: ["heads", "mlps", "attns", "neurons", "embeds", "per", "component"],
        "sweep": lambda: ["patch", "ablate", "steer", "show"],
        "grid": _grids,
        "command": _commands,
    }.get(kind)
    if words is None:
        return []
    at = "@" if kind == "pos" and beginning.startswith("@") else ""
    return [f"{at}{word}" for word in words() if f"{at}{word}".startswith(beginning)]


def _nodes(snapshot: Snapshot) -> list[str]:
    """Heads by the size of their effect, then attention, MLPs and embeddings."""
    table = snapshot.asked.table("head")
    config = snapshot.info.config
    order = abs(table.total).argsort(kind="stable")[::-1]
    heads = dict.fromkeys(str(table.node(int(row)).component) for row in order)
    layers = range(config.n_layer)
    parts = [Component(kind, layer) for kind in (Kind.ATTN, Kind.MLP) for layer in layers]
    stream = [str(Component(kind, layer)) for kind in RESIDUAL for layer in layers]
    return [*heads, *(str(part) for part in parts), "E", "U", *stream, "all"]


def _positions(snapshot: Snapshot) -> list[str]:
    labels = position_labels(snapshot)
    words = [label for label in labels if not label.isdigit()]
    return list(dict.fromkeys([*words, "START", *snapshot.state.roles]))


def _rank_words() -> list[str]:
    from tdb_tui.commands.rank_words import FOLLOWING

    return list(dict.fromkeys([*KINDS, *FOLLOWING, *PER, *MEASURES]))


def _grids() -> list[str]:
    from tdb_tui.commands.sweep_words import WORDS

    return list(WORDS)


def _stops(snapshot: Snapshot) -> list[str]:
    return [
        *(stop.name for stop in snapshot.state.stops),
        *(f"i{edit.number}" for edit in snapshot.state.inputs.edits),
    ]


def _checkpoints(snapshot: Snapshot) -> list[str]:
    return [each.name for each in snapshot.state.checkpoints]


def _prompts() -> list[str]:
    from tdb_tui.commands.prompting import TASKS, TURNS

    return [*TURNS, *TASKS]


def _tables() -> list[str]:
    from tdb_tui.commands.over import TABLES

    return list(TABLES)


def _commands() -> list[str]:
    from tdb_tui.commands import registry

    return list(registry.names())


def _drafts(snapshot: Snapshot) -> list[str]:
    from tdb_tui.commands.drafting import ACTS

    return [*ACTS, *(circuit.name for circuit in snapshot.state.circuits)]
