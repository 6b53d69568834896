"""One explanation by a language model, for a debugger whose user may lose patience."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from explanations.asking.pipeline import Plan, Work, explained, planned, scored
from explanations.asking.requests import AskError
from explanations.records import Explanation
from explanations.splits import Splits
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError, Interrupted
from tdb_tui.explaining.endpoint import Endpoint, from_environment
from tdb_tui.explaining.jobs import keep

T = TypeVar("T")
LOOK_EVERY = 0.1
"Seconds between two looks at whether the user wants to stop."


def explanation(engine: Engine, node: str, splits: Splits, model: str, text: str = "") -> Explanation | None:
    """Explained by `model`, or `text` scored by what it predicts; kept in the store that the user named, if any.

    None where no answer could be read.  Raises CommandError and Interrupted.
    """
    plan = Plan(model, logprobs=True)
    try:
        found = asyncio.run(_asked(engine, node, splits, plan, text))
    except AskError as error:
        raise CommandError(str(error), code="explainer") from None
    if found is not None and engine.stores.own is not None:
        keep(engine.stores.own, [found])
    return found


async def _asked(engine: Engine, node: str, splits: Splits, plan: Plan, text: str) -> Explanation | None:
    endpoint = from_environment(plan.model)
    work = Work(endpoint, node, splits, engine.tokenizer.text, plan)
    count = len(planned(work))
    try:
        return await _interruptible(
            scored(work, text) if text else explained(work), engine, endpoint, work, count
        )
    finally:
        engine.progress = ""
        await endpoint.close()


async def _interruptible(
    answer: Coroutine[Any, Any, T], engine: Engine, endpoint: Endpoint, work: Work, count: int
) -> T:
    task = asyncio.ensure_future(answer)
    while not (await asyncio.wait({task}, timeout=LOOK_EVERY))[0]:
        engine.progress = f"{work.tally.asked}/{count}"
        if engine.interrupt.is_set():
            task.cancel()
            await asyncio.wait({task})
            raise Interrupted
    return task.result()
