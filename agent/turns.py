"""Who may look now: streams that share a model take turns, so that no more looks run at once than the cores carry.

One inference on one thread for each core, side by side, does more frames than one inference spread over all cores
(docs/decisions/0008-speed.md): so a stream has several hands, and with several streams the hands take turns. The next
turn goes to the stream whose last one is longest ago: a stream that asks more often, or came first, gets no more than
its share.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CPU = "CPUExecutionProvider"

_AT_ONCE_MAX = 4
"""Each look at once has its own input tensor and its own activations in memory."""

_AT_ONCE_ELSEWHERE = 2
"""Another processor runs one inference at a time; meanwhile the CPU prepares the next."""


class Turns:
    """So many at once, the others in a fair order.

    Args:
        at_once: How many may have a turn at the same time.
    """

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once
        self._free = at_once
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, threading.Event]] = []
        self._served: dict[str, int] = {}
        self._count = 0

    @contextmanager
    def taken_by(self, who: str) -> Iterator[None]:
        """A turn for `who`, waiting for it."""
        self._take(who)
        try:
            yield
        finally:
            self._give_back()

    def _take(self, who: str) -> None:
        with self._lock:
            if self._free and not self._waiting:
                self._free -= 1
                self._serve(who)
                return
            called = threading.Event()
            self._waiting.append((who, called))
        called.wait()

    def _give_back(self) -> None:
        with self._lock:
            if not self._waiting:
                self._free += 1
                return
            longest_ago = min(self._waiting, key=lambda waiting: self._served.get(waiting[0], 0))
            self._waiting.remove(longest_ago)
            self._serve(longest_ago[0])
            longest_ago[1].set()

    def _serve(self, who: str) -> None:
        self._count += 1
        self._served[who] = self._count


def at_once(provider: str, threads: int, wanted: int = 0, cores: int | None = None) -> int:
    """How many looks a model's session should run at the same time.

    Args:
        provider: That runs the model.
        threads: Of one inference; 0 for as many as there are cores.
        wanted: What the configuration says; 0 for nothing.
        cores: Of this machine that this process may use; None to ask the kernel.
    """
    if wanted:
        return wanted
    if provider != CPU:
        return _AT_ONCE_ELSEWHERE
    if cores is None:
        cores = len(os.sched_getaffinity(0))
    return max(1, min(_AT_ONCE_MAX, cores // (threads or cores)))
