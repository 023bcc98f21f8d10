"""A video file, read past what is damaged in it: for `files`, and for `vigie-agent predict`."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from agent.sources import Lost, Pixels, Unreadable, frames_text

FAILURES_MAX = 50
"""Failures in a row after which no frame is looked for, unless the file announced more frames than that."""

_PATIENCE_S = 2.0
"""For which one is looked for at most: the source's own deadline must not pass meanwhile."""

_FPS_MAX = 1000.0
_FRAMES_MAX = 1_000_000_000
"""A container that announces more announces nonsense."""
_TOLERANCE_FRAMES = 2
"""Containers are often off by one or two."""
_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}
_BOX_HEAD_BYTES = 16
_BOX_LEAST_BYTES = 8
_BOXES_MAX = 100_000


class Video:
    """Frames of a video file, through FFmpeg.

    OpenCV says of a frame that cannot be decoded what it says at the end: no. Here a failure is an unreadable frame
    when one that can be read follows it, and otherwise the end, so that no frame is made up.

    Args:
        path: Of the file.

    Attributes:
        fps: Frames a second, None where the file does not say it.
        pixels: Of a frame, as the file announces it.
        passed: Frames so far, unreadable ones included.
        unreadable: Those that could not be decoded.

    Raises:
        Lost: The file cannot be played.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._video.isOpened():
            raise Lost(f"{path} cannot be played: it is no video file that FFmpeg knows, or it is damaged")
        rate = self._video.get(cv2.CAP_PROP_FPS)
        self.fps = rate if 0 < rate <= _FPS_MAX else None
        self.pixels = int(self._video.get(cv2.CAP_PROP_FRAME_WIDTH) * self._video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.passed = 0
        self.unreadable = 0
        self._readable = False
        self._ahead: deque[bool] = deque()
        self._reached_s = 0.0

    def grab(self) -> bool:
        """Go to the next frame, readable or not; False at the end."""
        if not self._ahead:
            self._look()
        if not self._ahead:
            return False
        self._readable = self._ahead.popleft()
        self.passed += 1
        self.unreadable += not self._readable
        return True

    def retrieve(self) -> Pixels:
        """The frame that `grab` went to.

        Raises:
            Unreadable: It cannot be decoded.
        """
        good, pixels = self._video.retrieve() if self._readable else (False, None)
        if not good or pixels is None:
            raise Unreadable(f"a frame of {self._path} cannot be decoded")
        return np.asarray(pixels, np.uint8)

    def damage(self) -> str:
        """After the end: where the file ended, if that is not where it should have; otherwise nothing.

        Only some containers count their frames. Of the others the count is an estimate from duration and rate, which
        is far off where the rate varies: there an early end counts. MP4 and MOV count, but may leave frames out by
        intention (an edit list): there a frame that could not be read, or a part that is not there, tells of damage.
        """
        announced = self._announced_too_much()
        if not announced:
            return ""
        if _is_mp4(self._path):
            damaged = not self.passed or self.unreadable > 0 or _is_cut_short(self._path)
        else:
            damaged = self.fps is not None and self._reached_s < (announced - 1 - _TOLERANCE_FRAMES) / self.fps
        return f"after {self.passed} of {frames_text(announced)}: the file is damaged" if damaged else ""

    def ending(self) -> str:
        """After the end: as `damage`; or what the file announced, where it is known to count."""
        announced = self._announced_too_much()
        if not announced or not _is_mp4(self._path):
            return self.damage()
        return self.damage() or f"after {frames_text(self.passed)}; the file announces {announced}"

    def close(self) -> None:
        """Close the file."""
        self._video.release()

    def _announced_too_much(self) -> int:
        """How many frames the file announced, if that is believable and more than came."""
        announced = self._video.get(cv2.CAP_PROP_FRAME_COUNT)
        return int(announced) if self.passed + _TOLERANCE_FRAMES < announced <= _FRAMES_MAX else 0

    def _look(self) -> None:
        """Find the next frame that can be read, and how many before it cannot."""
        most = max(FAILURES_MAX, self._announced_too_much() - self.passed)
        until = time.monotonic() + _PATIENCE_S
        for failures in range(most + 1):
            if self._video.grab():
                self._reached_s = self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000
                self._ahead.extend([False] * failures + [True])
                return
            if time.monotonic() > until:
                return


def _is_mp4(path: Path) -> bool:
    """Whether this is MP4 or MOV (ISO/IEC 14496-12), whose edit lists say what is shown of what is there."""
    return any(name in _FIRST_BOXES for name, _ in _boxes(path, 1))


def _is_cut_short(path: Path) -> bool:
    """Whether one of an MP4's boxes ends behind the end of the file."""
    return any(end > path.stat().st_size for _, end in _boxes(path, _BOXES_MAX))


def _boxes(path: Path, count: int) -> Iterator[tuple[bytes, int]]:
    """Name and end of the first boxes of an MP4; nothing of a file that is gone meanwhile."""
    at = 0
    with contextlib.suppress(OSError), path.open("rb") as file:
        for _ in range(count):
            file.seek(at)
            head = file.read(_BOX_HEAD_BYTES)
            size = int.from_bytes(head[:4], "big")
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            if len(head) < _BOX_LEAST_BYTES or size < _BOX_LEAST_BYTES:
                return  # the end; or a box that reaches to the end of the file, which no cut shows in; or no box
            yield head[4:8], at + size
            at += size
