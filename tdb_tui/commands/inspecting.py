"""Looking at the recorded pass: where it stands and what is in it."""

import re
from dataclasses import replace

from model.addresses import AddressError, parse_components, split_node
from model.components import Kind, Node
from tdb_tui import lines
from tdb_tui.commands.table import command
from tdb_tui.commands.tracing import frame_lines, frame_text
from tdb_tui.errors import CommandError
from tdb_tui.formats import metric_text, node_label, plain, probability, quoted, signed, token_label
from tdb_tui.language.arguments import (
    at_most,
    integer,
    line_number,
    one_node,
    position,
)
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat
from tdb_tui.names import LINE
from tdb_tui.replies import Reply, columns, note
from tdb_tui.scope import measures, shown, typed_value
from tdb_tui.session import Session, Snapshot
from tdb_tui.settings import seed_of
from tdb_tui.stepping import finished
from tdb_tui.tables.listing import listing

LISTED = 11
"Lines of `list`, as in pdb."


@command("where", "w", "bt", group="seeing", repeat=Repeat.LITERAL, examples=("where", "n 2 ;; w"))
def where(session: Session, call: Call) -> Reply:
    """What is asked, and where the pass stands."""
    at_most(call, 0)
    snapshot, place = session.snapshot, session.state.place
    end = lines.count(snapshot.n_layer)
    at = "the end of the pass" if finished(snapshot, place) else lines.name(place.line, snapshot.n_layer)
    inside = "" if place.inside is None else f", row {place.inside} of it"
    frames = [frame_text(snapshot, number) for number in range(len(session.state.frames) + 1)]
    return Reply(
        (*frame_lines(snapshot), f"line {place.line} of {end}: {at}{inside}"),
        {"frames": frames, "frame": session.state.frame, "line": place.line},
    )


@command(
    "list",
    "l",
    usage="[.|LINE|NODE|FIRST,LAST]",
    group="seeing",
    repeat=Repeat.CONTINUE,
    complete=(LINE,),
    examples=("list", "l 0,4"),
)
def list_(session: Session, call: Call) -> Reply:
    """Eleven lines of the pass around the next one, then those that follow; `ll` lists all of them.

    With what each adds to the metric, read at the token cursor through the lens.  `->` is the next line, `B` a
    breakpoint (`o` a disabled one), `*` an edit, `C` part of the circuit in use, `>>` the largest change of the pass.
    `l .` is around the next line again, `l A3` or `l 7` around another; `l 3,8` from one to another, `l 3,2` two more.
    """
    place, count = session.state.place, lines.count(session.snapshot.n_layer)
    if call.args:
        first, last = _lines_asked(session.snapshot, call)
    elif session.listed is not None and session.listed[0] == place:
        first, last = session.listed[1], session.listed[1] + LISTED - 1
    else:
        first, last = _around(min(place.line, count - 1), count)
    session.listed = place, min(last + 1, count)
    more = "list" if last + 1 >= count else f"list {last + 1},{last + LISTED}"
    return replace(_listing(session.snapshot, first, last), more=more)


@command("ll", group="seeing", examples=("ll", "n 2 ;; ll"))
def ll(session: Session, call: Call) -> Reply:
    """Every line of the pass, as `list` shows them."""
    at_most(call, 0)
    return _listing(session.snapshot, 0, lines.count(session.snapshot.n_layer) - 1)


