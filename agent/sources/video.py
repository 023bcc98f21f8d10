"""A video file, read past what is damaged in it: for `files`, and for `vigie-agent predict`."""

from collections import deque
from pathlib import Path

import cv2
import numpy as np

from agent.sources import Lost, Pixels, Unreadable, frames_text

FAILURES_MAX = 50
"""Failures in a row that are taken for damage in the middle of a file when a frame follows."""

_FPS_MAX = 1000.0
_FRAMES_MAX = 1_000_000_000
"""A container that announces more announces nonsense."""
_TOLERANCE_FRAMES = 2
"""Containers are often off by one or two."""
_HEAD_BYTES = 12


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

    def ending(self) -> str:
        """After the end: where the file ended, if that is not where it announced to; otherwise nothing.

        Only some containers count their frames. Of the others the count is an estimate from duration and rate, which
        is far off where the rate varies: there an early end counts. MP4 and MOV count, but may leave frames out by
        intention (an edit list): there only a frame that could not be read tells of damage.
        """
        announced = self._video.get(cv2.CAP_PROP_FRAME_COUNT)
        if not self.passed + _TOLERANCE_FRAMES < announced <= _FRAMES_MAX:
            return ""
        damaged = f"after {self.passed} of {announced:.0f} frames: the file is damaged"
        if _may_leave_frames_out(self._path):
            known = f"after {frames_text(self.passed)}; the file announces {announced:.0f}"
            return damaged if self.unreadable else known
        last_s = (announced - 1 - _TOLERANCE_FRAMES) / self.fps if self.fps else 0.0
        return damaged if self._reached_s < last_s else ""

    def close(self) -> None:
        """Close the file."""
        self._video.release()

    def _look(self) -> None:
        """Find the next frame that can be read, and how many before it cannot."""
        for failures in range(FAILURES_MAX + 1):
            if self._video.grab():
                self._reached_s = self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000
                self._ahead.extend([False] * failures + [True])
                return


def _may_leave_frames_out(path: Path) -> bool:
    """Whether this is MP4 or MOV (ISO/IEC 14496-12), whose edit lists say what is shown of what is there."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:  # gone meanwhile: then nothing is claimed
        return True
    return head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}
