"""The collector's own clock, which the whole fleet's times hang on: believed only while nothing speaks against it.

What is stored, refused, deleted and told to devices depends on it. While it is in doubt it shows `DOUBTED_NS`, before
which nothing is taken in: the devices keep what they have. A time service that keeps the kernel's clock ends any doubt.
"""

import threading
import time
from collections.abc import Callable

from shared import kernelclock

DOUBTED_NS = 1
"""Shown in place of a time that is not to be believed; no device and no check takes it for one."""

EARLIEST_NS = 1_577_836_800 * 10**9
"""2020-01-01: a clock before it was never set."""

STEP_NS = 86_400 * 10**9
"""A clock that no time service keeps does not move by more than this for a good reason."""

_WAY_OUT = "see that it is kept by NTP, or set it right and restart the collector"


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class OwnClock:
    """Called, it answers with ns since 1970, or `DOUBTED_NS`. Safe to use from several threads."""

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        boot: Callable[[], int] = _boot_ns,
        synchronised: Callable[[], bool | None] = kernelclock.synchronised,
    ) -> None:
        self._wall = wall
        self._boot = boot
        self._synchronised = synchronised
        self._lock = threading.Lock()
        self._offset_ns = wall() - boot()
        self._floor_ns = 0

    def __call__(self) -> int:
        """The time in ns since 1970, or `DOUBTED_NS`."""
        wall_ns, doubt = self._look()
        return DOUBTED_NS if doubt else wall_ns

    @property
    def doubt(self) -> str:
        """Why it is not believed, and what to do; empty while it is."""
        return self._look()[1]

    @property
    def synced(self) -> bool:
        """Whether a time service keeps it."""
        return bool(self._synchronised())

    def not_before(self, heard_ns: int) -> None:
        """Take note that it once showed `heard_ns`, so that less would mean that it was set back."""
        self._floor_ns = max(self._floor_ns, heard_ns)

    def _look(self) -> tuple[int, str]:
        wall_ns = self._wall()
        if wall_ns < EARLIEST_NS:
            return wall_ns, f"this machine's clock is before 2020: {_WAY_OUT}"
        offset_ns = wall_ns - self._boot()
        with self._lock:
            stepped_ns = offset_ns - self._offset_ns
            behind_ns = self._floor_ns - wall_ns
            if max(abs(stepped_ns), behind_ns) > STEP_NS and not self._synchronised():
                return wall_ns, self._why(stepped_ns, behind_ns)
            self._offset_ns = offset_ns
        return wall_ns, ""

    def _why(self, stepped_ns: int, behind_ns: int) -> str:
        if abs(stepped_ns) > STEP_NS:
            days = f"{abs(stepped_ns) / STEP_NS:.0f} days {'ahead' if stepped_ns > 0 else 'back'}"
            return f"this machine's clock jumped {days}, and no time service keeps it: {_WAY_OUT}"
        days = f"{behind_ns / STEP_NS:.0f} days"
        return f"this machine's clock is {days} behind what it showed before, and no time service keeps it: {_WAY_OUT}"
