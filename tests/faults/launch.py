"""`python -m tests.faults.launch agent|collector NAME BUILD …`: the command line, where a campaign can reach into it.

Everything is the process's own but what files in the working folder say, and what a broken build breaks:

* `<NAME>.clock`: seconds that its wall clock is ahead, and whether the kernel calls it synchronised
* `<NAME>.failpoint`: a failpoint and the passage that kills; taken away by the kill
* BUILD: `good`, or one of `tests.faults.builds`
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from shared import failpoints
from tests.faults import builds
from tests.faults.camera import NONCE

SYNCED, UNSYNCED = "synced", "unsynced"
_LOOK_S = 0.1
_NS = 1_000_000_000


class Moved:
    """The wall clock as the file says.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._look_at = 0.0
        self._said = (0, True)

    def _read(self) -> tuple[int, bool]:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_S
            words = self._path.read_text().split() if self._path.exists() else ["0", SYNCED]
            self._said = (int(words[0]) * _NS, words[1] == SYNCED)
        return self._said

    def install(self) -> None:
        """Move what `time` says of the wall clock."""
        real = time.time_ns
        time.time_ns = lambda: real() + self._read()[0]
        time.time = lambda: time.time_ns() / _NS

    def synchronised(self) -> bool:
        """Whether the kernel is to say so."""
        return self._read()[1]


class Failpoint:
    """Failpoints that are armed while the process runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._passed: dict[str, int] = {}

    def reached(self, name: str) -> None:
        """Pass a place, or die."""
        try:
            armed, left = self._path.read_text().split()
        except (OSError, ValueError):
            self._passed.clear()
            return
        if armed != name:
            return
        self._passed[name] = self._passed.get(name, 0) + 1
        if self._passed[name] >= int(left):
            self._path.unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)


def set_clock(folder: Path, name: str, ahead_s: int, synced: str = SYNCED) -> None:
    """Move the clock of a process that runs in `folder`; it never sees half a line."""
    new = folder / f"{name}.clock.new"
    new.write_text(f"{ahead_s} {synced}")
    new.replace(folder / f"{name}.clock")


def arm(folder: Path, name: str, failpoint: str, passage: int) -> None:
    """Let a process that runs in `folder` die at a failpoint."""
    new = folder / f"{name}.failpoint.new"
    new.write_text(f"{failpoint} {passage}")
    new.replace(folder / f"{name}.failpoint")


def disarm(folder: Path, name: str) -> None:
    """Take that back."""
    (folder / f"{name}.failpoint").unlink(missing_ok=True)


def _agent(moved: Moved) -> None:
    import agent.clock  # noqa: PLC0415  # after the clock was moved
    import agent.outbox  # noqa: PLC0415  # as above

    agent.clock.Clock.kernel_synchronised = lambda _: moved.synchronised()  # type: ignore[method-assign,assignment]  # moved
    begin = agent.outbox.Outbox.begin

    def noted(self: agent.outbox.Outbox, *args: Any, **options: Any) -> agent.outbox.Start:  # begin's own
        start = begin(self, *args, **options)
        os.environ[NONCE] = start.nonce  # for the camera in the capture process
        return start

    agent.outbox.Outbox.begin = noted  # type: ignore[method-assign]  # noted


def main() -> int:
    """Run it; exit code."""
    what, name, build, *arguments = sys.argv[1:]
    moved = Moved(Path(f"{name}.clock"))
    moved.install()
    failpoints.reached = Failpoint(Path(f"{name}.failpoint")).reached
    if what == "agent":
        _agent(moved)
        from agent.__main__ import main as run  # noqa: PLC0415  # after the changes
    else:
        from collector.__main__ import main as run  # noqa: PLC0415  # as above
    builds.apply(build, what)
    sys.argv = [f"vigie-{what}", *arguments]
    return run()


if __name__ == "__main__":
    sys.exit(main())
