"""The command line read without a converter is what Typer would make of it, and costs no import."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tdb_tui.conversion import leave_texts
from tdb_tui.programs import debug
from tests.sessions import PROMPT

ROOT = Path(__file__).resolve().parents[1]

CASES: tuple[tuple[tuple[str, ...], dict[str, object], dict[str, str]], ...] = (
    ((), {}, {}),
    ((PROMPT,), {}, {}),
    ((PROMPT, "--target", "Mary", "--target=Anna", "--distractor", ""), {}, {}),
    ((PROMPT, "-e", "rank", "-x", "-", "-e", "n 3", "--batch"), {}, {}),
    (("--no-mouse", "--no-bos", "--color", "256", "--", "--prompt"), {}, {}),
    (
        ("--mouse", "--theme", "nord"),
        {"mouse": False, "theme": "gruvbox", "sae": ["a", "b c"], "bos": False},
        {},
    ),
    ((PROMPT,), {"mouse": True, "sae": ["one"]}, {"TDB_MODEL": "gpt2", "TDB_MOUSE": "no", "TDB_SAE": "a b"}),
    ((), {}, {"TDB_PROMPT": "p", "TDB_BATCH": "1", "TDB_TARGET": "Mary", "TDB_ASCII": "yes"}),
)


def options(command: Any, words: tuple[str, ...], defaults: dict[str, object]) -> object:
    with command.make_context(
        "tdb-tui", list(words), default_map=defaults, auto_envvar_prefix="TDB"
    ) as context:
        return command.invoke(context)


@pytest.mark.parametrize(("words", "defaults", "environment"), CASES)
def test_options_are_what_typer_makes_of_the_words(
    words: tuple[str, ...],
    defaults: dict[str, object],
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    expected = options(typer.main.get_command(debug.app), words, defaults)
    assert options(debug.command, words, defaults) == expected
    assert options(debug.command, words, defaults) == expected, "and the second time"


def test_what_is_no_value_of_an_option_is_refused_as_typer_refuses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TDB_MOUSE", "sometimes")
    said = []
    for command in (debug.command, typer.main.get_command(debug.app)):
        with pytest.raises(Exception, match="boolean") as caught:
            options(command, (PROMPT,), {})
        said.append(caught.value.format_message())  # pyright: ignore[reportAttributeAccessIssue]
    assert said[0] == said[1]


def test_where_typer_converts_by_other_means_nothing_is_put_in_its_way() -> None:
    command: Any = typer.main.get_command(debug.app)
    for param in command.params:
        vars(param).pop("type_descriptor", None)
    leave_texts(command)
    assert command.params
    assert not any("get_runtime_param" in vars(param) for param in command.params)


def test_words_are_read_without_pydantic() -> None:
    code = f"""
import sys
from tdb_tui.programs import debug
options, _ = debug.parsed([{PROMPT!r}, "--target", "Mary", "-e", "rank"], {{"sae": ["a"]}})
assert options.target == ["Mary"] and options.sae == ["a"], options
print("pydantic" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False"]
