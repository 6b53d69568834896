"""What the user has named and written down, in session files: variables, aliases, notes."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from tdb_tui.files.saved_values import as_number, as_text, as_truth, as_whole
from tdb_tui.language.evaluation import NodeText, Value
from tdb_tui.state import Lesson, Note, State


def named(state: State) -> dict[str, Any]:
    """For JSON; nodes are told from texts."""
    return {
        "variables": {
            name: {"nodes": value} if isinstance(value, NodeText) else value
            for name, value in state.variables.items()
        },
        "aliases": dict(state.aliases),
        "notes": [asdict(each) for each in state.notes],
        "lesson": None if state.lesson is None else asdict(state.lesson),
    }


def read_aliases(data: Mapping[str, Any]) -> Mapping[str, str]:
    """Raises ValueError, as the others do, for what is none."""
    found: Any = data.get("aliases", {})
    return MappingProxyType({as_text(name): as_text(body) for name, body in found.items()})


def read_variables(data: Mapping[str, Any]) -> Mapping[str, Value]:
    found: Any = data.get("variables", {})
    return MappingProxyType({as_text(name): _value(value) for name, value in found.items()})


def read_notes(data: Mapping[str, Any]) -> tuple[Note, ...]:
    return tuple(Note(as_text(each["text"]), as_text(each["node"])) for each in data.get("notes", []))


def read_lesson(data: Mapping[str, Any]) -> Lesson | None:
    found: Any = data.get("lesson")
    if found is None:
        return None
    return Lesson(as_whole(found["step"]), as_truth(found["on"]), as_text(found["head"]))


def _value(value: object) -> Value:
    match value:
        case {"nodes": str(text)}:
            return NodeText(text)
        case bool() | str():
            return value
        case int():
            return float(value) if abs(value) > 1e15 else value
        case _:
            return as_number(value)
