"""Parts of the picture that nobody is to see: painted over before a frame leaves its capture process.

A frame is copied once anyway, from the source into shared memory; masked pixels are left out of that copy.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from agent.sources import Pixels

GREY = 114
"""What stands in place of masked pixels: the grey that most models know as nothing."""

Polygon = Sequence[tuple[float, float]]
"""Corners in shares of the picture's width and height."""


class Masks:
    """The masks of one stream, drawn once for each size of its pictures.

    Args:
        polygons: What is not to be seen; a pixel that one of them touches belongs to it.
    """

    def __init__(self, polygons: Sequence[Polygon]) -> None:
        self._polygons = polygons
        self._shape: tuple[int, ...] = ()
        self._seen = np.zeros((0, 0), np.uint8)
        self._around: list[tuple[slice, slice]] = []

    def copy(self, source: Pixels, target: Pixels) -> None:
        """Copy `source`, [height, width, 3], into `target` of the same shape, but for what is masked."""
        if not self._polygons:
            np.copyto(target, source)
            return
        if source.shape != self._shape:
            self._draw(source.shape)
        for rectangle in self._around:
            target[rectangle] = GREY
        cv2.copyTo(source, self._seen, target)

    def _draw(self, shape: tuple[int, ...]) -> None:
        """Settle which pixels of a picture of this shape are to be seen."""
        height, width = shape[:2]
        self._shape = shape
        self._around = []
        seen = np.full((height + 2, width + 2), 255, np.uint8)
        for polygon in self._polygons:
            points = np.rint(np.array(polygon) * (width, height)).astype(np.int32)
            cv2.fillPoly(seen, [points + 1], 0)
            (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
            self._around.append(np.s_[max(0, top - 1) : bottom + 2, max(0, left - 1) : right + 2])
        # Corners were rounded to whole pixels: one more around is on the safe side.
        self._seen = cv2.erode(seen, np.ones((3, 3), np.uint8)).astype(np.uint8)[1:-1, 1:-1].copy()
