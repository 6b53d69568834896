"""`align`: prompts A and B over each other, as patches match their tokens."""

from tdb_tui.commands.opposite import own_place, place_of
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.language.arguments import at_most
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot
from tdb_tui.sets.alignment import Pair, aligned, strip
from tdb_tui.tables.sides import Place, partners

WIDTH = 80


@command("align", group="seeing", examples=("align", "align --json"))
def align(session: Session, call: Call) -> Reply:
    """Prompts A and B token over token, marked where they differ: `^` another token, `+` one that the other lacks.

    Prompts of one length are matched by position; others by role, which is how `patch ... from B` takes values where
    no position of B is given.  A token without a counterpart there cannot be patched so.
    """
    at_most(call, 0)
    snapshot, other = session.snapshot, session.state.inputs.prompt_b
    if other is None:
        raise CommandError("no prompt B: set one with 'prompt B TEXT' or --prompt-b", code="no-prompt-b")
    here, there = own_place(snapshot), place_of(snapshot.tokenizer, other.tokens, session.state.roles_b)
    partner = partners(here, there)
    pairs = aligned(here.tokens, there.tokens, partner)
    columns = [_column(snapshot, pair, here, there) for pair in pairs]
    heads = ["", "A", "", "B", "", "role"]
    used = [row for row in range(len(heads)) if any(column[row] for column in columns)]
    lines = strip([[column[row] for row in used] for column in columns], [heads[row] for row in used], WIDTH)
    differing = sum(not pair.same for pair in pairs)
    matched = int((partner >= 0).sum())
    said = [f"{differing} of {len(pairs)} places differ"]
    if len(here.tokens) != len(there.tokens):
        by = f"by role ({', '.join(('START', *here.names, 'END'))}) and by text"
        said.append(f"{matched} of {len(partner)} tokens have a counterpart, {by}")
    return Reply(
        (*lines, *said),
        {
            "lengths": [len(here.tokens), len(there.tokens)],
            "differing": differing,
            "partners": partner.tolist(),
            "rows": [_row(pair, here, there) for pair in pairs],
        },
    )


def _column(snapshot: Snapshot, pair: Pair, here: Place, there: Place) -> list[str]:
    """Position and token of A, the mark, token and position of B, role."""
    a, b = (
        "" if at < 0 else snapshot.tokenizer.display(place.tokens[at]).strip() or "␣"
        for place, at in ((here, pair.a), (there, pair.b))
    )
    mark = "" if pair.same else "^" if a and b else "+"
    return [str(pair.a) if a else "", a, mark, b, str(pair.b) if b else "", _role(pair, here, there)]


def _role(pair: Pair, here: Place, there: Place) -> str:
    names = [name for name, at in here.names.items() if at == pair.a]
    names += [name for name, at in there.names.items() if at == pair.b and name not in names]
    return "/".join(names)


def _row(pair: Pair, here: Place, there: Place) -> dict[str, object]:
    def side(place: Place, at: int) -> dict[str, object] | None:
        return None if at < 0 else {"pos": at, "text": place.texts[at]}

    return {
        "a": side(here, pair.a),
        "b": side(there, pair.b),
        "same": pair.same,
        "role": _role(pair, here, there),
    }
