"""What a thing is, beyond its number: its sort and shape, all of a node, what has just been computed."""

from model.about.reads import top_tokens
from model.components import Component, Kind, Node
from tdb_tui import lines
from tdb_tui.commands.inspecting import as_node, measured
from tdb_tui.commands.noting import notes_of
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.formats import plain, signed, token_label
from tdb_tui.language.arguments import at_most
from tdb_tui.language.evaluation import Value
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply, columns
from tdb_tui.scope import last_delta, lens_so_far, measures, opened, typed_value
from tdb_tui.session import Session, Snapshot
from tdb_tui.tables.promoted import ends_lines, left_out, promoted

TOP_TOKENS = 5


@command(
    "pp",
    usage="EXPR|NODE",
    group="seeing",
    repeat=Repeat.LITERAL,
    complete=("expr",),
    examples=("pp L1H3@END", "pp ld"),
)
def pp(session: Session, call: Call) -> Reply:
    """All about a node: its measures, the tokens that it argues for, what is noted of it, and each token's share."""
    if not call.args:
        raise CommandError("pp what: pp L1H3@END, pp ld", code="missing-argument")
    snapshot, typed = session.snapshot, call.rest()
    node = as_node(snapshot, typed)
    if node is None:
        value = typed_value(snapshot, typed)
        return Reply((_written(value),), {"value": value})
    first = measured(snapshot, node)
    ends = top_tokens(promoted(snapshot.now, node), TOP_TOKENS, left_out(snapshot, False))
    return Reply(
        (
            *first.lines,
            *(f"note: {text}" for text in notes_of(session.state, str(node.component))),
            "",
            *ends_lines(snapshot.tokenizer, ends, ("up", "logits", "down", "logits")),
            "",
            *_positions(snapshot, node.component),
        ),
        first.result,
    )


@command(
    "whatis",
    usage="EXPR|NODE",
    group="seeing",
    repeat=Repeat.LITERAL,
    complete=("expr",),
    examples=("whatis L1H3", "whatis rank(Mary)"),
)
def whatis(session: Session, call: Call) -> Reply:
    """What sort of thing an expression or a node is: number, text, truth; or kind, shape, and where it reads."""
    if not call.args:
        raise CommandError("whatis what: whatis L1H3, whatis ld", code="missing-argument")
    snapshot, typed = session.snapshot, call.rest()
    node = as_node(snapshot, typed)
    if node is None:
        sort = _sort(typed_value(snapshot, typed))
        return Reply((sort,), {"type": sort})
    part = node.component
    shape, reads = _shape(snapshot, part), _reads(part, snapshot.n_layer)
    return Reply(
        (f"{part.kind.group}  {part}  {shape}  {reads}".rstrip(),), {"type": part.kind.group, "shape": shape}
    )


@command("rv", "retval", group="seeing", repeat=Repeat.LITERAL, examples=("n ;; rv", "s ;; r ;; rv"))
def rv(session: Session, call: Call) -> Reply:
    """What the line just executed added, or the row of an opened line."""
    at_most(call, 0)
    snapshot, place = session.snapshot, session.state.place
    if place.line == 0 or place.inside == 0:
        raise CommandError("Not yet returned: n executes a line", code="at-start")
    delta, so_far = (read(snapshot, place) for read in (last_delta, lens_so_far))
    if place.inside:
        name = opened(snapshot, place.line).names[place.inside - 1]
    else:
        name = lines.name(place.line - 1, snapshot.n_layer)
    return Reply(
        (f"{name}  Δ {signed(delta)}  lens {signed(so_far)}",), {"line": name, "delta": delta, "ld": so_far}
    )


def _written(value: Value) -> str:
    """Every digit there is."""
    return repr(value) if isinstance(value, float | str) else str(value).lower()


def _positions(snapshot: Snapshot, part: Component) -> tuple[str, ...]:
    """A component's measures, one row a token."""
    tokens = snapshot.state.inputs.prompt.tokens
    cells = [("", "token", "activation", "norm", "direct", "total")]
    for pos in range(len(tokens)):
        found = measures(snapshot.now, Node(part, pos))
        numbers = (plain(found.act), plain(found.write_norm), signed(found.direct), signed(found.total))
        name = snapshot.tokenizer.display(tokens[pos]).strip() or token_label(pos, tokens, snapshot.tokenizer)
        cells.append((str(pos), name, *numbers))
    return columns(cells, "r-rrrr")


def _sort(value: Value) -> str:
    match value:
        case bool():
            return "true or false"
        case int():
            return "whole number"
        case float():
            return "number"
        case str():
            return "text"


def _shape(snapshot: Snapshot, part: Component) -> str:
    """The sizes of what it computes at one token."""
    config, width = snapshot.info.config, f"d_model {snapshot.info.config.d_model}"
    match part.kind:
        case Kind.HEAD:
            return f"d_head {config.d_model // config.n_head}"
        case Kind.Q | Kind.K | Kind.V:
            every = "" if part.index is not None else f", {config.n_head} heads"
            return f"d_head {config.d_model // config.n_head}{every}"
        case Kind.PATTERN:
            return f"{len(snapshot.state.inputs.prompt.tokens)} keys"
        case Kind.ATTN:
            return f"{config.n_head} heads, {width}"
        case Kind.MLP:
            return f"{config.d_mlp} neurons, {width}"
        case Kind.NEURON | Kind.LATENT:
            return "1 number"
        case Kind.UNEMBED:
            return f"{config.n_vocab} logits"
        case Kind.LN1_SCALE | Kind.LN2_SCALE | Kind.LN_FINAL_SCALE:
            return "1 number"
        case _:
            return width


def _reads(part: Component, n_layer: int) -> str:
    """Where it takes its input from."""
    match part.kind:
        case Kind.HEAD | Kind.ATTN:
            return f"q, k and v from resid_pre.{part.layer}, before A{part.layer}"
        case Kind.Q | Kind.K | Kind.V | Kind.LN1_SCALE:
            return f"from resid_pre.{part.layer}"
        case Kind.PATTERN:
            return f"from q and k of layer {part.layer}"
        case Kind.MLP | Kind.NEURON | Kind.LN2_SCALE:
            return f"from resid_mid.{part.layer}, before M{part.layer}"
        case Kind.UNEMBED | Kind.LN_FINAL_SCALE:
            return f"from resid_post.{n_layer - 1}"
        case Kind.EMBED:
            return "from the token and its position"
        case Kind.TOKEN_EMBED:
            return "from the token"
        case Kind.POS_EMBED:
            return "from the position"
        case kind if kind.group == "bias":
            return "reads nothing: a constant"
        case _:
            return ""
