"""Whether what has been decided can be run, and cursors that stay where the prompt still reaches."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

from model.components import Kind
from model.dictionaries import Dictionaries, NoDictionary, dictionary_of
from model.edits.interventions import SINGLE, Ablate, Mode, Patch, flat
from tdb_tui.engine import ModelInfo
from tdb_tui.errors import CommandError
from tdb_tui.metrics import place_of, refuse_metric
from tdb_tui.state import Inputs, State


def arriving(before: State, inputs: Inputs, roles: Mapping[str, int]) -> State:
    """The state with other inputs: a token cursor on the last token stays on the last token."""
    state = replace(before, inputs=inputs, roles=roles)
    if inputs.prompt.tokens != before.inputs.prompt.tokens:
        state = replace(state, frames=(), frame=0)  # they name tokens of the other prompt
    elif place_of(inputs.metric) != place_of(before.inputs.metric):
        # they were traced for what was read elsewhere
        return fitting(replace(state, frames=(), frame=0, pos=inputs.metric.pos))
    return fitting(replace(state, pos=state.end) if before.pos == before.end else state)


def fitting(state: State) -> State:
    """The state with its cursors inside its prompt: undoing a longer prompt must not leave them beyond the end."""
    end = state.end
    pos = min(state.pos, end)
    rank = state.rank if state.rank.pos is None or state.rank.pos <= end else replace(state.rank, pos=None)
    return replace(state, pos=pos, rank=rank)


def without_lost_frames(state: State, loaded: Dictionaries) -> State:
    """The state without frames about latents whose SAE is loaded no more, and those that were traced for them."""
    for number, frame in enumerate(state.frames):
        try:
            if frame.node.component.kind is Kind.LATENT:
                dictionary_of(loaded, frame.node.component)
        except NoDictionary:
            return replace(state, frames=state.frames[:number], frame=min(state.frame, number))
    return state


def refuse_unfit(inputs: Inputs, info: ModelInfo) -> None:
    """Raises CommandError for inputs that cannot be run: edits that reach beyond their prompt or lack their source."""
    other, vocabulary = inputs.prompt_b, info.config.n_vocab
    end = len(inputs.prompt.tokens) - 1
    prompts = [
        inputs.prompt,
        *([] if other is None else [other]),
        *(inputs.means.prompts if inputs.means else ()),
        *inputs.examples,
    ]
    metric = (inputs.metric.targets, inputs.metric.distractors)
    for token in chain(*(prompt.tokens for prompt in prompts), *metric):
        if token >= vocabulary:
            raise CommandError(
                f"token {token} is unknown to {info.name}: it has {vocabulary}", code="bad-token"
            )
    refuse_metric(inputs.metric, end, info.config)
    for edit in inputs.edits:
        for change in flat(edit.changes):  # of one that is switched off too: it can be switched on
            last = 0 if change.span is None else change.span.last
            last = last if isinstance(change, SINGLE) else change.last
            named, first = f"i{edit.number} ({edit.text})", f"delete i{edit.number} first"
            if last > end:
                message = f"{named} reaches token {last}, the prompt ends at {end}: {first}"
                raise CommandError(message, code="bad-lengths")
            for part in (change,) if isinstance(change, SINGLE) else change.inner:
                if isinstance(part, Patch):
                    _refuse_source(part, inputs, named, first)
                drawing = isinstance(part, Ablate) and part.mode in (Mode.MEAN, Mode.RESAMPLE)
                if drawing and inputs.means is None:
                    raise CommandError(f"{named} needs means: {first}", code="no-means")


def _refuse_source(change: Patch, inputs: Inputs, named: str, first: str) -> None:
    """Raises CommandError for a patch from tokens that the other prompt does not have."""
    other, name = inputs.prompt_b, "prompt B"
    if change.example is not None:
        other = next((each for each in inputs.examples if each.example == change.example), None)
        name = f"example {change.example}"
    end = -1 if other is None else len(other.tokens) - 1
    if change.source.last > end:
        message = f"{named} takes token {change.source.last}, {name} ends at {end}: {first}"
        raise CommandError(message, code="bad-lengths")
