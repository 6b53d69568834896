"""`set` and `show`, and what decides a run beside edits and the metric: prompts, positions, the means."""

from dataclasses import replace
from types import MappingProxyType

from model.effects.attribution import Treatment
from tdb_tui.commands.latents import set_sae
from tdb_tui.commands.naming import set_variable
from tdb_tui.commands.table import command
from tdb_tui.commands.targeting import set_metric
from tdb_tui.edits.editing import effect
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.fitting import fitting
from tdb_tui.formats import signed
from tdb_tui.language.arguments import at_most, integer, located, number, position, position_in_b
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.metrics import metric_words
from tdb_tui.replies import Reply, columns, note
from tdb_tui.session import Session
from tdb_tui.sets.reference_sets import described, means_named
from tdb_tui.settings import SETTINGS, find, setting, with_setting
from tdb_tui.state import Means, State
from tdb_tui.texts import read_prompt

SCALES = ("auto", "sqrt", "fixed")
MOST_FRAMES = 60
SHOWN = 24
"Letters of a value among others."


@command(
    "set",
    usage="NAME VALUE [WHAT] [@POS] | $NAME = NODES|EXPR",
    group="keeping",
    complete=("setting", "value"),
    examples=("set ablation zero", "set metric activation L1H3@END"),
)
def set_(session: Session, call: Call) -> Reply:
    """Change a setting; `show` lists them.

    set metric logprob        the number under study, of the target tokens: logit_diff, logit, logit_minus_mean,
                              logprob or prob; read at END, or where `@POS` says
    set metric kl             how far edits take the next token: KL(baseline || now), in nats, 0 without edits
    set metric direction Mary - John at A3    residual stream before a line, along unembedding rows or a vector:
                              direction FILE at M2 @4 (.npy, .safetensors); no layer norm, at U if no line is named
    set metric activation N1.5@END    a neuron after gelu; activation L1H2@END<Mary, a head's attention to a token
                              (to what it reads most, if no key is named); editing the part itself comes after it
    set ln all                layer norms whose scale the total effect holds: target (what reads), all, none
    set means positions       mean ablation uses the mean over this prompt's tokens
    set means FILE            ... over prompts, one a line: per position where all are as long as the prompt
    set means ioi:100 counterfactuals per template    over examples, of `prompts` (set), a generator or a .jsonl file:
                              those of the prompt's own template, position by position; per role matches tokens by
                              role.  What no prompt has a counterpart of gets the mean over all their tokens
    set autorun off           edits wait for `run`: what is shown meanwhile is of the run before them, and marked stale
    set scale fixed 2.0       bars as long as the value is of 2.0, to compare runs; sqrt shows small ones; auto
    set mode line             the command line keeps the keys after Enter, as pdb's does; Esc or ^G gives them back
    set sae PATH              SAEs: a file, a SAELens or dictionary_learning directory, or one with several of these;
                              set sae mlp_out.3=FILE.pt where a file does not say what it takes apart; set sae none
    set pos IO=2              a name for a position; set pos B.IO=4 for one of prompt B
    set $movers = L9H9,L9H6   a name for nodes, or for a value: set $before = final; none forgets it.  `ablate $movers`,
                              `p final - $before`; `info variables` lists them, and what answers leave behind
    """
    if not call.args:
        return _shown(session)
    first = call.args[0]
    if first.text.startswith("$"):
        return set_variable(session, call)
    name = find(first).name
    if len(call.args) < 2:
        raise CommandError(f"set {name} to what: {find(first).help}", code="missing-argument")
    value = call.args[1]
    if name not in ("pos", "metric", "means", "sae", "scale"):
        at_most(call, 2)
    match name:
        case "metric":
            return set_metric(session, call)
        case "ln":
            return _set_ln(session, call, value)
        case "means":
            return _set_means(session, call, value)
        case "sae":
            return set_sae(session, call)
        case "pos":
            return _set_pos(session, call)
        case "scale":
            return _set_scale(session, call)
        case "autorun":
            return _set_autorun(session, value)
        case "fps":
            frames = integer(value, "a number of frames a second", least=1)
            session.go(with_setting(session.state, name, str(min(frames, MOST_FRAMES))))
            return note(f"fps is {min(frames, MOST_FRAMES)}")
        case "seed":
            value = replace(value, text=str(integer(value, "a seed")))
            session.go(with_setting(session.state, name, value.text))
            return note(
                f"seed is {value.text}: run --seed {value.text} also draws again what edits have drawn"
            )
        case _:
            session.go(located(value, lambda: with_setting(session.state, name, value.text)))
            return note(f"{name} is {value.text}")


