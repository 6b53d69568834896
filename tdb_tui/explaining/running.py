"""`tdb-tui explain` from its words to its last line: progress on standard error, what came of it on standard output."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from explanations.asking.pipeline import Plan
from explanations.asking.requests import AskError
from explanations.store import open_store
from model.tokenizer import load_tokenizer
from model.vocabulary import TokenizerError
from model.weights import model_hash
from tdb_tui.errors import NotLoaded
from tdb_tui.explaining.endpoint import Limits, from_environment
from tdb_tui.explaining.jobs import Job, Outcome, by_model, chosen, estimate, from_data, unexplained
from tdb_tui.machine.models import ModelNotFound, find_model


@dataclass(frozen=True, slots=True)
class Request:
    """The words of the command line."""

    nodes: tuple[str, ...]
    store: Path
    model: str | None
    plan: Plan
    "Its model is empty where nobody is asked."
    url: str | None
    limits: Limits
    price: float | None
    only_estimate: bool
    again: bool


def run(request: Request) -> None:
    """Raises CommandError, StoreError, NotLoaded and AskError."""
    job = prepare(request)
    if request.plan.model or request.url:
        _asking(request, job)
    elif request.only_estimate:
        print(f"{len(job.nodes):,} components, from data alone: nobody is asked")
    else:
        with showing(len(job.nodes)) as show:
            outcome = Outcome()
            for outcome in from_data(job):
                show(outcome)
        print(said(outcome))


def prepare(request: Request) -> Job:
    """The store and the tokenizer of its model.  Raises StoreError, CommandError and NotLoaded."""
    try:
        directory = find_model(request.model).directory
        store = open_store(request.store, model_hash(directory))
        tokenizer = load_tokenizer(directory)
    except (ModelNotFound, TokenizerError) as error:
        raise NotLoaded(str(error), code="not-loaded") from None
    return Job(store, chosen(store, request.nodes), tokenizer.text, request.plan.seed)


def _asking(request: Request, job: Job) -> None:
    asked = len(job.nodes)
    if not request.again:
        job = replace(job, nodes=unexplained(job, request.plan))
    if not job.nodes:
        print(f"{request.plan.model} has explained all {asked:,} components already: --again asks once more")
        return
    takes = estimate(job, request.plan)
    cost = "" if request.price is None else f", {takes.tokens * request.price / 1e6:,.2f} at most in money"
    print(f"{takes}{cost}")
    if request.only_estimate:
        return
    try:
        outcome = asyncio.run(_asked(request, job))
    except ExceptionGroup as failed:  # of several questions under way, the first that failed
        raise next(error for error in failed.exceptions if isinstance(error, AskError)) from None
    print(said(outcome))


async def _asked(request: Request, job: Job) -> Outcome:
    endpoint = from_environment(request.plan.model, request.url, request.limits)
    try:
        with showing(len(job.nodes)) as show:
            return await by_model(job, endpoint, request.plan, show)
    finally:
        await endpoint.close()


def said(outcome: Outcome) -> str:
    """What came of it, in one line."""
    parts = [f"{outcome.done - outcome.without:,} of {outcome.done:,} components explained"]
    if outcome.scores:
        parts.append(f"median score {median(outcome.scores):.2f}")
    tally = outcome.tally
    if tally.asked:
        parts.append(
            f"{tally.asked:,} answers, {tally.bad:,} of them bad, {tally.given_up:,} questions given up"
        )
        parts.append(f"{tally.tokens:,} tokens")
    return ", ".join(parts)


@contextmanager
def showing(count: int) -> Iterator[Callable[[Outcome], None]]:
    """A bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    rest = TextColumn("{task.fields[rest]}")
    columns = (TextColumn("explain"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), rest)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=count, rest="")

        def show(outcome: Outcome) -> None:
            rest = f"{outcome.tally.bad} bad answers" if outcome.tally.bad else ""
            bar.update(task, completed=outcome.done, rest=rest)

        yield show
