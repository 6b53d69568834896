"""`tdb-tui docs`: the reference pages that come with the program."""

from pathlib import Path
from typing import Annotated

import typer

from tdb_tui.exits import USAGE, fail
from tdb_tui.programs import make_app

app = make_app()
DOCS = Path(__file__).parents[1] / "docs"


@app.command()
def docs(page: Annotated[str | None, typer.Argument(help="commands, keys or json.")] = None) -> int:
    """Show a reference page, or list them."""
    pages = {path.stem: path for path in sorted(DOCS.glob("*.md"))}
    if page is None:
        print("\n".join(pages))
        return 0
    if page not in pages:
        return fail(f"no page {page!r}: {', '.join(pages)}", USAGE)
    print(pages[page].read_text(encoding="utf-8"), end="")
    return 0
