"""One heap for all threads.

The C library gives each thread a heap of its own, up to eight for each core, and what one has freed no other takes.
The agent's threads work one after the other on one interpreter: heaps of their own make nothing faster, and take a few
MB more.
"""

import contextlib
import ctypes

_M_ARENA_MAX = -8


def share() -> None:
    """Let every thread that begins from now on use the first heap; nothing where the C library has no such word."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
