"""A picture for the dashboard now and then: shrinking, encoding and writing happen in a thread off the loop."""

import logging
import threading
from dataclasses import dataclass

import cv2

from agent.capture import Frame
from agent.clock import Clock
from agent.snapshots import Snapshots
from agent.sources import Pixels
from shared.stamps import Stamp

log = logging.getLogger(__name__)

JPEG_QUALITY = 80


@dataclass(frozen=True, slots=True)
class _Glimpse:
    stream: str
    frame: int
    captured_boot_ns: int
    pixels: Pixels
    width: int


class Glancer:
    """Keeps one frame of each stream every so many seconds. The newest waits, at most one for each stream."""

    def __init__(self, snapshots: Snapshots, clock: Clock, stamp: Stamp | None = None) -> None:
        self._stamp = stamp or Stamp("glancer", 0, clock.monotonic)
        self._snapshots = snapshots
        self._clock = clock
        self._waiting: dict[str, _Glimpse] = {}
        self._due: dict[str, float] = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="glance", daemon=True)

    def start(self) -> None:
        """Begin to keep pictures."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Keep what waits, and end; False when that takes longer than `timeout_s`."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def look(self, stream: str, frame: Frame, every_s: float, width: int) -> None:
        """Take a copy of the frame when the stream's next picture is due; `every_s` 0 means never."""
        now = self._clock.monotonic()
        if not every_s or now < self._due.get(stream, 0.0):
            return
        self._due[stream] = now + every_s
        glimpse = _Glimpse(stream, frame.number, frame.captured_boot_ns, frame.pixels.copy(), width)
        with self._changed:
            self._waiting[stream] = glimpse
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._stamp.rest()
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if not self._waiting:
                    self._stamp.done()
                    return
                _, glimpse = self._waiting.popitem()
            self._stamp.beat()
            self._keep(glimpse)

    def _keep(self, glimpse: _Glimpse) -> None:
        try:
            jpeg = encode(glimpse.pixels, glimpse.width)
            self._snapshots.put(glimpse.stream, glimpse.frame, glimpse.captured_boot_ns, jpeg)
        except (cv2.error, OSError) as error:
            log.warning("stream %s: a picture could not be kept: %s", glimpse.stream, error)


def encode(pixels: Pixels, width_max: int) -> bytes:
    """A picture [h, w, 3] BGR as JPEG, at most `width_max` pixels wide."""
    height, width = pixels.shape[:2]
    if width > width_max:
        size = (width_max, max(1, round(height * width_max / width)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(pixels.dtype, copy=False)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
