"""`tdb-tui published`: records and explanations that others have published, into a store."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from tdb_tui.exits import FAILED, INTERRUPTED, NOT_LOADED, USAGE, fail
from tdb_tui.programs import make_app

app = make_app()


@app.command()
def published(
    what: Annotated[
        str, Argument(help="openai, neuronpedia, or an export of Neuronpedia's: a file or a folder of them.")
    ],
    nodes: Annotated[
        list[str] | None, Argument(help="Components, such as N10.1307, L9H9 or Fm8.2231; of an export, all.")
    ] = None,
    model: Annotated[str | None, Option(help="Whose components they are: as for tdb-tui itself.")] = None,
    store: Annotated[
        Path | None, Option(help="Where to keep them; without: where every session with this model looks.")
    ] = None,
    url: Annotated[
        str | None, Option(help="A mirror: a server or a folder; or TDB_OPENAI_URL, TDB_NEURONPEDIA_URL.")
    ] = None,
    records: Annotated[bool, Option(help="Dataset examples and statistics.")] = True,
    explanations: Annotated[bool, Option(help="Explanations and their scores.")] = True,
    release: Annotated[str, Option(help="OpenAI's dictionaries: v4 or v1.")] = "v4",
    pairs: Annotated[bool, Option("--pairs", help="OpenAI's latents of attention, pair by pair.")] = False,
    source: Annotated[
        str | None, Option(help="The set of Neuronpedia's that latents are of, such as res-jb.")
    ] = None,
    site: Annotated[
        str | None,
        Option(help="The place of an export's latents, where its set is not known: m p a z r i o."),
    ] = None,
    again: Annotated[bool, Option("--again", help="Also what the store has already.")] = False,
) -> int:
    """Fetch what others have published about components of GPT-2, so that the debugger shows it.

    OpenAI's neurons of GPT-2 small and XL with their explanations, heads and latents of GPT-2 small; Neuronpedia's
    neurons and latents, one by one or from an export.  Known faults of published numbers are said wherever these are
    shown.  What was fetched is kept: after Ctrl-C the same command goes on.
    """
    from explanations.published.catalogue import RELEASES
    from explanations.published.records import PublishedError
    from explanations.schema import StoreError
    from model.components import DICTIONARY_SITES
    from tdb_tui.errors import CommandError, NotLoaded
    from tdb_tui.publications.publishers import Choice
    from tdb_tui.publications.running import Request, run

    if release not in RELEASES:
        return fail(f"unknown release {release!r}: {' or '.join(RELEASES)}", USAGE)
    if site is not None and site not in DICTIONARY_SITES:
        return fail(f"unknown place {site!r}: one of {' '.join(DICTIONARY_SITES)}", USAGE)
    choice = Choice("", "", records, explanations, release, pairs, source)
    request = Request(what, tuple(nodes or ()), model, store, url, choice, site, again)
    try:
        bad = run(request)
    except KeyboardInterrupt:
        return fail("stopped: what was fetched is kept, and the same command goes on", INTERRUPTED)
    except NotLoaded as error:
        return fail(str(error), NOT_LOADED)
    except (CommandError, StoreError, PublishedError) as error:
        return fail(str(error), FAILED)
    if bad:
        return fail(bad[0] if len(bad) == 1 else f"{bad[0]} (and {len(bad) - 1:,} more)", FAILED)
    return 0
