"""A source behind a deadline, in its own process; every frame's number, and what became of it.

A camera may block for ever, crash its library or disappear: that costs one capture process, which is ended and begun
again, and nothing else. Every number that the capture process gives arrives here exactly once, in order: as a frame,
or as settled (`skipped`: a newer one replaced it; `unreadable`: it could not be decoded, or its process died with it).

Two threads meet here. A supervisor, one for each capture, talks to the process and hands free slots back at once; the
consumer takes frames, and gets all callbacks. Between them stands `_Inbox`.
"""

import contextlib
import json
import logging
import math
import mmap
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, TypeAlias, cast

import msgspec
import numpy as np

from agent.capture_child import (
    MESSAGE_BYTES,
    SLOTS_BESIDE,
    Answer,
    Arena,
    Asked,
    Beat,
    Ended,
    Failed,
    Given,
    Notice,
    Opened,
    Release,
    Seen,
    Settled,
    Start,
    Stop,
)
from agent.clock import Clock
from agent.duty import Duty, OnSwitch
from agent.progress import Progress
from agent.quality import Limits, PictureFaults, Trace
from agent.sources import Advising, Pixels, Resolved, frames_text
from agent.timetable import Timetable
from shared.redact import redact

__all__ = ["Backoff", "Capture", "Frame", "OnEvent", "OnSettled", "Progress"]

SettledOutcome: TypeAlias = Literal["skipped", "unreadable"]
OnEvent: TypeAlias = Callable[[str, str], None]
"""Called with an event's name (one of `shared.schema.EVENTS`) and its detail."""
OnSettled: TypeAlias = Callable[[int, int, SettledOutcome], None]
"""Called with the first and last number, both included, and the outcome."""
OnRequests: TypeAlias = Callable[[dict[int, int]], None]
"""Called with how many requests a source answered since the call before, per HTTP status."""

_GRACE_S = 1.0
"""A source that was asked to stop, or that failed, gets this long to close its camera."""
_REAP_S = 0.5
"""A process that was killed is gone within this, unless the kernel holds it in a driver."""
_ANSWER_BYTES = 16_384
"""A longer answer goes in a memory file: a full socket would lose the orders after it."""
_DETAIL_CHARS = 500
_UNBORN_MAX = 8
"""Capture processes in a row that could not even begin, in about a minute: then something is wrong with the agent."""
_HELD_MAX = 2
"""Processes that the kernel does not let go, beside which no more are begun."""
_WEIGH_S = 5.0
_LINES_MAX = 20
_LINES_S = 60.0
"""So many lines of a camera's libraries are logged in so many seconds."""
_MB = 1_000_000
_SIZE_S = 60.0
"""Between two changes of a picture's size that are told of."""
_PRINTED_BYTES = 4096
_PRINTED_READS = 100
_RECENT_S = 5.0
_OPENCV_ITSELF = re.compile(r"global cap\S*\.cpp")
"""OpenCV says after FFmpeg that it did not work; FFmpeg said why."""
_LIBRARY = re.compile(r"^(\[[^\]]*\] *)+")

