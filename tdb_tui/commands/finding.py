"""Components found by words."""

from tdb_tui.commands.exampling import NO_STORE
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.language.arguments import option_integer
from tdb_tui.language.parsing import Call, unquote
from tdb_tui.language.registry import Stale
from tdb_tui.names import TEXT
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session
from tdb_tui.tables.examples import score_text
from tdb_tui.tables.known import Found
from tdb_tui.views.page import short

SHOWN, CELLS = 12, 60


@command(
    "find",
    usage="[WORDS] [-n N]",
    group="seeing",
    stale=Stale.OF_NO_RUN,
    options={"n": True},
    complete=(TEXT,),
    examples=("find Mary", 'find "the store" -n 5'),
)
def find(session: Session, call: Call) -> Reply:
    """Components by words: in explanations and notes, in the tokens that they promote and peak at, in the text around.

    Every word must occur, in whatever form (`movie` finds `movies`); explanations and notes count most, then tokens,
    then the text around the peaks.  On the screen the results are a page: Enter opens a component's own, Space marks
    it, `find` without words comes back.  `$_rank` is all of them: `mark $_rank`.
    """
    words = unquote(call.rest().text)
    if not words.strip():
        return _again(session)
    stores = session.engine.stores
    if not stores.opened():
        raise CommandError(NO_STORE, "no-store")
    count = option_integer(call, "n", SHOWN, "a number of components", least=1)
    hits = tuple(stores.search(words, count))
    session.found = Found(words, hits, stores.best([hit.node for hit in hits]))
    return _shown(session, session.found)


def _again(session: Session) -> Reply:
    """The last results."""
    if session.found is None:
        raise CommandError("find which words: find Mary", code="missing-argument")
    return _shown(session, session.found)


def _shown(session: Session, found: Found) -> Reply:
    session.page = found
    session.go(session.state)
    tokenizer = session.engine.tokenizer
    cells = [
        (
            hit.node,
            "" if (best := found.said.get(hit.node)) is None else score_text(best),
            hit.field,
            short(tokenizer.display(hit.text), CELLS),
        )
        for hit in found.hits
    ]
    rows = [
        {
            "node": hit.node,
            "field": hit.field,
            "text": hit.text,
            "rank": hit.rank,
            "explanation": None,
            "score": None,
        }
        | (
            {}
            if (best := found.said.get(hit.node)) is None
            else {"explanation": best.text, "score": best.score}
        )
        for hit in found.hits
    ]
    lines = columns(cells, "-r") or (f"nothing is found by {found.words!r}",)
    return Reply(lines, {"words": found.words, "rows": rows}, view="page")
