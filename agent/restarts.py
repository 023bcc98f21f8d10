"""How often the agent may have itself started anew: a few times a day, counted on disk.

A camera never is a reason to; the agent's own machinery may be. Without a budget a fault that a restart does not mend
would end the other streams' work again and again.

The file has a line `<boot id> <boot time in ns>` for each time. It is open from the start on: what is wrong may be that
no file can be opened. Boot time is the one clock that is always right; those of another boot do not count, for a
device that was started anew has had more than an agent can do.
"""

import os
from pathlib import Path

from agent.clock import Clock

_DAY_NS = 24 * 3600 * 1_000_000_000


class Restarts:
    """The budget.

    Args:
        path: In the state folder.
        most: Restarts in 24 hours; 0 for none.
        clock: The agent's.
    """

    def __init__(self, path: Path, most: int, clock: Clock) -> None:
        self.most = most
        self._clock = clock
        self._boot_id = clock.boot_id()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            self._fd = -1

    def take(self) -> bool:
        """Take one restart from the budget; False when there is none left, or it cannot be written down."""
        now = self._clock.boot_ns()
        if self._fd < 0:
            return False
        try:
            lately = [at for at in self._read() if now - _DAY_NS < at <= now]
            if len(lately) >= self.most:
                return False
            self._write([*lately, now])
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> list[int]:
        """Boot times of this boot's restarts; lines that are torn do not count."""
        text = os.pread(self._fd, 65_536, 0).decode(errors="replace")
        lines = [line.split(" ") for line in text.splitlines()]
        return [int(line[1]) for line in lines if len(line) == 2 and line[0] == self._boot_id and line[1].isdigit()]  # noqa: PLR2004  # id and time

    def _write(self, moments: list[int]) -> None:
        content = "".join(f"{self._boot_id} {at}\n" for at in moments).encode()
        os.pwrite(self._fd, content, 0)
        os.ftruncate(self._fd, len(content))
        os.fsync(self._fd)
