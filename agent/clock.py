"""The one clock seam: boot time, wall time, and how well wall time is known.

Everything in the agent takes time from a `Clock`, so that a test can hand in another one. A frame is stamped with boot
time, which never jumps; wall time is boot time plus an offset that may become known much later.
"""

import ctypes
import time
from pathlib import Path

from shared.records import TICK_NS, TimeQuality

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), as far as it is read; the rest is room for the kernel to write into."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


class Clock:
    """The device's clocks. Safe to use from several threads."""

    def __init__(self) -> None:
        self._heard_offset_ns: int | None = None

    def boot_ns(self) -> int:
        """Nanoseconds since the device booted: never jumps, and counts time in suspend."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def monotonic(self) -> float:
        """Seconds for deadlines: never jumps, and stands still in suspend."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 as the kernel has them, right or wrong: see `offset`."""
        return time.time_ns()

    def kernel_synchronised(self) -> bool:
        """Whether the kernel says that a time service keeps its clock; False where it cannot say."""
        timex = _Timex()
        try:
            state = int(ctypes.CDLL(None).adjtimex(ctypes.byref(timex)))
        except (OSError, AttributeError):
            return False
        return state not in {-1, _TIME_ERROR} and not timex.status & _STA_UNSYNC

    def boot_id(self) -> str:
        """This boot's id as the kernel made it; empty where it has none."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return ""

    def hear(self, now_ns: int) -> None:
        """Take note that the collector's wall time is `now_ns`, in ns since 1970."""
        self._heard_offset_ns = now_ns - self.boot_ns()

    def offset(self) -> tuple[int, TimeQuality] | None:
        """What to add to boot time for wall time, in ns (a multiple of `TICK_NS`), and where that was learnt.

        None until the kernel is synchronised or the collector was heard.
        """
        if self.kernel_synchronised():
            return _to_ticks(self.wall_ns() - self.boot_ns()), "synced"
        if self._heard_offset_ns is not None:
            return _to_ticks(self._heard_offset_ns), "collector"
        return None


def _to_ticks(duration_ns: int) -> int:
    """Round to the nearest multiple of `TICK_NS`."""
    return (duration_ns + TICK_NS // 2) // TICK_NS * TICK_NS
