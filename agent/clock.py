"""The one clock seam: boot time, wall time, and how well wall time is known.

Everything in the agent takes time from a `Clock`, so that a test can hand in another one. A frame is stamped with boot
time, which never jumps; wall time is boot time plus an offset that may become known much later.

The kernel's clock counts only while the kernel says that a time service keeps it, and shows a time that can be; else
the collector's does. Where both say that they are kept, and differ, the collector's counts: all devices and the store
live in its time, and of many clocks the odd one is rather the device's. So it does where they are a day apart, kept or
not: what is dated so far from its time the collector would refuse, or take for expired.
"""

import threading
import time
from pathlib import Path

from shared import kernelclock
from shared.records import TICK_NS, TimeQuality

EARLIEST_NS = 1_767_225_600 * 10**9
"""2026-01-01: Vigie is not older, so a clock that shows less is wrong, whoever keeps it."""

DISAGREE_NS = 60 * 10**9
"""Two clocks that are both kept, and further apart than this, cannot both be right."""

REFUSED_NS = 86_400 * 10**9
"""So far from the collector's time nothing is dated: `clock_ahead_s` is a day, too."""

_JITTER_NS = 2 * 10**9
"""Differences of the collector's time that are the network's."""

_STEADY_NS = 500_000
"""An offset stays as it is until it is off by so much: half of what lies between two frames at least, so that a
slew, or a busy machine, never turns the order of two frames around."""

_TRIES = 3


class Clock:
    """The device's clocks. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept_ns: int | None = None
        self._heard_ns: int | None = None
        self._heard_synced = False

    def boot_ns(self) -> int:
        """Nanoseconds since the device booted: never jumps, and counts time in suspend."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def monotonic(self) -> float:
        """Seconds for deadlines: never jumps, and stands still in suspend."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 as the kernel has them, right or wrong: see `offset`."""
        return time.time_ns()

    def kernel_synchronised(self) -> bool | None:
        """Whether the kernel says that a time service keeps its clock; None where it may not be asked."""
        return kernelclock.synchronised()

    def boot_id(self) -> str:
        """This boot's id as the kernel made it; empty where it has none."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return ""

    def hear(self, now_ns: int, *, synced: bool = False) -> None:
        """Take note of the collector's wall time.

        Args:
            now_ns: In ns since 1970; one that cannot be is not heard.
            synced: Whether the collector says that a time service keeps its clock.
        """
        if now_ns < EARLIEST_NS:
            return
        heard_ns = now_ns - self.boot_ns()
        with self._lock:
            if self._heard_ns is None or abs(heard_ns - self._heard_ns) > _JITTER_NS:
                self._heard_ns = heard_ns
            self._heard_synced = synced

    @property
    def heard_synced(self) -> bool:
        """Whether a time service keeps the clock of the collector that was heard last, as it says."""
        return self._heard_synced

    def offset(self) -> tuple[int, TimeQuality] | None:
        """What to add to boot time for wall time, in ns (a multiple of `TICK_NS`), and where that was learnt.

        None until the kernel is synchronised or the collector was heard.
        """
        kernel_ns = self._kernel_offset_ns()
        with self._lock:
            if kernel_ns is not None and not self._overruled(kernel_ns):
                return self._steady(kernel_ns), "synced"
            if self._heard_ns is not None:
                return _to_ticks(self._heard_ns), "collector"
        return None

    def disagreement_ns(self) -> int | None:
        """By how much the device's synchronised clock is ahead of the collector's; None while both agree."""
        kernel_ns = self._kernel_offset_ns()
        with self._lock:
            if kernel_ns is None or self._heard_ns is None:
                return None
            ahead_ns = kernel_ns - self._heard_ns
            return ahead_ns if abs(ahead_ns) > DISAGREE_NS else None

    def _kernel_offset_ns(self) -> int | None:
        """From boot time to the kernel's wall time; None when that is not to be believed."""
        if not self.kernel_synchronised():
            return None
        offset_ns = self._sampled_ns()
        return None if offset_ns + self.boot_ns() < EARLIEST_NS else offset_ns

    def _sampled_ns(self) -> int:
        """Wall time less boot time: the best of some tries, since the process may have to wait between the two."""
        best = None
        for _ in range(_TRIES):
            before, wall, after = self.boot_ns(), self.wall_ns(), self.boot_ns()
            sample = (after - before, wall - (before + after) // 2)
            best = sample if best is None else min(best, sample)
        return best[1] if best else 0

    def _overruled(self, kernel_ns: int) -> bool:
        if self._heard_ns is None:
            return False
        return abs(kernel_ns - self._heard_ns) > (DISAGREE_NS if self._heard_synced else REFUSED_NS)

    def _steady(self, offset_ns: int) -> int:
        if self._kept_ns is None or abs(offset_ns - self._kept_ns) > _STEADY_NS:
            self._kept_ns = _to_ticks(offset_ns)
        return self._kept_ns


def _to_ticks(duration_ns: int) -> int:
    """Round to the nearest multiple of `TICK_NS`."""
    return (duration_ns + TICK_NS // 2) // TICK_NS * TICK_NS
