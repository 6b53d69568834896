"""How the program ends: its exit codes, and one sentence on standard error."""

import sys

FAILED, USAGE, NOT_LOADED, CRASHED, INTERRUPTED = 1, 2, 3, 70, 130

EXIT_CODES = {
    0: "all commands succeeded",
    FAILED: "a command failed",
    USAGE: "the command line was wrong",
    NOT_LOADED: "the model, its tokenizer or the device could not be had",
    4: "the computation failed: out of memory, numbers that are not finite",
    5: "an assertion failed",
    CRASHED: "a defect of the program: a report was written",
    INTERRUPTED: "interrupted",
}


def fail(sentence: str, code: int) -> int:
    """Say what is wrong; the exit code."""
    print(f"*** {sentence}", file=sys.stderr)
    return code
