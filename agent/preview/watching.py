"""What the preview's page shows: the latest picture with its boxes, how sharp it is, and how bright."""

import threading
import time
from collections import deque
from typing import Any

import cv2
import numpy as np

from agent import answers, drawing, loop
from agent.capture import Capture, Frame
from agent.clock import Clock
from agent.model import Model
from agent.region import Region
from agent.sources import Pixels
from shared.records import TICKS_PER_MS

_SIDE_MAX = 1280
_QUALITY = 80
_DARK, _BRIGHT = 5, 250
"""Grey values of 255 beyond which there is nothing to see."""
_FPS_OVER_S = 3.0
_SEEN_MAX = 20

State = dict[str, Any]


class Watching:
    """The latest of one stream. `run` is one thread's, everything else any thread's.

    Args:
        stream: The stream's name.
        source: The source in words.
        model: That looks.
        region: What of the picture it sees.
        clock: For times.
        lasts_s: Until the preview ends.
    """

    def __init__(  # what the page tells
        self, stream: str, source: str, model: Model, region: Region | None, clock: Clock, lasts_s: float
    ) -> None:
        self._stream = stream
        self._source = source
        self._model = model
        self._looker = model.looker(region)
        self._clock = clock
        self._until = time.monotonic() + lasts_s
        self._changed = threading.Condition()
        self._number = 0
        self._jpeg = b""
        self._figures: State = {}
        self._trouble = ""
        self._ended = False
        self._came: deque[float] = deque()

    def run(self, capture: Capture) -> None:
        """Look at every frame until there are no more."""
        for frame in capture.frames():
            self._look(frame)
        self.end()

    def event(self, name: str, detail: str) -> None:
        """Take note of what happened to the camera."""
        with self._changed:
            self._trouble = "" if name in {"camera_back", "picture_well"} else f"{name}: {detail}"
            self._changed.notify_all()

    def end(self) -> None:
        """Say that there will be no more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def state(self, after: int, timeout_s: float) -> State:
        """What is to be told beside the picture, once there is a newer one than `after`, or after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > after or self._ended, timeout_s)
            return {
                "stream": self._stream,
                "source": self._source,
                "number": self._number,
                "ended": self._ended,
                "left_s": max(0, round(self._until - time.monotonic())),
                "trouble": self._trouble,
                **self._figures,
            }

    def picture(self) -> bytes:
        """The latest picture as a JPEG; empty before the first."""
        with self._changed:
            return self._jpeg

    def _look(self, frame: Frame) -> None:
        look = loop.observe(frame, self._looker, self._clock)
        found: answers.Answer = answers.seen(self._model, look.found) if look.found is not None else {}
        seen: list[answers.Answer] = found.get("detections") or found.get("classes", [])
        jpeg = _encoded(drawing.draw(frame.pixels, seen))
        figures = {
            "width": look.width,
            "height": look.height,
            "fps": self._fps(),
            "model": f"{self._model.name} {self._model.version}",
            "seen": [{"class": one["class"], "score": one["score"]} for one in seen[:_SEEN_MAX]],
            "infer_ms": look.infer / TICKS_PER_MS,
            "error": look.error,
            **measure(frame.pixels),
        }
        with self._changed:
            self._number, self._jpeg, self._figures = frame.number, jpeg, figures
            self._changed.notify_all()

    def _fps(self) -> float:
        """Frames a second, over the last seconds."""
        now = time.monotonic()
        self._came.append(now)
        while now - self._came[0] > _FPS_OVER_S:
            self._came.popleft()
        over_s = now - self._came[0]
        return round((len(self._came) - 1) / over_s, 1) if over_s >= 1 else 0.0  # two frames are no rate


def measure(pixels: Pixels) -> dict[str, float]:
    """How sharp and how bright a picture is [height, width, 3].

    Returns:
        `focus`: variance of the Laplacian over the squared mean, of the grey values in the middle half of the picture,
        times 1000, without a unit. It grows with sharpness and hardly with exposure, and says something only against
        itself, with the camera at rest. `mean`: of the grey values, 0 to 255. `dark`, `bright`: shares of the picture
        in which there is nothing but black, or white.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    height, width = grey.shape
    middle = grey[height // 4 : height - height // 4, width // 4 : width - width // 4]
    variance = float(cv2.Laplacian(middle, cv2.CV_32F).var())
    return {
        "focus": round(1000 * variance / max(1.0, float(middle.mean())) ** 2, 1),
        "mean": round(float(grey.mean()), 1),
        "dark": round(float(np.count_nonzero(grey <= _DARK)) / grey.size, 4),
        "bright": round(float(np.count_nonzero(grey >= _BRIGHT)) / grey.size, 4),
    }


def _encoded(pixels: Pixels) -> bytes:
    """A JPEG that a phone loads quickly."""
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE_MAX / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
