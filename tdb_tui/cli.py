"""The command line.  Nothing heavy is imported before it is known to be needed."""

import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tdb_tui import __version__
from tdb_tui.guard import check_libraries

if TYPE_CHECKING:
    from tdb_tui.errors import CommandError
    from tdb_tui.files.sourcing import ScriptLine
    from tdb_tui.session import Session

USAGE, NOT_LOADED, CRASHED = 2, 3, 70
EPILOG = "Also: tdb-tui pull NAME, tdb-tui docs [PAGE], tdb-tui doctor.  In the program, ? or help lists the commands."

debug = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
tools = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
TOOLS = ("pull", "docs", "doctor")
VALUED = frozenset(
    {
        *("-e", "--execute", "-x", "--file", "--target", "--distractor", "--prompt-b"),
        *("--prompts", "--model", "--device", "--dtype", "--color"),
    }
)
"Options of `start` that take the next word."


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says about the session to start."""

    prompt: str | None
    "None: the first example of the prompt set."
    targets: tuple[str, ...]
    distractors: tuple[str, ...]
    prompt_b: str | None
    model: str | None
    device: str
    dtype: str
    bos: bool
    prompts: str | None = None


def main() -> int:
    """Entry point of `tdb-tui`; its exit code."""
    check_libraries()
    app = tools if sys.argv[1:2] and sys.argv[1] in TOOLS else debug
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what an old locale cannot write is escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        return app(prog_name="tdb-tui", standalone_mode=False) or 0
    except BrokenPipeError:  # whoever read us has heard enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except typer.Exit as exit_:
        return exit_.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:
        # click's usage errors, whose class typer does not export
        message = getattr(error, "format_message", None)
        return _crashed(error) if message is None else _fail(f"{message()} (tdb-tui --help)", USAGE)


def _crashed(error: Exception) -> int:
    """A defect of ours: one sentence, and a report without the user's texts."""
    from platformdirs import user_state_path

    report = user_state_path("tdb-tui", ensure_exists=True) / "crash.txt"
    frames = "".join(traceback.format_tb(error.__traceback__))
    text = f"tdb-tui {__version__}, Python {sys.version}\n{frames}{type(error).__name__}\n"
    report.write_text(text, encoding="utf-8")
    return _fail(f"internal error ({type(error).__name__}): a report is in {report}", CRASHED)


