"""Where each widget goes, as plain numbers: the layouts for every size of terminal."""

from dataclasses import dataclass

LEAST_WIDTH, LEAST_HEIGHT = 60, 16
"Below this there is only a note, and the command line."

MIDDLE, WIDE = 120, 170
"Widths with two columns at the right, and with three."

TALL = 30
"Rows that three columns need."

VIEWS = ("rank", "attn", "tree", "strips", "heat", "page", "lists", "next", "inspect")
"What the one column at the right can show, in the order of the `v` key."

SIDES = ("attn", "tree", "strips", "heat", "page", "next", "inspect")
"The same for the last column of two."

MIDDLES = ("attn", "tree", "strips", "heat", "page")
"The same for the middle one of three; next tokens stand below it, and the last column has what is selected."

WORKING = 42
"Cells for how far a command has come."

Box = tuple[int, int, int, int]
"x, y, width, height"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What decides the arrangement besides the terminal's size."""

    view: str = "rank"
    zoom: str | None = None
    "The pane that is large."
    half: bool = False
    "Whether it leaves room for the listing and the log; else it has the screen to itself."
    columns: int = 3
    "How many columns at the right there may be at most."
    working: bool = False
    "Whether a command runs for so long that row 1 says how far it has come."
    token_rows: int = 1
    "Rows of text that the prompt needs."
    other: bool = False
    "Whether there is a prompt B that could stand in a row below it."
    heads: int = 12
    "Of a layer."


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
    tokens += wishes.other and wishes.token_rows == 1 and width >= MIDDLE and height >= TALL
    status = min(WORKING, width // 2) if wishes.working else 14 if width < MIDDLE else 22
    boxes: dict[str, Box] = {
        "title": (0, 0, width - status, 1),
        "status": (width - status, 0, status, 1),
        "tokens": (0, 1, width, tokens),
        **_line(width, height - 2),
        "hints": (0, height - 1, width, 1),
    }
    top, bottom = 1 + tokens, height - 2
    if wishes.zoom is not None and not wishes.half:
        return Arrangement({**boxes, wishes.zoom: (0, top, width, bottom - top)}, shaded)
    log = 2 if height < 22 else 3 if height < 34 else 5 if height < 46 else 8
    trajectory = 0 if height < 24 else 3 if height < 34 else 4 if height < 46 else 7
    if wishes.zoom is not None:
        return Arrangement({**boxes, **_half(wishes.zoom, width, top, bottom, log)}, shaded)
    boxes["log"] = (0, bottom - log, width, log)
    if trajectory:
        boxes["trajectory"] = (0, bottom - log - trajectory, width, trajectory)
    count = columns(width, height, wishes.columns)
    boxes |= _body(width, top, bottom - log - trajectory - top, wishes, count)
    return Arrangement(boxes, shaded)


def _half(pane: str, width: int, top: int, bottom: int, log: int) -> dict[str, Box]:
    """One pane beside the listing, or the listing or the log in the larger half, and nothing else that is no need."""
    if pane == "log":
        log = (bottom - top) * 2 // 3
    height = bottom - log - top
    code = width // 2 if pane == "code" else 28 if width < 80 else 35
    side = "rank" if pane in ("code", "log") else pane
    return {
        "code": (0, top, code, height),
        "bar1": (code, top, 1, height),
        side: (code + 1, top, width - code - 1, height),
        "log": (0, bottom - log, width, log),
    }


def columns(width: int, height: int, most: int = 3) -> int:
    """How many columns there are at the right of the listing."""
    return min(1 if width < MIDDLE else 2 if width < WIDE or height < TALL else 3, most)


def views(width: int, height: int, most: int = 3) -> tuple[str, ...]:
    """What the `v` key goes through at a size."""
    return (VIEWS, SIDES, MIDDLES)[columns(width, height, most) - 1]


def _line(width: int, y: int) -> dict[str, Box]:
    return {"prompt": (0, y, 6, 1), "line": (6, y, width - 6, 1)}


def _body(width: int, y: int, height: int, wishes: Wishes, count: int) -> dict[str, Box]:
    """The listing at the left; one, two or three columns at its right."""
    code = 28 if width < 80 else 35 if count < 3 else 45
    boxes: dict[str, Box] = {"code": (0, y, code, height), "bar1": (code, y, 1, height)}
    x, room = code + 1, width - code - 1
    if count == 1:
        return boxes | _view(wishes.view, x, y, room, height)
    rank = 46 if width < 140 else min(room * 36 // 100, 60)
    boxes |= {"rank": (x, y, rank, height), "bar2": (x + rank, y, 1, height)}
    x, room = x + rank + 1, room - rank - 1
    view = wishes.view if wishes.view in (SIDES if count == 2 else MIDDLES) else "attn"
    if count == 2:
        lists = 9 if height >= 22 else 6
        return boxes | {view: (x, y, room, height - lists)} | _lists(x, y + height - lists, room, lists)
    middle, tops = room * 55 // 100, min(height // 3, 11)
    small = min(-(-wishes.heads // 2) + 1, tops - 4) if height >= 24 else 0
    boxes |= {
        view: (x, y, middle, height - tops),
        **({"heads": (x, y + height - tops, middle, small)} if small else {}),
        "next": (x, y + height - tops + small, middle, tops - small),
        "bar3": (x + middle, y, 1, height),
    }
    x, room = x + middle + 1, room - middle - 1
    lists = min(height // 2, 15)
    return boxes | {"inspect": (x, y, room, height - lists)} | _lists(x, y + height - lists, room, lists)


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
