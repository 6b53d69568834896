"""Help from the table of commands, the history, and the way out."""

from model.addresses import AddressError, parse_component
from tdb_tui.circuits.tables import summary
from tdb_tui.commands.checkpointing import checkpoint_rows
from tdb_tui.commands.exampling import store_rows
from tdb_tui.commands.inspecting import print_
from tdb_tui.commands.latents import sae_cells
from tdb_tui.commands.naming import alias_rows, variable_rows
from tdb_tui.commands.noting import note_rows
from tdb_tui.commands.paging import page_of
from tdb_tui.commands.setting import config_rows
from tdb_tui.commands.stops import display_rows, stop_rows
from tdb_tui.commands.table import command, registry
from tdb_tui.commands.tracing import frame_lines
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import metric_text, signed
from tdb_tui.language.arguments import at_most, integer, one_component, option_integer, unpaged
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Command, Repeat, Stale
from tdb_tui.names import TEXT
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session
from tdb_tui.topics import TOPICS

NONE = {
    "sae": "No SAE loaded",
    "stores": "No store is loaded: start with --store FILE, made with tdb-tui collate",
    "display": "Nothing is displayed: display EXPR",
    "circuit": "No circuit in use",
}
"What is said of a topic that there is nothing of."

HIGHEST_CODE = 255

LINES = 20
"Of the history, at a time."

GROUPS = ("running", "stops", "seeing", "tracing", "changing", "keeping", "help")
"In the order in which a newcomer needs them."

INFO = (
    *(
        "interventions",
        "checkpoints",
        "stops",
        "display",
        "frames",
        "prompt",
        "model",
        "sae",
        "stores",
        "circuit",
    ),
    *("aliases", "variables", "notes", "history", "config"),
)


@command(
    "help",
    "h",
    usage="[COMMAND|TOPIC|NODE]",
    group="help",
    stale=Stale.OF_NO_RUN,
    complete=("help",),
    examples=("help", "h rank"),
)
def help_(session: Session, call: Call) -> Reply:
    """What commands there are, or one of them, a topic (nodes, positions, expressions), or a node."""
    if not call.args:
        return Reply((*_overview(), "", f"topics: {', '.join(TOPICS)}.  help COMMAND tells more"))
    word = call.args[0].text
    if word in TOPICS:
        return Reply(tuple(TOPICS[word].splitlines()))
    try:
        return Reply(help_text(registry.find(word)))
    except CommandError as error:
        if error.code == "ambiguous-command":
            raise
    try:
        parse_component(word.partition("@")[0], session.snapshot.info.config, session.snapshot.info.name)
    except AddressError:
        known = [*registry.names(), *TOPICS]
        raise CommandError(
            f"No help for {word!r}{did_you_mean(word, known)}", "no-help", col=call.args[0].col
        ) from None
    return print_(session, call)


@command(
    "apropos", usage="WORD", group="help", stale=Stale.OF_NO_RUN, examples=("apropos edit", "apropos token")
)
def apropos(session: Session, call: Call) -> Reply:
    """Commands whose help mentions a word."""
    if not call.args:
        raise CommandError("apropos which word: apropos edit", code="missing-argument")
    word = call.rest().text.lower()
    found = [each for each in registry if word in f"{each.name} {each.help}".lower()]
    rows = columns([(each.name, each.summary) for each in found])
    return Reply(rows or (f"Nothing mentions {word!r}",), {"commands": [each.name for each in found]})


@command(
    "history",
    usage="[N] [/TEXT]",
    group="help",
    repeat=Repeat.CONTINUE,
    stale=Stale.OF_NO_RUN,
    options={"from": True},
    examples=("history", "history 5 /rank"),
)
def history(session: Session, call: Call) -> Reply:
    """What was typed, newest last: the last 20 lines, or N; `/TEXT` keeps those with the text.

    An empty line after it shows older ones.
    """
    words = list(call.args)
    wanted = call.rest(next((n for n, word in enumerate(words) if word.text.startswith("/")), len(words)))
    counts = [word for word in words if not wanted.text or word.col < wanted.col]
    for extra in counts[1:]:
        raise CommandError(f"unexpected {extra.text!r}: history 5 /rank", "bad-argument", col=extra.col)
    count = integer(counts[0], "a count", least=1) if counts else LINES
    text = wanted.text.removeprefix("/")
    found = [(n, line) for n, line in enumerate(session.history, start=1) if text in line]
    last = len(found) - option_integer(call, "from", 0, "a number of lines")
    shown = found[max(last - count, 0) : max(last, 0)]
    older = f"{unpaged(call)} --from {len(found) - last + count}" if last > count else None
    return Reply(
        columns([(str(n), line) for n, line in shown], "r-")
        or (f"No line has {text!r}" if text else "No lines",),
        {"lines": [line for _, line in shown]},
        more=older,
    )


