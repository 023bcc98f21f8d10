"""Frames on their way from the capture process to whoever looks at them.

Two threads meet here: a supervisor, which puts in what the capture process says, and the consumer, which takes it.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from agent.capture_child import Asked, Settled
from agent.sources import Pixels

SettledOutcome: TypeAlias = Literal["skipped", "unreadable"]


class Frame:
    """A captured frame. Its pixels lie in memory shared with the capture process until it is released.

    Attributes:
        number: 1, 2, 3 ... of its stream in this start of the agent.
        captured_boot_ns: Boot time when it had been read: whole ticks, at least 1 ms after the frame before.
        capture_ticks: Spent reading it, in hundredths of a millisecond; with a live source that includes waiting.
        answer: Takes what the model saw as JSON, and whether it could; None when nobody waits for that.
    """

    __slots__ = ("_pixels", "_release", "answer", "capture_ticks", "captured_boot_ns", "number")

    def __init__(
        self,
        number: int,
        captured_boot_ns: int,
        capture_ticks: int,
        pixels: Pixels,
        release: Callable[[], None],
        answer: Callable[[bytes, bool], None] | None = None,
    ) -> None:
        self.answer = answer
        self.number = number
        self.captured_boot_ns = captured_boot_ns
        self.capture_ticks = capture_ticks
        self._pixels: Pixels | None = pixels
        self._release = release

    @property
    def pixels(self) -> Pixels:
        """[height, width, 3], BGR, read-only. Copy what must outlive `release`.

        Raises:
            RuntimeError: The frame was released.
        """
        if self._pixels is None:
            raise RuntimeError(f"frame {self.number} was released: its pixels may belong to a newer frame by now")
        return self._pixels

    def release(self) -> None:
        """Let the capture process use the memory again; once is enough, more does no harm."""
        if self._pixels is not None:
            self._pixels = None
            self._release()


@dataclass(frozen=True)
class Told:
    """An event on its way to the consumer."""

    name: str
    detail: str


_Item: TypeAlias = Frame | Settled | Told | Asked


class Inbox:
    """What the supervisor has for the consumer, in the order of frame numbers.

    At most one frame of a live source waits: a newer one settles it as skipped. Runs of settled numbers are merged,
    so that a consumer that was away for an hour finds a few items.
    """

    def __init__(self) -> None:
        self._items: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._closed = False

    def put_frame(self, frame: Frame, *, newest_wins: bool) -> None:
        """Add a frame; when the newest wins, those that still wait are settled as skipped."""
        with self._changed:
            if newest_wins:
                self._skip_waiting()
            self._items.append(frame)
            if self._stopping:
                self._skip_waiting()
            self._changed.notify()

    def put_settled(self, first: int, last: int, outcome: SettledOutcome) -> None:
        """Add a run of numbers that no frame will come for."""
        with self._changed:
            _append_run(self._items, Settled(first, last, outcome))
            self._changed.notify()

    def put_event(self, name: str, detail: str) -> None:
        """Add an event."""
        with self._changed:
            self._items.append(Told(name, detail))
            self._changed.notify()

    def put_asked(self, asked: Asked) -> None:
        """Add counts of requests."""
        with self._changed:
            self._items.append(asked)
            self._changed.notify()

    def stop(self) -> None:
        """Settle every frame that waits, and those still to come, as skipped."""
        with self._changed:
            self._stopping = True
            self._skip_waiting()

    def close(self) -> None:
        """Say that nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def wait(self) -> bool:
        """Wait for the next item; False when nothing more will come."""
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            return bool(self._items)

    def take(self) -> _Item | None:
        """The next item; None when there is none now."""
        with self._changed:
            return self._items.popleft() if self._items else None

    def take_but_frame(self) -> Settled | Told | Asked | None:
        """The next item when it is no frame; a frame stays, and may be replaced by a newer one."""
        with self._changed:
            if not self._items or isinstance(self._items[0], Frame):
                return None
            return cast("Settled | Told | Asked", self._items.popleft())

    def _skip_waiting(self) -> None:
        """Turn every frame that waits into a settled number, in its place."""
        if not any(isinstance(item, Frame) for item in self._items):
            return
        items, self._items = self._items, deque()
        for item in items:
            if isinstance(item, Told | Asked):
                self._items.append(item)
            elif isinstance(item, Settled):
                _append_run(self._items, item)
            else:
                item.release()
                _append_run(self._items, Settled(item.number, item.number, "skipped"))


def _append_run(items: deque[_Item], run: Settled) -> None:
    """Append `run`, or make the last item longer where it goes on."""
    last = items[-1] if items else None
    if isinstance(last, Settled) and last.outcome == run.outcome and last.last + 1 == run.first:
        items[-1] = Settled(last.first, run.last, run.outcome)
    else:
        items.append(run)
