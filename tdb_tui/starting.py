"""From the options to a session.  The model's libraries are imported when it is called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tdb_tui.config import Config
from tdb_tui.options import ABOUT, MEANS, Options

if TYPE_CHECKING:
    from tdb_tui.journal.records import Kept
    from tdb_tui.session import Session


LESSON = Options(
    prompt="When Mary and John went to the store, John gave a drink to", target=["Mary"], distractor=["John"]
)
"What the lesson is about where nobody says."


def taught(options: Options) -> Options:
    """The options with a prompt for the lesson, where they have none."""
    if options.prompt is not None or options.prompts is not None:
        return options
    return replace(options, prompt=LESSON.prompt, target=LESSON.target, distractor=LESSON.distractor)


@dataclass(frozen=True, slots=True)
class Start:
    """What the program is to do, and where that was said."""

    options: Options
    words: Sequence[str]
    "The command line."
    config: Config
    origins: Mapping[str, str]
    "Option -> default, file, env or flag."
    kept: "Kept | None" = None
    "The journal to go on with."

    @property
    def about(self) -> tuple[tuple[str, str, str], ...]:
        """Each option that may stand in a file, its value and where that comes from."""
        shown = {name: getattr(self.options, name) for name in self.origins}
        options = ((name, _written(value), self.origins[name]) for name, value in shown.items())
        return (*options, *((name, value, "file") for name, value in self.config.settings.items()))


def _written(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return (
        {None: "none", True: "on", False: "off"}[value]
        if value is None or isinstance(value, bool)
        else str(value)
    )


def open_session(
    options: Options, kept: "Kept | None" = None, about: tuple[tuple[str, str, str], ...] = ()
) -> "tuple[Session, list[str]]":
    """Find and load the model, run the prompt, go on where a journal ends.  Raises CommandError.

    The session, and what a person should be told.
    """
    from model.tokenizer import TokenizerError
    from model.weights import CheckpointError
    from tdb_tui.commands.latents import loaded
    from tdb_tui.engine import load_engine
    from tdb_tui.errors import ComputeFailed, NotLoaded
    from tdb_tui.machine.devices import ComputeError, DeviceError, compute_errors
    from tdb_tui.machine.models import ModelNotFound, find_model
    from tdb_tui.saes import load_saes
    from tdb_tui.sets.prompt_sets import start_session

    try:
        found = find_model(options.model)
        engine = load_engine(found.directory, found.name, found.why, options.device, options.dtype)
    except (ModelNotFound, CheckpointError, TokenizerError, DeviceError, ComputeError) as error:
        raise NotLoaded(str(error), code="not-loaded") from None
    if options.store:
        engine.stores.use([Path(path).expanduser() for path in options.store])
    words = tuple(options.target or ()), tuple(options.distractor or ()), options.prompt_b, options.bos
    try:
        with compute_errors():
            session, notes = start_session(engine, options.prompt, *words, prompts=options.prompts)
            more = load_saes(session, options.sae)
            if options.sae and session.state.inputs.saes:
                more += loaded(session.snapshot, session.state.inputs.saes).lines
    except ComputeError as error:
        raise ComputeFailed(str(error), code="compute") from None
    session.options = about
    notes = [f"model {found.name}: {found.why}", *notes, *more]
    if kept is not None:
        notes += _gone_on(session, kept)
    if options.journal:
        notes += _journaled(session, options, kept)
    return session, notes


def _gone_on(session: "Session", kept: "Kept") -> list[str]:
    from tdb_tui.journal.resuming import replay

    complaints = replay(session, kept)
    notes = [f"resumed {kept.name}: {len(kept.lines)} lines", *complaints]
    python = sum(each.line.lstrip().startswith("!") for each in kept.lines if each.worked)
    if python:
        lines = "a line of Python was" if python == 1 else f"{python} lines of Python were"
        notes.append(f"{lines} carried out again: what it wrote elsewhere, it wrote again")
    if kept.unfinished is not None and kept.pending is None:
        notes.append(f"not begun again, as the program ended during it twice: {kept.unfinished}")
    return notes


def _journaled(session: "Session", options: Options, kept: "Kept | None") -> list[str]:
    """Keep a journal from here on; a sentence where that cannot be."""
    from tdb_tui.journal.finding import journal_folder
    from tdb_tui.journal.writing import Journal

    info = session.engine.info
    about = {name: getattr(options, name) for name in (*ABOUT, *MEANS)}
    if options.model is None:  # another start may find another one
        about["model"] = info.name if info.name == "gpt2" else str(info.directory)
    elif info.directory == Path(options.model).expanduser():
        about["model"] = str(info.directory.resolve())
    try:
        if kept is None:
            session.journal = Journal.begin(journal_folder(), about, {"name": info.name})
        else:
            session.journal = Journal.go_on(kept)
    except OSError as error:
        return [f"no journal, so nothing can be resumed: {(error.strerror or str(error)).lower()}"]
    return []
