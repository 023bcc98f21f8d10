"""Answers kept for a moment, so that many open browsers cost the store as much as one."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

T = TypeVar("T")

KEPT_MAX = 256


class Briefly:
    """Keeps each answer for some seconds; the oldest goes when there are too many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[Hashable, tuple[float, object]] = {}

    def get(self, key: Hashable, seconds: float, make: Callable[[], T]) -> T:
        """The answer under `key`, made anew when it is older than `seconds`."""
        with self._lock:
            made_at, answer = self._kept.get(key, (float("-inf"), None))
        if self._clock() - made_at < seconds:
            return cast("T", answer)
        fresh = make()  # outside the lock: a slow answer must not hold up the others
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (self._clock(), fresh)
            while len(self._kept) > KEPT_MAX:
                del self._kept[next(iter(self._kept))]
        return fresh
