"""How freed memory goes back to the machine."""

import ctypes
import sys

M_MMAP_THRESHOLD = -3
"From `malloc.h`: how many bytes an allocation must have for memory of its own."
THRESHOLD = 1 << 20
"Bytes: the tensors of long prompts, and few of short ones."


def give_back_large_tensors() -> None:
    """Give every large tensor memory of its own, which goes back when it is freed; nothing where that is not glibc's.

    Left alone, glibc takes what has once been freed for a sign that more of that size will come, and keeps up to
    32 MB a piece in its heap, where small things that stay keep large ones from going: several hundred MB at 512
    tokens of GPT-2 small.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, THRESHOLD)