@command(
    "info",
    usage="interventions|checkpoints|stops|display|frames|prompt|model|sae|stores|circuit|aliases|variables|notes"
    "|history|config|NODE [TEXT]",
    group="seeing",
    complete=("info", "node", TEXT),
    examples=("info interventions", "info L1H3"),
)
def info(session: Session, call: Call) -> Reply:
    """What is set: edits, stops, displays, the prompt, the model; or the page of a component.

    A page says what a component does and how well that predicts it, what it does on the prompt, in a corpus, and on
    TEXT where one is given; which tokens it speaks for and what drives it; what is like it.
    """
    if not call.args:
        raise CommandError(f"info about what: {', '.join(INFO)}, or a node", code="missing-argument")
    topic = _topic(call.args[0].text)
    if topic is None:
        return _about(session, call)
    rows = _info_rows(session, topic)
    return Reply(columns(rows) or (NONE.get(topic, f"No {topic}"),), {"rows": [list(row) for row in rows]})


@command(
    "quit",
    "q",
    "exit",
    usage="[CODE] [--save FILE]",
    group="keeping",
    stale=Stale.OF_NO_RUN,
    options={"save": True},
    examples=("quit", "q --save ioi.json"),
)
def quit_(session: Session, call: Call) -> Reply:
    """Leave, with exit code CODE where a script wants one; `--save FILE` saves the session first."""
    at_most(call, 1)
    code = integer(call.args[0], "an exit code") if call.args else 0
    if code > HIGHEST_CODE:
        message = f"{code} is no exit code: 0 to {HIGHEST_CODE}"
        raise CommandError(message, "bad-number", col=call.args[0].col)
    said: tuple[str, ...] = ()
    for option in call.options:
        if option.name == "save":
            saving = Call(
                Word("save", call.col), (Word(option.value or "", option.col),), (), "save", call.col
            )
            said = registry.find("save").act(session, saving).lines
    return Reply(said, quits=True, code=code)


def _about(session: Session, call: Call) -> Reply:
    """A node's page.  Raises CommandError."""
    word = call.args[0]
    try:
        part = one_component(session.snapshot, word)
    except CommandError as error:
        if not word.text[:1].islower() or not word.text.isalpha():
            raise
        right = did_you_mean(word.text, INFO) or f": {', '.join(INFO)}, or a node"
        raise CommandError(f"info knows no {word.text!r}{right}", error.code, col=word.col) from None
    return page_of(session, call, part)


def help_text(each: Command) -> tuple[str, ...]:
    """Usage, text and examples of one command."""
    words = " | ".join((each.name, *each.aliases))
    return (
        f"{words}  {each.usage}".rstrip(),
        "",
        *each.help.splitlines(),
        "",
        *(f"    {line}" for line in each.examples),
    )


def _overview() -> list[str]:
    said: list[str] = []
    for group in GROUPS:
        names = [_short(each) for each in registry if each.group == group]
        said.append(f"{group:<9} {' '.join(names)}")
    return said


def _short(each: Command) -> str:
    """`n(ext)` where the name begins with its abbreviation, else the name."""
    short = min((alias for alias in each.aliases if each.name.startswith(alias)), key=len, default="")
    return f"{short}({each.name.removeprefix(short)})" if short else each.name


def _topic(word: str) -> str | None:
    """One of INFO, by its beginning."""
    found = [topic for topic in INFO if topic.startswith(word)]
    return found[0] if len(found) == 1 else None


def _info_rows(session: Session, topic: str) -> list[tuple[str, ...]]:
    snapshot, state = session.snapshot, session.state
    match topic:
        case "interventions":
            return [
                (f"i{edit.number}", "*" if edit.enabled else "-", edit.text, edit.name)
                for edit in session.decided.inputs.edits
            ]
        case "checkpoints":
            return checkpoint_rows(session)
        case "stops":
            return stop_rows(snapshot)
        case "display":
            return display_rows(state)
        case "frames":
            return [(line,) for line in frame_lines(snapshot)]
        case "circuit":
            draft = state.draft
            return [(summary(draft),), *(((str(node)),) for node in draft.nodes)] if draft else []
        case "aliases":
            return alias_rows(state)
        case "variables":
            return variable_rows(session)
        case "notes":
            return note_rows(state)
        case "sae":
            return sae_cells(snapshot)
        case "stores":
            return store_rows(session.engine.stores)
        case "prompt":
            rows = [("A", state.inputs.prompt.text)]
            return rows + ([("B", state.inputs.prompt_b.text)] if state.inputs.prompt_b else [])
        case "model":
            about, config = snapshot.info, snapshot.info.config
            shape = f"{config.n_layer} layers, {config.n_head} heads, d_model {config.d_model}, d_mlp {config.d_mlp}"
            rows = [
                ("name", about.name),
                ("directory", str(about.directory)),
                ("why", about.why or "--model"),
            ]
            rows += [("shape", f"{shape}, {config.n_vocab} tokens, context {config.n_ctx}")]
            metric = metric_text(state.inputs.metric, snapshot.tokenizer, state.end)
            return [*rows, ("device", f"{about.device} {about.dtype}"), (metric, signed(snapshot.now.value))]
        case "history":
            return [(str(n), line) for n, line in enumerate(session.history, start=1)]
        case _:
            return [*config_rows(session)]
