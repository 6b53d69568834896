"""`tdb-tui docs`: the reference pages that come with the program."""

from pathlib import Path
from typing import Annotated

import typer

from tdb_tui.exits import USAGE, fail
from tdb_tui.programs import make_app

app = make_app()
DOCS = Path(__file__).parents[1] / "docs"


@app.command()
def docs(
    page: Annotated[
        str | None,
        typer.Argument(
            help="commands, keys, json, man (for: man -l -) or spec.", autocompletion=lambda: list(pages())
        ),
    ] = None,
) -> int:
    """Show a reference page, or list them."""
    found = pages()
    if page is None:
        print("\n".join(found))
        return 0
    if page not in found:
        return fail(f"no page {page!r}: {', '.join(found)}", USAGE)
    print(found[page].read_text(encoding="utf-8"), end="")
    return 0


def pages() -> dict[str, Path]:
    """Name -> file of each page."""
    found = {path.stem: path for path in sorted(DOCS.glob("*.md"))}
    return found | {"man": DOCS / "tdb-tui.1", "spec": DOCS / "spec.json"}
