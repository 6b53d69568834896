"""Explain, simulate, score, and revise: one component through a language model, every score on held-out sequences."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from explanations.asking import explainers, judges, simulators
from explanations.asking.marks import Spell
from explanations.asking.requests import Answer, Ask, Request, Tally, asked
from explanations.calibration import Calibration, fitted
from explanations.hypotheses.guessing import kinds
from explanations.judging import FIRST, of_pairs, ordered
from explanations.questions import Question, detection, fuzzing
from explanations.records import Example, Explanation, Floats, Score
from explanations.scoring import Judged, Simulated, auc_score, judged_score, simulation_scores
from explanations.splits import QUIET, Held, Splits

T = TypeVar("T")
U = TypeVar("U")
METHOD = "explained by a model"
SOMETHING = "words that stand for an explanation of the usual length, before there is one"
COUNTER = 3
"Sequences on which an explanation went most wrong, shown for its revision."


@dataclass(frozen=True, slots=True)
class Plan:
    """How a component is explained and judged."""

    model: str
    "The name of the language model, kept with what it says."
    logprobs: bool = False
    "Whether numbers are read from log-probabilities, where the endpoint offers them."
    rounds: int = 0
    "Revisions, each shown where the explanation before went most wrong."
    each: int = 5
    "Sequences of each kind that are simulated, to calibrate and to score."
    calibration: Calibration = Calibration.LINEAR
    judged: bool = True
    "Whether detection and fuzzing are asked as well."
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """One component to explain."""

    ask: Ask
    node: str
    splits: Splits
    spell: Spell
    plan: Plan
    tally: Tally = field(default_factory=Tally)

    @property
    def pairs(self) -> bool:
        return of_pairs(self.splits)


async def explained(work: Work) -> Explanation | None:
    """The best of an explanation and its revisions, scored; None where no answer could be read.  Raises AskError.

    Revisions are chosen, and shown their mistakes, by the sequences that calibrate, so that the score stays held out.
    """
    request = explainers.explain_request(work.splits, work.spell, work.pairs)
    text = await asked(work.ask, request, explainers.read_sentence, work.tally)
    for _ in range(work.plan.rounds):
        text = text and await _revised(work, text)
    return None if text is None else await scored(work, text)


async def scored(work: Work, text: str) -> Explanation:
    """An explanation, anybody's, with its scores by simulation.  Raises AskError."""
    scores = await _scores(work, text)
    return Explanation(
        work.node,
        text,
        METHOD,
        work.plan.model,
        version(),
        ordered(scores, work.pairs),
        kinds(work.splits.explain),
    )


def version() -> str:
    """Which prompts an explanation and its scores come from."""
    return f"{explainers.VERSION} {simulators.VERSION} {judges.VERSION}"


def planned(work: Work) -> list[Request]:
    """What `explained` asks where every answer is good, revisions left out: for an estimate of what it takes."""
    sides = (work.splits.calibrate, work.splits.score)
    held = [each for side in sides for each in _some(side, work.plan.each)]
    return [
        explainers.explain_request(work.splits, work.spell, work.pairs),
        *(request for each in held for request, _ in _simulations(work, SOMETHING, each)),
        *(
            judges.judge_request(SOMETHING, question, work.spell)
            for questions in _questions(work).values()
            for question in questions
        ),
    ]


async def _scores(work: Work, text: str) -> list[Score]:
    parts = (work.splits.calibrate, work.splits.score)
    simulated = _together(_simulated(work, text, held) for held in parts)
    (calibrate, score), answers = await _both(simulated, _judged(work, text))
    scaled = fitted(work.plan.calibration, [each for _, each in calibrate])
    held = [replace(each, predicted=scaled(each.predicted)) for _, each in score]
    judged = [judged_score(name, given, work.plan.seed) for name, given in answers.items()]
    return [*_all_scores(work, held), *(each for each in judged if each is not None)]


async def _simulated(work: Work, text: str, held: Sequence[Held]) -> list[tuple[Held, Simulated]]:
    """Questions without a good answer are left out, and counted in the tally."""

    async def one(each: Held) -> Simulated | None:
        questions = _simulations(work, text, each)
        answers = await _together(asked(work.ask, *question, work.tally) for question in questions)
        if not work.pairs:
            return None if answers[0] is None else Simulated(answers[0], each.example.activations, each.kind)
        true = [each.example.activations[pair] for pair in _two_pairs(work, each.example)]
        known = [pair for pair in zip(answers, true, strict=True) if pair[0] is not None]
        if not known:
            return None
        predicted = np.concatenate([answer for answer, _ in known if answer is not None])
        return Simulated(predicted, np.array([value for _, value in known], dtype=np.float32), each.kind)

    chosen = _some(held, work.plan.each)
    answers = await _together(map(one, chosen))
    return [(each, answer) for each, answer in zip(chosen, answers, strict=True) if answer is not None]


