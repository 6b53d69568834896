"""Generated prompts: every role is the token it names, whatever the tokenizer, and the answer follows from the text."""

import os
from collections import Counter
from pathlib import Path

import pytest

from model.sets.files import read_prompts, write_prompts
from model.sets.generators import TASKS, generate
from model.sets.generators.slots import fill, known_templates, places, single_words
from model.sets.prompts import END, Example, PromptError, encode, encode_pairs
from model.tokenizer import Tokenizer, load_tokenizer, make_tokenizer
from model.vocabulary import Vocabulary

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("TDB_SHARED", ROOT.parent / "shared"))
FILES = {
    "demo": ROOT / "model" / "demo" / "gpt2-demo",
    "gpt2": SHARED / "data" / "gpt2-tokenizer",
}
COUNT = 70


@pytest.fixture(scope="module", params=FILES)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    directory = FILES[request.param]
    if not (directory / "vocab.json").is_file():
        pytest.skip(f"the vocab.json and merges.txt of {request.param} are not here")
    return load_tokenizer(directory)


BYTES = make_tokenizer(Vocabulary({bytes([byte]): byte for byte in range(256)}, [], {}))
"Knows no word at all."


def said(tokenizer: Tokenizer, example: Example, bos: bool = True) -> dict[str, str]:
    """Role -> the text of its token."""
    encoded = encode(example, tokenizer, bos)
    return {role: tokenizer.text(encoded.tokens[pos]) for role, pos in encoded.roles.items()}


def other(tokenizer: Tokenizer, example: Example) -> dict[str, str]:
    """Role -> the text of the counterfactual's token at its place."""
    encoded = encode(example, tokenizer)
    assert encoded.counterfactual is not None
    return {role: tokenizer.text(encoded.counterfactual[pos]) for role, pos in encoded.roles.items()}


@pytest.mark.parametrize("task", TASKS)
def test_a_set_is_the_same_for_the_same_seed_and_a_longer_one_begins_alike(
    task: str, tokenizer: Tokenizer
) -> None:
    ten, longer = generate(task, tokenizer, 10, seed=3), generate(task, tokenizer, 25, seed=3)
    assert (ten.name, ten.seed, len(ten)) == (task, 3, 10)
    assert longer.examples[:10] == ten.examples
    assert generate(task, tokenizer, 10, seed=4).examples != ten.examples


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("task", TASKS)
def test_counterfactuals_are_other_prompts_of_the_same_length(
    task: str, tokenizer: Tokenizer, bos: bool
) -> None:
    for pair in encode_pairs(generate(task, tokenizer, COUNT).examples, tokenizer, bos):
        assert pair.counterfactual != pair.tokens


@pytest.mark.parametrize("task", TASKS)
def test_roles_are_the_same_tokens_with_and_without_one_before_the_text(
    task: str, tokenizer: Tokenizer
) -> None:
    for example in generate(task, tokenizer, COUNT).examples:
        assert said(tokenizer, example, bos=True) == said(tokenizer, example, bos=False)
        assert encode(example, tokenizer, bos=False).roles == example.roles
        assert example.roles[END] == len(tokenizer.encode(example.text)) - 1


