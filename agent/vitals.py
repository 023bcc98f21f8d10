"""How the device is: load, memory, disk, heat, power. What a board does not say stays None.

No probe raises or takes longer than a second: a device that is in trouble is the one whose vitals count.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import psutil

from agent.clock import Clock
from shared.records import Held, Vitals

_PROBE_S = 1.0
_THROTTLED_NOW = 0b1110
"""Bits of `get_throttled`: frequency capped, throttled, soft temperature limit; bit 0 is under-voltage."""
_UNDER_VOLTAGE_NOW = 0b1
_SENSORS = ("cpu", "soc", "package", "tctl", "k10temp", "coretemp", "x86_pkg")
_SENSIBLE_C = (-50.0, 150.0)

P = ParamSpec("P")
T = TypeVar("T")


class VitalsReader:
    """Reads the vitals of the device and of this process; one for the whole run, from one thread.

    Args:
        clock: The agent's.
        state_dir: Folder whose disk counts.
        root: Where /proc and /sys are.
        vcgencmd: The Raspberry Pi's own command; found on PATH when None.
    """

    def __init__(self, clock: Clock, state_dir: Path, *, root: Path = Path("/"), vcgencmd: str | None = None) -> None:
        self._clock = clock
        self._state_dir = state_dir
        self._root = root
        self._vcgencmd = vcgencmd or shutil.which("vcgencmd")
        self._started_ns = clock.boot_ns()
        self._ticks = _or_none(_processor_ticks, root)

    def read(
        self,
        outbox: tuple[int, int, float | None] | None = None,
        snapshots: tuple[int, int] | None = None,
        reconnects: int | None = None,
        held: tuple[Held, ...] | None = None,
        detail_sealed: int | None = None,
    ) -> Vitals:
        """The vitals now, with age 0.

        Args:
            outbox: Batches that wait, bytes on disk, age of the oldest in seconds.
            snapshots: Pictures that wait, pictures that the quota dropped.
            reconnects: To the broker.
            held: Batches on disk that the collector has not settled.
            detail_sealed: Number of the last sealed detail batch.
        """
        memory = _or_none(_memory, self._root) or _Memory(None, None)
        power = self._power()
        batches, size, oldest_s = outbox or (None, None, None)
        waiting, dropped = snapshots or (None, None)
        return Vitals(
            age=0,
            uptime_s=max(0, self._clock.boot_ns() - self._started_ns) / 1e9,
            cpu_percent=self._cpu_percent(),
            memory_percent=memory.percent,
            memory_available_bytes=memory.available_bytes,
            rss_bytes=_or_none(_rss_bytes),
            disk_free_bytes=_or_none(_disk_free_bytes, self._state_dir),
            temperature_c=_or_none(_temperature_c, self._root),
            throttled=power.throttled,
            under_voltage=power.under_voltage,
            outbox_batches=batches,
            outbox_bytes=size,
            outbox_oldest_s=oldest_s,
            snapshots_waiting=waiting,
            snapshots_dropped=dropped,
            reconnects=reconnects,
            held=held,
            detail_sealed=detail_sealed,
        )

    def _cpu_percent(self) -> float | None:
        """Processor use of the device since the last reading; None when no time has gone by."""
        before, now = self._ticks, _or_none(_processor_ticks, self._root)
        self._ticks = now
        if before is None or now is None or now.total <= before.total:
            return None
        idle = (now.idle - before.idle) / (now.total - before.total)
        return round(min(100.0, max(0.0, 100 * (1 - idle))), 1)

    def _power(self) -> "_Power":
        """What a Raspberry Pi says of heat and supply: by its own command, or else by the kernel's sensor."""
        flags = _or_none(_get_throttled, self._vcgencmd) if self._vcgencmd else None
        if flags is not None:
            return _Power(bool(flags & _THROTTLED_NOW), bool(flags & _UNDER_VOLTAGE_NOW))
        return _Power(None, _or_none(_low_voltage_alarm, self._root))


def hardware(root: Path = Path("/")) -> str:
    """The board's name, such as `Raspberry Pi 5 Model B Rev 1.0`; empty where it has none."""
    for place in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
        name = _or_none(_text, root / place)
        if name:
            return name
    return ""


class _Ticks(NamedTuple):
    """Of all processors together, since boot."""

    total: int
    idle: int


class _Memory(NamedTuple):
    percent: float | None
    available_bytes: int | None


class _Power(NamedTuple):
    throttled: bool | None
    under_voltage: bool | None


def _or_none(probe: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """What a probe finds, or None when the board does not say."""
    try:
        return probe(*args, **kwargs)
    except (OSError, ValueError, LookupError, psutil.Error, subprocess.SubprocessError):
        return None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").replace("\0", " ").strip()


def _processor_ticks(root: Path) -> _Ticks:
    """From the first line of /proc/stat: user nice system idle iowait irq softirq steal; guests are in user."""
    times = [int(word) for word in _text(root / "proc/stat").splitlines()[0].split()[1:9]]
    idle = sum(times[3:5])
    return _Ticks(sum(times), idle)


def _memory(root: Path) -> _Memory:
    """From /proc/meminfo, in kB there."""
    lines = (line.split() for line in _text(root / "proc/meminfo").splitlines())
    size = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1}
    available, total = size["MemAvailable"], size["MemTotal"]
    percent = 100 * (total - available) / total if total > 0 else None
    return _Memory(None if percent is None else round(min(100.0, max(0.0, percent)), 1), available * 1024)


def _rss_bytes() -> int:
    """Of this process and its children. Frames in shared memory count in each process that has looked at them."""
    agent = psutil.Process()
    total = _rss_of(agent)
    for child in agent.children(recursive=True):
        total += _or_none(_rss_of, child) or 0
    return total


def _rss_of(process: psutil.Process) -> int:
    size: int = process.memory_info().rss
    return size


def _disk_free_bytes(folder: Path) -> int:
    """What this user may still write."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _temperature_c(root: Path) -> float | None:
    """The hottest sensor of the processor; the hottest of all where none says that it is the processor's."""
    found: list[tuple[bool, float]] = []
    zones = [(zone / "type", zone / "temp") for zone in (root / "sys/class/thermal").glob("thermal_zone*")]
    chips = [(temp.parent / "name", temp) for temp in (root / "sys/class/hwmon").glob("hwmon*/temp*_input")]
    for name, value in zones + chips:
        degrees = _or_none(_degrees, value)
        if degrees is not None and _SENSIBLE_C[0] < degrees < _SENSIBLE_C[1]:
            called = (_or_none(_text, name) or "").lower()
            found.append((any(word in called for word in _SENSORS), degrees))
    if not found:
        return None
    return round(max(found)[1], 1)


def _degrees(path: Path) -> float:
    """A sensor's value, in thousandths there."""
    return int(_text(path)) / 1000


def _get_throttled(vcgencmd: str) -> int:
    """The flags that `vcgencmd get_throttled` prints as `throttled=0x50005`."""
    done = subprocess.run(  # noqa: S603  # the board's own command
        [vcgencmd, "get_throttled"], capture_output=True, text=True, timeout=_PROBE_S, check=True
    )
    return int(done.stdout.strip().partition("=")[2], 16)


def _low_voltage_alarm(root: Path) -> bool:
    """What the Raspberry Pi's sensor says; raises LookupError where there is none."""
    for chip in (root / "sys/class/hwmon").glob("hwmon*"):
        if _or_none(_text, chip / "name") == "rpi_volt":
            return int(_text(chip / "in0_lcrit_alarm")) != 0
    raise LookupError("no sensor of the supply voltage")
