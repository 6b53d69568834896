"""One explanation by a language model, for a debugger whose user may lose patience."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from explanations.asking.marks import Spell
from explanations.asking.pipeline import Plan, Work, explained, planned, scored
from explanations.asking.requests import AskError
from explanations.records import Explanation
from explanations.splits import Splits
from tdb_tui.errors import CommandError, Interrupted
from tdb_tui.explaining.endpoint import from_environment

T = TypeVar("T")
LOOK_EVERY = 0.1
"Seconds between two looks at whether the user wants to stop."


@dataclass(frozen=True, slots=True)
class Question:
    """What a language model is asked: to explain a component, or to predict what it does from a sentence."""

    node: str
    splits: Splits
    model: str
    text: str = ""
    "The sentence to be scored; empty where one is to be made."


def explanation(
    question: Question, spell: Spell, stop: threading.Event, moved: Callable[[str], object]
) -> Explanation | None:
    """Explained by the model, or the sentence scored by what it predicts; None where no answer could be read.

    `moved` is told how far it has come, `12/31`.  Raises CommandError, and Interrupted once `stop` is set.
    """
    try:
        return asyncio.run(_asked(question, spell, stop, moved))
    except AskError as error:
        raise CommandError(str(error), code="explainer") from None


async def _asked(
    question: Question, spell: Spell, stop: threading.Event, moved: Callable[[str], object]
) -> Explanation | None:
    plan = Plan(question.model, logprobs=True)
    endpoint = from_environment(plan.model)
    work = Work(endpoint, question.node, question.splits, spell, plan)
    count = len(planned(work))
    answer = scored(work, question.text) if question.text else explained(work)
    try:
        return await _interruptible(answer, stop, lambda: moved(f"{work.tally.asked}/{count}"))
    finally:
        await endpoint.close()


async def _interruptible(
    answer: Coroutine[Any, Any, T], stop: threading.Event, looked: Callable[[], object]
) -> T:
    task = asyncio.ensure_future(answer)
    while not (await asyncio.wait({task}, timeout=LOOK_EVERY))[0]:
        looked()
        if stop.is_set():
            task.cancel()
            await asyncio.wait({task})
            raise Interrupted
    return task.result()
