"""The agent's loop: look, infer, measure, keep.

The loop never touches the network. An observation is safe once its batch is in the outbox; `agent.uplink`
carries it to the broker at the network's own pace.
"""

import logging
from collections.abc import Callable
from threading import Event

from agent.books import Book, Look
from agent.capture import Capture, Frame
from agent.clock import Clock
from agent.model import Looker
from agent.seal import Journal
from shared.records import TICK_NS

log = logging.getLogger(__name__)

_ROOM_S = 0.5

Glance = Callable[[Frame], None]
"""Called with each frame after it was looked at: the snapshots' chance."""


def run(
    capture: Capture, looker: Looker, book: Book, journal: Journal, clock: Clock, glance: Glance, stop: Event
) -> None:
    """Turn every frame into exactly one outcome, until the frames end."""
    failure = ""
    for frame in capture.frames():
        while not book.wait_for_room(_ROOM_S):
            if stop.is_set():
                book.settle(frame.number, frame.number, "skipped")
                return
        look = observe(frame, looker, clock)
        book.look(look)
        if look.error != failure:
            failure = look.error
            _tell(failure, book.stream, journal)
        glance(frame)


def observe(frame: Frame, looker: Looker, clock: Clock) -> Look:
    """Say what the model saw in `frame`, and what seeing it cost; a failing model makes a look with an error."""
    watch = Stopwatch(clock)
    wait = max(0, watch.started_ns - frame.captured_boot_ns) // TICK_NS
    found, error = None, ""
    try:
        tensor, placement = looker.prepare(frame.pixels)
        watch.lap("prepare")
        outputs = looker.infer(tensor)
        watch.lap("infer")
        found = looker.decode(outputs, placement)
        watch.lap("decode")
    except Exception as failure:  # noqa: BLE001  # whatever a model does to a frame, the frame stays accounted for
        error = f"{type(failure).__name__}: {failure}"[:1024]
    height, width = frame.pixels.shape[:2]
    return Look(
        frame=frame.number,
        captured_boot_ns=frame.captured_boot_ns,
        width=width,
        height=height,
        capture=frame.capture_ticks,
        wait=wait,
        prepare=watch.ticks("prepare"),
        infer=watch.ticks("infer"),
        decode=watch.ticks("decode"),
        found=found,
        error=error,
    )


class Stopwatch:
    """Lap times on the boot clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.started_ns = self._last = clock.boot_ns()
        self._laps: dict[str, int] = {}

    def lap(self, name: str) -> None:
        """End the lap `name`; the next begins."""
        now = self._clock.boot_ns()
        self._laps[name] = now - self._last
        self._last = now

    def ticks(self, name: str) -> int:
        """A lap in hundredths of a millisecond; 0 for one that was not reached."""
        return round(self._laps.get(name, 0) / TICK_NS)


def _tell(failure: str, stream: str, journal: Journal) -> None:
    """Log the transition, not every frame."""
    if failure:
        log.error("stream %s: inference fails: %s", stream, failure)
        journal.event("inference_failed", failure, stream)
    else:
        log.info("stream %s: inference works again", stream)
