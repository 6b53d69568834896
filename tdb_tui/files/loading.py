"""A saved session read back, every part of it checked: what a file says may be anything."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from model.addresses import AddressError, parse_component
from model.components import Component, Kind
from model.effects.attribution import Treatment
from model.metrics import Metric, Quantity
from model.probes import Activation, Direction, Probe
from model.sets.files import example_of
from model.sets.prompts import PromptError, PromptSet
from tdb_tui import lines
from tdb_tui.circuits.files import from_dict
from tdb_tui.commands.table import registry
from tdb_tui.commands.tracing import traced
from tdb_tui.edits.checkpoints import checked_name
from tdb_tui.errors import CommandError
from tdb_tui.files.edit_files import with_edits
from tdb_tui.files.saved_names import read_aliases, read_lesson, read_notes, read_variables
from tdb_tui.files.saved_sweeps import saved_sweep
from tdb_tui.files.saved_values import as_number, as_text, as_truth, as_whole, read_json
from tdb_tui.files.saved_views import read_marks, read_rank, read_tree
from tdb_tui.files.saving import SCHEMA, weights_hash
from tdb_tui.language.expressions import parse_expression
from tdb_tui.language.parsing import parse_line
from tdb_tui.metrics import make_metric, refuse_metric
from tdb_tui.session import Session
from tdb_tui.settings import with_setting
from tdb_tui.state import (
    Checkpoint,
    Display,
    Examples,
    Inputs,
    Means,
    Place,
    Prompt,
    Sae,
    State,
    Stop,
    Weighed,
)
from tdb_tui.stop_commands import checked
from tdb_tui.sweeps.values import Picture
from tdb_tui.texts import opening, read_prompt


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    state: State
    script: tuple[str, ...]
    "The commands that led there."
    sweep: Picture | None = None
    "The last one; of another model none is kept."


def read_session(path: Path) -> dict[str, Any]:
    """A session file's contents.  Raises CommandError for a file that is none, or of another version."""
    return read_json(path, "session", SCHEMA)


def from_json(session: Session, data: dict[str, Any], path: Path, force: bool = False) -> Loaded:
    """The session that a file holds.  Raises CommandError where it is for another model, or damaged."""
    try:
        made_with, here = data["model"], session.engine.info.name
        same = made_with["hash"] == weights_hash(session)
        if not same and not force:
            message = f"session is for {made_with['name']}, this is {here}: --force keeps what still fits"
            raise CommandError(message, code="other-model")
        state = read_state(session, data, lenient=not same)
        if same:
            sweep = data.get("sweep")
            sweep = None if sweep is None else saved_sweep(sweep, state.inputs)
            return Loaded(state, tuple(as_text(line) for line in data["script"]), sweep)
        kept = (edit.text for edit in state.inputs.edits if edit.enabled)
        return Loaded(state, (*opening(state.inputs, session.engine.tokenizer), *kept))
    except KeyError as error:
        raise CommandError(f"{path} is damaged: it has no {error.args[0]}", code="bad-file") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise CommandError(f"{path} is damaged: {error}", code="bad-file") from None


