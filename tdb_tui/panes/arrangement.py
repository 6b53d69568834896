"""Where each widget goes, as plain numbers: the layouts for every size of terminal."""

from dataclasses import dataclass

LEAST_WIDTH, LEAST_HEIGHT = 60, 16
"Below this there is only a note, and the command line."

MIDDLE, WIDE = 120, 170
"Widths with two columns at the right, and with three."

VIEWS = ("rank", "attn", "tree", "strips", "heat", "lists", "next")
"What the one column at the right can show, in the order of the `v` key."

SIDES = ("attn", "tree", "strips", "heat", "next")
"The same for the last column of two."

MIDDLES = ("attn", "tree", "strips", "heat")
"The same for the middle one of three."

Box = tuple[int, int, int, int]
"x, y, width, height"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What decides the arrangement besides the terminal's size."""

    view: str = "rank"
    zoom: str | None = None
    "The pane that has the screen to itself."
    token_rows: int = 1
    "Rows of text that the prompt needs."


@dataclass(frozen=True, slots=True)
class Arrangement:
    boxes: dict[str, Box]
    shaded: bool = True
    "Whether each row of tokens has a row of shades."


def arrange(width: int, height: int, wishes: Wishes) -> Arrangement:
    """Widget -> its place; what is not named is not shown."""
    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        room = max(height - 1, 1)
        return Arrangement({"small": (0, 0, width, room), **_line(width, height - 1)})
    shaded = height >= 20
    most = 1 if height < 28 else 2 if height < 40 else 4
    tokens = min(wishes.token_rows, most) * (2 if shaded else 1)
    status = 14 if width < MIDDLE else 22
    boxes: dict[str, Box] = {
        "title": (0, 0, width - status, 1),
        "status": (width - status, 0, status, 1),
        "tokens": (0, 1, width, tokens),
        **_line(width, height - 2),
        "hints": (0, height - 1, width, 1),
    }
    top, bottom = 1 + tokens, height - 2
    if wishes.zoom is not None:
        return Arrangement({**boxes, wishes.zoom: (0, top, width, bottom - top)}, shaded)
    log = 2 if height < 22 else 3 if height < 34 else 5 if height < 46 else 8
    trajectory = 0 if height < 24 else 3 if height < 34 else 4 if height < 46 else 7
    boxes["log"] = (0, bottom - log, width, log)
    if trajectory:
        boxes["trajectory"] = (0, bottom - log - trajectory, width, trajectory)
    boxes |= _body(width, top, bottom - log - trajectory - top, wishes)
    return Arrangement(boxes, shaded)


def views(width: int) -> tuple[str, ...]:
    """What the `v` key goes through at a width."""
    return VIEWS if width < MIDDLE else SIDES if width < WIDE else MIDDLES


def _line(width: int, y: int) -> dict[str, Box]:
    return {"prompt": (0, y, 6, 1), "line": (6, y, width - 6, 1)}


def _body(width: int, y: int, height: int, wishes: Wishes) -> dict[str, Box]:
    """The listing at the left; one, two or three columns at its right."""
    code = 28 if width < 80 else 35 if width < WIDE else 45
    boxes: dict[str, Box] = {"code": (0, y, code, height), "bar1": (code, y, 1, height)}
    x, room = code + 1, width - code - 1
    if width < MIDDLE:
        return boxes | _view(wishes.view, x, y, room, height)
    rank = 46 if width < 140 else min(room * 36 // 100, 60)
    boxes |= {"rank": (x, y, rank, height), "bar2": (x + rank, y, 1, height)}
    x, room = x + rank + 1, room - rank - 1
    if width < WIDE:
        lists = 9 if height >= 22 else 6
        side = wishes.view if wishes.view in SIDES else SIDES[0]
        return boxes | {side: (x, y, room, height - lists)} | _lists(x, y + height - lists, room, lists)
    attention = room * 55 // 100
    middle = wishes.view if wishes.view in MIDDLES else MIDDLES[0]
    boxes |= {middle: (x, y, attention, height), "bar3": (x + attention, y, 1, height)}
    x, room = x + attention + 1, room - attention - 1
    lists = min(height // 2, 18)
    return boxes | {"next": (x, y, room, height - lists)} | _lists(x, y + height - lists, room, lists)


def _view(view: str, x: int, y: int, width: int, height: int) -> dict[str, Box]:
    return _lists(x, y, width, height) if view == "lists" else {view: (x, y, width, height)}


def _lists(x: int, y: int, width: int, height: int) -> dict[str, Box]:
    """Interventions, stop points and displays share a column by thirds."""
    third = height // 3
    first = height - 2 * third
    return {
        "edits": (x, y, width, first),
        "stops": (x, y + first, width, third),
        "displays": (x, y + first + third, width, third),
    }
