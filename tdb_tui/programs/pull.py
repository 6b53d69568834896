"""`tdb-tui pull`: a model into the Hugging Face cache."""

from typing import Annotated

import typer

from tdb_tui.exits import INTERRUPTED, NOT_LOADED, fail
from tdb_tui.programs import make_app

app = make_app()


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2 or an id.")],
) -> int:
    """Download a model into the Hugging Face cache, going on where an earlier download stopped."""
    from tdb_tui.machine.pull import PullError, PullInterrupted, draw_bar
    from tdb_tui.machine.pull import pull as fetch

    try:
        directory = fetch(name, progress=draw_bar())
    except PullInterrupted as error:
        return fail(str(error), INTERRUPTED)
    except PullError as error:
        return fail(str(error), NOT_LOADED)
    print(directory)
    return 0
