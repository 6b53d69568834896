"""Keys -> the commands they stand for.  The screen, the key menu and the generated page all read this table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that can be pressed, and what it does: a command, the beginning of one, or a move on the screen."""

    keys: tuple[str, ...]
    "Names of keys as Textual calls them."
    shown: str
    "As people write them."
    help: str
    command: str = ""
    "What is submitted, its {fields} filled from the selection."
    opens: str | None = None
    "What is put into the command line, the cursor behind it."
    does: str = ""
    "A method of the screen, `action_...`, for what is no command."
    hint: str = ""
    "One word for the hint bar."
    group: str = "the screen"


MOVE, STEP, CHANGE, SEE = "moving about", "stepping", "changing", "seeing"

KEYS: tuple[Key, ...] = (
    Key(("n",), "n", "execute the line", "next", hint="next", group=STEP),
    Key(("s",), "s", "step into the line", "step", hint="into", group=STEP),
    Key(("c",), "c", "continue to the next stop", "continue", hint="cont", group=STEP),
    Key(("r",), "r", "return from the opened line", "return", hint="out", group=STEP),
    Key(("N",), "N", "back over a line", "rn", hint="back", group=STEP),
    Key(("S",), "S", "back into a line", "rs", group=STEP),
    Key(("C",), "C", "back to the stop before", "rc", group=STEP),
    Key(
        ("t",),
        "t",
        "run to the selected line; in pane 0, trace along the branch",
        "{to}",
        hint="to here",
        group=STEP,
    ),
    Key(("b",), "b", "set or clear a stop at the selected line", "{toggle_stop}", hint="break", group=STEP),
    Key(("B",), "B", "a stop with a condition", opens="break {line}, ", group=STEP),
    Key(
        ("x",),
        "x",
        "ablate the selected component, or take that back",
        "{toggle_edit}",
        hint="ablate",
        group=CHANGE,
    ),
    Key(
        ("space",),
        "Space",
        "switch the selected edit or stop off or on",
        "toggle {listed}",
        hint="on/off",
        group=CHANGE,
    ),
    Key(("X",), "X", "ablate in a mode of your choice", opens="ablate {component} ", group=CHANGE),
    Key(
        ("P",),
        "P",
        "patch the selected node from prompt B",
        "patch {node} from B",
        hint="patch",
        group=CHANGE,
    ),
    Key(("z",), "z", "undo", "undo", hint="undo", group=CHANGE),
    Key(("Z",), "Z", "redo", "redo", hint="redo", group=CHANGE),
    Key(("R",), "R", "compute everything again", "run", group=CHANGE),
    Key(("p",), "p", "print the selected node's measures", "print {node}", hint="print", group=SEE),
    Key(
        ("a",), "a", "add the selected node to the circuit", "circuit add {placed}", hint="add", group=CHANGE
    ),
    Key(("i",), "i", "everything about the selected component", "info {component}", group=SEE),
    Key(
        ("enter",),
        "⏎",
        "ask about the selected node; in pane 0 open or close it, in 1 run to the line, in H make the edit",
        "{enter}",
        hint="trace",
        group=SEE,
    ),
    Key(
        ("u", "backspace"), "u⌫", "back to the older frame, towards the metric", "up", hint="back", group=SEE
    ),
    Key(("d",), "d", "to the newer frame", "down", group=SEE),
    Key(("w",), "w", "the trail of frames", "where", group=SEE),
    Key(
        ("o",),
        "o",
        "rank by the next measure; in pane H, fractions or raw",
        "{order}",
        hint="order",
        group=SEE,
    ),
    Key(
        ("m",),
        "m",
        "MLPs and neurons, or the latents of their SAEs",
        "latents mlps",
        hint="latents",
        group=SEE,
    ),
    Key(("M",), "M", "heads, or the latents of attention's SAEs", "latents heads", group=SEE),
    Key(("v",), "v", "the next view at the right", does="next_view", hint="view", group=SEE),
    Key(("left_square_bracket",), "[", "the head before", "attn {head_before}", hint="head", group=SEE),
    Key(("right_square_bracket",), "]", "the next head", "attn {head_after}", hint="head", group=SEE),
    Key(
        ("left_curly_bracket",),
        "{",
        "the same head a layer down",
        "attn {layer_below}",
        hint="layer",
        group=SEE,
    ),
    Key(
        ("right_curly_bracket",),
        "}",
        "the same head a layer up",
        "attn {layer_above}",
        hint="layer",
        group=SEE,
    ),
    Key(("right_parenthesis",), ")", "the next example of the prompt set", "prompts next", group=SEE),
    Key(("left_parenthesis",), "(", "the example before", "prompts prev", group=SEE),
    Key(("semicolon",), ";", "the last command again", does="repeat", group=SEE),
    Key(("h", "left"), "h ←", "token cursor to the left; in pane H, a column", does="left", group=MOVE),
    Key(("l", "right"), "l →", "token cursor to the right; in pane H, a column", does="right", group=MOVE),
    Key(("j", "down"), "j ↓", "down", does="down", group=MOVE),
    Key(("k", "up"), "k ↑", "up", does="up", group=MOVE),
    Key(("g", "home"), "g", "to the first row", does="first", group=MOVE),
    Key(("G", "end"), "G", "to the last row", does="last", group=MOVE),
    Key(("ctrl+d",), "^D", "half a page down", does="half_down", group=MOVE),
    Key(("ctrl+u",), "^U", "half a page up", does="half_up", group=MOVE),
    Key(("pagedown",), "PgDn", "a page down", does="page_down", group=MOVE),
    Key(("pageup",), "PgUp", "a page up", does="page_up", group=MOVE),
    Key(("slash",), "/", "find in the pane", does="find", hint="find", group=MOVE),
    Key(("full_stop",), ".", "find the next", does="find_next", group=MOVE),
    Key(("comma",), ",", "find the one before", does="find_before", group=MOVE),
    *(Key((str(n),), str(n), f"go to pane {n}", does=f"pane({n})", group=MOVE) for n in range(10)),
    Key(("T",), "T", "go to the sums token by token", does="pane('T')", group=MOVE),
    Key(("H",), "H", "go to the sweep", does="pane('H')", group=MOVE),
    Key(("tab",), "Tab", "the next pane", does="next_pane", group=MOVE),
    Key(("shift+tab",), "⇧Tab", "the pane before", does="pane_before", group=MOVE),
    Key(("plus",), "+", "one pane large, or all of them again", does="zoom"),
    Key(("underscore",), "_", "all panes again", does="unzoom"),
    Key(("colon",), ":", "the command line", opens=""),
    Key(("exclamation_mark",), "!", "a line of Python", opens="!"),
    Key(("question_mark",), "?", "every key and command in one list", does="menu"),
    Key(("f1",), "F1", "what this pane shows, and its keys", does="menu_of_pane"),
    Key(("y",), "y", "copy the selected node's name", does="copy"),
    Key(("escape", "ctrl+g"), "Esc ^G", "cancel what is running; close what is open", does="escape"),
    Key(("ctrl+c",), "^C", "cancel what is running", does="cancel"),
    Key(("ctrl+l",), "^L", "draw the screen again", does="redraw"),
    Key(("ctrl+z",), "^Z", "suspend; fg comes back", does="suspend_process"),
    Key(("q",), "q", "close what is open, else quit", does="leave", hint="quit"),
)

