"""Help from the table of commands, the history, and the way out."""

from model.addresses import AddressError, parse_component
from tdb_tui.commands.checkpointing import checkpoint_rows
from tdb_tui.commands.inspecting import print_
from tdb_tui.commands.stops import stop_rows
from tdb_tui.commands.table import command, registry
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import metric_text, signed
from tdb_tui.language.arguments import at_most, integer
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Command
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session
from tdb_tui.topics import TOPICS

GROUPS = ("running", "stops", "seeing", "tracing", "changing", "keeping", "help")
"In the order in which a newcomer needs them."

INFO = ("interventions", "checkpoints", "stops", "display", "prompt", "model", "history", "config")


@command(
    "help",
    "h",
    usage="[COMMAND|TOPIC|NODE]",
    group="help",
    complete=("command",),
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


@command("apropos", usage="WORD", group="help", examples=("apropos edit", "apropos token"))
def apropos(session: Session, call: Call) -> Reply:
    """Commands whose help mentions a word."""
    if not call.args:
        raise CommandError("apropos which word: apropos edit", code="missing-argument")
    word = call.rest().text.lower()
    found = [each for each in registry if word in f"{each.name} {each.help}".lower()]
    rows = columns([(each.name, each.summary) for each in found])
    return Reply(rows or (f"Nothing mentions {word!r}",), {"commands": [each.name for each in found]})


@command("history", usage="[N]", group="help", examples=("history", "history 5"))
def history(session: Session, call: Call) -> Reply:
    """What was typed, oldest first."""
    at_most(call, 1)
    count = integer(call.args[0], "a count", least=1) if call.args else len(session.history)
    numbered = list(enumerate(session.history, start=1))[-count:]
    return Reply(
        columns([(str(n), line) for n, line in numbered], "r-"), {"lines": [line for _, line in numbered]}
    )


@command(
    "info",
    usage="interventions|checkpoints|stops|display|prompt|model|history|config|NODE",
    group="seeing",
    complete=("info", "node"),
    examples=("info interventions", "info model"),
)
def info(session: Session, call: Call) -> Reply:
    """What is set: edits, stops, displays, the prompt, the model; or a node's measures."""
    if not call.args:
        raise CommandError(f"info about what: {', '.join(INFO)}, or a node", code="missing-argument")
    topic = _topic(call.args[0].text)
    if topic is None:
        return print_(session, call)
    rows = _info_rows(session, topic)
    return Reply(columns(rows) or (f"No {topic}",), {"rows": [list(row) for row in rows]})


@command("quit", "q", "exit", group="keeping", examples=("quit", "q"))
def quit_(session: Session, call: Call) -> Reply:
    """Leave."""
    at_most(call, 0)
    return Reply(quits=True)


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
                for edit in state.inputs.edits
            ]
        case "checkpoints":
            return checkpoint_rows(session)
        case "stops":
            return stop_rows(snapshot)
        case "display":
            return [(display.name, display.expression, display.last) for display in state.displays]
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
            return [(name, value) for name, value in state.settings.items()]
