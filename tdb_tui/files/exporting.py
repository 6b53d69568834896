"""What `export` writes, by suffix."""

from collections.abc import Callable, Mapping
from pathlib import Path

from model.components import Component, Kind
from model.printable import printable
from tdb_tui.circuits.tables import shown
from tdb_tui.commands.circuits import tree_reply
from tdb_tui.commands.ranking import ranked_report, rows_result
from tdb_tui.commands.sweeping import sweep_result
from tdb_tui.edits.stack import worths
from tdb_tui.errors import CommandError
from tdb_tui.files import html
from tdb_tui.files.output import reply_text
from tdb_tui.files.saving import script
from tdb_tui.files.scripting import script_of
from tdb_tui.formats import metric_text, signed
from tdb_tui.session import Session
from tdb_tui.sweeps.files import svg

ROWS = 30
"Of the ranked nodes."
MAPS = 6
"Attention maps: of the heads that rank first."
COLUMNS = ("node", "total", "direct", "measured", "write_norm", "act", "score", "explanation")


def exported(session: Session, path: Path) -> str:
    """The text of a file.  Raises CommandError for a suffix that nothing is written as."""
    make = EXPORTS.get(path.suffix)
    if make is None:
        wrong = path.suffix or "a file without a suffix"
        *others, last = EXPORTS
        raise CommandError(f"cannot write {wrong}: {', '.join(others)} or {last}", "bad-file")
    return make(session)


def _markdown(session: Session) -> str:
    parts = ["# tdb-tui", "```", *_report(session), "```"]
    for title, told in (("Trail", _trail(session)), ("Edits", _edits(session)), ("Notes", _notes(session))):
        if told:
            parts += ["", f"## {title}", "", *(f"    {printable(line)}" for line in told)]
    return "\n".join([*parts, "", "## Commands", "", *(f"    {line}" for line in _commands(session))]) + "\n"


def _page(session: Session) -> str:
    """The trail, the edits, the ranked nodes, the sweep, the attention maps, the circuit, the notes, the commands."""
    snapshot, state = session.snapshot, session.state
    info, tokenizer = snapshot.info, snapshot.tokenizer
    metric = metric_text(snapshot.now.metric, tokenizer, state.end)
    texts = [tokenizer.display(token) for token in state.inputs.prompt.tokens]
    value = signed(snapshot.now.value)
    if state.inputs.changes:
        value = f"{signed(snapshot.base.value)} without edits, {value} with them"
    facts = [("model", f"{info.name}, {info.device} {info.dtype}"), ("metric", metric), ("value", value)]
    found = rows_result(snapshot, ROWS)
    sweep = None if session.sweep is None else sweep_result(session.sweep)
    sections = (
        html.Section("Prompt", html.tokens(texts)),
        html.Section("Trail", html.lines(_trail(session))),
        html.Section("Edits", html.lines(_edits(session))),
        html.Section(f"Ranked components, by {state.rank.by}", html.table(_rows(found), COLUMNS)),
        html.Section("Sweep", "" if sweep is None else svg(sweep)),
        html.Section("Attention", _maps(session, found, texts)),
        html.Section("Circuit", _circuit(session)),
        html.Section("Notes", html.lines(_notes(session))),
        html.Section("Commands", html.lines(_commands(session))),
    )
    return html.page(f"{metric}: {signed(snapshot.now.value)}", facts, sections)


def _rows(found: Mapping[str, object]) -> list[Mapping[str, object]]:
    rows = found["rows"]
    assert isinstance(rows, list)
    return rows


def _maps(session: Session, found: Mapping[str, object], texts: list[str]) -> str:
    """Attention of the head that is shown and of those that rank first, each with its values after all edits."""
    ranked = (row for row in _rows(found) if row["kind"] == "head")
    heads = [Component(Kind.HEAD, int(str(row["layer"])), int(str(row["index"]))) for row in ranked]
    wanted = list(dict.fromkeys([session.state.head, *heads]))[:MAPS]
    maps = (html.attention(str(head), session.snapshot.now.pattern(head).tolist(), texts) for head in wanted)
    return f'<div class="maps">{"".join(maps)}</div>'


def _trail(session: Session) -> list[str]:
    frames = session.state.frames
    return [f"{at} {frame.text}" for at, frame in enumerate(frames, 1)] if frames else []


def _edits(session: Session) -> list[str]:
    """Each edit with what it is worth."""
    inputs = session.state.inputs
    told: list[str] = []
    for edit, worth in zip(inputs.edits, worths(inputs, session.engine.known_value), strict=True):
        value = "" if worth.marginal is None else f"   {signed(worth.marginal)}"
        told.append(f"i{edit.number} {'*' if edit.enabled else 'off'} {edit.text}{value}")
    return told


def _circuit(session: Session) -> str:
    draft = session.state.draft
    return "" if draft is None else html.lines(shown(session.snapshot, draft).lines)


def _notes(session: Session) -> list[str]:
    return [f"{each.node}: {each.text}" if each.node else each.text for each in session.state.notes]


def _commands(session: Session) -> list[str]:
    return [*session.opening, *session.done]


def _dot(session: Session) -> str:
    """The circuit that commands are about; without one, the tree upstream."""
    draft = session.state.draft
    found = tree_reply(session) if draft is None else shown(session.snapshot, draft)
    return f"{found.result['dot']}\n"


def _picture(session: Session) -> str:
    """The last sweep; without one, the attention of the head that is shown."""
    if session.sweep is not None:
        return svg(sweep_result(session.sweep)) + "\n"
    snapshot, head = session.snapshot, session.state.head
    texts = [snapshot.tokenizer.display(token) for token in session.state.inputs.prompt.tokens]
    return html.attention_svg(snapshot.now.pattern(head).tolist(), texts) + "\n"


def _ranked(session: Session, suffix: str) -> str:
    return reply_text(ranked_report(session.snapshot), suffix) + "\n"


EXPORTS: Mapping[str, Callable[[Session], str]] = {
    ".html": _page,
    ".md": _markdown,
    ".txt": lambda session: "\n".join(_report(session)) + "\n",
    ".tdb": lambda session: script(session) + "\n",
    ".py": script_of,
    ".json": lambda session: _ranked(session, ".json"),
    ".jsonl": lambda session: _ranked(session, ".jsonl"),
    ".csv": lambda session: _ranked(session, ".csv"),
    ".svg": _picture,
    ".dot": _dot,
}
"What is written as what."


def _report(session: Session) -> list[str]:
    # imported late: the report draws with commands, and one of them exports
    from tdb_tui.report import report

    return report(session.snapshot)
