"""What `set` and `show` know: each setting's default, what it may be, and what it means."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from model.effects.attribution import Treatment
from model.metrics import Quantity
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.language.parsing import Word
from tdb_tui.state import State


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    default: str
    choices: tuple[str, ...]
    "What it may be; empty means that the command checks it itself."
    help: str


SETTINGS: tuple[Setting, ...] = (
    Setting("ablation", "zero", ("zero", "mean", "resample"), "what `ablate` does where no mode is written"),
    Setting("metric", "logit_diff", tuple(quantity.value for quantity in Quantity), "the number under study"),
    Setting(
        "ln",
        "target",
        tuple(each.value for each in Treatment),
        "which layer norms the total effect holds fixed",
    ),
    Setting(
        "autorun",
        "on",
        ("on", "off"),
        "whether an edit is run at once; off: edits wait, as the title says, for `run`",
    ),
    Setting("measure", "auto", ("auto", "off"), "whether the first rows of a ranking are measured at once"),
    Setting(
        "means",
        "none",
        (),
        "where mean and resample ablation take values: positions, set, ioi:50, FILE [counterfactuals] [per template]",
    ),
    Setting("sae", "none", (), "SAEs to read the run through: set sae [mlp_out.3=]PATH, none"),
    Setting(
        "seed", "0", (), "what is drawn by where no seed is written: resample, noise, generate, bootstraps"
    ),
    Setting("pos", "none", (), "a name for a position: set pos IO=2"),
    Setting("scale", "auto", (), "how long bars are drawn: auto (to the pane's largest), sqrt, or fixed 2.0"),
    Setting(
        "mode",
        "key",
        ("key", "line"),
        "on a screen: whether Enter gives the keys back or the line keeps them",
    ),
    Setting("mouse", "auto", ("auto", "on", "off"), "on a screen: auto is off over SSH"),
    Setting("fps", "60", (), "on a screen: how often a second it is drawn at most; fewer for a slow link"),
)


def setting(state: State, name: str) -> str:
    """A setting's value, its default where nobody has set it."""
    return state.settings.get(name, find(Word(name, 0)).default)


def seed_of(state: State) -> int:
    """What is drawn by where no seed is written."""
    return int(setting(state, "seed"))


def find(name: Word) -> Setting:
    """A setting by name.  Raises CommandError."""
    for each in SETTINGS:
        if each.name == name.text:
            return each
    known = [each.name for each in SETTINGS]
    suggestion = did_you_mean(name.text, known) or ": " + ", ".join(known)
    raise CommandError(f"unknown setting {name.text!r}{suggestion}", "bad-setting", col=name.col)


def with_setting(state: State, name: str, value: str) -> State:
    """The state with a setting changed.  Raises CommandError for a value it cannot have."""
    choices = find(Word(name, 0)).choices
    if choices and value not in choices:
        suggestion = did_you_mean(value, choices) or ": " + ", ".join(choices)
        raise CommandError(f"{name} cannot be {value!r}{suggestion}", code="bad-setting")
    changed: Mapping[str, str] = {**state.settings, name: value}
    return replace(state, settings=MappingProxyType(dict(changed)))
