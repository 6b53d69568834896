"""What `tdb-tui explain` does to a store: explain components one after the other, each kept as soon as it is done."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from explanations.asking.pipeline import Plan, Work, explained, planned, version
from explanations.asking.requests import Answer, AskError, BudgetSpent, Request, Tally
from explanations.hypotheses.guessing import guess
from explanations.records import Explanation, Sampling
from explanations.splits import Splits, split
from explanations.store import Store
from explanations.writing import put_explanations, writing
from model.printable import printable
from tdb_tui.errors import CommandError
from tdb_tui.explaining.endpoint import Endpoint
from tdb_tui.stores import Stores

Spell = Callable[[int], str]
KEPT_AT_ONCE = 100
"Components whose hypotheses are written together."


@dataclass(frozen=True, slots=True)
class Job:
    store: Store
    nodes: tuple[str, ...]
    spell: Spell
    seed: int = 0


@dataclass(slots=True)
class Outcome:
    """How far a job has come."""

    done: int = 0
    without: int = 0
    "Components about which nothing can be said: never active, or no answer could be read."
    scores: list[float] = field(default_factory=list[float])
    tally: Tally = field(default_factory=Tally)

    def count(self, found: Sequence[Explanation]) -> None:
        self.done += 1
        self.without += not found
        self.scores += [score for score in (each.score for each in found[:1]) if score is not None]


def chosen(store: Store, words: Sequence[str]) -> tuple[str, ...]:
    """The components named, or all of the store.  Raises CommandError for one that was not collated."""
    known = store.nodes()
    if not words:
        return tuple(known)
    names = {name.casefold(): name for name in known}
    missing = [word for word in words if word.casefold() not in names]
    if missing:
        some = f"it holds {len(known):,} components, such as {known[0]}"
        raise CommandError(f"{missing[0]} is not in {store.path}: {some}")
    return tuple(names[word.casefold()] for word in words)


def splits_of(store: Store, node: str) -> Splits:
    """A component's examples, dealt out."""
    return split({sampling: store.examples(node, sampling) for sampling in Sampling})


def from_data(job: Job) -> Iterator[Outcome]:
    """The best hypotheses about every component; how far it has come, after each."""
    outcome, ready = Outcome(), list[Explanation]()
    for number, node in enumerate(job.nodes, 1):
        known = job.store.statistics(node)
        promoted = known.promoted if known else ()
        found = guess(node, splits_of(job.store, node), job.spell, promoted, seed=job.seed)
        outcome.count(found)
        ready += found
        if number % KEPT_AT_ONCE == 0 or number == len(job.nodes):
            keep(job.store, ready)
            ready = []
        yield outcome


def keep(store: Store, found: Sequence[Explanation]) -> None:
    """Texts come from a language model or a corpus: what a terminal must not see is escaped before it is kept."""
    with writing(store.path, store.identity) as connection:
        put_explanations(connection, [_safe(each) for each in found])


def kept(stores: Stores, found: Explanation) -> None:
    """The same, in the store that a session keeps things in.  Raises CommandError where it cannot be written."""
    with stores.keeping() as connection:
        put_explanations(connection, [_safe(found)])


def unexplained(job: Job, plan: Plan) -> tuple[str, ...]:
    """The components that this model has not explained yet in this way: what a run that was stopped goes on with."""

    def is_done(node: str) -> bool:
        return any(
            (each.model, each.prompt_version) == (plan.model, version())
            for each in job.store.explanations(node)
        )

    return tuple(node for node in job.nodes if not is_done(node))


@dataclass(frozen=True, slots=True)
class Estimate:
    components: int
    questions: int
    tokens: int

    def __str__(self) -> str:
        return (
            f"{self.components:,} components, {self.questions:,} questions, at most about {self.tokens:,} tokens "
            "(a token for 4 characters, revisions and second tries not counted)"
        )


def estimate(job: Job, plan: Plan) -> Estimate:
    """What explaining all of the job's components would take."""

    async def never(request: Request) -> Answer:
        raise AskError("an estimate asks nothing")

    requests = [
        request
        for node in job.nodes
        for request in planned(Work(never, node, splits_of(job.store, node), job.spell, plan))
    ]
    return Estimate(len(job.nodes), len(requests), sum(each.estimated_tokens() for each in requests))


async def by_model(job: Job, endpoint: Endpoint, plan: Plan, show: Callable[[Outcome], None]) -> Outcome:
    """Explain every component, as many at once as the endpoint takes.  Raises AskError; what is done is kept.

    Where the budget is spent, the components begun are left as they were and BudgetSpent is raised at the end.
    """
    outcome, places = Outcome(), asyncio.Semaphore(endpoint.limits.at_once)
    spent: list[BudgetSpent] = []

    async def one(node: str) -> None:
        async with places:
            splits = splits_of(job.store, node)
            if spent:
                return
            work = Work(endpoint, node, splits, job.spell, plan, outcome.tally)
            try:
                found = await explained(work) if splits.explain and splits.peak > 0 else None
            except BudgetSpent as error:
                spent.append(error)
                return
            keep(job.store, [found] if found else [])
            outcome.count([found] if found else [])
            show(outcome)

    async with asyncio.TaskGroup() as tasks:
        for node in job.nodes:
            tasks.create_task(one(node))
    if spent:
        raise spent[0]
    return outcome


def _safe(each: Explanation) -> Explanation:
    return replace(each, text=printable(each.text))
