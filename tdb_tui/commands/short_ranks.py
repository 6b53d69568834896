"""`neurons` and `features`: the ranking of what is inside one line."""

from dataclasses import replace

from tdb_tui import lines
from tdb_tui.commands.ranking import rank
from tdb_tui.commands.table import command, registry
from tdb_tui.errors import CommandError
from tdb_tui.language.arguments import line_number
from tdb_tui.language.parsing import Call, parse_line
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply
from tdb_tui.session import Session


@command(
    "neurons",
    usage="[LINE] [-n N]",
    group="seeing",
    repeat=Repeat.CONTINUE,
    options={"n": True},
    complete=("node", "kind"),
    examples=("neurons M1 -n 5", "neurons"),
)
def neurons(session: Session, call: Call) -> Reply:
    """Rank the neurons of a line, of all of them where none is named: short for `rank neurons in LINE`."""
    return _ranked(session, call, "neurons")


@command(
    "features",
    usage="[LINE] [-n N]",
    group="seeing",
    repeat=Repeat.CONTINUE,
    options={"n": True},
    complete=("node", "kind"),
    examples=("features M1", "features -n 5"),
)
def features(session: Session, call: Call) -> Reply:
    """Rank the latents of a line, where a sparse autoencoder is loaded for it: short for `rank latents in LINE`."""
    return _ranked(session, call, "latents")


def _ranked(session: Session, call: Call, kind: str) -> Reply:
    words = list(call.args)
    within = ""
    if words and not words[0].text.startswith("@") and words[0].text not in ("by", "where", "+", "-", "per"):
        line = line_number(session.snapshot, words.pop(0))
        within = f" in {lines.name(line, session.snapshot.n_layer)}"
    rest = f" {call.rest(len(call.args) - len(words)).text}" if words else ""
    count = f" -n {call.option('n')}" if call.has("n") else ""
    (asked,) = parse_line(f"rank {kind}{within}{rest}{count}", registry.takes_value)
    try:
        return rank(session, asked)
    except CommandError as error:
        raise replace(error, col=None) from None  # it counts in words that nobody typed
