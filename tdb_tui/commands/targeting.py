"""What is asked of a run: target and distractor tokens, and the metric that reads them or reads inside the model."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from model.components import Kind
from model.gpt2 import wide
from model.metrics import PROBES, Metric, Quantity
from model.probes import Activation, Direction
from tdb_tui import lines
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.files.vectors import SUFFIXES, read_vector
from tdb_tui.formats import metric_text, signed
from tdb_tui.language.arguments import at_most, file_path, line_number, one_node, position
from tdb_tui.language.parsing import Call, Word, quote
from tdb_tui.language.registry import Repeat
from tdb_tui.metrics import caveats, make_metric, place_of, with_tokens
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot
from tdb_tui.settings import with_setting
from tdb_tui.texts import resolve_tokens


@command(
    "target",
    usage="TOK[,TOK...]",
    group="changing",
    repeat=Repeat.NOTHING,
    complete=("token",),
    examples=("target Mary", 'target " Mary" " Anna"'),
)
def target(session: Session, call: Call) -> Reply:
    """The tokens whose logit is under study, as one mean."""
    return _set_tokens(session, call, "target")


@command(
    "distractor",
    usage="[TOK[,TOK...]]",
    group="changing",
    repeat=Repeat.NOTHING,
    complete=("token",),
    examples=("distractor John", "distractor"),
)
def distractor(session: Session, call: Call) -> Reply:
    """The tokens to compare with; none leaves the target's logit alone."""
    return _set_tokens(session, call, "distractor")


def set_metric(session: Session, call: Call) -> Reply:
    """`set metric NAME ...`: another number under study, read at END unless a position says otherwise."""
    name, snapshot = call.args[1], session.snapshot
    with_setting(session.state, "metric", name.text)  # for its complaint: the metric is kept with the inputs
    quantity, old, words = Quantity(name.text), session.state.inputs.metric, list(call.args[2:])
    if quantity is Quantity.ACTIVATION:
        at_most(call, 3)
        return _with_metric(session, _activation(snapshot, old, words), call.text)
    pos = session.state.end
    if words and words[-1].text.startswith("@") and not words[-1].quoted:
        pos = position(snapshot, words.pop())
    if quantity is Quantity.DIRECTION:
        probe, notes = _direction(snapshot, words)
        return _with_metric(session, _asked(old, quantity, pos, probe), call.text, notes)
    if words:
        expected = f"a position, as in set metric {name.text} @END, and no more"
        raise CommandError(f"unexpected {words[0].text!r}: {expected}", "bad-argument", col=words[0].col)
    if quantity is Quantity.LOGIT_DIFF and not old.distractors:
        raise CommandError("logit_diff needs a distractor: distractor John", code="bad-setting")
    return _with_metric(session, _asked(old, quantity, pos), call.text)


def _asked(old: Metric, quantity: Quantity, pos: int, probe: Direction | Activation | None = None) -> Metric:
    """Something else asked, of the same tokens."""
    return Metric(quantity, old.targets, old.distractors, pos, probe)


def _activation(snapshot: Snapshot, old: Metric, words: Sequence[Word]) -> Metric:
    """`N10.1307@END`, `L9H9@END<Mary`; a head without a key is asked for the token that it reads most."""
    if not words:
        message = "activation of what: set metric activation N1.5@END, set metric activation L1H2@END<Mary"
        raise CommandError(message, code="missing-argument")
    node = one_node(snapshot, words[0])
    key = node.key
    if node.component.kind is Kind.HEAD and key is None:
        key = int(snapshot.now.pattern(node.component)[node.pos].argmax())
    try:
        return _asked(old, Quantity.ACTIVATION, node.pos, Activation(node.component, key))
    except ValueError as error:
        raise CommandError(str(error), "bad-node", col=words[0].col) from None


