"""Circuits as files, and read back from them or from a session's file, every part checked."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.addresses import AddressError, parse_component, split_node
from model.components import DICTIONARY, Kind, Node
from model.targets import Via
from tdb_tui.circuits.drafts import MOST, Circuit, Edge, as_dict, impossible
from tdb_tui.errors import CommandError
from tdb_tui.files.saved_values import read_json
from tdb_tui.files.saving import weights_hash
from tdb_tui.session import Session
from tdb_tui.texts import read_prompt

SCHEMA = "tdb-circuit/1"
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}"
"What a circuit may be called, as a regular expression."


def file_text(session: Session, circuit: Circuit) -> str:
    """A circuit as its file holds it.  Raises CommandError where the model's files are gone."""
    model = {"name": session.engine.info.name, "hash": weights_hash(session)}
    tokens = [session.engine.tokenizer.text(token) for token in circuit.prompt.tokens]
    data = {"schema": SCHEMA, "model": model, **as_dict(circuit), "tokens": tokens}
    return json.dumps(data, indent=1) + "\n"


def read_circuit(session: Session, path: Path) -> Circuit:
    """The circuit in a file.  Raises CommandError for a file that is none, of another version or another model's."""
    data = read_json(path, "circuit", SCHEMA)
    try:
        made_with, here = data["model"], session.engine.info.name
        if made_with["hash"] != weights_hash(session):
            message = f"circuit is for {made_with['name']}, this is {here}: load it beside that model"
            raise CommandError(message, code="other-model")
        return from_dict(session, data)
    except KeyError as error:
        raise CommandError(f"{path} is damaged: it has no {error.args[0]}", code="bad-file") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise CommandError(f"{path} is damaged: {error}", code="bad-file") from None


def from_dict(session: Session, data: Mapping[str, Any], lenient: bool = False) -> Circuit:
    """What `drafts.as_dict` made, as a saved circuit; where `lenient`, without nodes that this model does not have.

    Raises CommandError, KeyError, TypeError and ValueError.
    """
    name, prompt = data["name"], data["prompt"]
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise ValueError(f"{name!r} is no name of a circuit")
    if not isinstance(prompt["text"], str) or not isinstance(prompt["bos"], bool):
        raise ValueError("the circuit's prompt is no text")
    read = read_prompt(session.engine, prompt["text"], prompt["bos"])
    found = (read_node(session, text, len(read.tokens), lenient) for text in _list(data["nodes"]))
    nodes = tuple(dict.fromkeys(node for node in found if node is not None))
    if len(nodes) > MOST:
        raise ValueError(f"{len(nodes)} nodes where {MOST} are the most")
    circuit = Circuit(name, read, nodes)
    edges = (_edge(session, circuit, row, lenient) for row in _list(data["edges"]))
    return replace(circuit, edges=tuple(dict.fromkeys(edge for edge in edges if edge is not None)))


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} where a list belongs")
    return value


def read_node(session: Session, text: object, length: int, lenient: bool) -> Node | None:
    """A node from its address with numbers, `L9H9@14<2`; None where it does not fit and need not."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} where a node belongs")
    part, pos, key = split_node(text)
    info = session.engine.info
    try:
        component = parse_component(part, info.config, info.name)
    except AddressError:
        if not lenient:
            raise
        return None
    if component.kind in DICTIONARY and not component.site:
        raise ValueError(f"{text} does not say of which SAE it is, as Fm3.17 does")
    if pos is None:
        raise ValueError(f"{text} has no token")
    node = Node(component, int(pos), None if key is None else int(key))
    if not 0 <= node.pos < length or (node.key is not None and not 0 <= node.key <= node.pos):
        raise ValueError(f"{text} is outside its prompt of {length} tokens")
    if node.key is not None and component.kind is not Kind.HEAD:
        raise ValueError(f"{text} reads no key token")
    return node


def _edge(session: Session, circuit: Circuit, row: Mapping[str, Any], lenient: bool) -> Edge | None:
    length = len(circuit.prompt.tokens)
    tail, head = (read_node(session, row[end], length, lenient) for end in ("from", "to"))
    if tail is None or head is None:
        return None
    edge = Edge(tail, head, None if row["via"] is None else Via(row["via"]))
    wrong = impossible(edge, session.engine.info.config.n_layer)
    if wrong or tail not in circuit.nodes or head not in circuit.nodes:
        raise ValueError(wrong or f"an end of {tail} -> {head} is not among the nodes")
    return edge