BY_KEY: Mapping[str, Key] = {name: key for key in KEYS for name in key.keys}

LINE_HINTS = (
    ("⏎", "run"),
    ("Tab", "complete"),
    ("↑", "history"),
    ("→", "accept"),
    ("^C", "clear"),
    ("^G", "leave"),
)
"The hint bar while the command line has the keys."


ALWAYS = ((":", "cmd"), ("?", "keys"))
"What the hint bar shows however narrow the terminal is."

USEFUL = {
    "code": "n s c b x z t r N v q",
    "rank": "⏎ u⌫ x P a o z v / p n q",
    "tree": "⏎=open t=trace u⌫ x P a v z / n q",
    "strips": "v o u⌫ / n q",
    "heat": "⏎=apply o=raw P x z v n q",
    "attn": "[ ] { } x P z v n q",
    "edits": "Space x z Z v n q",
    "stops": "Space b v n c q",
}
"The keys worth showing in each pane, the most useful first; `=` gives what one does there and not elsewhere."


def hints(pane: str = "code") -> tuple[tuple[str, str], ...]:
    """What the hint bar shows in key mode."""
    words = {key.shown: key.hint for key in KEYS if key.hint}
    found = (each.partition("=") for each in USEFUL.get(pane, "j k / v n q").split())
    return tuple((shown, own or words[shown]) for shown, _, own in found if shown in words)


PANES = {
    "code": "The pass as source code: -> is the next line, and what stands below it has not been executed.\n"
    "Δ is what a line adds to the metric, lens what the metric is after it; >> marks the largest change.\n"
    "B a breakpoint, * an edit, C part of the circuit.  s opens a line into its heads or neurons.",
    "rank": "Nodes by what they do to the metric: direct, as the final norm reads their write; total, an estimate of\n"
    "all paths (activation x gradient); measured, really ablated.  Enter asks why: a frame is pushed.",
    "attn": "Where a head looks: a row is a query, a column the key that it reads; the token cursor is the row.\n"
    "[ and ] go to the other heads of the layer, { and } to the same head of other layers.",
    "tree": "What is upstream of the selected frame: each branch moves the one above it.",
    "strips": "Effects summed token by token: embeddings, MLPs, what heads ask from and read at each.",
    "heat": "The last sweep: one edit a cell.  Enter makes the edit of the selected one.",
    "next": "The tokens that the model would say next, at the token cursor.",
    "edits": "Interventions in force, in the order made.  Space switches one off, x deletes it, z undoes.",
    "stops": "Breakpoints and watches.  Space switches one off, b deletes it.",
    "displays": "Expressions printed after each stop where they have changed: display EXPR adds one.",
    "log": "Every command and its answer: keys too are commands, so that this is a script of the session.",
}
"What each pane shows, for F1."


def useful(pane: str) -> list[Key]:
    """The keys worth showing in a pane, the most useful first."""
    shown = [each.partition("=")[0] for each in USEFUL.get(pane, "j k / v n q").split()]
    return [key for word in shown for key in KEYS if key.shown == word or word in key.shown.split()]


def by_group() -> Iterator[tuple[str, tuple[Key, ...]]]:
    """Groups in the order of the table, each with its keys."""
    for group in dict.fromkeys(key.group for key in KEYS):
        yield group, tuple(key for key in KEYS if key.group == group)
