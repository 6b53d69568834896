"""Keys of the user's own choice: what may be chosen, and what is refused in a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdb_tui.errors import CommandError
from tdb_tui.keymap import Keymap, remapped
from tdb_tui.keys import KEYS

IDS = [key.id for key in KEYS]


def test_without_a_choice_the_keys_are_those_of_the_table() -> None:
    assert remapped({}).keys == KEYS


def test_a_chosen_key_does_it_and_is_what_the_hint_bar_shows() -> None:
    chosen = remapped({"next": "m", "find": "ctrl+f /"})
    found = chosen.find("m", "m")
    assert found is not None
    assert found.id == "next"
    assert chosen.find("n", "n") is None, "its old key is free"
    assert ("m", "next") in chosen.hints("code")
    assert ("^F /", "find") in chosen.hints("rank")
    for name, character in (("ctrl+f", None), ("slash", "/")):
        found = chosen.find(name, character)
        assert found is not None
        assert found.id == "find"


def test_a_chosen_key_is_taken_from_what_had_it() -> None:
    chosen = remapped({"next": "s"})
    found = chosen.find("s", "s")
    assert found is not None
    assert found.id == "next"
    assert chosen.by_id["step"].keys == ()
    assert all(word != "into" for _, word in chosen.hints("code"))


def test_signs_are_written_as_they_are_typed() -> None:
    chosen = remapped({"order": "/"})
    found = chosen.find("slash", "/")
    assert found is not None
    assert found.id == "order"
    assert chosen.by_id["find"].keys == ()


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"nxt": "m"}, "[keys] has no 'nxt': did you mean 'next'?"),
        ({"quit": ""}, '[keys] leaves no key for quit: give it one, as in quit = "ctrl+q"'),
        ({"next": "q"}, '[keys] leaves no key for quit: give it one, as in quit = "ctrl+q"'),
        ({"step": ":"}, '[keys] leaves no key for line: give it one, as in line = "ctrl+q"'),
        ({"next": "m", "step": "m"}, "[keys] next and step both want 'm': give it to one"),
        ({"next": "ctrl+i"}, "[keys] next: terminals send ctrl+i as tab, choose another"),
        (
            {"next": "hyper+x"},
            "[keys] next: no key is called 'hyper+x': write a letter or sign, ctrl+letter, f1 to f12, space, enter, "
            "tab, up, pageup",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(chosen: dict[str, str], sentence: str) -> None:
    with pytest.raises(CommandError) as refused:
        remapped(chosen)
    assert str(refused.value) == sentence


@given(st.dictionaries(st.sampled_from(IDS), st.text(max_size=12), max_size=5))
def test_any_choice_is_a_table_with_a_way_out_or_one_sentence(chosen: dict[str, str]) -> None:
    try:
        found = remapped(chosen)
    except CommandError as error:
        assert str(error).startswith("[keys] ")
        assert "\n" not in str(error).replace("\\n", "")
        return
    assert found.by_id["quit"].keys
    assert found.by_id["line"].keys
    names = [name for key in found.keys for name in key.keys]
    assert len(names) == len(set(names))
    assert isinstance(found, Keymap)
