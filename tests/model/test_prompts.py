"""Prompt sets as data and as files: places that move with the tokens, and files that say where they are wrong."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.metrics import Quantity
from model.sets.files import read_prompts, write_prompts
from model.sets.prompts import (
    END,
    Example,
    PromptError,
    PromptSet,
    checked,
    encode,
    encode_pairs,
    metric_of,
    roles_of,
)
from model.tokenizer import Tokenizer, make_tokenizer
from model.vocabulary import BYTE_OF, END_OF_TEXT, Vocabulary

SINGLE = ("Mary", "Mark", "John", "gave", "it", "to", "17", "32")
"After a space each is one token, and so are the digits without one; all other text is bytes."


def tokenizer_of(words: Sequence[str], end_of_text: bool = True) -> Tokenizer:
    """Bytes, and a chain of merges for each word."""
    merges: dict[tuple[bytes, bytes], None] = {}
    for word in words:
        text = word.encode() if word.isdigit() else f" {word}".encode()
        merges |= {(text[:n], text[n : n + 1]): None for n in range(1, len(text))}
    tokens = [*(bytes([byte]) for byte in BYTE_OF.values()), *(left + right for left, right in merges)]
    ids = {token: id for id, token in enumerate(tokens)}
    return make_tokenizer(Vocabulary(ids, list(merges), {END_OF_TEXT: len(ids)} if end_of_text else {}))


WORDS = tokenizer_of(SINGLE)
GIFT = Example(
    "So Mary gave it to",
    (" John",),
    (" Mary", " Mark"),
    {"NAME": 2, "VERB": 3},
    "So John gave it to",
    "gift",
)


def read(tmp_path: Path, text: str | bytes, name: str = "set.jsonl") -> PromptSet:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_prompts(path, WORDS)


def refusal(tmp_path: Path, text: str | bytes, name: str = "set.jsonl") -> str:
    with pytest.raises(PromptError) as caught:
        read(tmp_path, text, name)
    return str(caught.value)


def row(**columns: object) -> str:
    return json.dumps({"prompt": GIFT.text, "target": "Mary", **columns})


def test_a_role_is_the_same_token_with_and_without_one_before_the_text() -> None:
    bare, led = encode(GIFT, WORDS, bos=False), encode(GIFT, WORDS, bos=True)
    assert led.tokens == (WORDS.eos, *bare.tokens)
    for role, text in {"NAME": " Mary", "VERB": " gave", END: " to"}.items():
        assert [WORDS.text(each.tokens[each.roles[role]]) for each in (bare, led)] == [text, text]


def test_a_text_that_begins_with_end_of_text_gets_no_second_one_and_roles_stay() -> None:
    led = Example(f"{END_OF_TEXT}{GIFT.text}", GIFT.targets, roles={"NAME": 3})
    assert encode(led, WORDS, bos=True) == encode(led, WORDS, bos=False)
    assert encode(led, WORDS).tokens == encode(GIFT, WORDS).tokens
    assert encode(led, WORDS).roles["NAME"] == 3


def test_a_tokenizer_without_end_of_text_puts_nothing_before_the_prompt() -> None:
    tokenizer = tokenizer_of(SINGLE, end_of_text=False)
    assert encode(GIFT, tokenizer, bos=True) == encode(GIFT, tokenizer, bos=False)


def test_the_last_token_is_end_unless_it_has_a_role() -> None:
    assert encode(GIFT, WORDS, bos=False).roles == {"NAME": 2, "VERB": 3, END: 5}
    taken = Example(GIFT.text, GIFT.targets, roles={"TO": 5})
    assert encode(taken, WORDS, bos=False).roles == {"TO": 5}


def test_answers_are_spelled_as_the_tokens_they_stand_for() -> None:
    example = checked(Example("the year 1732 to 17", ("32", "Mary"), (" Mark",)), WORDS)
    assert (example.targets, example.distractors) == (("32", " Mary"), (" Mark",))
    encoded = encode(example, WORDS)
    assert [WORDS.text(id) for id in (*encoded.targets, *encoded.distractors)] == ["32", " Mary", " Mark"]
    assert checked(example, WORDS) == example


def test_the_metric_is_asked_after_the_last_token() -> None:
    encoded = encode(GIFT, WORDS)
    metric = metric_of(encoded)
    assert (metric.quantity, metric.pos) == (Quantity.LOGIT_DIFF, len(encoded.tokens) - 1)
    alone = metric_of(encode(Example(GIFT.text, GIFT.targets), WORDS))
    assert (alone.quantity, alone.distractors) == (Quantity.LOGIT, ())


def test_roles_of_a_set_are_in_order_of_first_appearance() -> None:
    examples = [
        encode(Example(GIFT.text, ("to",), roles=roles), WORDS) for roles in ({"B": 2}, {"A": 1, "B": 3})
    ]
    assert roles_of(examples) == ("B", END, "A")


def test_pairs_have_a_counterfactual_of_the_same_length() -> None:
    (pair,) = encode_pairs([GIFT], WORDS)
    assert pair.counterfactual is not None
    assert [WORDS.text(id) for id in pair.counterfactual][3] == " John"
    with pytest.raises(PromptError, match="example 2 has no counterfactual"):
        encode_pairs([GIFT, Example(GIFT.text, GIFT.targets)], WORDS)
    longer = Example(GIFT.text, GIFT.targets, counterfactual="So Ann gave it to")
    with pytest.raises(PromptError, match="example 1 has 7 tokens and its counterfactual 10"):
        encode_pairs([longer], WORDS)
    assert encode(longer, WORDS).counterfactual is not None  # elsewhere lengths may differ


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (Example("", (" Mary",)), "the prompt is empty"),
        (Example("So", (" Mary",), counterfactual=""), "the counterfactual is empty"),
        (Example("So", ()), "there is no target"),
        (Example("So", ("Ann",)), "target must be one token: ' Ann' is 4"),
        (Example("So", ("Mary",), ("Ann",)), "' Ann' is 4"),
        (Example("So\ud800", ("Mary",)), "lone surrogate"),
        (Example("So", ("Mary",), roles={"A": 2}), "role A is at token 2: the prompt has tokens 0 to 1"),
        (Example("So", ("Mary",), roles={"A": -1}), "role A is at token -1"),
        (Example("So", ("Mary",), roles={"A": 1, "B": 1}), "roles A and B are both token 1"),
        (Example("So", ("Mary",), roles={"END": 0}), "role END is at token 0: END is the last token, 1"),
        (Example("So", ("Mary",), roles={"other": 1}), "'other' is no name for a role"),
        (Example("So", ("Mary",), roles={"": 1}), "'' is no name for a role"),
    ],
)
def test_an_example_that_cannot_be_used_is_refused_in_one_sentence(example: Example, said: str) -> None:
    for use in (checked, encode):
        with pytest.raises(PromptError) as caught:
            use(example, WORDS)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
examples = st.builds(
    Example,
    text=texts,
    targets=st.lists(st.sampled_from([" Mary", " John", " to", "!"]), min_size=1, max_size=3).map(tuple),
    distractors=st.lists(st.sampled_from([" Mark", "[", ","]), max_size=2).map(tuple),
    roles=st.one_of(
        st.just({}), st.builds(lambda role: {role: 0}, texts.filter(lambda role: role != "other"))
    ),
    counterfactual=st.none() | texts,
    template=st.just("") | texts,
)


@pytest.mark.parametrize("ending", ["jsonl", "ndjson", "csv", "CSV"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(examples, min_size=1, max_size=4).map(tuple))
def test_what_is_written_is_read_again(tmp_path: Path, ending: str, written: tuple[Example, ...]) -> None:
    path = tmp_path / f"some set.{ending}"
    write_prompts(PromptSet("any", written, seed=3), path)
    assert read_prompts(path, WORDS) == PromptSet("some set", written)


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_texts_with_every_kind_of_line_end_survive_a_file(tmp_path: Path, ending: str) -> None:
    text = 'def f(self, x):\r\n    """a\rb\u2028c\u2029d\x85e\x0bf\x0c"g",\n\n  :param'
    path = tmp_path / f"set.{ending}"
    write_prompts(PromptSet("any", (Example(text, (" to",), template=" x\r\n"), GIFT)), path)
    assert read_prompts(path, WORDS).examples == (Example(text, (" to",), template=" x\r\n"), GIFT)


