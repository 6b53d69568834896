"""The registry finds a command by any unambiguous word, and says what is wrong with the others."""

import pytest

from tdb_tui.commands import registry as real
from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import parse_line
from tdb_tui.language.registry import Registry, Repeat
from tdb_tui.replies import Reply


def small() -> Registry:
    registry = Registry()

    def add(name: str, *aliases: str, group: str = "seeing", options: dict[str, bool] | None = None) -> None:
        @registry.command(name, *aliases, usage="", group=group, examples=(name, name), options=options)
        def act() -> Reply:
            """Do it.

            At length.
            """
            return Reply()

    add("display", group="stops")
    add("rank", "rk", options={"n": True, "all": False})
    add("ablate", "ab", group="changing")
    add("disable", group="stops")
    add("diff")
    add("next", "n", group="stops")
    return registry


@pytest.mark.parametrize(
    ("word", "name"),
    [("rank", "rank"), ("rk", "rank"), ("ra", "rank"), ("n", "next"), ("abl", "ablate"), ("disp", "display")],
)
def test_a_command_answers_to_name_alias_and_unambiguous_beginning(word: str, name: str) -> None:
    assert small().find(word).name == name


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("albate", "unknown command 'albate': did you mean 'ablate'? (! runs Python, h lists commands)"),
        ("zzz", "unknown command 'zzz' (! runs Python, h lists commands)"),
        ("", "unknown command '' (! runs Python, h lists commands)"),
        ("di", "ambiguous 'di': diff, disable, display"),
        ("d", "ambiguous 'd': diff, disable, display"),
    ],
)
def test_a_word_that_is_no_command_says_which_is_near(word: str, message: str) -> None:
    with pytest.raises(CommandError) as caught:
        small().find(word, 3)
    assert (caught.value.message, caught.value.col) == (message, 3)


def test_commands_come_group_by_group_in_the_order_added() -> None:
    registry = small()
    assert registry.groups() == ("stops", "seeing", "changing")
    assert [command.name for command in registry] == ["display", "disable", "next", "rank", "diff", "ablate"]
    assert registry.names() == tuple(sorted(registry.names()))


def test_help_is_the_docstring_and_its_first_line_the_summary() -> None:
    rank = small().find("rank")
    assert rank.summary == "Do it."
    assert rank.help == "Do it.\n\nAt length."
    assert rank.repeat is Repeat.NOTHING
    assert rank.act() == Reply()


def test_two_commands_cannot_share_a_word() -> None:
    registry = small()
    for word in ("rank", "rk"):
        with pytest.raises(ValueError, match=f"two commands are called '{word}'"):

            @registry.command("new", word, usage="", group="", examples=())
            def act() -> Reply:
                """Do it."""
                return Reply()


def test_a_command_without_help_is_refused() -> None:
    with pytest.raises(ValueError, match="'silent' has no docstring"):

        @Registry().command("silent", usage="", group="", examples=())
        def act() -> Reply:
            return Reply()


def test_options_are_those_of_the_command_and_the_global_ones() -> None:
    registry = small()
    assert [registry.takes_value("rk", option) for option in ("n", "all", "json", "out", "x")] == [
        *(True, False, False, True, None)
    ]
    assert registry.takes_value("zzz", "n") is None
    (call,) = parse_line("rk -n 5 --json --out f.json", registry.takes_value)
    assert registry.resolve(call).name == "rank"


@pytest.mark.parametrize(
    ("line", "message", "col"),
    [
        ("rank --jsn", "rank has no option --jsn: did you mean '--json'?", 5),
        ("ablate --q", "ablate has no option -q: it takes --json, --out", 7),
        ("n ;; rank --all=3", "--all takes no value: write --all alone", 10),
        ("n ;; di", "ambiguous 'di': diff, disable, display", 5),
    ],
)
def test_a_command_that_does_not_fit_is_marked_where_it_goes_wrong(line: str, message: str, col: int) -> None:
    registry = small()
    *_, last = parse_line(line, registry.takes_value)
    with pytest.raises(CommandError) as caught:
        registry.resolve(last)
    assert (caught.value.message, caught.value.col) == (message, col)


# The commands of the debugger themselves


@pytest.mark.parametrize("name", real.names())
def test_every_command_can_be_found_helped_and_tried(name: str) -> None:
    command = real.find(name)
    assert all(real.find(word) is command for word in (name, *command.aliases))
    assert command.summary.endswith(".")
    assert len(command.examples) == 2
    for example in command.examples:
        calls = parse_line(example, real.takes_value)
        assert command in [real.resolve(call) for call in calls]


def test_typing_errors_find_the_command_that_was_meant() -> None:
    with pytest.raises(CommandError) as caught:
        real.find("albate")
    expected = "unknown command 'albate': did you mean 'ablate'? (! runs Python, h lists commands)"
    assert caught.value.message == expected


def test_what_changes_the_run_is_never_repeated_by_an_empty_line() -> None:
    changing = ("ablate", "patch", "undo", "redo", "run", "save", "load", "source", "set", "prompt", "quit")
    assert {real.find(name).repeat for name in changing} == {Repeat.NOTHING}
