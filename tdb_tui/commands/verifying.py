"""`verify`: whether the numbers on screen are right."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from model.files import CheckpointError
from model.reference.run import PlainGPT2, Tick, read_plain
from tdb_tui.commands.ranking import first_page
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, Interrupted
from tdb_tui.language.arguments import at_most, option_integer
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session
from tdb_tui.tables.verification import (
    Check,
    Second,
    book_checks,
    lens_checks,
    logit_checks,
    metric_checks,
    pattern_checks,
    row_checks,
)

ROWS, TOPS = 8, 5
"Ranked rows, and next tokens."
AGREES = 1e-6
"What the logits of `transformers` and of the independent pass, both in float64, may differ by."
MOST_BYTES = 8 << 30
"What the weights may take in float64 once more, for `transformers`: GPT-2 large does."


@dataclass(frozen=True, slots=True)
class Peer:
    """What the comparison with `transformers` found."""

    version: str
    difference: float
    "The largest between its float64 logits and those of the independent pass, of the largest logit."

    @property
    def agrees(self) -> bool:
        return self.difference <= AGREES


@command("verify", usage="[-n N]", group="seeing", options={"n": True}, examples=("verify", "verify -n 3"))
def verify(session: Session, call: Call) -> Reply:
    """Recompute what is on screen in float64 by an independent path, and say which digits can be trusted.

    The checkpoint is read again and run by a second implementation, with the edits in force.  Compared are the
    metric, the likeliest tokens, the lens at the token cursor, the first N ranked rows (8; 0 is all), the shown
    head's attention and the books.  Of latents the SAE's file is read again, and its equations are computed a second
    time.  A number is marked where it is off by more than half of its last digit: `rounding` where the noise floor
    explains that, `wrong` where nothing does.  The noise floor is what the run's dtype alone does to the logits.
    Where `transformers` is installed, its logits are compared as well.

    Every combination of edits is known to it, those of the stream, edges and paths too, but for three things that it
    names where they come up: rows of latents where edges or paths are edited, latents of attention whose heads do not
    all read one stream, and latents that are asked about while edits stand inside of their sub-layer.
    """
    at_most(call, 0)
    count = option_integer(call, "n", ROWS, "a number of rows")
    try:
        return _verified(session, count)
    finally:
        session.engine.progress = ""


def _verified(session: Session, count: int) -> Reply:
    tick, directory = _ticking(session), session.engine.info.directory
    session.engine.progress = "reading the checkpoint"
    try:
        plain = read_plain(directory)
        second = Second(session.snapshot, plain, tick)
    except (CheckpointError, ValueError) as error:
        raise CommandError(f"nothing could be verified: {error}", "cannot-verify") from None
    missing: list[str] = []
    checks = list(_checks(session, second, count, missing))
    session.engine.progress = "noise floor"
    noise = second.noise_floor()
    session.engine.progress = "transformers"
    peer = compared_with_transformers(plain, directory, second.run.tokens, tick)
    flags = [check.flag(noise) for check in checks]
    agrees = isinstance(peer, str) or peer.agrees
    return Reply(
        (*_table(checks, flags), *_summary(session, checks, flags, noise, peer), *missing),
        {
            "rows": [_row(check, flag) for check, flag in zip(checks, flags, strict=True)],
            "ok": agrees and not any(flags) and not missing,
            "noise_floor": noise,
            "transformers": None if isinstance(peer, str) else asdict(peer),
            "not_verified": missing,
        },
    )


def _checks(session: Session, second: Second, count: int, missing: list[str]) -> Iterator[Check]:
    """Every number on screen; what the independent pass does not know is named in `missing`."""

    def progress(text: str) -> None:
        session.engine.progress = text

    shown = first_page(session.snapshot, max(count, 1))
    count = count or len(shown.order)
    parts: dict[str, Callable[[], Iterator[Check]]] = {
        "the metric": lambda: metric_checks(second),
        "logits": lambda: logit_checks(second, TOPS),
        "the lens": lambda: lens_checks(second),
        "ranked rows": lambda: row_checks(second, shown, count, progress),
        "attention": lambda: pattern_checks(second),
        "the books": lambda: book_checks(second, shown, count),
    }
    for name, checks in parts.items():
        second.tick()
        try:
            yield from checks()
        except ValueError as error:
            missing.append(f"not verified: {name}, since {error}")


def _ticking(session: Session) -> Tick:
    def tick() -> None:
        if session.engine.interrupt.is_set():
            raise Interrupted

    return tick


def compared_with_transformers(
    plain: PlainGPT2, directory: Path, tokens: tuple[int, ...], tick: Tick
) -> Peer | str:
    """Logits of the whole prompt without edits; why not, where it cannot be."""
    if find_spec("transformers") is None:
        return "it is not installed"
    if plain.parameters * 8 > MOST_BYTES:
        return f"its weights would take {plain.parameters * 8 / 2**30:.0f} GiB"
    import transformers

    try:
        with _silent():
            model = transformers.GPT2LMHeadModel.from_pretrained(
                directory, dtype=torch.float64, attn_implementation="eager", local_files_only=True
            )
    except (OSError, ValueError) as error:
        return f"it cannot read the checkpoint ({str(error).partition(chr(10))[0]})"
    tick()
    run = plain.run(tokens, tick=tick)
    with torch.no_grad():
        theirs = model(torch.tensor([tokens])).logits[0]
    ours = torch.stack([plain.logits(run, pos) for pos in range(len(tokens))])
    return Peer(transformers.__version__, float((theirs - ours).abs().max() / ours.abs().max()))


@contextmanager
def _silent() -> Iterator[None]:
    """Neither progress bars nor warnings of `transformers`, which would be written over the screen."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _table(checks: list[Check], flags: list[str | None]) -> tuple[str, ...]:
    cells = [("", "shown", "float64", "difference", "")]
    for check, flag in zip(checks, flags, strict=True):
        cells.append((check.what, check.text, f"{check.exact:.7g}", f"{check.difference:+.1e}", flag or ""))
    return columns(cells, "-rrr-")


def _summary(
    session: Session, checks: list[Check], flags: list[str | None], noise: float, peer: Peer | str
) -> tuple[str, ...]:
    floor = f"noise floor {noise:.1e} logits: what {session.engine.info.dtype} does to them"
    if isinstance(peer, str):
        compared = f"not compared with transformers: {peer}"
    else:
        verb = "agrees" if peer.agrees else "DISAGREES"
        compared = (
            f"transformers {peer.version} {verb} with the float64 pass to {peer.difference:.1e} of its logits"
        )
    bad = sum(flag is not None for flag in flags)
    result = (
        f"{bad} of {len(checks)} numbers are off by more than half of their last digit"
        if bad
        else f"{len(checks)} numbers are right to the last digit shown"
    )
    return floor, compared, result


def _row(check: Check, flag: str | None) -> dict[str, object]:
    return {
        "group": check.group,
        "what": check.what,
        "shown": check.shown,
        "text": check.text,
        "float64": check.exact,
        "difference": check.difference,
        "digit": check.digit,
        "flag": flag,
    }