def test_one_answer_or_several_with_either_name_of_the_column(tmp_path: Path) -> None:
    one, several = read(
        tmp_path, row() + "\n" + json.dumps({"prompt": "So", "targets": ["Mary", " John"]})
    ).examples
    assert one.targets == (" Mary",)
    assert several.targets == (" Mary", " John")
    cells = 'prompt,target,distractors\r\n"So, ",Mary,\r\nSo," John","["" Mary"", ""Mark""]"\r\n'
    first, second = read(tmp_path, cells, "set.csv").examples
    assert first == Example("So, ", (" Mary",))
    assert second == Example("So", (" John",), (" Mary", " Mark"))


def test_a_spreadsheets_byte_order_mark_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    assert len(read(tmp_path, "\ufeff\n" + row() + "\r\n\n")) == 1
    assert len(read(tmp_path, "\ufeffprompt,target\r\n\r\nSo,Mary\r\n\r\n", "set.csv")) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (row() + "\n\n{", "set.jsonl:3: this line is not JSON: "),
        (row() + "\n[1]", "set.jsonl:2: this line is not a JSON object"),
        ("[" * 100_000, "set.jsonl:1: this line is not JSON: too large"),
        (row(roles={"A": 1})[:-2] + "9" * 5000 + "}}", "set.jsonl:1: this line is not JSON: too large"),
        (
            row() + "\n" + row(distracter="Mark"),
            "set.jsonl:2: no column 'distracter': there are prompt, targets",
        ),
        (row(targets=["Mary"]), "set.jsonl:1: the column of targets is there under both names"),
        ('{"target": "Mary"}', "set.jsonl:1: there is no prompt"),
        ('{"prompt": "So"}', "set.jsonl:1: there is no target"),
        ('{"prompt": 3, "target": "Mary"}', "set.jsonl:1: prompt is not a text"),
        (row(distractors=[3]), "set.jsonl:1: distractors are not tokens"),
        (row(counterfactual=["x"]), "set.jsonl:1: counterfactual is not a text"),
        (row(roles=["S2"]), "set.jsonl:1: roles are not numbers of tokens by name"),
        (row(roles={"S2": "9"}), "set.jsonl:1: roles are not numbers of tokens by name"),
        (row(roles={"S2": True}), "set.jsonl:1: roles are not numbers of tokens by name"),
        (row(roles={"S2": 99}), "set.jsonl:1: role S2 is at token 99: the prompt has tokens 0 to 5"),
        (row(distractor="Ann"), "set.jsonl:1: target must be one token: ' Ann' is 4"),
        (row(counterfactual=""), "set.jsonl:1: the counterfactual is empty"),
        ("\n \n", "set.jsonl holds no prompts"),
        (row().encode() + b"\n\xff", "set.jsonl:2: the file is not UTF-8 text"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    sentence = refusal(tmp_path, text)
    assert sentence.startswith(said), sentence
    assert "\n" not in sentence
    assert not sentence.endswith(".")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt,target\nSo,Mary\n\n'So,\n", "set.csv:4: there is no target"),
        ('prompt,target\n"So\nit",Mary\nSo,Ann\n', "set.csv:4: target must be one token"),
        ('prompt,target\n"So\nit",Ann\n', "set.csv:2: target must be one token"),
        ("prompt,target\nSo,Mary,John\n", "set.csv:2: the row has 3 cells: the header has 2"),
        ('prompt,target\n"So"x,Mary\n', "set.csv:2: this row is not CSV"),
        ("text,target\nSo,Mary\n", "set.csv:1: no column 'text'"),
        ("target\nMary\n", "set.csv:1: there is no prompt"),
        ("prompt,prompt,target\nSo,So,Mary\n", "set.csv:1: a column is there twice"),
        ("prompt,target,roles\nSo,Mary,S2=1\n", "set.csv:2: roles is not JSON: roles are written as JSON"),
        ('prompt,target,roles\nSo,Mary,"[1]"\n', "set.csv:2: roles are not numbers of tokens by name"),
        ("prompt,target\nSo,[Mary\n", "set.csv:2: target is not JSON: a cell that begins with '['"),
        ("prompt,target\n", "set.csv holds no prompts"),
        ("", "set.csv holds no prompts"),
    ],
)
def test_a_wrong_row_is_named_by_the_line_on_which_it_begins(tmp_path: Path, text: str, said: str) -> None:
    sentence = refusal(tmp_path, text, "set.csv")
    assert sentence.startswith(said), sentence
    assert "\n" not in sentence


def test_a_file_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    assert (
        refusal(tmp_path, "", "set.txt") == "set.txt is neither .jsonl nor .csv: prompts are read from those"
    )
    with pytest.raises(PromptError, match="no such file or directory"):
        read_prompts(tmp_path / "none.csv", WORDS)
    with pytest.raises(PromptError, match="is neither"):
        write_prompts(PromptSet("any", (GIFT,)), tmp_path / "set.json")
    with pytest.raises(PromptError, match="cannot write"):
        write_prompts(PromptSet("any", (GIFT,)), tmp_path / "none" / "set.csv")
