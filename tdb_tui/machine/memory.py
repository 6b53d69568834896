"""Whether freed memory goes back to the machine at once, or stays for what comes next."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"From `malloc.h`: bytes that may lie free at the heap's end, and that an allocation must have for memory of its own."
MOST = 2**31 - 1
THRESHOLD = 1 << 20
"Bytes: the tensors of long prompts, and few of short ones."


def give_back_large_tensors() -> None:
    """Give every large tensor memory of its own, which goes back when it is freed.

    Left alone, glibc takes what has once been freed for a sign that more of that size will come, and keeps up to
    32 MB a piece in its heap, where small things that stay keep large ones from going: several hundred MB at 512
    tokens of GPT-2 small.
    """
    _call("mallopt", M_MMAP_THRESHOLD, THRESHOLD)


def give_back_freed() -> None:
    """Give back what smaller things have left free between others: some milliseconds."""
    _call("malloc_trim", 0)


def keep_freed_memory() -> None:
    """Keep what is freed for what comes next; for work that asks for the same sizes over and over.

    Memory that comes fresh from the machine is filled with zeros page by page, which took a collation of GPT-2 small
    a fifth of its time.
    """
    _call("mallopt", M_MMAP_THRESHOLD, 1 << 30)
    _call("mallopt", M_TRIM_THRESHOLD, MOST)


def _call(name: str, *values: int) -> None:
    """Nothing where the allocator is not glibc's."""
    of_glibc = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    if of_glibc is not None:
        of_glibc(*values)