def _direction(snapshot: Snapshot, words: list[Word]) -> tuple[Direction, tuple[str, ...]]:
    """`[TOK,... [- TOK,...] | FILE] [at LINE]`: targets minus distractors at `U` where nothing is said, and notes."""
    line = lines.count(snapshot.n_layer) - 1
    if len(words) > 1 and words[-2].text == "at" and not words[-2].quoted:
        line = line_number(snapshot, words[-1])
        if line == 0:
            message = "nothing is written before E: read a direction at A0 or later"
            raise CommandError(message, "bad-line", col=words[-1].col)
        words = words[:-2]
    where = f"at {lines.name(line, snapshot.n_layer)}"
    if len(words) == 1 and words[0].text.endswith(SUFFIXES):
        path = file_path(words[0])
        vector = read_vector(path, snapshot.info.config.d_model)
        return Direction(line, vector, f"{quote(words[0].text)} {where}"), ()
    up, down, notes = _sides(snapshot, words)
    tokens = make_metric(up, down, 0)
    vector = tokens.direction(wide(snapshot.now.model.unembedding)).double().cpu().tolist()
    said = " - ".join(
        " ".join(quote(snapshot.tokenizer.text(token)) for token in side) for side in (up, down) if side
    )
    return Direction(line, tuple(vector), f"{said} {where}"), notes


def _sides(
    snapshot: Snapshot, words: Sequence[Word]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
    """The tokens that a direction goes to and away from, the session's own where none are named, and notes."""
    metric = snapshot.state.inputs.metric
    if not words:
        return metric.targets, metric.distractors, ()
    minus = next((at for at, word in enumerate(words) if word.text == "-" and not word.quoted), len(words))
    sides: list[tuple[int, ...]] = []
    notes: list[str] = []
    for side in (words[:minus], words[minus + 1 :]):
        named = [text for text in token_words(side) if text]
        ids, said = resolve_tokens(snapshot.tokenizer, named, "direction", snapshot.state.inputs.prompt.text)
        sides.append(ids)
        notes += said
    up, down = sides
    if not up or (minus < len(words) and not down):
        example = "set metric direction Mary - John"
        raise CommandError(f"a direction needs tokens: {example}", "missing-argument", col=words[0].col)
    return up, down, tuple(notes)


def _set_tokens(session: Session, call: Call, what: str) -> Reply:
    inputs = session.state.inputs
    ids, notes = resolve_tokens(
        session.snapshot.tokenizer, list(token_words(call.args)), what, inputs.prompt.text
    )
    old = inputs.metric
    targets, distractors = (ids, old.distractors) if what == "target" else (old.targets, ids)
    if not targets:
        raise CommandError("target needs a token: target Mary", code="missing-argument")
    metric = with_tokens(old, targets, distractors)
    if metric.quantity in (*PROBES, Quantity.KL):
        notes.append(f"{metric.quantity.value} asks for no token: set metric logit does")
    return _with_metric(session, metric, call.text, tuple(notes))


def token_words(words: Sequence[Word]) -> Iterator[str]:
    """What was typed, token by token: commas separate them and quotes hold them; words without either are one."""
    bare: list[str] = []
    for word in (*words, None):
        if word is not None and not word.quoted:
            bare.append(word.text)
            continue
        if bare:
            yield from (part.strip() for part in " ".join(bare).strip(",").split(","))
            bare = []
        if word is not None:
            yield word.text


def _with_metric(session: Session, metric: Metric, text: str, notes: tuple[str, ...] = ()) -> Reply:
    state, old = session.decided, session.state.inputs.metric
    if place_of(metric) != place_of(old):
        state = replace(state, frames=(), frame=0, pos=metric.pos)
    session.change(replace(state.inputs, metric=metric), text, state)
    label = metric_text(metric, session.snapshot.tokenizer, session.state.end)
    value = session.snapshot.now.value
    if metric.quantity is Quantity.KL:
        notes = (*notes, *caveats(metric, bool(state.inputs.changes)))
    return Reply((f"{label}: {signed(value)}",), {"value": value}, notes)
