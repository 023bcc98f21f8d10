"""What the plan wants of a stream now: to be asleep, to give a frame, or to wait for the next.

The timetable is by the wall clock, which may jump, and which a device without a clock battery does not know at first:
until it does the stream is awake, since a frame too many does less harm than one too few. Periods are by the monotonic
clock, from the moment that the stream was awake.
"""

import logging
from collections.abc import Callable
from typing import TypeAlias

from agent.clock import Clock
from agent.dues import State
from agent.timetable import Timetable

CLOSED_FROM_S = 60.0
"""From this period on a camera is closed between frames: it takes power, its lamp is on, and a stream costs network
for frames that nobody wants. Below it, opening would take a good part of the time."""

SETTLE_S = 2.0
"""A camera that was opened for a single frame has so long to find its exposure."""

LOOK_S = 1.0
"""How often the wall clock is looked at: it may jump."""

_NEVER_S = 3600.0
_TIME_UNKNOWN = "the time is not known yet: captures whatever the plan says"

OnSwitch: TypeAlias = Callable[[State, int], None]
"""Called with a stream's state and since when, in boot time (ns)."""

_log = logging.getLogger(__name__)


class Duty:
    """The plan of one stream, as time goes by. Used by one thread.

    Args:
        stream: Its name.
        period_s: Seconds between frames; None for as many as come.
        timetable: When it is awake; None for always.
        clock: The agent's.
        tell: Gets `stream_asleep` and `stream_awake`, with a detail.
        on_switch: Gets every change at once, the first state included.

    Attributes:
        period_s: As given.
        expected_s: When the next frame is due at the earliest, on the monotonic clock.
    """

    def __init__(  # one for each thing that a plan is made of
        self,
        stream: str,
        period_s: float | None,
        timetable: Timetable | None,
        clock: Clock,
        tell: Callable[[str, str], None],
        on_switch: OnSwitch,
    ) -> None:
        self.period_s = period_s
        self.expected_s = clock.monotonic()
        self._stream = stream
        self._timetable = timetable
        self._clock = clock
        self._tell = tell
        self._on_switch = on_switch
        self._offset_ns: int | None = None
        self._due_s = self.expected_s
        self._state: State = "ended"

    @property
    def closes(self) -> bool:
        """Whether a camera is closed between two frames."""
        return self.period_s is not None and self.period_s >= CLOSED_FROM_S

    @property
    def settle_s(self) -> float:
        """How long a camera's frames pass after it was opened."""
        return SETTLE_S if self.closes else 0.0

    @property
    def look_s(self) -> float:
        """After how long the answers here may be others."""
        return _NEVER_S if self._timetable is None else LOOK_S

    def awake(self) -> bool:
        """Whether the plan wants the stream awake now; tells nobody."""
        if self._timetable is None:
            return True
        wall_ns = self._wall_ns()
        return wall_ns is None or self._timetable.at(wall_ns).awake

    def wait_s(self) -> float:
        """Seconds to wait with a closed camera before asking again; 0 for none. Tells when the state changed."""
        awake = self.awake()
        state: State = "awake" if awake else "asleep"
        if state != self._state:
            self._change(state)
        if not awake:
            return LOOK_S
        return min(self.look_s, max(0.0, self._due_s - self._clock.monotonic())) if self.closes else 0.0

    def came(self) -> None:
        """Take note of a frame: the next one is wanted when the period after this one's begins."""
        now = self._clock.monotonic()
        if self.period_s is not None:
            self.expected_s = now + self.period_s
            self._due_s += max(0.0, (now - self._due_s) // self.period_s + 1) * self.period_s

    def end(self) -> None:
        """The stream has ended: nothing is wanted any more."""
        self._on_switch("ended", self._clock.boot_ns())

    def _wall_ns(self) -> int | None:
        """Wall time as it was learnt last; None while it never was."""
        if known := self._clock.offset():
            self._offset_ns = known[0]
        return None if self._offset_ns is None else self._clock.boot_ns() + self._offset_ns

    def _change(self, state: State) -> None:
        first, self._state = self._state == "ended", state
        self._due_s = self.expected_s = self._clock.monotonic()
        self._on_switch(state, self._clock.boot_ns())
        detail = self._detail(state)
        if first and state == "awake" and detail != _TIME_UNKNOWN:
            return  # that a stream which began captures is no news
        _log.info("stream %s: %s, %s", self._stream, state, detail)
        if state == "awake":
            self._tell("stream_awake", detail)
        else:
            self._tell("stream_asleep", detail)

    def _detail(self, state: State) -> str:
        """Until when, or why."""
        wall_ns = self._wall_ns()
        if self._timetable is None:
            return ""
        if wall_ns is None:
            return _TIME_UNKNOWN
        until_ns = self._timetable.at(wall_ns).until_ns if state == "awake" else self._timetable.next_awake_ns(wall_ns)
        return "for more than a year" if until_ns is None else f"until {self._timetable.local(until_ns)}"
