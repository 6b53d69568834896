"""From the options to a session.  The model's libraries are imported when it is called."""

from typing import TYPE_CHECKING

from tdb_tui.options import Options

if TYPE_CHECKING:
    from tdb_tui.session import Session


def open_session(options: Options) -> "tuple[Session, list[str]]":
    """Find and load the model, run the prompt; the session and what a person should be told.  Raises CommandError."""
    from model.tokenizer import TokenizerError
    from model.weights import CheckpointError
    from tdb_tui.engine import load_engine
    from tdb_tui.errors import ComputeFailed, NotLoaded
    from tdb_tui.machine.devices import ComputeError, DeviceError, compute_errors
    from tdb_tui.machine.models import ModelNotFound, find_model
    from tdb_tui.sets.prompt_sets import start_session

    try:
        found = find_model(options.model)
        engine = load_engine(found.directory, found.name, found.why, options.device, options.dtype)
    except (ModelNotFound, CheckpointError, TokenizerError, DeviceError, ComputeError) as error:
        raise NotLoaded(str(error), code="not-loaded") from None
    words = tuple(options.target or ()), tuple(options.distractor or ()), options.prompt_b, options.bos
    try:
        with compute_errors():
            session, notes = start_session(engine, options.prompt, *words, prompts=options.prompts)
    except ComputeError as error:
        raise ComputeFailed(str(error), code="compute") from None
    return session, [f"model {found.name}: {found.why}", *notes]
