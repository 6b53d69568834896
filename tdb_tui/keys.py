"""Keys -> the commands they stand for.  The screen, the key menu and the generated page all read this table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that can be pressed, and what it does: a command, the beginning of one, or a move on the screen."""

    id: str
    "What the `[keys]` table of the configuration calls it."
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

# fmt: off
KEYS: tuple[Key, ...] = (
    Key("next", ("n",), "n", "execute the line", "next", hint="next", group=STEP),
    Key("step", ("s",), "s", "step into the line", "step", hint="into", group=STEP),
    Key("continue", ("c",), "c", "continue to the next stop", "continue", hint="cont", group=STEP),
    Key("return", ("r",), "r", "return from the opened line", "return", hint="out", group=STEP),
    Key("reverse-next", ("N",), "N", "back over a line", "rn", hint="back", group=STEP),
    Key("reverse-step", ("S",), "S", "back into a line", "rs", group=STEP),
    Key("reverse-continue", ("C",), "C", "back to the stop before", "rc", group=STEP),
    Key("until", ("t",), "t", "run to the selected line; in pane 0, trace along the branch", "{to}", hint="to here",
        group=STEP),
    Key("break", ("b",), "b", "set or clear a stop at the selected line", "{toggle_stop}", hint="break", group=STEP),
    Key("break-if", ("B",), "B", "a stop with a condition", opens="break {line}, ", group=STEP),
    Key("ablate", ("x",), "x", "ablate what is marked or selected, or take that back", "{toggle_edit}", hint="ablate",
        group=CHANGE),
    Key("mark", ("space",), "Space",
        "mark the selected node, for x P f and $marks; in panes 5 and 6, switch it off or on", "{mark}", hint="mark",
        group=CHANGE),
    Key("edit-later", ("J",), "J", "in pane 5, put the selected edit a place later", "{edit_later}", hint="later",
        group=CHANGE),
    Key("edit-earlier", ("K",), "K", "in pane 5, put it a place earlier", "{edit_earlier}", hint="earlier",
        group=CHANGE),
    Key("ablate-mode", ("X",), "X", "ablate in a mode of your choice", opens="ablate {component} ", group=CHANGE),
    Key("patch", ("P",), "P", "patch what is marked or selected from prompt B", "patch {nodes} from B", hint="patch",
        group=CHANGE),
    Key("freeze", ("f",), "f", "freeze what is marked or selected, or take that back", "{toggle_freeze}",
        hint="freeze", group=CHANGE),
    Key("steer", ("F",), "F", "steer the selected node", opens="steer {placed} += ", group=CHANGE),
    Key("undo", ("z",), "z", "undo", "undo", hint="undo", group=CHANGE),
    Key("redo", ("Z",), "Z", "redo", "redo", hint="redo", group=CHANGE),
    Key("run", ("R",), "R", "compute everything again", "run", group=CHANGE),
    Key("print", ("p",), "p", "print the selected node's measures", "print {node}", hint="print", group=SEE),
    Key("circuit-add", ("a",), "a", "add the selected node to the circuit", "circuit add {placed}", hint="add",
        group=CHANGE),
    Key("explain", ("e",), "e", "what the selected component does, in words", "explain {component}", hint="explain",
        group=SEE),
    Key("page", ("i",), "i", "the selected component's page: what it does, with examples and a score", "info {node}",
        hint="page", group=SEE),
    Key("enter", ("enter",), "⏎",
        "the selected component's page, and from there upstream; in pane 0 open or close, in 1 run to the line, "
        "in H make the edit",
        "{enter}", hint="page", group=SEE),
    Key("try-text", ("quotation_mark",), '"', "on a page, what its component does on a text that you type",
        opens="info {component} ", hint="try a text", group=SEE),
    Key("try-explanation", ("apostrophe",), "'",
        "on a page, how well an explanation that you type predicts its component", opens="explain {component} ",
        hint="score a sentence", group=SEE),
    Key("up", ("u", "backspace"), "u⌫",
        "back to the older frame, towards the metric; from a page to where it was found", "{up}", hint="back",
        group=SEE),
    Key("down", ("d",), "d", "to the newer frame", "down", group=SEE),
    Key("where", ("w",), "w", "the trail of frames", "where", group=SEE),
    Key("order", ("o",), "o", "rank by the next measure; in pane H, fractions or raw", "{order}", hint="order",
        group=SEE),
    Key("latents-mlps", ("m",), "m", "MLPs and neurons, or the latents of their SAEs", "latents mlps", hint="latents",
        group=SEE),
    Key("latents-heads", ("M",), "M", "heads, or the latents of attention's SAEs", "latents heads", group=SEE),
    Key("next-view", ("v",), "v", "the next view at the right", does="next_view", hint="view", group=SEE),
    Key("head-before", ("left_square_bracket",), "[", "the head before; on a page, the component before", "{before}",
        hint="head", group=SEE),
    Key("head-after", ("right_square_bracket",), "]", "the next head; on a page, the next component", "{after}",
        hint="head", group=SEE),
    Key("layer-below", ("left_curly_bracket",), "{", "the same head, or the page's component, a layer down",
        "{below}", hint="layer", group=SEE),
    Key("layer-above", ("right_curly_bracket",), "}", "the same head, or the page's component, a layer up", "{above}",
        hint="layer", group=SEE),
    Key("attn-weights", ("A",), "A", "the attention shown: weights", "attn {shown} --by weights", hint="weights",
        group=SEE),
    Key("attn-values", ("V",), "V", "what it carries: weights by the size of values", "attn {shown} --by values",
        hint="values", group=SEE),
    Key("attn-effect", ("D",), "D", "what it does to the metric, or to the frame", "attn {shown} --by effect",
        hint="effect", group=SEE),
    Key("attn-layer", ("L",), "L", "every head of the layer, from the token cursor", "attn {shown} --by layer",
        hint="layer", group=SEE),
    Key("prompt-after", ("right_parenthesis",), ")", "the next example of the prompt set", "prompts next", group=SEE),
    Key("prompt-before", ("left_parenthesis",), "(", "the example before", "prompts prev", group=SEE),
    Key("repeat", ("semicolon",), ";", "the last command again", does="repeat", group=SEE),
    Key("left", ("h",), "h", "token cursor to the left; in pane H, a column", does="left", group=MOVE),
    Key("right", ("l",), "l", "token cursor to the right; in pane H, a column", does="right", group=MOVE),
    Key("arrow-left", ("left",), "←", "as h; on a page, the component before", does="beside('before')", group=MOVE),
    Key("arrow-right", ("right",), "→", "as l; on a page, the next component", does="beside('after')", group=MOVE),
    Key("arrow-down", ("shift+down",), "⇧↓", "on a page, the same a layer down", does="beside('below')", group=MOVE),
    Key("arrow-up", ("shift+up",), "⇧↑", "on a page, the same a layer up", does="beside('above')", group=MOVE),
    Key("row-down", ("j", "down"), "j ↓", "down", does="down", group=MOVE),
    Key("row-up", ("k", "up"), "k ↑", "up", does="up", group=MOVE),
    Key("first", ("g", "home"), "g", "to the first row", does="first", group=MOVE),
    Key("last", ("G", "end"), "G", "to the last row", does="last", group=MOVE),
    Key("half-down", ("ctrl+d",), "^D", "half a page down", does="half_down", group=MOVE),
    Key("half-up", ("ctrl+u",), "^U", "half a page up", does="half_up", group=MOVE),
    Key("page-down", ("pagedown",), "PgDn", "a page down", does="page_down", group=MOVE),
    Key("page-up", ("pageup",), "PgUp", "a page up", does="page_up", group=MOVE),
    Key("find", ("slash",), "/", "find in the pane", does="find", hint="find", group=MOVE),
    Key("filter", ("ampersand",), "&", "show only the pane's rows with certain words; Esc shows all", does="filter",
        group=MOVE),
    Key("find-next", ("full_stop",), ".", "find the next", does="find_next", group=MOVE),
    Key("find-before", ("comma",), ",", "find the one before", does="find_before", group=MOVE),
    *(Key(f"pane-{n}", (str(n),), str(n), f"go to pane {n}", does=f"pane({n})", group=MOVE) for n in range(10)),
    Key("pane-T", ("T",), "T", "go to the sums token by token", does="pane('T')", group=MOVE),
    Key("pane-I", ("I",), "I", "what there is to say about the selected node; again, scroll there", does="inspect",
        group=MOVE),
    Key("pane-E", ("E",), "E", "go to the page of the component last asked about, or of the selected one",
        does="page", group=MOVE),
    Key("pane-H", ("H",), "H", "go to the sweep", does="pane('H')", group=MOVE),
    Key("pane-after", ("tab",), "Tab", "the next pane", does="next_pane", group=MOVE),
    Key("pane-before", ("shift+tab",), "⇧Tab", "the pane before", does="pane_before", group=MOVE),
    Key("zoom", ("plus",), "+", "the pane larger, then as large as the screen", does="zoom", hint="zoom"),
    Key("unzoom", ("underscore",), "_", "the pane smaller again", does="unzoom"),
    Key("line", ("colon",), ":", "the command line", opens=""),
    Key("python", ("exclamation_mark",), "!", "a line of Python", opens="!"),
    Key("menu", ("question_mark",), "?", "every key and command in one list", does="menu"),
    Key("help", ("f1",), "F1", "what this pane shows, and its keys", does="menu_of_pane"),
    Key("copy", ("y",), "y", "copy the selected node's name", does="copy"),
    Key("copy-table", ("Y",), "Y", "copy the rows of the pane, as a table with tabs", does="copy_table"),
    Key("screenshot", ("f8",), "F8", "the screen as a picture, an SVG file", does="picture"),
    Key("escape", ("escape", "ctrl+g"), "Esc ^G", "cancel what is running; close what is open", does="escape"),
    Key("cancel", ("ctrl+c",), "^C", "cancel what is running", does="cancel"),
    Key("redraw", ("ctrl+l",), "^L", "draw the screen again", does="redraw"),
    Key("suspend", ("ctrl+z",), "^Z", "suspend; fg comes back", does="suspend_process"),
    Key("quit", ("q",), "q", "close what is open, else quit", does="leave", hint="quit"),
)
# fmt: on


def by_group(keys: Iterable[Key] = KEYS) -> Iterator[tuple[str, tuple[Key, ...]]]:
    """Groups in the order of the table, each with its keys; what no key stands for is left out."""
    pressed = [key for key in keys if key.keys]
    for group in dict.fromkeys(key.group for key in pressed):
        yield group, tuple(key for key in pressed if key.group == group)