def read_state(session: Session, data: Mapping[str, Any], lenient: bool = False) -> State:
    """What `to_dict` wrote; where `lenient`, as much of it as fits this model.

    Raises AddressError, CommandError, KeyError, TypeError and ValueError.
    """
    reader = Reader(session, lenient)
    state = with_edits(session, reader.state(data), data["edits"], lenient)
    if not lenient:
        state = _with_frames(session, state, data["frames"], data["frame"])
    state = _with_circuits(session, state, data, lenient)
    checkpoints = tuple(reader.checkpoints(data.get("checkpoints", [])))
    return replace(state, place=reader.place(**data["place"]), checkpoints=checkpoints)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the parts of a session file.  Its methods raise CommandError, KeyError, TypeError and ValueError."""

    session: Session
    lenient: bool
    "Whether the file is for another model: what does not fit this one is then left out."

    def state(self, data: Mapping[str, Any]) -> State:
        """Everything but the edits, and where the pass stands."""
        inputs = self.inputs(data)
        end, following = len(inputs.prompt.tokens) - 1, data["next"]
        aliases = read_aliases(data)
        stops = (self.stop(saved, aliases) for saved in data["stops"])
        state = State(
            inputs,
            pos=as_whole(data["pos"], end),
            head=self.head(as_text(data["head"])),
            weighed=Weighed(data.get("attention", Weighed.WEIGHTS.value)),
            marks=() if self.lenient else read_marks(data.get("marks", [])),
            rank=read_rank(self.session, data.get("rank"), end, self.lenient),
            tree=read_tree(self.session, data.get("tree"), end + 1, self.lenient),
            stops=tuple(stop for stop in stops if stop is not None),
            displays=tuple(_display(**saved) for saved in data["displays"]),
            roles=_roles(data["roles"]),
            variables=read_variables(data),
            aliases=aliases,
            notes=read_notes(data),
            lesson=read_lesson(data),
            examples=self.examples(data.get("examples")),
            next_stop=as_whole(following["stop"]),
            next_display=as_whole(following["display"]),
            next_edit=as_whole(following["edit"]),
        )
        for name, value in data["settings"].items():
            state = with_setting(state, name, value)
        return state

    def inputs(self, data: Mapping[str, Any]) -> Inputs:
        prompt, means = self.prompt(**data["prompt"]), data["means"]
        other = None if data["prompt_b"] is None else self.prompt(**data["prompt_b"])
        if means is not None:
            prompts = tuple(self.prompt(**saved) for saved in means["prompts"])
            means = Means(as_text(means["text"]), prompts, _matched_by(means.get("per", "")))
        return Inputs(
            prompt,
            self.metric(data["metric"], len(prompt.tokens) - 1),
            other,
            means=means,
            treatment=Treatment(data["ln"]),
            examples=tuple(self.prompt(**saved) for saved in data.get("patched_from", [])),
            saes=tuple(Sae(as_text(each["path"]), as_text(each["place"])) for each in data.get("saes", [])),
        )

    def metric(self, saved: Mapping[str, Any], end: int) -> Metric:
        """What was asked, in terms of this model; of another, the usual metric for a part that this one lacks."""
        targets, distractors = (tuple(map(as_whole, saved[side])) for side in ("targets", "distractors"))
        pos = as_whole(saved["pos"], end)
        try:
            probe = self.probe(saved.get("probe"))
            metric = Metric(Quantity(saved["quantity"]), targets, distractors, pos, probe)
            refuse_metric(metric, end, self.session.engine.info.config)
        except (CommandError, AddressError):
            if not self.lenient:
                raise
            return make_metric(targets, distractors, pos)
        return metric

    def probe(self, saved: Mapping[str, Any] | None) -> Probe | None:
        if saved is None:
            return None
        if "component" in saved:
            info, key = self.session.engine.info, saved["key"]
            part = parse_component(as_text(saved["component"]), info.config, info.name)
            return Activation(part, None if key is None else as_whole(key))
        text = as_text(saved["text"])
        if not text.isprintable():
            raise ValueError(f"{text!r} where a direction's words belong")
        return Direction(as_whole(saved["line"]), tuple(map(as_number, saved["vector"])), text)

    def prompt(
        self,
        text: str,
        bos: bool,
        example: int | None = None,
        template: str = "",
        roles: Mapping[str, int] = MappingProxyType({}),
    ) -> Prompt:
        read = read_prompt(self.session.engine, as_text(text), as_truth(bos))
        kept = {name: at for name, at in roles.items() if not self.lenient or at < len(read.tokens)}
        named = tuple((as_text(name), as_whole(at, len(read.tokens) - 1)) for name, at in kept.items())
        number = None if example is None else as_whole(example)
        return replace(read, example=number, template=as_text(template), roles=named)

    def examples(self, saved: Mapping[str, Any] | None) -> Examples | None:
        """The prompt set, None where this model's tokens are not those of its answers."""
        if saved is None:
            return None
        seed, tokenizer = saved["seed"], self.session.engine.tokenizer
        try:
            rows = tuple(example_of(row, tokenizer) for row in saved["rows"])
        except PromptError:
            if not self.lenient:
                raise
            return None
        if not rows:
            raise ValueError("the prompt set has no examples")
        prompts = PromptSet(as_text(saved["name"]), rows, None if seed is None else as_whole(seed))
        return Examples(as_text(saved["text"]), prompts)

    def checkpoints(self, saved: list[Mapping[str, Any]]) -> Iterator[Checkpoint]:
        for each in saved:
            name, roles = checked_name(as_text(each["name"])), _roles(each["roles"])
            state = State(self.inputs(each), roles=roles)
            yield Checkpoint(name, with_edits(self.session, state, each["edits"], self.lenient).inputs, roles)

    def head(self, text: str) -> Component:
        info = self.session.engine.info
        try:
            head = parse_component(text, info.config, info.name)
        except AddressError:
            if not self.lenient:
                raise
            return Component(Kind.HEAD, 0, 0)
        if head.kind is not Kind.HEAD:
            raise ValueError(f"{text} is no head")
        return head

    def stop(self, saved: Mapping[str, Any], aliases: Mapping[str, str]) -> Stop | None:
        """The stop, None where this model has no such line."""
        told = saved.get("commands", [])
        if not isinstance(told, list):
            raise ValueError(f"{told!r} where a list of commands belongs")
        stop = replace(Stop(**saved), commands=checked(list(map(as_text, told)), aliases))
        last = lines.count(self.session.snapshot.n_layer) - 1
        for number in (stop.number, stop.ignore, stop.hits):
            as_whole(number)
        for truth in (stop.watch, stop.temporary, stop.enabled):
            as_truth(truth)
        if as_text(stop.expression) or stop.watch:
            parse_expression(stop.expression)
        if stop.by is not None and not math.isfinite(stop.by):
            raise ValueError(f"{stop.by} is no change to watch for")
        if stop.line is None:
            return stop
        return (
            None
            if as_whole(stop.line) > last and self.lenient
            else replace(stop, line=as_whole(stop.line, last))
        )

    def place(self, line: int, inside: int | None) -> Place:
        """Which rows an opened line has is for the run to say, once it is there."""
        last = lines.count(self.session.snapshot.n_layer)
        if self.lenient:
            return Place(min(as_whole(line), last))
        if inside is None:
            return Place(as_whole(line, last))
        return Place(as_whole(line, last - 1), as_whole(inside))


