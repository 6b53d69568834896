"""Lines -> commands, words and options; words -> positions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.edits.interventions import Span
from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import Call, parse_line, quote, unquote
from tdb_tui.language.positions import resolve_position, resolve_span

OPTIONS = {"json": False, "out": True, "n": True, "all": False}


def parse(line: str) -> list[Call]:
    return parse_line(line, lambda command, option: OPTIONS.get(option))


def one(line: str) -> Call:
    (call,) = parse(line)
    return call


def texts(call: Call) -> list[str]:
    return [word.text for word in call.args]


# Lines


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_quoted_words_come_back_as_they_were(words: list[str]) -> None:
    call = one(" ".join(["note", *map(quote, words)]))
    assert texts(call) == words
    assert all(word.quoted for word in call.args)
    assert call.options == ()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_quoted_word_holds_no_control_character(text: str) -> None:
    assert quote(text).isprintable()
    assert unquote(quote(text)) == text


words = st.text("abcL9H@<>{}[]:*+=,.#$'\"\\é").map(lambda text: f"w{text}")


@given(st.lists(words, min_size=1))
def test_every_word_says_where_it_stands(words: list[str]) -> None:
    line = "  " + "   ".join(words)
    try:
        call = one(line)
    except CommandError as error:
        assert error.message.startswith("unclosed quote")
        return
    for word in (call.name, *call.args):
        assert line[word.col :].startswith(word.text)


@pytest.mark.parametrize("line", ["", "   ", "# rank heads", "  # n ;; s", ";;", " ;; ;;"])
def test_a_blank_line_and_a_comment_are_no_command(line: str) -> None:
    assert parse(line) == []


def test_a_chain_is_split_outside_quotes_only() -> None:
    calls = parse("n;;  s 3 ;; p rank(' a;; b') == 1;;")
    assert [call.text for call in calls] == ["n", "s 3", "p rank(' a;; b') == 1"]
    assert [call.col for call in calls] == [0, 5, 12]
    assert texts(calls[2]) == ["rank(' a;; b')", "==", "1"]


def test_all_after_an_exclamation_mark_is_python() -> None:
    first, python = parse("n ;; !x = 'a;; b' # c")
    assert first.name.text == "n"
    assert (python.name.text, texts(python), python.text) == ("!", ["x = 'a;; b' # c"], "!x = 'a;; b' # c")


def test_options_stand_anywhere_and_take_their_value_in_four_ways() -> None:
    call = one('rank --json heads --out a.json -n 5 -n6 @END --out="b c.json"')
    assert texts(call) == ["heads", "@END"]
    given = [(option.name, option.value) for option in call.options]
    assert given == [("json", None), ("out", "a.json"), ("n", "5"), ("n", "6"), ("out", "b c.json")]
    assert (call.option("n"), call.option("out"), call.option("all")) == ("6", "b c.json", None)
    assert call.has("json") and not call.has("all")


def test_numbers_signs_and_unknown_letters_are_words() -> None:
    call = one("p -1 -0.5 - + -ld -3:-1 A9-11")
    assert texts(call) == ["-1", "-0.5", "-", "+", "-ld", "-3:-1", "A9-11"]
    assert call.options == ()


def test_a_node_with_a_quoted_token_is_one_word_with_its_quotes() -> None:
    call = one('ablate L9H9@" Mary"<"a b",L3H0 mean')
    assert texts(call) == ['L9H9@" Mary"<"a b",L3H0', "mean"]
    assert not call.args[0].quoted


def test_an_apostrophe_in_a_word_opens_no_quote() -> None:
    assert texts(one("note L9H9 it's the dogs' head")) == ["L9H9", "it's", "the", "dogs'", "head"]


def test_the_rest_of_a_command_is_as_typed_without_its_options() -> None:
    line = 'watch --json  ld  > 0 and rank(" Mary") == 1 --out f.json'
    call = one(line)
    assert call.rest().text == 'ld  > 0 and rank(" Mary") == 1'
    assert call.rest().col == line.index("ld")
    assert call.rest(2).text == '0 and rank(" Mary") == 1'
    assert call.rest(20).text == ""


def test_the_rest_that_is_one_quoted_word_comes_without_its_quotes() -> None:
    assert one('prompt "When Mary and John"').rest().text == "When Mary and John"


@pytest.mark.parametrize(
    ("line", "message", "col"),
    [
        ('n ;; note "abc', 'unclosed quote: "abc needs a " at its end', 10),
        ("p rank(' Mary)", "unclosed quote: ' Mary) needs a ' at its end", 7),
        ("rank heads -n", "-n needs a value after it", 11),
        ("rank --out", "--out needs a value after it", 5),
    ],
)
def test_a_line_that_stops_short_says_where(line: str, message: str, col: int) -> None:
    with pytest.raises(CommandError) as caught:
        parse(line)
    assert (caught.value.message, caught.value.col, caught.value.code) == (message, col, "bad-syntax")


# Positions

TOKENS = (
    *("<|endoftext|>", "When", " Mary", " and", " John", " went", " to", " the", " store", ",", " John"),
    *(" gave", " a", " drink", " to", ":", " 9:30", "2", "When#2"),
)
END = len(TOKENS) - 1
ROLES = {"IO": 2, "S2": 10}


def at(text: str) -> int:
    return resolve_position(text, TOKENS, ROLES, END)


def span(text: str) -> Span | None:
    return resolve_span(text, TOKENS, ROLES, END)


@pytest.mark.parametrize("index", range(-len(TOKENS), len(TOKENS)))
def test_a_number_is_an_index_from_either_end(index: int) -> None:
    assert TOKENS[at(str(index))] == TOKENS[index]


@pytest.mark.parametrize("index", range(len(TOKENS)))
def test_every_token_can_be_named_by_its_text(index: int) -> None:
    same = [other for other, token in enumerate(TOKENS) if token == TOKENS[index]]
    suffix = f"#{same.index(index) + 1}" if len(same) > 1 else ""
    assert at(quote(TOKENS[index]) + suffix) == index


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("END", END),
        ("START", 0),
        ("⊢", 0),
        ("IO", 2),
        ("S2", 10),
        ("Mary", 2),
        ("' Mary'", 2),
        ('"Mary"', 2),
        ("John#2", 10),
        ("John₂", 10),
        ("to#1", 6),
        ("2", 2),
        ('"2"', 17),
        (",", 9),
        ("When", 1),
        ("When#2", 18),
    ],
)
def test_a_position_is_a_number_a_role_or_a_token(text: str, index: int) -> None:
    assert at(text) == index
    assert span(text) == Span(index, index)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", None),
        ("2:4", Span(2, 4)),
        ("START:END", Span(0, END)),
        ("IO:-1", Span(2, END)),
        ("Mary:John#2", Span(2, 10)),
        ("' Mary':\" went\"", Span(2, 5)),
        (":", Span(15, 15)),
        ("9:30", Span(16, 16)),
        ("3:3", Span(3, 3)),
    ],
)
def test_a_span_has_both_its_ends(text: str, expected: Span | None) -> None:
    assert span(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Marry", "no token 'Marry' in the prompt: did you mean ' Mary' (2)?"),
        ("mary", "no token 'mary' in the prompt: did you mean ' Mary' (2)?"),
        ("end", "no token 'end' in the prompt: did you mean 'END'?"),
        (
            "Xyzzy",
            "no token or role 'Xyzzy' in the prompt: the prompt has tokens 0–18, roles are IO, S2, START and END (h positions)",
        ),
        ("John", "' John' is at 4 and 10: write John#1, John#2 or an index"),
        ("John#3", "no John#3: ' John' is at 4 and 10"),
        ("19", "no token 19: the prompt has tokens 0–18"),
        ("-20", "no token -20: the prompt has tokens 0–18"),
        ("5:2", "'5:2' runs backwards: write 2:5"),
    ],
)
def test_a_position_that_is_not_there_says_what_is(text: str, message: str) -> None:
    with pytest.raises(CommandError) as caught:
        span(text)
    assert caught.value.message == message


def test_a_token_that_comes_with_and_without_a_space_is_told_apart_by_quotes() -> None:
    tokens = ("Mary", " saw", " Mary")
    assert resolve_position('"Mary"', tokens, {}, 2) == 0
    assert resolve_position('" Mary"', tokens, {}, 2) == 2
    with pytest.raises(CommandError, match=r"^'Mary' is at 0 and 2: write Mary#1, Mary#2 or an index$"):
        resolve_position("Mary", tokens, {}, 2)