@command(
    "show",
    usage="[NAME]",
    group="keeping",
    stale=Stale.OF_NO_RUN,
    complete=("setting",),
    examples=("show", "show ablation"),
)
def show(session: Session, call: Call) -> Reply:
    """Settings: value, where it comes from (default, file, env, flag or set), and meaning."""
    at_most(call, 1)
    if call.args and call.args[0].text.startswith("$"):
        return set_variable(session, call)
    return _shown(session, find(call.args[0]).name if call.args else None)


@command(
    "prompt",
    usage="[B] [--bos|--no-bos] TEXT",
    group="changing",
    repeat=Repeat.NOTHING,
    options={"bos": False, "no-bos": False},
    examples=(
        'prompt "When John and Mary went to the store, John gave a drink to"',
        'prompt B "When Mary and John went to the store, Mary gave a drink to"',
    ),
)
def prompt(session: Session, call: Call) -> Reply:
    """Replace prompt A, or with B the prompt that patches take their values from, and run again.

    Quotes are not needed; spaces before the text are not part of it.  `<|endoftext|>` stands before it as before
    the last one, unless --bos or --no-bos says otherwise.
    """
    other = bool(call.args) and call.args[0].text == "B" and not call.args[0].quoted
    text = call.rest(int(other)).text
    if not text:
        raise CommandError('prompt needs a text: prompt "When Mary and John ..."', code="missing-argument")
    inputs = session.decided.inputs
    bos = inputs.prompt.bos if not call.has("bos") and not call.has("no-bos") else call.has("bos")
    read = read_prompt(session.engine, text, bos)
    if other:
        session.change(replace(inputs, prompt_b=read), call.text)
        assert session.snapshot.other is not None  # it has just been set
        return note(f"prompt B has {len(read.tokens)} tokens: metric {signed(session.snapshot.other.value)}")
    end = len(read.tokens) - 1
    metric = replace(inputs.metric, pos=end)
    state = fitting(
        replace(
            session.state, inputs=replace(inputs, prompt=read, metric=metric), pos=end, frames=(), frame=0
        )
    )
    session.change(state.inputs, call.text, state)
    return note(
        f"prompt has {end + 1} tokens: metric {signed(session.snapshot.now.value)}",
        value=session.snapshot.now.value,
    )


def _set_ln(session: Session, call: Call, value: Word) -> Reply:
    # for its complaint: it is kept with the inputs
    located(value, lambda: with_setting(session.state, "ln", value.text))
    session.change(replace(session.decided.inputs, treatment=Treatment(value.text)), call.text)
    held = {"target": "of what the target reads", "all": "all of them", "none": "none of them"}[value.text]
    return note(f"scales held by the total effect: {held}")


def _set_autorun(session: Session, value: Word) -> Reply:
    """`on` runs what waits."""
    waited = session.snapshot.waiting is not None
    state = located(value, lambda: with_setting(session.decided, "autorun", value.text))
    after = session.decide(state).value
    return note(f"autorun is {value.text}" + (f"   {effect(None, after)}" if waited else ""), value=after)


def _set_scale(session: Session, call: Call) -> Reply:
    """`auto`, `sqrt`, `fixed 2.0`: what a full bar stands for."""
    word, *amount = call.args[1:]
    at_most(call, 3 if word.text == "fixed" else 2)
    if word.text not in SCALES:
        guess = did_you_mean(word.text, SCALES) or ": auto, sqrt, fixed 2.0"
        raise CommandError(f"scale cannot be {word.text!r}{guess}", "bad-setting", col=word.col)
    if word.text == "fixed" and not amount:
        raise CommandError("fixed at which value: set scale fixed 2.0", "missing-argument", col=word.col)
    text = word.text
    if amount:
        size = number(amount[0])
        if size <= 0:
            raise CommandError(f"{amount[0].text} is no scale: above 0", "bad-number", col=amount[0].col)
        text = f"fixed {size:g}"
    session.go(with_setting(session.state, "scale", text))
    return note(f"scale is {text}")


