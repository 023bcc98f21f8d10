"""Keeps a capture process going: deadlines, attempts, and what is told of both.

A supervisor has a thread of its own, one for each stream. It talks to the process and hands free slots back at once.
"""

import contextlib
import logging
import math
import random
import socket
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from agent.capture_child import Asked, Beat, Ended, Failed, Given, Notice, Opened, Seen, Settled, Start
from agent.captureprocess import Child, Lines, wait_for
from agent.clock import Clock
from agent.duty import Duty
from agent.frames import Inbox, SettledOutcome
from agent.progress import Progress
from agent.quality import Limits, PictureFaults, Trace
from agent.sources import Resolved, frames_text
from shared.redact import redact
from shared.stamps import Stamp

if TYPE_CHECKING:
    import subprocess

_GRACE_S = 1.0
"""A source that was asked to stop, or that failed, gets this long to close its camera."""
_DETAIL_CHARS = 500
_UNBORN_MAX = 8
"""Capture processes in a row that could not even begin, in about a minute: then something is wrong with the agent."""
_HELD_MAX = 2
"""Processes that the kernel does not let go, beside which no more are begun."""
_SIZE_S = 60.0
"""Between two changes of a picture's size that are told of."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backoff:
    """Waits between attempts, in seconds: drawn from 0 to a ceiling that doubles from `first_s` to `most_s`."""

    first_s: float = 1.0
    most_s: float = 60.0

    def ceiling_s(self, attempt: int) -> float:
        """The longest wait after `attempt` (from 0) attempts in a row failed."""
        return min(self.most_s, self.first_s * 2.0 ** min(attempt, 32))


@dataclass(frozen=True)
class Plan:
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
class Trouble:
    """Why a capture process came to its end before its source did: an event's name, and what to say.

    With `hangs` it is not waited for.
    """

    name: str
    detail: str
    hangs: bool = False


_PAUSE = Trouble("", "the plan wants no frame now")
"""No trouble: the capture process is ended, and begun again when a frame is wanted."""


class Supervisor:
    """Keeps a capture process going, while the plan wants frames, until the source ends or `stop` is called.

    Args:
        plan: What to keep going.
        duty: When it is to be kept going.
        progress: Where numbers are counted.
        clock: For deadlines and durations.
        inbox: Gets everything that the consumer has to know.
        stamp: The thread's sign of life.

    Attributes:
        suspect: As in `Capture`.
    """

    def __init__(  # what it keeps going, and what it does that with
        self, plan: Plan, duty: Duty, progress: Progress, clock: Clock, inbox: Inbox, stamp: Stamp | None = None
    ) -> None:
        self._stamp = stamp or Stamp(plan.stream, 0, clock.monotonic)
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
        self._child: Child | None = None
        self._lines = Lines(plan.stream, clock)
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
            self._stamp.done()
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
            self._stamp.rest()
            wait_for((self._bell_rings,), wait_s)
        self._stamp.beat()
        return not self._stopping.is_set()

    def _rest(self, duration_s: float) -> None:
        """Wait, unless `stop` is called or the plan puts the stream to sleep."""
        until = self._clock.monotonic() + duration_s
        while not self._stopping.is_set() and self._duty.awake() and (left_s := until - self._clock.monotonic()) > 0:
            self._stamp.rest()
            wait_for((self._bell_rings,), min(left_s, self._duty.look_s))

    def _attempt(self) -> float | None:
        """Run one capture process to its end.

        Returns:
            For how many seconds it gave frames; without end when the plan ended it; None when that was the last one.
        """
        if self._stopping.is_set():
            return None
        if held := self._still_held():
            self._outage.begin(Trouble("camera_lost", held))
            return 0.0
        try:
            self._child = child = Child(
                self._plan.stream, self._plan.slots, self._start(), self._progress_fd, self._lines
            )
        except OSError as error:
            self._outage.begin(Trouble("camera_lost", f"the capture process cannot be started: {error}"))
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

    def _follow(self, child: "Child") -> Trouble | None:
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
            self._stamp.rest()
            spoke = child.wait(min(left_s, self._duty.look_s), self._bell_rings)
            self._stamp.beat()
            if spoke:
                notice = child.receive()
                if isinstance(notice, Ended):
                    child.ending = redact(notice.detail)[:_DETAIL_CHARS]
                    return None
                if notice is None or isinstance(notice, Failed):
                    return Trouble("camera_lost", child.explain(notice))
                self._handle(child, notice)
                if child.frames_from is not None:
                    heard = self._clock.monotonic()
                if trouble := self._trouble_in_frames(child):
                    return trouble
            elif left_s <= 0:
                doing = "open and give a frame" if first else "give a frame"
                return Trouble("camera_stalled", f"did not {doing} within {deadline_s:g} s", hangs=True)
        return None

    def _trouble_in_frames(self, child: "Child") -> Trouble | None:
        """What else is a reason to begin anew, although `child` speaks."""
        now = self._clock.monotonic()
        self._tell(self._faults.remind(now))
        if self._faults.reopen_due(now):
            return Trouble("picture_frozen", "the picture is frozen")
        due_s = (self._duty.period_s or 0.0) + self._plan.deadline_s
        if child.camera and child.readable_at is not None and now - child.readable_at > due_s:
            return Trouble("camera_stalled", f"gave no readable frame within {self._plan.deadline_s:g} s")
        if self._plan.most_mb and (mb := child.grown_mb(now)) > self._plan.most_mb:
            limit = f"'capture_mb' allows {self._plan.most_mb}"
            return Trouble("camera_lost", f"its capture process grew to {mb} MB of memory; {limit}")
        return None

    def _finish(self, child: "Child", grace_s: float, *, as_planned: bool) -> None:
        """End `child`, and settle every number that it gave."""
        child.ask_to_stop()
        self._drain(child, grace_s)
        if not child.kill():
            self._held.append(child.process)
        self._drain(child, 0.0)
        wanted = not as_planned and not self._stopping.is_set()
        self._settle_until(self._counter.value, "unreadable" if wanted else "skipped")

    def _drain(self, child: "Child", duration_s: float) -> None:
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

    def _handle(self, child: "Child", notice: Notice) -> None:
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

    def __init__(self, stream: str, clock: Clock, inbox: Inbox) -> None:
        self._stream = stream
        self._clock = clock
        self._inbox = inbox
        self._told: set[str] = set()
        self._last_frame_s = clock.monotonic()

    def begin(self, trouble: Trouble) -> None:
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
