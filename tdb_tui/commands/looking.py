"""Where heads look: a head's map, weighed in one of three ways, or one token's attention in every head of a layer."""

import re
from dataclasses import replace

import numpy as np

from model.components import Component, Kind
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import probability, signed, token_label
from tdb_tui.language.arguments import at_most, node_word, one_component, position
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import Weighed
from tdb_tui.tables.attention import weighed

MOST = 6
"Keys that are named."
EACH = 3
"Keys that are named of each head of a layer."


@command(
    "attn",
    usage="HEAD|LAYER [@POS] [--by weights|values|effect|layer] [--ov]",
    group="seeing",
    options={"by": True, "ov": False},
    complete=("node", "pos"),
    examples=("attn L1H3 @END --by effect", "attn L1"),
)
def attn(session: Session, call: Call) -> Reply:
    """Where a head looks: the keys it reads most from one query, and its map in pane 3.

    weights   attention after the softmax
    values    what the head writes from each key, by its size: the weight times the norm of the key's value (`--ov`)
    effect    what that brings to what is asked about (an estimate, activation x gradient)
    layer     the weights of every head of its layer from that query, a row a head; `attn L1` does the same
    """
    if not call.args:
        raise CommandError("attn of which head: attn L1H3", code="missing-argument")
    at_most(call, 2)
    snapshot, by = session.snapshot, _weighing(session.snapshot, call)
    layer = re.fullmatch(r"[LlAa](\d+)(@.*)?", call.args[0].text)
    word = call.args[0] if not layer else replace(call.args[0], text=f"A{layer[1]}{layer[2] or ''}")
    found, part = node_word(snapshot, word), one_component(snapshot, word)
    if part.kind not in (Kind.HEAD, Kind.ATTN):
        message = f"{part} has no attention pattern: name a head, as in L{part.layer}H0"
        raise CommandError(message, "bad-node", col=call.args[0].col)
    typed = position(snapshot, call.args[1]) if len(call.args) > 1 else None
    written = found.span.first if found.span else session.state.pos
    query = written if typed is None else typed
    if part.kind is Kind.ATTN:
        old = session.state.head
        return _layer(session, old if old.layer == part.layer else Component(Kind.HEAD, part.layer, 0), query)
    if by is Weighed.LAYER:
        return _layer(session, part, query)
    return _head(session, part, query, by)


def _weighing(snapshot: Snapshot, call: Call) -> Weighed:
    """What `--by` or `--ov` says, else the one there is, but for a layer's.  Raises CommandError."""
    for option in call.options:
        if option.name == "by":
            names = [each.value for each in Weighed]
            if option.value not in names:
                guess = did_you_mean(option.value or "", names) or f": {', '.join(names)}"
                raise CommandError(f"unknown weighing {option.value!r}{guess}", "bad-option", col=option.col)
            return Weighed(option.value)
        if option.name == "ov":
            return Weighed.VALUES
    by = snapshot.state.weighed
    return Weighed.WEIGHTS if by is Weighed.LAYER else by


def _head(session: Session, head: Component, query: int, by: Weighed) -> Reply:
    snapshot = session.snapshot
    values = weighed(snapshot, head, by)
    pattern = snapshot.now.pattern(head)
    session.go(replace(session.state, head=head, weighed=by))
    row = np.abs(values[query][: query + 1])
    best = (-row).argsort(kind="stable")[:MOST]
    write = probability if by is Weighed.WEIGHTS else signed
    keys = " · ".join(f"{_label(snapshot, int(key))} {write(float(values[query, key]))}" for key in best)
    reads = {Weighed.VALUES: "writes from", Weighed.EFFECT: "brings from"}.get(by, "reads")
    said = f"{head}@{_label(snapshot, query)} {reads}  {keys}"
    result = {"head": str(head), "query": query, "pattern": pattern.tolist(), "by": by.value}
    more = {} if by is Weighed.WEIGHTS else {"values": values.tolist()}
    return Reply((said,), {**result, **more}, view="attn")


def _layer(session: Session, shown: Component, query: int) -> Reply:
    """Every head of a layer, from one query; `shown` is the one with the cursor."""
    snapshot, heads = session.snapshot, session.snapshot.info.config.n_head
    layer = shown.layer
    parts = [Component(Kind.HEAD, layer, index) for index in range(heads)]
    rows = np.stack([snapshot.now.pattern(head)[query] for head in parts])
    session.go(replace(session.state, head=shown, weighed=Weighed.LAYER))
    said: list[str] = []
    for head, row in zip(parts, rows, strict=True):
        best = (-row).argsort(kind="stable")[:EACH]
        keys = " · ".join(f"{_label(snapshot, int(key))} {probability(float(row[key]))}" for key in best)
        said.append(f"{head!s:<7} {keys}")
    result = {"layer": layer, "query": query, "heads": rows.tolist(), "by": Weighed.LAYER.value}
    return Reply((f"layer {layer} @{_label(snapshot, query)} reads", *said), result, view="attn")


def _label(snapshot: Snapshot, pos: int) -> str:
    tokens = snapshot.state.inputs.prompt.tokens
    label = token_label(pos, tokens, snapshot.tokenizer)
    return snapshot.tokenizer.display(tokens[pos]).strip() if label.isdigit() else label
