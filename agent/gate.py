"""Whether a frame is worth looking at: on a still scene the model would only say again what it has said.

Frames are compared with the last one that was looked at, not with the one before, so that slow changes add up. What is
compared is a small grey picture, each of whose cells is the mean of 16 samples: noise goes, what moves stays.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.region import Region, part
from agent.sources import Pixels

COLUMNS, ROWS = 64, 48
"""Cells of the small picture; one is the least change that can be seen."""

SAMPLES = 4
"""In a cell, along each side."""

TOLERANCE = 10
"""Grey values that a cell may differ by. Noise with a deviation of 10 in each pixel stays below, a lamp does not."""


class Gate:
    """One stream's gate. Its methods are called one at a time, in the order of frames; `forget` at any time.

    Args:
        change: Share of the picture that must have changed for a frame to be looked at, at least a cell.
        every_s: A frame is looked at after so many seconds anyway.
        region: What of the picture counts, if not all.
    """

    def __init__(self, change: float, every_s: float, region: Region | None = None) -> None:
        self._cells = max(1, round(change * COLUMNS * ROWS))
        self._every_ns = round(every_s * 1e9)
        self._region = region
        self._seen: NDArray[np.uint8] | None = None
        self._shape: tuple[int, ...] = ()
        self._looked_ns = 0

    def forget(self) -> None:
        """Let the next frame be looked at, whatever it shows."""
        self._seen = None

    def still(self, pixels: Pixels, captured_boot_ns: int) -> bool:
        """Whether this frame need not be looked at. One that need be is what the next ones are compared with.

        Args:
            pixels: [height, width, 3] BGR.
            captured_boot_ns: When it was captured.
        """
        small = _small(pixels if self._region is None else part(pixels, self._region)[0])
        seen, early = self._seen, captured_boot_ns - self._looked_ns < self._every_ns
        if seen is not None and early and pixels.shape == self._shape and _changed(small, seen) < self._cells:
            return True
        self._seen, self._shape, self._looked_ns = small, pixels.shape, captured_boot_ns
        return False


def _small(pixels: Pixels) -> NDArray[np.uint8]:
    """[ROWS, COLUMNS] how bright each part of the picture is. Sampled first: every pixel costs seven times more."""
    sampled = cv2.resize(pixels, (COLUMNS * SAMPLES, ROWS * SAMPLES), interpolation=cv2.INTER_NEAREST)
    grey = cv2.cvtColor(sampled, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _changed(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    """How many cells differ."""
    return int(np.count_nonzero(cv2.absdiff(one, other) > TOLERANCE))
