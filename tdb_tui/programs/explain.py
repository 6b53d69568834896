"""`tdb-tui explain`: sentences about what components do, scored, into a store."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from tdb_tui.exits import FAILED, INTERRUPTED, NOT_LOADED, USAGE, fail
from tdb_tui.programs import make_app

app = make_app()


@app.command()
def explain(
    nodes: Annotated[
        list[str] | None, Argument(help="Components, such as L5H0 or N3.17; without: all.")
    ] = None,
    store: Annotated[Path | None, Option(help="The store that tdb-tui collate made.")] = None,
    model: Annotated[str | None, Option(help="Whose tokens the store holds: as for tdb-tui itself.")] = None,
    explainer: Annotated[
        str | None, Option(help="The language model to ask; without: hypotheses from data alone.")
    ] = None,
    url: Annotated[
        str | None,
        Option(help="An OpenAI-compatible endpoint, up to /chat/completions; or TDB_EXPLAINER_URL."),
    ] = None,
    logprobs: Annotated[
        bool, Option(help="Simulate by log-probabilities, where the endpoint has them.")
    ] = True,
    rounds: Annotated[int, Option(min=0, help="Revisions, each by what went most wrong.")] = 0,
    each: Annotated[int, Option(min=1, help="Sequences of each kind that are simulated.")] = 5,
    judged: Annotated[bool, Option(help="Ask for detection and fuzzing too.")] = True,
    at_once: Annotated[int, Option(min=1, help="Questions under way at the same time.")] = 8,
    budget: Annotated[int | None, Option(min=1, help="Tokens that may be spent in all.")] = None,
    price: Annotated[
        float | None, Option(min=0, help="What a million tokens cost, for the estimate.")
    ] = None,
    estimate: Annotated[bool, Option("--estimate", help="Say what it would take, and ask nothing.")] = False,
    again: Annotated[bool, Option("--again", help="Also what this model has explained already.")] = False,
    seed: Annotated[int, Option(help="What is drawn.")] = 0,
) -> int:
    """Say in a sentence what each component does, and score it on examples that it was not made from.

    Without --explainer, tables over tokens, positions and repeats are fitted and worded: no network, no key.  With it,
    a language model explains and simulates (the key comes from TDB_EXPLAINER_KEY).  Everything is kept in the store
    as it is done: after Ctrl-C, or when the budget is spent, the same command goes on.
    """
    if store is None:
        return fail("say which store: tdb-tui explain --store STORE (tdb-tui collate makes one)", USAGE)

    from explanations.asking.pipeline import Plan
    from explanations.asking.requests import AskError, BudgetSpent
    from explanations.schema import StoreError
    from tdb_tui.errors import CommandError, NotLoaded
    from tdb_tui.explaining.endpoint import Limits
    from tdb_tui.explaining.running import Request, run

    plan = Plan(explainer or "", logprobs, rounds, each, judged=judged, seed=seed)
    limits = Limits(at_once=at_once, tokens=budget)
    try:
        run(Request(tuple(nodes or ()), store, model, plan, url, limits, price, estimate, again))
    except KeyboardInterrupt:
        return fail("stopped: what is explained is kept, and the same command goes on", INTERRUPTED)
    except NotLoaded as error:
        return fail(str(error), NOT_LOADED)
    except BudgetSpent as error:
        return fail(f"{error}; what is explained is kept, and the same command goes on", FAILED)
    except (CommandError, StoreError, AskError) as error:
        return fail(str(error), FAILED)
    return 0
