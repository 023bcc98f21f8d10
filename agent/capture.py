"""A source behind a deadline, in its own process; every frame's number, and what became of it.

A camera may block for ever, crash its library or disappear: that costs one capture process, which is ended and begun
again, and nothing else. Every number that the capture process gives arrives here exactly once, in order: as a frame,
or as settled (`skipped`: a newer one replaced it; `unreadable`: it could not be decoded, or its process died with it).

A supervisor (`agent.supervisor`) keeps the process going in a thread of its own; the consumer takes frames, and gets
all callbacks. Between them stands an inbox (`agent.frames`).
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TypeAlias

from agent.capture_child import SLOTS_BESIDE, Asked, Settled
from agent.clock import Clock
from agent.duty import Duty, OnSwitch
from agent.frames import Frame, Inbox, SettledOutcome, Told
from agent.progress import Progress
from agent.quality import Limits
from agent.sources import Advising, Resolved
from agent.supervisor import Backoff, Plan, Supervisor
from agent.timetable import Timetable
from shared.stamps import Stamp

__all__ = ["Backoff", "Capture", "Frame", "OnEvent", "OnSettled", "Progress"]

OnEvent: TypeAlias = Callable[[str, str], None]
"""Called with an event's name (one of `shared.schema.EVENTS`) and its detail."""
OnSettled: TypeAlias = Callable[[int, int, SettledOutcome], None]
"""Called with the first and last number, both included, and the outcome."""
OnRequests: TypeAlias = Callable[[dict[int, int]], None]
"""Called with how many requests a source answered since the call before, per HTTP status."""

_END_S = 5.0
"""Everything that it does with a capture process takes less."""

_log = logging.getLogger(__name__)


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
        stamp: The sign of life of what keeps the capture process going.

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
        stamp: Stamp | None = None,
    ) -> None:
        self._on_event = on_event or (lambda _name, _detail: None)
        self._on_settled = on_settled or (lambda _first, _last, _outcome: None)
        self._on_requests = on_requests or (lambda _requests: None)
        self._inbox = Inbox()
        self._plan = Plan(
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
        self._supervisor = Supervisor(self._plan, duty, progress, clock, self._inbox, stamp)
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
        self._thread.join(_END_S)
        if self._thread.is_alive():
            _log.error("%s: its capture does not end, and is left behind", self._plan.stream)
            return
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

    def _tell(self, item: Settled | Told | Asked) -> None:
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
