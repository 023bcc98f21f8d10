"""The agent with a wall clock that a test moves: `python -m movedclock run --config …`, a process like any other.

The file `ahead` in the working folder says by how many seconds the device's wall clock is ahead of this machine's;
everything else is the agent's own. With a file `kept` there, which says yes or no, it is also the agent's own judgement
whether that clock is to be believed: the kernel's word is all that is made up.
"""

import sys
from pathlib import Path

import agent.clock
from shared.records import TICK_NS, TimeQuality

AHEAD = "ahead"
KEPT = "kept"
SECOND_NS = 1_000_000_000


class MovedClock(agent.clock.Clock):
    """As the device's, synchronised, and moved."""

    def wall_ns(self) -> int:
        return super().wall_ns() + int(Path(AHEAD).read_text()) * SECOND_NS

    def offset(self) -> tuple[int, TimeQuality]:
        return (self.wall_ns() - self.boot_ns()) // TICK_NS * TICK_NS, "synced"


class DoubtfulClock(agent.clock.Clock):
    """Moved, and kept by a time service or not."""

    def wall_ns(self) -> int:
        return super().wall_ns() + int(Path(AHEAD).read_text()) * SECOND_NS

    def kernel_synchronised(self) -> bool:
        return Path(KEPT).read_text() == "yes"


def move(folder: Path, ahead_s: int) -> None:
    """Set the clock of an agent that runs in `folder`; it never sees a half of a number."""
    new = folder / f"{AHEAD}.new"
    new.write_text(str(ahead_s))
    new.replace(folder / AHEAD)


if __name__ == "__main__":
    agent.clock.Clock = DoubtfulClock if Path(KEPT).exists() else MovedClock  # type: ignore[misc]  # before anything else takes it from there
    from agent.__main__ import main

    sys.exit(main())