def _simulations(work: Work, text: str, each: Held) -> list[tuple[Request, Callable[[Answer], Floats]]]:
    """What is asked to predict one sequence, and how each answer is read: all tokens at once, or pair by pair (TDB)."""
    if work.pairs:
        return [
            (simulators.pair_request(text, each.example, *pair, work.spell), simulators.read_pair)
            for pair in _two_pairs(work, each.example)
        ]
    way, tokens = simulators.Way(work.plan.logprobs), each.example.tokens
    request = simulators.simulate_request(text, tokens, work.spell, way)
    return [(request, lambda answer: simulators.read_activations(answer, len(tokens), way))]


async def _judged(work: Work, text: str) -> dict[str, list[Judged]]:
    async def one(question: Question) -> bool | None:
        request = judges.judge_request(text, question, work.spell)
        return await asked(work.ask, request, judges.read_yes, work.tally)

    found: dict[str, list[Judged]] = {}
    for name, questions in _questions(work).items():
        answers = await _together(map(one, questions))
        found[name] = [
            Judged(said, question.true, question.kind)
            for question, said in zip(questions, answers, strict=True)
            if said is not None
        ]
    return found


def _questions(work: Work) -> dict[str, list[Question]]:
    """Detection and fuzzing; none about heads, which are judged pair by pair already."""
    if work.pairs or not work.plan.judged:
        return {}
    held, peak = _some(work.splits.score, work.plan.each), work.splits.peak
    return {"detection": detection(held, peak), "fuzzing": fuzzing(held, peak, work.plan.seed)}


def _two_pairs(work: Work, example: Example) -> list[tuple[int, int]]:
    """The strongest (query, key), and a random one that is weak, where there is one."""
    assert example.key is not None
    random = np.random.default_rng((work.plan.seed, *example.tokens))
    weak = np.argwhere(np.tril(example.activations < QUIET * work.splits.peak))
    found = [(example.peak, example.key)]
    if len(weak):
        query, key = weak[random.integers(len(weak))].tolist()
        found.append((query, key))
    return found


async def _revised(work: Work, text: str) -> str:
    """A better sentence, if the model has one: the one that predicts the calibration sequences better."""
    before = await _simulated(work, text, work.splits.calibrate)
    examples = [held.example for held, _ in sorted(before, key=lambda each: -_off(work, each[1]))[:COUNTER]]
    request = explainers.revise_request(text, examples, work.spell, work.pairs)
    revised = await asked(work.ask, request, explainers.read_sentence, work.tally)
    if revised is None or revised == text:
        return text
    after = await _simulated(work, revised, work.splits.calibrate)
    return revised if _fit(work, after) > _fit(work, before) else text


def _off(work: Work, each: Simulated) -> float:
    """How far prediction and truth are apart, both as shares of their largest: the mean over squares."""
    largest = 1 if work.pairs else simulators.LEVELS
    return float(((each.predicted / largest - each.true / work.splits.peak) ** 2).mean())


def _fit(work: Work, found: Sequence[tuple[Held, Simulated]]) -> float:
    """What the explanation would be ranked by on these sequences; -1 where it cannot be told."""
    scores = _all_scores(work, [each for _, each in found])
    return next((score.value for score in scores if score.name == FIRST[work.pairs]), -1.0)


def _all_scores(work: Work, held: Sequence[Simulated]) -> list[Score]:
    auc = auc_score(held, QUIET * work.splits.peak, work.plan.seed)
    rest = () if work.pairs else simulation_scores(held, work.plan.seed)
    return [*rest, *([] if auc is None else [auc])]


def _some(held: Sequence[Held], each: int) -> list[Held]:
    """At most so many of each kind, in the order given."""
    counts: dict[str, int] = {}
    chosen: list[Held] = []
    for one in held:
        counts[one.kind] = counts.get(one.kind, 0) + 1
        if counts[one.kind] <= each:
            chosen.append(one)
    return chosen


async def _together(questions: Iterable[Awaitable[T]]) -> list[T]:
    """All at once: who asks decides how many really are."""
    tasks = [asyncio.ensure_future(question) for question in questions]
    await _settled(tasks)
    return [task.result() for task in tasks]


async def _both(one: Awaitable[T], other: Awaitable[U]) -> tuple[T, U]:
    tasks = asyncio.ensure_future(one), asyncio.ensure_future(other)
    await _settled(tasks)
    return tasks[0].result(), tasks[1].result()


async def _settled(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Until all are answered; where one fails the others are given up, and none is left under way."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