@pytest.mark.parametrize("task", TASKS)
def test_no_answer_is_both_right_and_wrong_and_all_are_single_tokens(task: str, tokenizer: Tokenizer) -> None:
    for example in generate(task, tokenizer, COUNT).examples:
        assert example.targets
        assert example.distractors
        assert not set(example.targets) & set(example.distractors)
        assert all(len(tokenizer.encode(word)) == 1 for word in (*example.targets, *example.distractors))


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
@pytest.mark.parametrize("task", TASKS)
def test_a_generated_set_survives_a_file(
    task: str, ending: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    made = generate(task, tokenizer, 12)
    write_prompts(made, tmp_path / f"{task}.{ending}")
    assert read_prompts(tmp_path / f"{task}.{ending}", tokenizer).examples == made.examples


def test_ioi_names_the_giver_twice_and_the_receiver_once(tokenizer: Tokenizer) -> None:
    for example in generate("ioi", tokenizer, COUNT).examples:
        roles = said(tokenizer, example)
        assert list(example.roles) == ["IO", "S1", "S1+1", "S2", END]
        assert roles["S1"] == roles["S2"] == example.distractors[0]
        assert roles["IO"] == example.targets[0] != roles["S1"]
        assert roles[END] == " to"
        assert example.roles["S1+1"] == example.roles["S1"] + 1
        texts = [tokenizer.text(id) for id in tokenizer.encode(example.text)]
        assert (texts.count(roles["IO"]), texts.count(roles["S1"])) == (1, 2)
        io, s1, s2 = (example.roles[role] for role in ("IO", "S1", "S2"))
        assert max(io, s1) < s2
        assert (io < s1) == example.template.endswith("ABBA")


def test_ioi_counterfactuals_name_three_strangers_once_each(tokenizer: Tokenizer) -> None:
    for example in generate("ioi", tokenizer, COUNT).examples:
        roles, strangers = said(tokenizer, example), other(tokenizer, example)
        named = [strangers[role] for role in ("IO", "S1", "S2")]
        assert len({*named, roles["IO"], roles["S1"]}) == 5
        original, changed = encode(example, tokenizer), encode(example, tokenizer).counterfactual
        assert changed is not None
        moved = {
            pos for pos, pair in enumerate(zip(original.tokens, changed, strict=True)) if pair[0] != pair[1]
        }
        assert moved == {original.roles[role] for role in ("IO", "S1", "S2")}


def test_ioi_takes_orders_and_templates_in_turn(tokenizer: Tokenizer) -> None:
    examples = generate("ioi", tokenizer, 240).examples
    orders = Counter(example.template.split()[-1] for example in examples)
    assert orders == {"ABBA": 120, "BABA": 120}
    templates = Counter(example.template.rpartition(" ")[0] for example in examples)
    assert len(templates) >= 12
    assert max(templates.values()) - min(templates.values()) <= 2


def test_greater_than_splits_the_first_year_and_all_endings_by_it(tokenizer: Tokenizer) -> None:
    for example in generate("greater-than", tokenizer, COUNT).examples:
        roles, changed = said(tokenizer, example), other(tokenizer, example)
        assert list(example.roles) == ["NOUN", "XX", "YY", END]
        assert roles["XX"] == roles[END]
        assert {int(year) for year in example.targets} == set(range(int(roles["YY"]) + 1, 100))
        assert {int(year) for year in example.distractors} == set(range(int(roles["YY"]) + 1))
        assert changed == {**roles, "YY": "01"}


def test_docstrings_ask_for_the_third_argument_which_the_counterfactual_never_names(
    tokenizer: Tokenizer,
) -> None:
    for example in generate("docstring", tokenizer, COUNT).examples:
        roles, changed = said(tokenizer, example), other(tokenizer, example)
        assert list(example.roles) == ["A_def", "B_def", "C_def", "A_doc", "B_doc", END]
        assert (roles["A_doc"], roles["B_doc"]) == (roles["A_def"], roles["B_def"])
        assert example.targets == (roles["C_def"],)
        assert {roles["A_def"], roles["B_def"]} < set(example.distractors)
        assert len(example.distractors) == 5
        assert example.text.endswith(":param")
        assert len({changed[role] for role in example.roles if role != END}) == 5
        assert example.counterfactual is not None
        assert f"{example.targets[0]}," not in example.counterfactual


def test_pronouns_agree_with_a_name_that_the_counterfactual_swaps(tokenizer: Tokenizer) -> None:
    examples = generate("pronoun", tokenizer, 400).examples
    answers: dict[str, set[str]] = {}
    for example in examples:
        answers.setdefault(said(tokenizer, example)["NAME"], set()).update(example.targets)
    assert all(len(pronouns) == 1 for pronouns in answers.values())
    for example in examples:
        (swapped,) = answers.get(other(tokenizer, example)["NAME"], set(example.distractors))
        assert (swapped,) == example.distractors
    assert Counter(example.targets for example in examples) == {(" she",): 200, (" he",): 200}


def test_agreement_follows_the_subject_and_not_the_attractor(tokenizer: Tokenizer) -> None:
    examples = generate("agreement", tokenizer, 160).examples
    for example in examples:
        roles, changed = said(tokenizer, example), other(tokenizer, example)
        plural = roles["SUBJECT"] if example.targets == (" are",) else changed["SUBJECT"]
        assert plural.endswith("s")
        assert {example.targets, example.distractors} == {(" are",), (" is",)}
        assert {role for role in roles if roles[role] != changed[role]} == {"SUBJECT"}
        assert ("ATTRACTOR" in roles) == example.template.startswith("that")
    assert set(Counter(example.template for example in examples).values()) == {20}


def test_induction_asks_for_what_followed_and_the_counterfactual_repeats_nothing(
    tokenizer: Tokenizer,
) -> None:
    for example in generate("induction", tokenizer, COUNT).examples:
        roles, texts = said(tokenizer, example), [tokenizer.text(id) for id in tokenizer.encode(example.text)]
        assert roles["A"] == roles[END]
        assert example.roles["B"] == example.roles["A"] + 1
        assert example.targets == (roles["B"],)
        assert texts.count(roles["B"]) == 1
        assert example.counterfactual is not None
        words = example.counterfactual.split()
        assert len(set(words)) == len(words)


def test_a_word_at_the_start_or_before_a_comma_is_found_by_its_bytes(tokenizer: Tokenizer) -> None:
    filled = fill("In été, {A} saw 12{N} and {A}{end}", {"A": "Mary", "N": "32", "end": "!?"})
    if tokenizer.encode(" 1232")[-1] != tokenizer.encode("32")[0]:
        pytest.skip("this tokenizer does not split 1232 after the century")
    ids = tokenizer.encode(filled.text)
    found = places(tokenizer, filled)
    assert tokenizer.text(ids[found["N"]]) == "32"
    assert tokenizer.text(ids[found["A"]]) == " Mary"
    assert found["A"] > found["N"]  # of a slot that is there twice, the last
    assert found[END] == len(ids) - 1


@pytest.mark.parametrize("template", ["{A}ly to", "to {A}s", "x{A}"])
def test_a_role_inside_a_longer_token_is_refused(template: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptError, match="A is 'quick brown': one token of this tokenizer was expected"):
        places(tokenizer, fill(template, {"A": "quick brown"}))


@pytest.mark.parametrize("task", TASKS)
def test_a_tokenizer_that_lacks_the_words_is_refused_in_one_sentence(task: str) -> None:
    with pytest.raises(PromptError) as caught:
        generate(task, BYTES, 1)
    assert "of this tokenizer" in str(caught.value) or "by this tokenizer" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_words_that_are_not_single_tokens_are_left_out(tokenizer: Tokenizer) -> None:
    words = ("Mary", "qxzvwk", "John", "floccinaucinihili")
    assert single_words(tokenizer, words, "names", 2) == ("Mary", "John")
    with pytest.raises(PromptError, match="these prompts need 3 names: only 2 of 4 are single tokens"):
        single_words(tokenizer, words, "names", 3)
    assert list(known_templates(tokenizer, {"a": "X to {qxzvwk}", "b": "X qxzvwk to"})) == ["a"]


def test_an_unknown_task_and_an_empty_set_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptError, match="no task 'oii': there are ioi, greater-than, docstring"):
        generate("oii", tokenizer, 1)
    with pytest.raises(PromptError, match="0 examples"):
        generate("ioi", tokenizer, 0)