@debug.command(epilog=EPILOG)
def start(
    prompt: Annotated[str | None, typer.Argument(help="The prompt, in quotes.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="A token the model should say; may be repeated.")
    ] = None,
    distractor: Annotated[
        list[str] | None, typer.Option(help="A token to compare with; may be repeated.")
    ] = None,
    prompt_b: Annotated[
        str | None, typer.Option(help="A second prompt, for `patch` to take values from.")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="A prompt set: a JSONL or CSV file, or ioi:200:7 (task, how many, seed); see `h prompts`."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A directory, a Hugging Face id, or gpt2, gpt2-medium, ...")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    bos: Annotated[bool, typer.Option(help="Put <|endoftext|> before the prompt.")] = True,
    execute: Annotated[
        list[str] | None, typer.Option("-e", "--execute", help="A command to run; may be repeated.")
    ] = None,
    file: Annotated[
        list[str] | None, typer.Option("-x", "--file", help="A file of commands, - for standard input.")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Run -e and -x in the order given, without a screen.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --batch: one JSON object a command.")] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="With --batch: go on after a failed command.")
    ] = False,
    ascii_: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
    color: Annotated[str, typer.Option(help="auto, truecolor, 256, 16 or none.")] = "auto",
    mouse: Annotated[bool | None, typer.Option(help="Use the mouse; by default not over SSH.")] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> int:
    """Step through GPT-2's forward pass and find out why it says TARGET and not DISTRACTOR."""
    if version:
        print(f"tdb-tui {__version__}")
        return 0
    if complaint := _incomplete(prompt, prompts, target, target or distractor or prompt_b):
        return _fail(complaint, USAGE)
    words = tuple(target or ()), tuple(distractor or ())
    asked = Asked(prompt, *words, prompt_b, model, device, dtype, bos, prompts)
    if batch or json or ((execute or file) and not _has_screen()):
        return _batch(asked, json, keep_going)
    if not _has_screen():
        return _report(asked)
    return _screen(asked, ascii_, color, mouse)


def _incomplete(prompt: str | None, prompts: str | None, target: object, words: object) -> str | None:
    """What is missing before a session can start, as a sentence; None where nothing is."""
    if prompt is None and prompts is None:
        return 'give a prompt in quotes: tdb-tui "When Mary and John ..." --target Mary --distractor John'
    if prompt is None and words:
        return "--target, --distractor and --prompt-b belong to a PROMPT: the examples of --prompts have their own"
    if prompt is not None and not target:
        return "say which token the model should say: --target Mary"
    return None


@tools.command()
def pull(
    name: Annotated[str, typer.Argument(help="gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2 or an id.")],
) -> int:
    """Download a model into the Hugging Face cache, going on where an earlier download stopped."""
    from tdb_tui.machine.pull import PullError, PullInterrupted, draw_bar
    from tdb_tui.machine.pull import pull as fetch

    try:
        directory = fetch(name, progress=draw_bar())
    except PullInterrupted as error:
        return _fail(str(error), 130)
    except PullError as error:
        return _fail(str(error), NOT_LOADED)
    print(directory)
    return 0


@tools.command()
def docs(page: Annotated[str | None, typer.Argument(help="commands, keys or json.")] = None) -> int:
    """Show a reference page, or list them."""
    pages = {path.stem: path for path in sorted((Path(__file__).parent / "docs").glob("*.md"))}
    if page is None:
        print("\n".join(pages))
        return 0
    if page not in pages:
        return _fail(f"no page {page!r}: {', '.join(pages)}", USAGE)
    print(pages[page].read_text(encoding="utf-8"), end="")
    return 0


@tools.command()
def doctor() -> int:
    """Print versions, devices, what the terminal can do, and which models are here."""
    from tdb_tui.machine.doctor import as_text, report

    print(as_text(report()))
    return 0


def open_session(asked: Asked) -> "tuple[Session, list[str]]":
    """Find and load the model, run the prompt; the session and what a person should be told.  Raises CommandError."""
    from model.tokenizer import TokenizerError
    from model.weights import CheckpointError
    from tdb_tui.engine import load_engine
    from tdb_tui.errors import ComputeFailed, NotLoaded
    from tdb_tui.machine.devices import ComputeError, DeviceError, compute_errors
    from tdb_tui.machine.models import ModelNotFound, find_model
    from tdb_tui.sets.prompt_sets import start_session

    try:
        found = find_model(asked.model)
        engine = load_engine(found.directory, found.name, found.why, asked.device, asked.dtype)
    except (ModelNotFound, CheckpointError, TokenizerError, DeviceError, ComputeError) as error:
        raise NotLoaded(str(error), code="not-loaded") from None
    words = asked.targets, asked.distractors, asked.prompt_b, asked.bos
    try:
        with compute_errors():
            session, notes = start_session(engine, asked.prompt, *words, prompts=asked.prompts)
    except ComputeError as error:
        raise ComputeFailed(str(error), code="compute") from None
    return session, [f"model {found.name}: {found.why}", *notes]


def _batch(asked: Asked, json: bool, keep_going: bool) -> int:
    from tdb_tui.batch import complain, run_batch
    from tdb_tui.errors import CommandError

    try:
        script = list(_script(sys.argv[1:]))
        session, notes = open_session(asked)
    except CommandError as error:
        complain(error)
        return _start_code(error)
    for note in notes:
        complain(note, mark="note:")
    return run_batch(session, script, json, keep_going)


def _report(asked: Asked) -> int:
    from tdb_tui.batch import complain
    from tdb_tui.errors import CommandError, ComputeFailed
    from tdb_tui.machine.devices import ComputeError, compute_errors
    from tdb_tui.report import report

    try:
        session, notes = open_session(asked)
        with compute_errors():
            said = report(session.snapshot)
    except CommandError as error:
        complain(error)
        return _start_code(error)
    except ComputeError as error:
        complain(str(error))
        return ComputeFailed(str(error)).exit_code
    print("\n".join([*(f"note: {note}" for note in notes), *said]))
    return 0


def _screen(asked: Asked, ascii_: bool, color: str, mouse: bool | None) -> int:
    """The screen, which imports torch behind its first frame."""
    from tdb_tui.errors import CommandError
    from tdb_tui.screen import run_screen

    try:
        commands = [line.text for line in _script(sys.argv[1:])]
    except CommandError as error:
        return _fail(str(error), USAGE)
    return run_screen(asked, commands, ascii_=ascii_, color=color, mouse=mouse)


def _start_code(error: "CommandError") -> int:
    """Before the first command, what is no fault of the model or the machine is one of the command line."""
    return USAGE if error.exit_code == 1 else error.exit_code


def _script(argv: Sequence[str]) -> "Iterator[ScriptLine]":
    """Commands of -e and lines of -x in the order given, those that belong together as one."""
    from tdb_tui.files.sourcing import blocks

    return blocks(_given(argv))


def _given(argv: Sequence[str]) -> "Iterator[ScriptLine]":
    """The same one by one, as the parsed options no longer know them."""
    from tdb_tui.files.sourcing import ScriptLine, script_lines

    words = iter(argv)
    for word in words:
        if word == "--":
            return
        name, joined, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        if name in VALUED:
            value = value if joined else next(words, "")
        if name in ("-e", "--execute"):
            yield ScriptLine(value, "")
        elif name in ("-x", "--file"):
            yield from script_lines(Path(value))


def _has_screen() -> bool:
    """Whether a person sits at a terminal that can be drawn on; standard output elsewhere wants text."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _fail(sentence: str, code: int) -> int:
    print(f"*** {sentence}", file=sys.stderr)
    return code