def _around(line: int, count: int) -> tuple[int, int]:
    """The first and last of the lines around one."""
    first = max(0, min(line - LISTED // 2, count - LISTED))
    return first, first + LISTED - 1


def _lines_asked(snapshot: Snapshot, call: Call) -> tuple[int, int]:
    """`.`, `7`, `A3`, `3,8`, or as pdb has it `3,2`: the first and last line.  Raises CommandError."""
    typed, count = call.rest(), lines.count(snapshot.n_layer)
    if typed.text == ".":
        return _around(min(snapshot.state.place.line, count - 1), count)
    begin, comma, end = typed.text.partition(",")
    first = line_number(snapshot, Word(begin.strip(), typed.col))
    if not comma:
        return _around(first, count)
    word = Word(end.strip(), typed.col + len(begin) + 1)
    last = integer(word, "a line's number") if word.text.isdecimal() else line_number(snapshot, word)
    return first, last if last >= first else first + last


def _listing(snapshot: Snapshot, first: int, last: int) -> Reply:
    rows = [row for row in listing(snapshot) if first <= row.line <= last]
    cells = [
        (row.marks, row.number, "->" if row.arrow else "", row.name, signed(row.delta), signed(row.lens))
        for row in rows
    ]
    result = [{"line": row.name, "delta": row.delta, "ld": row.lens} for row in rows]
    end = ("[EOF]",) if last + 1 >= lines.count(snapshot.n_layer) else ()
    return Reply((*columns(cells, "-r--rr"), *end), {"rows": result})


@command("args", "a", group="seeing", examples=("args", "a"))
def args(session: Session, call: Call) -> Reply:
    """What this run is given: model, prompt and its tokens, targets, device."""
    at_most(call, 0)
    snapshot, inputs, info = session.snapshot, session.state.inputs, session.snapshot.info
    tokenizer, config = snapshot.tokenizer, info.config
    said = [
        f"model       {info.name}  {config.n_layer} layers, {config.n_head} heads, d_model {config.d_model}"
        f"  {info.device} {info.dtype}",
        f"tokens      {_token_row(snapshot, inputs.prompt.tokens)}",
    ]
    if inputs.prompt.prepended:
        said.append("            ⊢ (token 0) is <|endoftext|>, put before the prompt; --no-bos leaves it out")
    if inputs.prompt_b is not None:
        said.append(f"prompt B    {_token_row(snapshot, inputs.prompt_b.tokens)}")
    said.append(
        f"metric      {metric_text(inputs.metric, tokenizer, session.state.end)}  {signed(snapshot.now.value)}"
    )
    seed = seed_of(session.state)
    said.append(f"seed        {seed}")
    return Reply(
        tuple(said),
        {
            "model": {
                "name": info.name,
                "n_layer": config.n_layer,
                "n_head": config.n_head,
                "d_model": config.d_model,
                "n_ctx": config.n_ctx,
                "n_vocab": config.n_vocab,
            },
            "tokens": [_token(snapshot, pos, token) for pos, token in enumerate(inputs.prompt.tokens)],
            "targets": [_token(snapshot, None, token) for token in inputs.metric.targets],
            "distractors": [_token(snapshot, None, token) for token in inputs.metric.distractors],
            "prompt_b": None if inputs.prompt_b is None else inputs.prompt_b.text,
            "device": info.device,
            "dtype": info.dtype,
            "seed": seed,
            "metric": snapshot.now.value,
        },
    )


@command(
    "print",
    "p",
    usage="EXPR|NODE",
    group="seeing",
    repeat=Repeat.LITERAL,
    complete=("expr",),
    examples=("p ld", "p L1H3@END"),
)
def print_(session: Session, call: Call) -> Reply:
    """The value of an expression, or all measures of a node."""
    if not call.args:
        raise CommandError("print what: p ld, p L1H3@END", code="missing-argument")
    typed = call.rest()
    node = as_node(session.snapshot, typed)
    if node is not None:
        return measured(session.snapshot, node)
    value = typed_value(session.snapshot, typed)
    return Reply((shown(value),), {"value": value})


@command(
    "token", usage="[@POS|+N|-N]", group="seeing", complete=("pos",), examples=("token @END", "token @2")
)
def token(session: Session, call: Call) -> Reply:
    """Move the token cursor, at which the listing, the lens and the logits are read."""
    at_most(call, 1)
    state, snapshot = session.state, session.snapshot
    pos = state.pos
    if call.args:
        word = call.args[0]
        relative = re.fullmatch("[+-][0-9]{1,9}", word.text)
        pos = pos + int(word.text) if relative else position(snapshot, word)
    pos = min(max(pos, 0), state.end)
    session.go(replace(state, pos=pos))
    return note(f"token {pos}: {quoted(snapshot.tokenizer, state.inputs.prompt.tokens[pos])}", pos=pos)


def as_node(snapshot: Snapshot, word: Word) -> Node | None:
    """The node that a word spells, or None where it is an expression: `9.9` is a number here."""
    if re.fullmatch(r"[0-9.]+", word.text):
        return None
    try:
        return one_node(snapshot, word)
    except CommandError:
        if _spells_a_part(snapshot, word.text) or re.fullmatch(r"[A-Z][^\s(+*/<=]*", word.text):
            raise
        return None


def _spells_a_part(snapshot: Snapshot, text: str) -> bool:
    """Whether what is wrong with `text` can only be its position; ` <` compares and names no key."""
    try:
        part, _, _ = split_node(text)
        parse_components(part, snapshot.info.config, snapshot.info.name)
    except AddressError:
        return False
    return " <" not in text


def measured(snapshot: Snapshot, node: Node) -> Reply:
    """Kind, measures and, for a head, what it reads."""
    found = measures(snapshot.now, node)
    label = node_label(node, snapshot.state.inputs.prompt.tokens, snapshot.tokenizer)
    said = [
        f"{label}  {node.component.kind.group}",
        f"activation {plain(found.act)}  write norm {plain(found.write_norm)}",
        f"direct {signed(found.direct)}  total {signed(found.total)} (estimate)",
    ]
    if node.component.kind is Kind.HEAD and node.key is None:
        weights = snapshot.now.pattern(node.component)[node.pos][: node.pos + 1]
        best = (-weights).argsort(kind="stable")[:4]
        said.append(
            "reads "
            + " · ".join(f"{_key_label(snapshot, int(k))} {probability(float(weights[k]))}" for k in best)
        )
    value = {
        "node": str(node),
        "act": found.act,
        "write_norm": found.write_norm,
        "direct": found.direct,
        "total": found.total,
    }
    return Reply(tuple(said), {"value": value})


def _key_label(snapshot: Snapshot, pos: int) -> str:
    tokens = snapshot.state.inputs.prompt.tokens
    label = token_label(pos, tokens, snapshot.tokenizer)
    return snapshot.tokenizer.display(tokens[pos]).strip() if label.isdigit() else label


def _token_row(snapshot: Snapshot, tokens: tuple[int, ...]) -> str:
    return " ".join(f"{pos}:{snapshot.tokenizer.display(token).strip()}" for pos, token in enumerate(tokens))


def _token(snapshot: Snapshot, pos: int | None, token: int) -> dict[str, object]:
    found: dict[str, object] = {"id": token, "text": snapshot.tokenizer.text(token)}
    return found if pos is None else {"pos": pos, **found}
