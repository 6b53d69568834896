"""Any text whatever: an answer or one sentence, never a traceback, and a session that a mistake leaves as it was."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tdb_tui.commands import calls_of, execute, registry
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError
from tdb_tui.files.typed_lines import add_line, read_lines
from tdb_tui.language.completion import complete
from tdb_tui.session import Session
from tdb_tui.views.candidates import candidates
from tests.sessions import begin, do, load, write_model

WRITES = (
    "save",
    "keep",
    "export",
    "source",
    "load",
    "edits",
    "!",
    "interact",
    "circuit",
    "prompts",
    "over",
    "verify",
    "sweep",
)
"Left out of what is carried out: they write files, run Python or take long."


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


WORDS = sorted({each for command in registry for each in (command.name, *command.aliases)} - set(WRITES))
signs = st.text("LHAMNEU@<>0123456789.,:;'\"()+-*/=!#$%&|{}[]~\\ _xyMaryJohn\té\x00", max_size=30)
lines = st.one_of(
    signs,
    st.text(max_size=30),
    st.builds(lambda word, rest: f"{word} {rest}", st.sampled_from(WORDS), signs),
    st.builds(
        lambda a, b, c, d: f"{a} {b} ;; {c} {d}", st.sampled_from(WORDS), signs, st.sampled_from(WORDS), signs
    ),
)


def harmless(session: Session, line: str) -> bool:
    try:
        names = [registry.find(call.name.text).name for call in calls_of(session, line)]
    except CommandError:
        return True
    return not set(names) & set(WRITES)


def everything(session: Session) -> tuple[object, ...]:
    return session.state, tuple(session.past), tuple(session.future), tuple(session.done), session.saved


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, min_size=1, max_size=3))
def test_a_line_is_answered_or_gets_one_sentence(engine: Engine, typed: list[str]) -> None:
    session = begin(engine)
    do(session, "alias twice n ;; %*", "set $x = 2", "set $nm = L1H2,M0", "b A1")
    for line in typed:
        if not harmless(session, line) or "--out" in line:
            continue
        before = everything(session)
        done = execute(session, line)
        for each in done:
            assert each.ok == (each.error is None)
            if each.error is None:
                continue
            assert each.error.message and each.error.message.isprintable(), (line, each.error.message)
            assert each.error.col is None or 0 <= each.error.col <= len(line), (line, each.error)
        if len(done) == 1 and not done[0].ok and not (done[0].error and done[0].error.partial):
            assert everything(session) == before, line


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines, st.integers(0, 40))
def test_completion_never_fails_and_replaces_what_stands_before_the_cursor(
    engine: Engine, line: str, cursor: int
) -> None:
    snapshot = begin(engine).snapshot
    cursor = min(cursor, len(line))
    found = complete(line, cursor, registry, lambda kind, prefix: candidates(snapshot, kind, prefix))
    assert 0 <= found.start <= cursor
    for candidate in found.candidates:
        assert candidate.startswith(line[found.start : cursor])


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(min_size=1, max_size=20)))
def test_a_history_keeps_what_can_be_typed(
    tmp_path_factory: pytest.TempPathFactory, typed: list[str]
) -> None:
    path = tmp_path_factory.mktemp("history") / "lines.jsonl"
    kept = [line for line in typed if line.isprintable() and line.isascii()]
    for line in kept:
        add_line(path, line)
    assert read_lines(Path(path)) == kept
