"""Explain, simulate, score, and revise: one component through a language model, every score on held-out sequences."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from explanations.asking import explainers, judges, simulators
from explanations.asking.marks import Spell
from explanations.asking.requests import Ask, Tally, asked
from explanations.calibration import Calibration, fitted
from explanations.hypotheses.guessing import kinds
from explanations.judging import FIRST, of_pairs, ordered
from explanations.questions import Question, detection, fuzzing, places
from explanations.records import Example, Explanation, Floats, Score
from explanations.scoring import Judged, Simulated, auc_score, judged_score, simulation_scores
from explanations.splits import QUIET, Held, Splits

T = TypeVar("T")
METHOD = "explained by a model"
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
        f"{explainers.VERSION} {simulators.VERSION} {judges.VERSION}",
        ordered(scores, work.pairs),
        kinds(work.splits.explain),
    )


def requests(work: Work) -> int:
    """About how many questions `explained` asks, none of them twice."""
    held = len(_some(work.splits.calibrate, work.plan.each)) + len(_some(work.splits.score, work.plan.each))
    questions = sum(map(len, _questions(work).values())) if work.plan.judged and not work.pairs else 0
    revising = work.plan.rounds * (
        1 + 2 * len(_some(work.splits.calibrate, work.plan.each)) * (1 + work.pairs)
    )
    return 1 + held * (1 + work.pairs) + questions + revising


async def _scores(work: Work, text: str) -> list[Score]:
    calibrate, score, answers = await asyncio.gather(
        _simulated(work, text, work.splits.calibrate),
        _simulated(work, text, work.splits.score),
        _judged(work, text),
    )
    scaled = fitted(work.plan.calibration, [each for _, each in calibrate])
    held = [replace(each, predicted=scaled(each.predicted)) for _, each in score]
    judged = [judged_score(name, given, work.plan.seed) for name, given in answers.items()]
    return [*_all_scores(work, held), *(each for each in judged if each is not None)]


async def _simulated(work: Work, text: str, held: Sequence[Held]) -> list[tuple[Held, Simulated]]:
    """Sequences without a good answer are left out, and counted in the tally."""
    if work.pairs:
        return await _pairs_simulated(work, text, held)
    way = simulators.Way(work.plan.logprobs)

    async def one(each: Held) -> Floats | None:
        tokens = each.example.tokens
        request = simulators.simulate_request(text, tokens, work.spell, way)
        return await asked(
            work.ask,
            request,
            lambda answer: simulators.read_activations(answer, len(tokens), way),
            work.tally,
        )

    chosen = _some(held, work.plan.each)
    answers = await _together(map(one, chosen))
    return [
        (each, Simulated(answer, places(each.example.activations), each.kind))
        for each, answer in zip(chosen, answers, strict=True)
        if answer is not None
    ]


async def _judged(work: Work, text: str) -> dict[str, list[Judged]]:
    async def one(question: Question) -> bool | None:
        return await asked(
            work.ask, judges.judge_request(text, question, work.spell), judges.read_yes, work.tally
        )

    if work.pairs or not work.plan.judged:
        return {}
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
    held, peak = _some(work.splits.score, work.plan.each), work.splits.peak
    return {"detection": detection(held, peak), "fuzzing": fuzzing(held, peak, work.plan.seed)}


async def _pairs_simulated(work: Work, text: str, held: Sequence[Held]) -> list[tuple[Held, Simulated]]:
    """The strongest pair of each sequence and a weak one, one question a pair (TDB)."""
    random = np.random.default_rng(work.plan.seed)
    chosen = [
        (each, _two_pairs(each.example, work.splits.peak, random)) for each in _some(held, work.plan.each)
    ]

    async def one(example: Example, query: int, key: int) -> float | None:
        request = simulators.pair_request(text, example, query, key, work.spell)
        return await asked(work.ask, request, simulators.read_pair, work.tally)

    answers = iter(await _together(one(each.example, *pair) for each, pairs in chosen for pair in pairs))
    found: list[tuple[Held, Simulated]] = []
    for each, pairs in chosen:
        said = [(next(answers), each.example.activations[pair]) for pair in pairs]
        known = [(answer, true) for answer, true in said if answer is not None]
        if known:
            predicted, true = (np.array(part, dtype=np.float32) for part in zip(*known, strict=True))
            found.append((each, Simulated(predicted, true, each.kind)))
    return found


def _two_pairs(example: Example, peak: float, random: np.random.Generator) -> list[tuple[int, int]]:
    """The strongest pair, and a random one that is weak, where there is one."""
    assert example.key is not None
    weak = np.argwhere(np.tril(example.activations < QUIET * peak))
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
    return list(await asyncio.gather(*questions))