def _roles(saved: Mapping[str, Any]) -> Mapping[str, int]:
    return MappingProxyType({as_text(name): as_whole(at) for name, at in saved.items()})


def _matched_by(per: object) -> str:
    if per not in ("", "template", "role"):
        raise ValueError(f"{per!r} where template or role belongs")
    return as_text(per)


def _display(number: int, expression: str, last: str, enabled: bool = True) -> Display:
    parse_expression(as_text(expression))
    return Display(as_whole(number), expression, as_text(last), as_truth(enabled))


def _with_circuits(session: Session, state: State, data: Mapping[str, Any], lenient: bool) -> State:
    """The state with the file's circuits and, after them, those here that the file does not have.

    Raises CommandError where one here would be lost.
    """
    found = [from_dict(session, saved, lenient) for saved in data.get("circuits", [])]
    names = [circuit.name for circuit in found]
    if len(set(names)) != len(names):
        raise ValueError("two circuits have one name")
    for circuit in session.state.circuits:
        if circuit.name in names and not circuit.saved:
            message = f"circuit {circuit.name} here is in no file and would be lost: circuit save FILE first"
            raise CommandError(message, code="unsaved")
    kept = (circuit for circuit in session.state.circuits if circuit.name not in names)
    state = replace(state, circuits=(*found, *kept), circuit=as_text(data.get("circuit", "")))
    return state if state.draft else replace(state, circuit=session.state.circuit)


def _with_frames(session: Session, state: State, saved: list[str], selected: int) -> State:
    """The state with its frames traced again, one for the other."""
    for text in saved:
        (call,) = parse_line(as_text(text), registry.takes_value)
        snapshot = Session(session.engine, replace(state, frame=len(state.frames))).snapshot
        frames = traced(snapshot, call)
        state = replace(snapshot.state, frames=frames, frame=len(frames))
    return replace(state, frame=as_whole(selected, len(state.frames)))
