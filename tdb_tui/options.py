"""The options of the debugger itself.  Each is a field here; Typer makes the command line and its help of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from typer import Argument, Option

from tdb_tui.programs import PROGRAMS

ABOUT = ("prompt", "target", "distractor", "prompt_b", "prompts", "bos")
"What a session is about: where it is resumed, they are what they were."

MEANS = ("model", "sae", "store", "device", "dtype")
"What it runs on: the same, where nothing else is asked for."


def list_programs() -> list[str]:
    """What the first word may be, beside a prompt."""
    return list(PROGRAMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Step through GPT-2's forward pass and find out why it says TARGET and not DISTRACTOR."""

    prompt: Annotated[str | None, Argument(help="The prompt, in quotes.", autocompletion=list_programs)] = (
        None
    )
    target: Annotated[
        list[str] | None,
        Option(help="A token the model should say; may be repeated.  Without it, the likeliest next one."),
    ] = None
    distractor: Annotated[
        list[str] | None,
        Option(help="A token to compare with; may be repeated.  Without any --target, the runner-up."),
    ] = None
    prompt_b: Annotated[str | None, Option(help="A second prompt, for `patch` to take values from.")] = None
    prompts: Annotated[
        str | None,
        Option(
            help="A prompt set: a JSONL or CSV file, or ioi:200:7 (task, how many, seed); see `h prompts`."
        ),
    ] = None
    "Without a prompt, the first example is it."

    model: Annotated[str | None, Option(help="A directory, a Hugging Face id, or gpt2, gpt2-medium, ...")] = (
        None
    )
    sae: Annotated[
        list[str] | None,
        Option(help="An SAE, [SITE.LAYER=]PATH (mlp_out.3=FILE.pt), or none; may be repeated."),
    ] = None
    store: Annotated[
        list[str] | None,
        Option(help="A store of dataset examples, made with tdb-tui collate; may be repeated."),
    ] = None
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto"
    dtype: Annotated[str, Option(help="float32, float64, bfloat16 or float16.")] = "float32"
    bos: Annotated[bool, Option(help="Put <|endoftext|> before the prompt.")] = True

    execute: Annotated[
        list[str] | None, Option("-e", "--execute", help="A command to run; may be repeated.")
    ] = None
    file: Annotated[
        list[str] | None, Option("-x", "--file", help="A file of commands, - for standard input.")
    ] = None
    batch: Annotated[bool, Option("--batch", help="Run -e and -x in the order given, without a screen.")] = (
        False
    )
    json: Annotated[bool, Option("--json", help="With --batch: one JSON object a command.")] = False
    keep_going: Annotated[
        bool, Option("--keep-going", help="With --batch: go on after a failed command.")
    ] = False

    resume: Annotated[
        bool,
        Option(
            "--resume",
            help="Go on with the last session, or with one whose name or prompt is given as PROMPT.",
        ),
    ] = False
    journal: Annotated[bool, Option(help="Keep every command in a journal, for --resume.")] = True

    rc: Annotated[bool, Option(help="Begin with the commands of rc.tdb and of ./.tdbrc.")] = True
    trust: Annotated[
        bool, Option("--trust", help="Trust ./.tdbrc as it is now: it is run, and is not asked about again.")
    ] = False
    config: Annotated[str | None, Option(help="A configuration file in the place of the usual one.")] = None
    paths: Annotated[
        bool, Option("--paths", help="Print where configuration, journals and reports are, and leave.")
    ] = False
    crash_text: Annotated[
        bool, Option("--crash-text", help="Leave prompts and commands whole in the report of a crash.")
    ] = False

    ascii: Annotated[bool, Option("--ascii", help="Draw with ASCII characters only.")] = False
    color: Annotated[str, Option(help="auto, truecolor, 256, 16 or none.")] = "auto"
    mouse: Annotated[bool | None, Option(help="Use the mouse; by default not over SSH.")] = None
    bell: Annotated[bool, Option(help="Ring when work that took longer than 5 s is done.")] = True
    theme: Annotated[
        str | None,
        Option(help="A theme of the screen: textual-dark, nord, gruvbox, ...; the terminal's own colours."),
    ] = None
    layout: Annotated[str, Option(help="auto, small, normal or wide: panes beside each other at most.")] = (
        "auto"
    )
    plain: Annotated[
        bool, Option("--plain", help="A line at a time at a (tdb) prompt, nothing drawn; through a pipe too.")
    ] = False
    tutor: Annotated[
        bool,
        Option(
            "--tutor", help="A lesson on this prompt, or on one of its own; with --batch it plays itself."
        ),
    ] = False
    spec: Annotated[
        str | None, Option("--spec", help="json: print commands, settings, keys and exit codes, and leave.")
    ] = None
    version: Annotated[bool, Option("--version", help="Print versions and the device, and leave.")] = False

    def resumed(self, header: Mapping[str, Any]) -> "Options":
        """These options for a session that goes on: `header` holds those it was started with."""
        usual = Options()
        means = {name for name in MEANS if getattr(self, name) == getattr(usual, name)}
        return replace(self, **{name: header[name] for name in (*ABOUT, *means) if name in header})

    def complaint(self) -> str | None:
        """What is missing before a session can start, as a sentence; None where nothing is."""
        if self.prompt is None and self.prompts is None:
            return 'give a prompt in quotes: tdb-tui "When Mary and John ..." --target Mary --distractor John'
        if self.prompt is None and (self.target or self.distractor or self.prompt_b):
            return "--target, --distractor and --prompt-b belong to a PROMPT: the examples of --prompts have their own"
        return None


ONLY_ASKED = (
    *ABOUT,
    "execute",
    "file",
    "batch",
    "json",
    "resume",
    "trust",
    "config",
    "paths",
    "spec",
    "tutor",
    "version",
)
"What is said anew at every start, not in a configuration file."

IN_FILES = tuple(name for name in Options.__dataclass_fields__ if name not in ONLY_ASKED or name == "bos")
"Options that a configuration file may set, with `_` or `-`."

LISTS = ("sae", "store")
"Those among them that may be several."
