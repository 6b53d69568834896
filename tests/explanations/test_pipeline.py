"""Explain, simulate, score with a language model that is a function: planted truth in, right scores out."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from explanations.asking.explainers import read_sentence
from explanations.asking.marks import columns, levels, strongest_pairs, with_pair
from explanations.asking.pipeline import Plan, Work, explained, planned, scored
from explanations.asking.requests import TRIES, Answer, BadAnswer, Request, Tally, asked
from explanations.asking.simulators import Way, read_activations, read_pair
from explanations.records import Explanation, Floats, Sampling
from explanations.splits import split
from tests.explanations.held import collated, example, spell
from tests.explanations.models import FakeModel, Speak, knows, model_of, numbered
from tests.explanations.test_hypotheses import NAMES, on_names, reads_names

SENTENCE = "active on the names seven and eleven"
WORDS = {spell(name) for name in NAMES}
PLAN = Plan("fake-1")


def work(speak: Speak, plan: Plan = PLAN) -> tuple[Work, FakeModel]:
    model = model_of(speak)
    return Work(model, "N0.0", split(collated(on_names)), spell, plan), model


def value(found: Explanation, name: str) -> float:
    return next(each.value for each in found.scores if each.name == name)


@pytest.mark.parametrize("logprobs", [False, True])
def test_a_model_that_knows_scores_near_one_whichever_way_it_is_asked(logprobs: bool) -> None:
    asked_of, _ = work(knows(WORDS, SENTENCE), replace(PLAN, logprobs=logprobs))
    found = asyncio.run(explained(asked_of))
    assert found is not None
    assert (found.text, found.model) == (f"{SENTENCE}.", "fake-1")
    assert found.scores[0].name == "correlation"
    for name in ("correlation", "r2", "absolute deviation", "auc", "detection", "fuzzing"):
        assert value(found, name) == pytest.approx(1, abs=0.02), name
    assert asked_of.tally.bad == asked_of.tally.given_up == 0


def test_a_wrong_explanation_scores_zero_by_the_same_model() -> None:
    asked_of, _ = work(knows(WORDS, SENTENCE))
    found = asyncio.run(scored(asked_of, "active on verbs of movement"))
    assert value(found, "correlation") == 0
    assert value(found, "fuzzing") == 0.5


def test_the_estimate_is_what_is_asked_where_every_answer_is_good() -> None:
    for plan in (PLAN, replace(PLAN, judged=False)):
        asked_of, model = work(knows(WORDS, SENTENCE), plan)
        asyncio.run(explained(asked_of))
        assert len(model.seen) == len(planned(asked_of)) == asked_of.tally.asked
        assert asked_of.tally.tokens == 12 * len(model.seen)


def test_a_bad_answer_is_asked_for_again_and_told_why() -> None:
    good = knows(WORDS, SENTENCE)
    turns = iter(range(1000))

    def stutters(request: Request) -> str:
        return "{" if "JSON object" in request.messages[0].content and next(turns) % 2 == 0 else good(request)

    asked_of, model = work(stutters)
    found = asyncio.run(explained(asked_of))
    assert found is not None and value(found, "correlation") == pytest.approx(1)
    assert asked_of.tally.bad > 0 and asked_of.tally.given_up == 0
    assert asked_of.tally.reasons == {"the answer is not JSON": asked_of.tally.bad}
    assert any("cannot be read: the answer is not JSON" in each.messages[-1].content for each in model.seen)


def test_what_is_never_answered_well_is_left_out_and_never_zero() -> None:
    good = knows(WORDS, SENTENCE)

    def half(request: Request) -> str:
        if "JSON object" not in request.messages[0].content:
            return good(request)
        document = json.loads(request.messages[1].content)["document"]
        return good(request) if len(document) % 2 else '{"activations": []}'

    asked_of, _ = work(half)
    found = asyncio.run(explained(asked_of))
    assert found is not None
    assert asked_of.tally.given_up > 0
    assert value(found, "correlation") == pytest.approx(1)
    correlation = found.scores[0]
    whole = asyncio.run(explained(work(good)[0]))
    assert whole is not None
    assert sum(correlation.samples.values()) < sum(whole.scores[0].samples.values())


def test_a_model_that_never_makes_sense_gives_no_explanation() -> None:
    asked_of, model = work(lambda request: "")
    assert asyncio.run(explained(asked_of)) is None
    assert len(model.seen) == TRIES


def test_a_revision_is_kept_only_where_it_predicts_better() -> None:
    good = knows(WORDS, SENTENCE)

    def improves(request: Request) -> str:
        if "An explanation was" in request.messages[-1].content:
            return SENTENCE
        return "verbs of movement" if "Say in one sentence" in request.messages[0].content else good(request)

    better = asyncio.run(explained(work(improves, replace(PLAN, rounds=1))[0]))
    assert better is not None and better.text == SENTENCE and value(better, "correlation") == pytest.approx(1)

    def worsens(request: Request) -> str:
        return "a verb" if "An explanation was" in request.messages[-1].content else good(request)

    same = asyncio.run(explained(work(worsens, replace(PLAN, rounds=2))[0]))
    assert same is not None and same.text == f"{SENTENCE}."


def test_a_head_is_asked_about_pair_by_pair() -> None:
    def speak(request: Request) -> str:
        if "Say in one sentence" in request.messages[0].content:
            return "looks back at names"
        text = request.messages[-1].content
        key = text.split("[[")[1].split("]]")[0].strip("*")
        return str(int("looks back at names" in text and key in WORDS))

    model = model_of(speak)
    asked_of = Work(model, "L0H0", split(collated(reads_names)), spell, PLAN)
    found = asyncio.run(explained(asked_of))
    assert found is not None
    assert [each.name for each in found.scores] == ["auc"]
    assert found.scores[0].value == 1
    wrong = asyncio.run(scored(asked_of, "looks at verbs"))
    assert wrong.scores[0].value == 0.5
    assert len(model.seen) == 2 * len(planned(asked_of)) - 1


def test_what_a_model_is_shown() -> None:
    one = example((7, 3, 11), lambda tokens: np.array([2.0, -1.0, 1.1], np.float32), Sampling.TOP)
    assert levels(np.array([2.0, -1.0, 1.1, 0.19, 0.2], np.float32), 2.0) == [10, 0, 5, 0, 1]
    assert columns([one], spell) == "<start>\n t7\t10\n t3\t0\n t11\t5\n<end>"
    head = example((7, 3, 11), reads_names, Sampling.TOP)
    assert [pair[1:] for pair in strongest_pairs([head])] == [(0, 0), (1, 0), (2, 0)]
    assert with_pair(head, 2, 0, spell) == "[[ t7]] t3** t11**"
    assert with_pair(head, 1, 1, spell) == " t7[[** t3**]] t11"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "not JSON"),
        ("[1, 2]", "missing"),
        ('{"activations": [1]}', "2 activations were asked for and 1 came"),
        ('{"activations": [1, null]}', "not a number"),
        ('{"activations": [1, true]}', "not a number"),
        ('{"activations": [1, 11]}', "not from 0 to 10"),
        ('{"activations": [NaN, 1]}', "not from 0 to 10"),
    ],
)
def test_activations_that_cannot_be_read(text: str, why: str) -> None:
    with pytest.raises(BadAnswer, match=why):
        read_activations(Answer(text), 2, Way(logprobs=False))


def test_log_probabilities_give_an_expectation() -> None:
    answer = Answer("a\t9\nb\t0", numbered("a\t9\nb\t0"))
    found: Floats = read_activations(answer, 2, Way(logprobs=True))
    assert found == pytest.approx([0.98 * 10, 0], abs=1e-5)
    with pytest.raises(BadAnswer, match="3 lines"):
        read_activations(answer, 3, Way(logprobs=True))
    assert read_pair(Answer("1", numbered("\t1")[1:2])) == pytest.approx(0.98)
    assert read_pair(Answer("0")) == 0
    with pytest.raises(BadAnswer):
        read_pair(Answer("perhaps"))


def test_an_explanation_is_one_line_without_its_opening() -> None:
    assert read_sentence(Answer('"This neuron is active on\n names."')) == "active on names."
    with pytest.raises(BadAnswer):
        read_sentence(Answer("   "))


def test_counting_stops_at_the_last_try() -> None:
    def never(answer: Answer) -> Sequence[int]:
        raise BadAnswer("no")

    tally = Tally()
    assert asyncio.run(asked(model_of(lambda request: "x"), Request((), 1), never, tally)) is None
    assert (tally.asked, tally.bad, tally.given_up) == (TRIES, TRIES, 1)
