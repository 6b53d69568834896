"""`tdb-tui pull`: a model, or SAEs, into the Hugging Face cache."""

from typing import Annotated

import typer

from tdb_tui.exits import INTERRUPTED, NOT_LOADED, USAGE, fail
from tdb_tui.programs import make_app

app = make_app()


@app.command()
def pull(
    name: Annotated[
        str,
        typer.Argument(
            help="gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2 or an id; or sae, and an id."
        ),
    ],
    more: Annotated[
        list[str] | None,
        typer.Argument(help="After sae: an id, and which of its SAEs, as blocks.8.hook_resid_pre or '*'."),
    ] = None,
) -> int:
    """Download a model, or SAEs, into the Hugging Face cache, going on where an earlier download stopped.

    tdb-tui pull gpt2

    tdb-tui pull sae OWNER/NAME [SAE...]: then --sae PATH, or --sae OWNER/NAME/SAE, reads them.
    """
    from tdb_tui.machine.pull import PullError, PullInterrupted, draw_bar
    from tdb_tui.machine.pull import pull as fetch
    from tdb_tui.machine.pull_saes import pull_saes

    words = more or []
    if name == "sae" and not words:
        return fail("pull sae needs an id: tdb-tui pull sae OWNER/NAME", USAGE)
    if name != "sae" and words:
        return fail(f"unexpected {words[0]!r}: pull takes one model, or sae and an id", USAGE)
    try:
        if name == "sae":
            found = pull_saes(words[0], words[1:], progress=draw_bar())
        else:
            found = [fetch(name, progress=draw_bar())]
    except PullInterrupted as error:
        return fail(str(error), INTERRUPTED)
    except PullError as error:
        return fail(str(error), NOT_LOADED)
    for path in found:
        print(path)
    return 0
