"""How the program ends: its exit codes, and one sentence on standard error."""

import sys

FAILED, USAGE, NOT_LOADED, CRASHED, INTERRUPTED = 1, 2, 3, 70, 130


def fail(sentence: str, code: int) -> int:
    """Say what is wrong; the exit code."""
    print(f"*** {sentence}", file=sys.stderr)
    return code
