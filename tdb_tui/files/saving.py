"""A session as a file: JSON with a schema, or a script of its commands."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from model.probes import Activation, Direction, Probe
from model.sets.files import row_of
from tdb_tui.circuits.drafts import as_dict
from tdb_tui.errors import CommandError
from tdb_tui.files.saved_names import named
from tdb_tui.files.saved_sweeps import as_saved_sweep
from tdb_tui.session import Session
from tdb_tui.state import Edit, Examples, Inputs, Prompt, RankView, Tree

SCHEMA = "tdb-session/1"


def to_json(session: Session) -> str:
    """The session, whole, for `load`.  Raises CommandError where the model's files are gone."""
    model = {"name": session.engine.info.name, "hash": weights_hash(session)}
    return json.dumps({"schema": SCHEMA, "model": model, **to_dict(session)}, indent=1)


def to_dict(session: Session) -> dict[str, Any]:
    """The same without saying which model it is for."""
    state = session.decided
    return {
        **inputs_dict(state.inputs),
        "frames": [frame.text for frame in state.frames],
        "frame": state.frame,
        "stops": [asdict(stop) for stop in state.stops],
        "displays": [asdict(display) for display in state.displays],
        "place": asdict(state.place),
        "pos": state.pos,
        "head": str(state.head),
        "attention": state.weighed.value,
        "marks": list(state.marks),
        "rank": _rank(state.rank),
        "tree": _tree(state.tree),
        "roles": dict(state.roles),
        "examples": None if state.examples is None else _examples(state.examples),
        "settings": dict(state.settings),
        **named(state),
        "checkpoints": [
            {"name": each.name, "roles": dict(each.roles), **inputs_dict(each.inputs)}
            for each in state.checkpoints
        ],
        "circuits": [as_dict(circuit) for circuit in state.circuits],
        "circuit": state.circuit,
        "sweep": None if session.sweep is None else as_saved_sweep(session.sweep, session.state.inputs),
        "next": {"edit": state.next_edit, "stop": state.next_stop, "display": state.next_display},
        "script": [*session.opening, *session.done],
    }


def script(session: Session) -> str:
    """The session as commands that lead from its first prompt to where it stands."""
    return "\n".join(["# tdb-script/1", f"# {session.engine.info.name}", *session.opening, *session.done])


def weights_hash(session: Session) -> str:
    """What tells one model from another.  Raises CommandError where its files are gone."""
    try:
        return session.engine.weights_hash()
    except (OSError, ValueError) as error:
        raise CommandError(f"the model's files cannot be read any more: {error}", code="no-file") from None


def inputs_dict(inputs: Inputs) -> dict[str, Any]:
    """What decides a run and its numbers, for JSON."""
    return {
        "prompt": _prompt(inputs.prompt),
        "prompt_b": None if inputs.prompt_b is None else _prompt(inputs.prompt_b),
        "metric": {
            "quantity": inputs.metric.quantity.value,
            "targets": list(inputs.metric.targets),
            "distractors": list(inputs.metric.distractors),
            "pos": inputs.metric.pos,
            "probe": _probe(inputs.metric.probe),
        },
        "means": None
        if inputs.means is None
        else {
            "text": inputs.means.text,
            "per": inputs.means.per,
            "prompts": [_prompt(prompt) for prompt in inputs.means.prompts],
        },
        "patched_from": [_prompt(prompt) for prompt in inputs.examples],
        "ln": inputs.treatment.value,
        "saes": [asdict(each) for each in inputs.saes],
        "edits": as_saved(inputs.edits),
    }


def as_saved(edits: Sequence[Edit]) -> list[dict[str, Any]]:
    """Edits for JSON, each as the command that makes it."""
    return [
        {"number": each.number, "name": each.name, "command": each.text, "enabled": each.enabled}
        for each in edits
    ]


def _probe(probe: Probe | None) -> dict[str, Any] | None:
    match probe:
        case Direction():
            return {"line": probe.line, "vector": list(probe.vector), "text": probe.text}
        case Activation():
            return {"component": str(probe.component), "key": probe.key}
        case None:
            return None


def _prompt(prompt: Prompt) -> dict[str, Any]:
    return {
        "text": prompt.text,
        "bos": prompt.bos,
        "example": prompt.example,
        "template": prompt.template,
        "roles": dict(prompt.roles),
    }


def _examples(loaded: Examples) -> dict[str, Any]:
    rows = [row_of(example) for example in loaded.prompts.examples]
    return {"text": loaded.text, "name": loaded.prompts.name, "seed": loaded.prompts.seed, "rows": rows}


def _rank(view: RankView) -> dict[str, Any]:
    return {
        "kinds": list(view.kinds),
        "by": view.by,
        "pos": view.pos,
        "within": [str(component) for component in view.within],
        "sign": view.sign,
        "per": view.per,
        "where": None if view.where is None else str(view.where),
        "each": view.each,
        "latents": sorted(view.latents),
    }


def _tree(tree: Tree) -> dict[str, Any]:
    turned = [
        {"frames": [frame.text for frame in frames], "path": [str(node) for node in path]}
        for frames, path in tree.turned
    ]
    return {
        "depth": tree.depth,
        "top": tree.top,
        "threshold": tree.threshold,
        "neurons": tree.neurons,
        "turned": sorted(turned, key=str),
    }
