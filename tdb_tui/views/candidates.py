"""What could stand at a place of the command line in this session, for completion."""

from functools import partial
from itertools import islice
from pathlib import Path

from model.components import RESIDUAL, Component, Kind
from tdb_tui import lines
from tdb_tui.commands.folding import VIEWS
from tdb_tui.commands.helping import INFO
from tdb_tui.errors import CommandError
from tdb_tui.formats import quoted
from tdb_tui.language.arguments import position_of
from tdb_tui.language.completion import Completion
from tdb_tui.names import ANSWERS
from tdb_tui.session import Snapshot
from tdb_tui.settings import SETTINGS
from tdb_tui.tables.chosen import MEASURES
from tdb_tui.tables.ranking import KINDS, PER, SIDES
from tdb_tui.topics import TOPICS
from tdb_tui.views.ranked import position_labels

MOST_FILES = 200
MODES = ("zero", "mean", "resample", "noise", "value", "scale", "cut")


def candidates(snapshot: Snapshot, kind: str, beginning: str) -> list[str]:
    """Words of a kind that begin so, the likeliest first."""
    words = {
        "node": lambda: _nodes(snapshot),
        "pos": lambda: _positions(snapshot),
        "token": lambda: _positions(snapshot),
        "setting": lambda: [*(each.name for each in SETTINGS), *snapshot.state.variables],
        "variable": lambda: [*snapshot.state.variables, *ANSWERS],
        "alias": lambda: list(snapshot.state.aliases),
        "display": lambda: [each.name for each in snapshot.state.displays],
        "info": lambda: list(INFO),
        "view": lambda: list(VIEWS),
        "line": lambda: [lines.name(line, snapshot.n_layer) for line in range(lines.count(snapshot.n_layer))],
        "ablate": lambda: list(MODES[:2]),
        "file": lambda: files(beginning),
        "via": lambda: ["via", "q", "k", "qk", "v", "of"],
        "mode": lambda: list(MODES),
        "latents": lambda: list(SIDES),
        "side": lambda: ["in", "out"],
        "input": lambda: ["q", "k", "v"],
        "against": lambda: ["against"],
        "draft": lambda: _drafts(snapshot),
        "kind": _rank_words,
        "prompts": lambda: [*_prompts(), *files(beginning)],
        "table": _tables,
        "stop": lambda: _stops(snapshot),
        "edit": lambda: _edits(snapshot),
        "turn": lambda: ["up", "down"],
        "stack": lambda: ["save", "load"],
        "checkpoint": lambda: _checkpoints(snapshot),
        "run": lambda: ["base", "now", "B", *_checkpoints(snapshot)],
        "flip": lambda: [
            "heads",
            "mlps",
            "attns",
            "neurons",
            "embeds",
            "latents",
            "errors",
            "per",
            "component",
        ],
        "sweep": lambda: ["patch", "ablate", "steer", "show"],
        "grid": _grids,
        "command": lambda: [*_commands(), *snapshot.state.aliases],
        "lesson": lambda: ["skip", "back", "hint", "stop", "restart"],
        "help": lambda: [*_commands(), *TOPICS],
    }.get(kind)
    if kind.startswith("value "):
        words = partial(_values, snapshot, kind.removeprefix("value "))
    if words is None:
        return []
    at = "@" if kind == "pos" and beginning.startswith("@") else ""
    found = words()
    if kind == "pos" and beginning.removeprefix("@").isdecimal():
        found = [str(pos) for pos in range(snapshot.state.end + 1)]
    return [f"{at}{word}" for word in found if f"{at}{word}".startswith(beginning)]


def described(snapshot: Snapshot, found: Completion) -> tuple[str, ...]:
    """The candidates as they are shown: positions each with its token."""
    if found.kind != "pos":
        return found.candidates
    return tuple(_with_token(snapshot, word) for word in found.candidates)


def files(beginning: str) -> list[str]:
    """Paths that begin so, directories with a slash behind them; hidden ones only where a dot is typed."""
    head, _, tail = beginning.rpartition("/")
    try:
        directory = Path(f"{head}/" if head or beginning.startswith("/") else ".").expanduser()
        found = sorted(path for path in directory.iterdir() if path.name.startswith(tail))
    except (OSError, RuntimeError, ValueError):
        return []
    prefix = beginning[: len(beginning) - len(tail)]
    shown = (path for path in found if tail.startswith(".") or not path.name.startswith("."))
    return [f"{prefix}{path.name}{'/' if path.is_dir() else ''}" for path in islice(shown, MOST_FILES)]


def _with_token(snapshot: Snapshot, word: str) -> str:
    """`14 ' to'` and `END=14 ' to'`: a position and what stands there."""
    try:
        pos = position_of(snapshot, word.removeprefix("@"))
    except CommandError:
        return word
    token = quoted(snapshot.tokenizer, snapshot.state.inputs.prompt.tokens[pos])
    return f"{word} {token}" if word.removeprefix("@").isdecimal() else f"{word}={pos} {token}"


def _values(snapshot: Snapshot, name: str) -> list[str]:
    """What a setting can be."""
    if name == "means":
        return ["positions", "set", "none", *_prompts()]
    return [choice for each in SETTINGS if each.name == name for choice in each.choices]


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
        *_edits(snapshot),
    ]


def _edits(snapshot: Snapshot) -> list[str]:
    edits = snapshot.decided.inputs.edits
    names = dict.fromkeys(edit.name for edit in edits if edit.name)
    return [*(f"i{edit.number}" for edit in edits), *(f'"{name}"' if " " in name else name for name in names)]


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
