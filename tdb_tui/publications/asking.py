"""What was published about one component, for a debugger whose user may lose patience."""

import asyncio

from explanations.published.catalogue import model_name
from explanations.published.records import PublishedError
from explanations.schema import Identity, StoreError
from model.components import Component
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError, Interrupted
from tdb_tui.explaining.asking import LOOK_EVERY
from tdb_tui.publications.jobs import Outcome, gather
from tdb_tui.publications.publishers import Choice, checked, web_of
from tdb_tui.publications.running import shelf_of


def fetch(engine: Engine, component: Component, publisher: str) -> bool:
    """Bring it into the store that every session with this model looks into; False where nothing was published.

    Raises CommandError and Interrupted; nothing is kept then.
    """
    try:
        choice = Choice(checked(publisher), model_name(engine.info.config))
        outcome = asyncio.run(_gathered(engine, component, choice))
    except (PublishedError, StoreError) as error:
        raise CommandError(str(error), code="published") from None
    if outcome.bad:
        raise CommandError(outcome.bad[0], code="published")
    engine.stores.look_again()
    return bool(outcome.kept)


async def _gathered(engine: Engine, component: Component, choice: Choice) -> Outcome:
    identity = Identity(engine.info.name, engine.weights_hash())
    web = web_of(choice.publisher)
    task = asyncio.ensure_future(
        gather(web, shelf_of(None, identity, engine.tokenizer), choice, [component], lambda outcome: None)
    )
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_EVERY))[0]:
            if engine.interrupt.is_set():
                task.cancel()
                await asyncio.wait({task})
                raise Interrupted
        return task.result()
    finally:
        await web.close()
