"""What is carried out first: the user's own commands, and those of the directory once they are trusted."""

import sys
from collections.abc import Iterator
from pathlib import Path

from tdb_tui.config import Config, config_folder
from tdb_tui.errors import CommandError
from tdb_tui.files.sourcing import ScriptLine, blocks, script_lines
from tdb_tui.language.parsing import quote
from tdb_tui.machine.trust import is_trusted, trust
from tdb_tui.options import Options

LOCAL = Path(".tdbrc")


def startup_lines(options: Options, config: Config, person: bool) -> list[ScriptLine]:
    """Settings of the configuration, `rc.tdb` beside it, `./.tdbrc`; none with --no-rc.

    Where a `person` sits at the terminal they are asked about a `./.tdbrc` that is not trusted; else it is refused.
    Raises CommandError.
    """
    if not options.rc:
        return []
    lines = [
        ScriptLine(f"set {name} {_word(value)}", str(config.path)) for name, value in config.settings.items()
    ]
    own = config_folder() / "rc.tdb"
    return [*lines, *_script(own), *(_script(LOCAL) if _local(options, person) else ())]


def _script(path: Path) -> Iterator[ScriptLine]:
    return blocks(script_lines(path)) if path.is_file() else iter(())


def _word(value: str) -> str:
    return value if value.isprintable() and not set(value) & set("\"'\\;#") else quote(value)


def _local(options: Options, person: bool) -> bool:
    """Whether the directory's commands are to be run."""
    if not LOCAL.is_file() or LOCAL.resolve() == (config_folder() / "rc.tdb").resolve():
        return False
    try:
        if is_trusted(LOCAL):
            return True
        if not options.trust and not person:
            message = "./.tdbrc is not trusted: look at it, then --trust runs it from now on, --no-rc never"
            raise CommandError(message, code="untrusted")
        if not options.trust and not _agreed():
            return False
        trust(LOCAL)
    except OSError as error:
        raise CommandError(
            f"cannot read ./.tdbrc: {(error.strerror or '').lower()}", code="no-file"
        ) from None
    return True


def _agreed() -> bool:
    print("./.tdbrc has commands that may run Python, and is new or has changed.", file=sys.stderr)
    print("Run it from now on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