def _set_means(session: Session, call: Call, value: Word) -> Reply:
    inputs = session.decided.inputs
    if value.text in ("positions", "none"):
        at_most(call, 2)
        means = Means("positions") if value.text == "positions" else None
    else:
        means = means_named(session.snapshot, call.args[1:])
    if means is not None and means.per and not inputs.prompt.roles:
        roles = tuple(session.state.roles.items())  # the user's own, which tokens are matched by
        inputs = replace(inputs, prompt=replace(inputs.prompt, roles=roles))
    snapshot = session.change(replace(inputs, means=means), call.text)
    return note(f"means are taken over {described(means, inputs.prompt)}", value=snapshot.value)


def _set_pos(session: Session, call: Call) -> Reply:
    """A name for a token: of prompt B where it begins with `B.`."""
    name, _, where = (part.strip() for part in call.rest(1).text.partition("="))
    of_b, name = name.startswith("B."), name.removeprefix("B.")
    col = call.args[1].col
    if not name.isidentifier() or not where:
        raise CommandError("a name and a position are needed: set pos IO=2", "bad-setting", col=col)
    if name in ("START", "END"):
        raise CommandError(f"{name} is taken: choose another name", "bad-setting", col=col)
    word = Word(where.strip("\"'"), col, False)
    if of_b:
        return _name_in_b(session, call, name, word)
    at = position(session.snapshot, word)
    roles = MappingProxyType({**session.state.roles, name: at})
    session.go(replace(session.state, roles=roles))
    return note(f"{name} is @{at}", pos=at)


def _name_in_b(session: Session, call: Call, name: str, word: Word) -> Reply:
    inputs = session.decided.inputs
    if inputs.prompt_b is None:
        raise CommandError("no prompt B: set one with 'prompt B TEXT' or --prompt-b", code="no-prompt-b")
    at = located(word, lambda: position_in_b(session.snapshot, word.text.removeprefix("@")))
    named = tuple({**dict(inputs.prompt_b.roles), name: at}.items())
    other = replace(inputs.prompt_b, roles=named)
    session.change(replace(inputs, prompt_b=other), call.text)
    return note(f"{name} is B@{at}", pos=at)


def _shown(session: Session, only: str | None = None) -> Reply:
    helps = {each.name: each.help for each in SETTINGS if only in (None, each.name)}
    rows = [(*row, helps[row[0]]) for row in config_rows(session) if row[0] in helps]
    settings, origins = ({name: row[at] for name, *row in rows} for at in (0, 1))
    shown = [(name, value if len(rows) == 1 else _short(value), *row) for name, value, *row in rows]
    return Reply(columns(shown), {"settings": settings, "origins": origins})


def _short(value: str) -> str:
    return value if len(value) <= SHOWN else f"{value[: SHOWN - 1]}…"


def _value(state: State, name: str) -> str:
    match name:
        case "metric":
            return metric_words(state.inputs.metric, state.end)
        case "ln":
            return state.inputs.treatment.value
        case "means":
            return "none" if state.inputs.means is None else state.inputs.means.text
        case "sae":
            return " ".join(sae.place for sae in state.inputs.saes) or "none"
        case "pos":
            return " ".join(f"{role}={at}" for role, at in state.roles.items()) or "none"
        case _:
            return setting(state, name)


def config_rows(session: Session) -> list[tuple[str, str, str]]:
    """Options and settings: name, value, and where that comes from (default, file, env, flag or set)."""
    started = {name: (value, origin) for name, value, origin in session.options}
    rows = [(name, *found) for name, found in started.items() if name not in {each.name for each in SETTINGS}]
    for each in SETTINGS:
        value, (given, origin) = _value(session.state, each.name), started.get(each.name, ("", ""))
        rows.append(
            (each.name, value, origin if value == given else "default" if value == each.default else "set")
        )
    return rows