# The child imports what this process imports, from wherever it runs and however it was started.
_CHILD = (
    "import json, sys; path, parent, agent, progress = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from agent.capture_child import main; main(parent, agent, progress)"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backoff:
    """Waits between attempts, in seconds: drawn from 0 to a ceiling that doubles from `first_s` to `most_s`."""

    first_s: float = 1.0
    most_s: float = 60.0

    def ceiling_s(self, attempt: int) -> float:
        """The longest wait after `attempt` (from 0) attempts in a row failed."""
        return min(self.most_s, self.first_s * 2.0 ** min(attempt, 32))


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
class _Told:
    """An event on its way to the consumer."""

    name: str
    detail: str


_Item: TypeAlias = Frame | Settled | _Told | Asked


class _Inbox:
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
            self._items.append(_Told(name, detail))
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

    def take_but_frame(self) -> Settled | _Told | Asked | None:
        """The next item when it is no frame; a frame stays, and may be replaced by a newer one."""
        with self._changed:
            if not self._items or isinstance(self._items[0], Frame):
                return None
            return cast("Settled | _Told | Asked", self._items.popleft())

    def _skip_waiting(self) -> None:
        """Turn every frame that waits into a settled number, in its place."""
        if not any(isinstance(item, Frame) for item in self._items):
            return
        items, self._items = self._items, deque()
        for item in items:
            if isinstance(item, _Told | Asked):
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


class Capture:
    """Frames of one stream, whatever its source does.

    Args:
        stream: Name of the stream, as `progress` knows it.
        source: What `agent.sources.resolve` made of the configuration.
        fps: Frames a second to capture at most; None for as many as come.
        progress: Where numbers are counted.
        clock: For deadlines and durations.
        timetable: When to capture; None for always. Asleep there is no capture process.
        deadline_s: Silence of the capture process after which it is ended; while no frame is due, that is no silence.
        open_deadline_s: The same for opening and the first frame.
        hands: Frames that may be taken and not yet released, at the same time.
        masks: Polygons that nobody is to see, as in `agent.masks`.
        backoff: Waits between attempts to open the source.
        most_mb: Memory that a capture process may have to itself, in MB; 0 for as much as it wants.
        limits: What the pictures of a live source are watched for; for nothing by default.
        on_event: Gets `camera_lost`, `camera_stalled`, `camera_back`, `picture_frozen`, `picture_black`,
            `picture_white`, `picture_well`, `stream_changed`, `stream_ended`, `stream_asleep` and `stream_awake`.
        on_settled: Gets the numbers that no frame comes for.
        on_requests: Gets how many requests a source that answers them had.
        on_switch: Gets every change between awake and asleep at once, from another thread.

    All callbacks but the last are called by the thread that takes frames, between frames and in the order of numbers;
    those of the last numbers may come when the `with` block ends.

    Raises:
        ValueError: `progress` was not made for this stream.
    """

    def __init__(  # noqa: PLR0913  # all but the first five are named, and have defaults
        self,
        stream: str,
        source: Resolved,
        fps: float | None,
        progress: Progress,
        clock: Clock,
        *,
        timetable: Timetable | None = None,
        deadline_s: float = 10.0,
        open_deadline_s: float = 30.0,
        hands: int = 1,
        masks: Sequence[Sequence[tuple[float, float]]] = (),
        backoff: Backoff | None = None,
        most_mb: int = 0,
        limits: Limits | None = None,
        on_event: OnEvent | None = None,
        on_settled: OnSettled | None = None,
        on_requests: OnRequests | None = None,
        on_switch: OnSwitch | None = None,
    ) -> None:
        self._on_event = on_event or (lambda _name, _detail: None)
        self._on_settled = on_settled or (lambda _first, _last, _outcome: None)
        self._on_requests = on_requests or (lambda _requests: None)
        self._inbox = _Inbox()
        self._plan = _Plan(
            stream=stream,
            source=source,
            fps=fps,
            deadline_s=deadline_s,
            open_deadline_s=max(open_deadline_s, deadline_s),
            backoff=backoff or Backoff(),
            slots=hands + SLOTS_BESIDE,
            most_mb=most_mb,
            limits=limits or Limits(),
            masks=masks,
        )
        duty = Duty(
            stream,
            1 / fps if fps else None,
            timetable,
            clock,
            self._inbox.put_event,
            on_switch or (lambda _state, _boot_ns: None),
        )
        self._supervisor = _Supervisor(self._plan, duty, progress, clock, self._inbox)
        self._thread = threading.Thread(target=self._supervisor.run, name=f"capture-{stream}", daemon=True)

    def __enter__(self) -> "Capture":  # noqa: PYI034  # Self needs Python 3.11
        """Begin to capture; a source that cannot be opened is tried again until it can."""
        # Here, and not where it is opened: that happens again and again, in a new process each time.
        source = self._plan.source.build()
        if isinstance(source, Advising) and (advice := source.advice()):
            _log.warning("%s: %s", self._plan.stream, advice)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and settle what was not taken."""
        self.stop()
        self._thread.join()
        for _ in self.frames():
            pass  # only callbacks are left: `stop` turned every frame into one

    @property
    def pid(self) -> int | None:
        """Process id of the capture process, while there is one."""
        return self._supervisor.pid

    @property
    def suspect(self) -> str:
        """Why the agent itself seems unable to capture, whatever the camera does; nothing while it is able to."""
        return self._supervisor.suspect

    def frames(self) -> Iterator[Frame]:
        """Every frame that is to be looked at, until the source ends or `stop` is called.

        A frame is released when the next one is asked for.
        """
        while self.wait():
            if frame := self.take():
                try:
                    yield frame
                finally:
                    frame.release()

    def wait(self) -> bool:
        """Wait until there is a frame to take; False when no more will come.

        Only one thread at a time may call this and `take`: both call the callbacks. The frame stays where a newer one
        replaces it until it is taken.
        """
        while self._inbox.wait():
            item = self._inbox.take_but_frame()
            if item is None:
                return True
            self._tell(item)
        return False

    def take(self) -> Frame | None:
        """The next frame, for the caller to release; None when there is none now."""
        while (item := self._inbox.take()) is not None:
            if isinstance(item, Frame):
                return item
            self._tell(item)
        return None

    def _tell(self, item: Settled | _Told | Asked) -> None:
        """Call the callback that an item is for."""
        if isinstance(item, Settled):
            self._on_settled(item.first, item.last, item.outcome)
        elif isinstance(item, Asked):
            self._on_requests(item.requests)
        else:
            self._on_event(item.name, item.detail)

    def stop(self) -> None:
        """Let `frames` end soon: within 2 s, whatever the source does. Any thread may call this, once or more."""
        self._inbox.stop()
        self._supervisor.stop()


@dataclass(frozen=True)
class _Plan:
    """What a supervisor is to keep going, as in `Capture`."""

    stream: str
    source: Resolved
    fps: float | None
    deadline_s: float
    open_deadline_s: float
    backoff: Backoff
    slots: int
    most_mb: int
    limits: Limits
    masks: Sequence[Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class _Trouble:
    """Why a capture process came to its end before its source did: an event's name, and what to say.

    With `hangs` it is not waited for.
    """

    name: str
    detail: str
    hangs: bool = False


_PAUSE = _Trouble("", "the plan wants no frame now")
"""No trouble: the capture process is ended, and begun again when a frame is wanted."""


class _Supervisor:
    """Keeps a capture process going, while the plan wants frames, until the source ends or `stop` is called.

    Args:
        plan: What to keep going.
        duty: When it is to be kept going.
        progress: Where numbers are counted.
        clock: For deadlines and durations.
        inbox: Gets everything that the consumer has to know.

    Attributes:
        suspect: As in `Capture`.
    """

    def __init__(self, plan: _Plan, duty: Duty, progress: Progress, clock: Clock, inbox: _Inbox) -> None:
        self._plan = plan
        self._duty = duty
        self._clock = clock
        self._inbox = inbox
        self._progress_fd = progress.fd
        self._counter = progress.counter(plan.stream)
        self._seen = self._counter.value
        self._captured_boot_ns = 0
        self._size = (0, 0)
        self._size_due = 0.0
        self._outage = _Outage(plan.stream, clock, inbox)
        self._faults = PictureFaults(plan.limits.frozen_s)
        self._trace: Trace | None = None
        self._stopping = threading.Event()
        self._bell: socket.socket | None = None
        self._bell_rings: socket.socket | None = None
        self._child: _Child | None = None
        self._lines = _Lines(plan.stream, clock)
        self._unborn = 0
        self._held: list[subprocess.Popen[bytes]] = []
        self.suspect = ""

    @property
    def pid(self) -> int | None:
        """Of the capture process, while there is one."""
        child = self._child
        return None if child is None else child.pid

    def stop(self) -> None:
        """End the capture process and `run`."""
        self._stopping.set()
        if self._bell is not None:
            with contextlib.suppress(OSError):  # closed, or full of earlier calls: either way it is heard
                self._bell.send(b"!", socket.MSG_DONTWAIT)

    def run(self) -> None:
        """Open the source again and again until it ends by itself or `stop` is called."""
        try:
            self._bell_rings, self._bell = socket.socketpair()
            self._try_again_and_again()
        except Exception as error:  # noqa: BLE001  # told by `suspect`: the agent decides
            _log.exception("%s: capturing ended", self._plan.stream)
            self.suspect = f"capturing ended with {type(error).__name__}: {error}"
        finally:
            self._duty.end()
            self._inbox.close()
            for end in (self._bell_rings, self._bell):
                if end is not None:
                    end.close()

    def _try_again_and_again(self) -> None:
        failures = 0
        while self._wanted() and (worked_s := self._attempt()) is not None:
            if worked_s > self._plan.backoff.ceiling_s(failures):
                failures = 0
            if worked_s < math.inf:
                self._rest(random.uniform(0, self._plan.backoff.ceiling_s(failures)))  # noqa: S311  # guards nothing
                failures += 1

    def _wanted(self) -> bool:
        """Wait until the plan wants a frame; False when `stop` was called."""
        while not self._stopping.is_set() and (wait_s := self._duty.wait_s()) > 0:
            if not self._duty.awake():
                self._outage.forget()
            _wait_for((self._bell_rings,), wait_s)
        return not self._stopping.is_set()

    def _rest(self, duration_s: float) -> None:
        """Wait, unless `stop` is called or the plan puts the stream to sleep."""
        until = self._clock.monotonic() + duration_s
        while not self._stopping.is_set() and self._duty.awake() and (left_s := until - self._clock.monotonic()) > 0:
            _wait_for((self._bell_rings,), min(left_s, self._duty.look_s))

    def _attempt(self) -> float | None:
        """Run one capture process to its end.

        Returns:
            For how many seconds it gave frames; without end when the plan ended it; None when that was the last one.
        """
        if self._stopping.is_set():
            return None
        if held := self._still_held():
            self._outage.begin(_Trouble("camera_lost", held))
            return 0.0
        try:
            self._child = child = _Child(self._plan, self._start(), self._progress_fd, self._lines)
        except OSError as error:
            self._outage.begin(_Trouble("camera_lost", f"the capture process cannot be started: {error}"))
            self._note_birth(str(error), born=False)
            return 0.0
        try:
            trouble = self._follow(child)
            grace_s = 0.0 if trouble and trouble.hangs else _GRACE_S
            self._finish(child, grace_s, as_planned=trouble is _PAUSE)
        finally:
            child.close()
            self._child = None
        self._note_birth(trouble.detail if trouble else "", born=child.born or trouble is _PAUSE)
        if self._stopping.is_set():
            return None
        if trouble is None:
            self._inbox.put_event("stream_ended", child.ending or f"after {frames_text(self._seen)}")
            return None
        if trouble.name == "picture_frozen":
            _log.info("%s: opened again: %s", self._plan.stream, trouble.detail)
        elif trouble is not _PAUSE:
            self._outage.begin(trouble)
        return math.inf if trouble is _PAUSE else child.worked_s

    def _still_held(self) -> str:
        """What to say while the kernel holds so many processes that another one would only join them."""
        self._held = [process for process in self._held if process.poll() is None]
        if len(self._held) < _HELD_MAX:
            return ""
        pids = ", ".join(str(process.pid) for process in self._held)
        return f"the kernel holds capture processes {pids} in a driver: unplug the camera, or restart the device"

    def _note_birth(self, why: str, *, born: bool) -> None:
        """Take note whether a capture process got as far as its source."""
        self._unborn = 0 if born else self._unborn + 1
        failed = self._unborn >= _UNBORN_MAX
        self.suspect = f"{self._unborn} capture processes in a row could not begin: {why}" if failed else ""

    def _start(self) -> Start:
        """What the next capture process is to do."""
        options: dict[str, object] = msgspec.to_builtins(self._plan.source.options)
        return Start(
            source=self._plan.source.path,
            target=self._plan.source.target,
            options=options,
            fps=self._plan.fps,
            counter=self._counter.index,
            deadline_s=self._plan.deadline_s,
            captured_boot_ns=self._captured_boot_ns,
            slots=self._plan.slots,
            limits=self._plan.limits,
            picture=self._faults.finding,
            trace=self._trace,
            masks=[list(polygon) for polygon in self._plan.masks],
            settle_s=self._duty.settle_s,
        )

    def _follow(self, child: "_Child") -> _Trouble | None:
        """Hear `child` out until something ends it.

        Returns:
            A trouble, or `_PAUSE`; None when the source ended or `stop` was called.
        """
        heard = self._clock.monotonic()
        while not self._stopping.is_set():
            if not self._duty.awake() or (child.given and child.camera and self._duty.closes):
                return _PAUSE
            first = child.frames_from is None
            deadline_s = self._plan.open_deadline_s + self._duty.settle_s if first else self._plan.deadline_s
            left_s = (heard if first else max(heard, self._duty.expected_s)) + deadline_s - self._clock.monotonic()
            if child.wait(min(left_s, self._duty.look_s), self._bell_rings):
                notice = child.receive()
                if isinstance(notice, Ended):
                    child.ending = redact(notice.detail)[:_DETAIL_CHARS]
                    return None
                if notice is None or isinstance(notice, Failed):
                    return _Trouble("camera_lost", child.explain(notice))
                self._handle(child, notice)
                if child.frames_from is not None:
                    heard = self._clock.monotonic()
                if trouble := self._trouble_in_frames(child):
                    return trouble
            elif left_s <= 0:
                doing = "open and give a frame" if first else "give a frame"
                return _Trouble("camera_stalled", f"did not {doing} within {deadline_s:g} s", hangs=True)
        return None

    def _trouble_in_frames(self, child: "_Child") -> _Trouble | None:
        """What else is a reason to begin anew, although `child` speaks."""
        now = self._clock.monotonic()
        self._tell(self._faults.remind(now))
        if self._faults.reopen_due(now):
            return _Trouble("picture_frozen", "the picture is frozen")
        due_s = (self._duty.period_s or 0.0) + self._plan.deadline_s
        if child.camera and child.readable_at is not None and now - child.readable_at > due_s:
            return _Trouble("camera_stalled", f"gave no readable frame within {self._plan.deadline_s:g} s")
        if self._plan.most_mb and (mb := child.grown_mb(now)) > self._plan.most_mb:
            limit = f"'capture_mb' allows {self._plan.most_mb}"
            return _Trouble("camera_lost", f"its capture process grew to {mb} MB of memory; {limit}")
        return None

    def _finish(self, child: "_Child", grace_s: float, *, as_planned: bool) -> None:
        """End `child`, and settle every number that it gave."""
        child.ask_to_stop()
        self._drain(child, grace_s)
        if not child.kill():
            self._held.append(child.process)
        self._drain(child, 0.0)
        wanted = not as_planned and not self._stopping.is_set()
        self._settle_until(self._counter.value, "unreadable" if wanted else "skipped")

    def _drain(self, child: "_Child", duration_s: float) -> None:
        """Take what `child` says until it has ended or `duration_s` is over."""
        until = self._clock.monotonic() + duration_s
        while True:
            left_s = until - self._clock.monotonic()
            if child.wait(left_s):
                notice = child.receive()
                if notice is None:
                    return
                self._handle(child, notice)
            elif left_s <= 0:
                return

    def _handle(self, child: "_Child", notice: Notice) -> None:
        """Take note of what the capture process said."""
        if isinstance(notice, Given | Settled):
            child.given = True
            self._duty.came()
        if isinstance(notice, Given):
            self._settle_until(notice.number - 1, "unreadable")
            self._seen = notice.number
            self._captured_boot_ns = notice.captured_boot_ns
            child.frames_from = child.frames_from or self._clock.monotonic()
            child.readable_at = self._clock.monotonic()
            child.worked_s = child.readable_at - child.frames_from
            self._outage.end()
            if child.camera:
                self._note_size((notice.width, notice.height))
            self._inbox.put_frame(child.frame(notice), newest_wins=child.live)
        elif isinstance(notice, Settled):
            self._settle_until(notice.first - 1, "unreadable")
            child.frames_from = child.frames_from or self._clock.monotonic()
            if notice.outcome == "skipped" or child.readable_at is None:
                child.readable_at = self._clock.monotonic()
            self._settle_until(notice.last, notice.outcome)
        elif isinstance(notice, Asked):
            self._inbox.put_asked(notice)
        elif isinstance(notice, Opened) and child.patient:
            # It may be hours until there is a picture: being open is all that can be asked of it.
            child.frames_from = self._clock.monotonic()
            self._outage.end()
        elif isinstance(notice, Beat) and child.patient:
            child.worked_s = self._clock.monotonic() - (child.frames_from or self._clock.monotonic())
            self._outage.alive()
        elif isinstance(notice, Seen):
            self._trace = notice.trace
            self._tell(self._faults.note(notice.finding, self._clock.monotonic()))

    def _tell(self, events: Iterable[tuple[str, str]]) -> None:
        for name, detail in events:
            _log.warning("%s: %s: %s", self._plan.stream, name, detail)
            self._inbox.put_event(name, detail)

    def _settle_until(self, last: int, outcome: SettledOutcome) -> None:
        """Settle the numbers after the last one that was seen."""
        if last > self._seen:
            self._inbox.put_settled(self._seen + 1, last, outcome)
            self._seen = last

    def _note_size(self, size: tuple[int, int]) -> None:
        """Tell when a camera's picture has another size than was told last; one that changes all the time, at times."""
        if size == self._size or self._clock.monotonic() < self._size_due:
            return
        if self._size != (0, 0):
            self._size_due = self._clock.monotonic() + _SIZE_S
            detail = "from {} x {} to {} x {} pixels".format(*self._size, *size)
            _log.warning("%s: the picture changed %s", self._plan.stream, detail)
            self._inbox.put_event("stream_changed", detail)
        self._size = size


class _Outage:
    """Tells of trouble once, and of its end; attempts in between are silent."""

    def __init__(self, stream: str, clock: Clock, inbox: _Inbox) -> None:
        self._stream = stream
        self._clock = clock
        self._inbox = inbox
        self._told: set[str] = set()
        self._last_frame_s = clock.monotonic()

    def begin(self, trouble: _Trouble) -> None:
        """There is trouble, perhaps still."""
        if trouble.name not in self._told:
            self._told.add(trouble.name)
            _log.warning("%s: %s: %s", self._stream, trouble.name, trouble.detail)
            self._inbox.put_event(trouble.name, trouble.detail)

    def end(self) -> None:
        """A frame came."""
        now = self._clock.monotonic()
        if self._told:
            self._told.clear()
            detail = f"after {now - self._last_frame_s:.1f} s"
            _log.warning("%s: frames come again %s", self._stream, detail)
            self._inbox.put_event("camera_back", detail)
        self._last_frame_s = now

    def alive(self) -> None:
        """No frame came, and none had to."""
        self._last_frame_s = self._clock.monotonic()

    def forget(self) -> None:
        """Nobody wants a frame: what is wrong then is no trouble, and told anew if it is later."""
        self._told.clear()
        self._last_frame_s = self._clock.monotonic()


class _Child:
    """A capture process, seen from the agent.

    Must be made by a thread that lives as long as it does: the kernel ends the process with the thread that began it.

    Attributes:
        born: Whether it got as far as its source.
        process: The process.
        readable_at: When its last frame came that could be read, or at first the first of all.
        frames_from: When its first frame came, on the monotonic clock.
        worked_s: From its first frame to its last.
        given: Whether it numbered a frame.
        live: Whether its source is.
        camera: Whether its source is one.
        answering: Whether somebody waits for what comes of each frame.
        patient: Whether it is no fault that nothing comes.
        ending: What its source said of its end.
    """

    def __init__(self, plan: _Plan, start: Start, progress_fd: int, lines: "_Lines") -> None:
        self._stream = plan.stream
        self._slots = plan.slots
        self.born = False
        self.readable_at: float | None = None
        self.frames_from: float | None = None
        self._weigh_at = 0.0
        self.worked_s = 0.0
        self.live = self.camera = self.answering = self.patient = False
        self.given = False
        self.ending = ""
        self._decoder = msgspec.msgpack.Decoder(Notice)
        self._memory: mmap.mmap | None = None
        self._arena = Arena(0, 0)
        self._nonsense = ""
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = json.dumps([sys.path, os.getpid(), theirs.fileno(), progress_fd])
            try:
                self.process = subprocess.Popen(  # noqa: S603  # our own interpreter
                    [sys.executable, "-c", _CHILD, arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=(theirs.fileno(), progress_fd),
                    start_new_session=True,  # Ctrl-C goes to the agent, which decides
                )
            except OSError:
                self._socket.close()
                raise
        self._printed = _Printed(self.process, lines)
        self._send(start)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def wait(self, timeout_s: float, stop: socket.socket | None = None) -> bool:
        """Wait until there is something to receive; False when `timeout_s` is over, `stop` can be read, or for now."""
        ready = _wait_for((self._socket, self._printed, stop), timeout_s)
        if self._printed in ready:
            self._printed.read()
        return self._socket in ready

    def receive(self) -> Notice | None:
        """What it says, or None when it has ended, or speaks nonsense."""
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, MESSAGE_BYTES, 1)
        except ConnectionResetError:
            # It ended before it read our last order. The kernel says so once, and before what it had sent.
            data, fds, _, _ = socket.recv_fds(self._socket, MESSAGE_BYTES, 1)
        try:
            notice: Notice | None = self._decoder.decode(data) if data else None
            if isinstance(notice, Arena):
                self._memory = mmap.mmap(fds[0], notice.slot_bytes * self._slots, prot=mmap.PROT_READ)
                self._arena = notice
            elif isinstance(notice, Opened):
                self.live, self.camera, self.answering = notice.live, notice.camera, notice.answering
                self.patient = notice.answering or notice.patient
            elif isinstance(notice, Given):
                self._check(notice)
        except (msgspec.DecodeError, ValueError, IndexError, OSError) as error:
            self._nonsense = f"the capture process sent something that is no notice: {error}"
            return None
        finally:
            for fd in fds:
                os.close(fd)
        self.born = self.born or notice is not None
        return notice

    def _check(self, given: Given) -> None:
        """Refuse a frame that does not lie in a slot; raises ValueError."""
        size = given.height * given.width * 3
        if (
            given.arena != self._arena.arena
            or not 0 <= given.slot < self._slots
            or not 0 < size <= self._arena.slot_bytes
        ):
            raise ValueError(f"frame {given.number} lies outside of its slot")

    def frame(self, given: Given) -> Frame:
        """The frame that a notice tells of."""
        shape = (given.height, given.width, 3)
        pixels = np.ndarray(shape, np.uint8, self._memory, given.slot * self._arena.slot_bytes)
        release = Release(given.arena, given.slot)
        return Frame(
            given.number,
            given.captured_boot_ns,
            given.capture_ticks,
            pixels,
            lambda: self._send(release),
            (lambda data, ok: self._answer(given.number, data, ok=ok)) if self.answering else None,
        )

    def _answer(self, number: int, data: bytes, *, ok: bool) -> None:
        """Send what came of a frame; an answer that gets lost is a time-out for who waits, and for nobody else."""
        if len(data) <= _ANSWER_BYTES:
            self._send(Answer(number, ok, data))
            return
        with contextlib.suppress(OSError), open(os.memfd_create("vigie-answer", os.MFD_CLOEXEC), "wb") as file:  # noqa: PTH123  # a descriptor, not a path
            file.write(data)
            file.flush()
            self._send(Answer(number, ok, b""), (file.fileno(),))

    def explain(self, failed: Failed | None) -> str:
        """Why it gives no more frames, without credentials."""
        if failed is None:
            self.kill()  # it is gone, or speaks nonsense; `_finish` sees to one that is held
        self._printed.read_all()
        reason = failed.reason if failed else self._nonsense or self._how_it_ended()
        last = self._printed.recent()
        text = f"{reason} ({last})" if last and last not in reason else reason
        return " ".join(redact(text).split())[:_DETAIL_CHARS]

    def ask_to_stop(self) -> None:
        """Let it end after the frame in hand."""
        self._send(Stop())

    def grown_mb(self, now: float) -> int:
        """Memory that it has to itself, in MB; looked at every few seconds, 0 in between and where nobody knows."""
        if now < self._weigh_at:
            return 0
        self._weigh_at = now + _WEIGH_S
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
            return int(status.partition("RssAnon:")[2].split(maxsplit=1)[0]) * 1024 // _MB
        except (OSError, ValueError, IndexError):
            return 0

    def kill(self) -> bool:
        """End it, and what it began; False when the kernel does not let it go."""
        if self.process.returncode is not None:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        try:
            self.process.wait(_REAP_S)
        except subprocess.TimeoutExpired:
            _log.warning("%s: the kernel holds capture process %d; it was left behind", self._stream, self.pid)
            return False
        return True

    def close(self) -> None:
        """Let go of it; frames that were not released stay readable."""
        with self._lock:
            self._socket.close()
        self._printed.close()

    def _send(self, order: Start | Release | Answer | Stop, fds: tuple[int, ...] = ()) -> None:
        """Give an order; one to a process that has ended is lost without harm."""
        with self._lock, contextlib.suppress(OSError):
            socket.send_fds(self._socket, [msgspec.msgpack.encode(order)], fds, socket.MSG_DONTWAIT)

    def _how_it_ended(self) -> str:
        code = self.process.returncode
        if code is not None and code < 0:
            return f"the capture process was ended by {signal.Signals(-code).name}"
        return f"the capture process ended with code {code}"


class _Printed:
    """What a capture process, and the libraries in it, print: logged without credentials; the last line is kept."""

    def __init__(self, process: "subprocess.Popen[bytes]", lines: "_Lines") -> None:
        self._lines = lines
        self._pipe = process.stdout
        self._rest = b""
        self._last = ""
        self._last_s = 0.0

    def recent(self) -> str:
        """The last line, if it was printed a moment ago: what was wrong when something ended."""
        return redact(self._last) if time.monotonic() - self._last_s < _RECENT_S else ""

    def fileno(self) -> int:
        """Of the pipe; -1 when it has ended."""
        return self._pipe.fileno() if self._pipe and not self._pipe.closed else -1

    def read(self) -> None:
        """Take what was printed; to be called when the pipe can be read."""
        data = os.read(self.fileno(), _PRINTED_BYTES)
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_PRINTED_BYTES:]
        if not data:
            lines.append(rest)
            self.close()
        for line in lines:
            self._log(line.decode(errors="replace").strip())

    def read_all(self) -> None:
        """Take what was printed up to now, if it is not endless."""
        for _ in range(_PRINTED_READS):
            if not _wait_for((self,), 0.0):
                return
            self.read()

    def close(self) -> None:
        """Close the pipe."""
        if self._pipe:
            self._pipe.close()

    def _log(self, line: str) -> None:
        level, _, message = line.partition(":")
        if level in {"WARNING", "INFO"}:
            self._lines.log(getattr(logging, level), message)
        elif line:
            self._lines.log(logging.DEBUG, line)
            if not _OPENCV_ITSELF.search(line):
                self._last = _LIBRARY.sub("", line)[:_DETAIL_CHARS]
                self._last_s = time.monotonic()


class _Lines:
    """What is logged of a stream's capture processes: without credentials, and so that one cannot fill the disk."""

    def __init__(self, stream: str, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._until = 0.0
        self._left = 0
        self._kept_back = 0

    def log(self, level: int, message: str) -> None:
        """Log a line, or count it."""
        if not _log.isEnabledFor(level):
            return
        now = self._clock.monotonic()
        if now >= self._until:
            if self._kept_back:
                _log.log(level, "%s: %d more lines were not logged", self._stream, self._kept_back)
            self._until, self._left, self._kept_back = now + _LINES_S, _LINES_MAX, 0
        if self._left:
            self._left -= 1
            _log.log(level, "%s: %s", self._stream, redact(message))
        else:
            self._kept_back += 1


def _wait_for(sources: Iterable["_HasFileno | None"], timeout_s: float) -> "list[_HasFileno]":
    """Those that can be read, or have ended, within `timeout_s`."""
    poll = select.poll()
    by_fd = {source.fileno(): source for source in sources if source is not None and source.fileno() >= 0}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _ in poll.poll(max(0.0, timeout_s) * 1000)]


class _HasFileno(Protocol):
    """Something to wait for."""

    def fileno(self) -> int: ...
