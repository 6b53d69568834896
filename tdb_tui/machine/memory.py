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
    _set(M_MMAP_THRESHOLD, THRESHOLD)


def keep_freed_memory() -> None:
    """Keep what is freed for what comes next; for work that asks for the same sizes over and over.

    Memory that comes fresh from the machine is filled with zeros page by page, which took a collation of GPT-2 small
    a fifth of its time.
    """
    _set(M_MMAP_THRESHOLD, 1 << 30)
    _set(M_TRIM_THRESHOLD, MOST)


def _set(parameter: int, value: int) -> None:
    """Nothing where the allocator is not glibc's."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(parameter, value)
