"""Medians, intervals, percentiles; and what a process takes of the machine."""

import os
import random
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

_DRAWS = 2000
_SEED = 1
_KB_PER_MB = 1024
_MIDDLE_SHARE = 0.95


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median of `values`, by drawing them again and again (bootstrap)."""
    dice = random.Random(_SEED)  # noqa: S311  # statistics, not secrets
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(_DRAWS))
    outside = round(_DRAWS * (1 - _MIDDLE_SHARE) / 2)
    return medians[outside], medians[-1 - outside]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that `percent` percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * percent // 100) - 1))]


def rate(stamps: Sequence[float], together: int) -> float:
    """Frames a second, from when each was done.

    Args:
        stamps: In seconds, ascending; more than twice as many as `together`.
        together: So many are worked on at the same time, and may be done at the same moment: the ends are averages
            over as many.

    Raises:
        ValueError: There are too few.
    """
    if len(stamps) < 2 * together + 1:
        raise ValueError(f"only {len(stamps)} frames were done")
    first, last = statistics.fmean(stamps[:together]), statistics.fmean(stamps[-together:])
    return (len(stamps) - together) / (last - first)


def memory_mb(pid: int) -> dict[str, float]:
    """What a process has in memory: `rss`, `pss` (shared pages by share) and `peak` (the most RSS it had), in MB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return {
        name: int(found[1]) / _KB_PER_MB
        for name, text, word in (("rss", rollup, "Rss"), ("pss", rollup, "Pss"), ("peak", status, "VmHWM"))
        if (found := re.search(rf"^{word}:\s+(\d+) kB", text, re.MULTILINE))
    }


def cpu_s(pid: int) -> float:
    """Processor time that a process has taken, in seconds, all its threads together."""
    after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Processes that a process began and that are alive."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    return found
