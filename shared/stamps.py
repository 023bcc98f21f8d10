"""Signs of life: which part of a program made progress when, and which one hangs.

A part beats while it works, and rests while it may wait for as long as it likes: idle is fine. One that beat and then
was silent for longer than its deadline hangs. So does one whose thread ended before it said that it was done.
"""

import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass


class Stamp:
    """One part's sign of life; `Board.stamp` makes one. Only the part's own thread beats.

    Attributes:
        name: What people call the part.
        deadline_s: Silence after a beat that means that it hangs; 0 for never.
    """

    def __init__(self, name: str, deadline_s: float, monotonic: Callable[[], float]) -> None:
        self.name = name
        self.deadline_s = deadline_s
        self._monotonic = monotonic
        self._at: float | None = None
        self._thread: threading.Thread | None = None

    def beat(self) -> None:
        """The part makes progress, and goes on working."""
        if self._thread is None:
            self._thread = threading.current_thread()
        self._at = self._monotonic()

    def rest(self) -> None:
        """The part waits for something that need not come."""
        self._at = None

    def done(self) -> None:
        """The part ends as it should."""
        self._at = None
        self._thread = None

    def forgive(self) -> None:
        """Judge from now on: the whole program stood still."""
        if self._at is not None:
            self._at = self._monotonic()

    def why_hung(self) -> str:
        """What is wrong with the part; nothing while it is well."""
        at, thread = self._at, self._thread
        if thread is not None and not thread.is_alive():
            return "its thread ended"
        silent_s = 0.0 if at is None else self._monotonic() - at
        if self.deadline_s and silent_s > self.deadline_s:
            return f"no progress for {silent_s:.0f} s; {self.deadline_s:g} s are allowed"
        return ""

    def stack(self) -> str:
        """Where the part's thread is now; empty when it has none."""
        thread = self._thread
        frame = sys._current_frames().get(thread.ident or 0) if thread else None  # noqa: SLF001  # made for this
        return "" if frame is None else "".join(traceback.format_stack(frame))


@dataclass(frozen=True)
class Hung:
    """A part that hangs: which one, and why that is thought."""

    stamp: Stamp
    why: str

    def __str__(self) -> str:
        return f"{self.stamp.name}: {self.why}"


class Board:
    """All parts of a program.

    Args:
        monotonic: Seconds that never jump.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._stamps: list[Stamp] = []

    def stamp(self, name: str, deadline_s: float) -> Stamp:
        """A stamp for a new part; it is judged from its first beat on."""
        made = Stamp(name, deadline_s, self._monotonic)
        with self._lock:
            self._stamps.append(made)
        return made

    def give_up(self, stamp: Stamp) -> None:
        """Judge a part no more."""
        with self._lock:
            self._stamps = [one for one in self._stamps if one is not stamp]

    def hung(self) -> list[Hung]:
        """The parts that hang now."""
        with self._lock:
            stamps = list(self._stamps)
        return [Hung(stamp, why) for stamp in stamps if (why := stamp.why_hung())]

    def forgive(self) -> None:
        """The whole program stood still (SIGSTOP, a virtual machine that was paused): judge from now on."""
        with self._lock:
            for stamp in self._stamps:
                stamp.forgive()


def every_stack() -> str:
    """Where each thread is now."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames().items()  # noqa: SLF001  # made for this
    return "".join(
        f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}" for ident, frame in frames
    )
