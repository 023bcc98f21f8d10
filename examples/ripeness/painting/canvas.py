"""The picture while it is painted, and who each of its pixels belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from examples.ripeness.arrays import Floats, Owners, Pixels

HALF: Final = 0.5
"""A pixel belongs to what covers more than this share of it."""

NOBODY: Final = -1
"""Owner of the pixels that belong to no fruit."""


FIXED_BITS: Final = 4
"""Fractional bits of the coordinates that OpenCV's drawing functions take."""


@dataclass
class Canvas:
    """What has been painted so far."""

    colour: Floats
    """[H, W, 3]."""
    owner: Owners
    """[H, W], index of the fruit seen at each pixel, or `NOBODY`."""
    sun: Floats
    """Unit vector towards the light: right, down, towards the viewer."""

    @property
    def height(self) -> int:
        """Image height in pixels, the unit of all geometry."""
        return int(self.colour.shape[0])

    def to_pixels(self, point: tuple[float, float], camera: tuple[float, float]) -> tuple[float, float]:
        """Turn a place in image heights into pixels."""
        centre_x = self.colour.shape[1] / 2
        return centre_x + (point[0] - camera[0]) * self.height, (point[1] - camera[1]) * self.height


def fixed(points: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Turn pixel coordinates into OpenCV's fixed-point form."""
    return np.round(points * (1 << FIXED_BITS)).astype(np.int32)


def window_of(canvas: Canvas, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice] | None:
    """Return the rows and columns of a rectangle that lie inside the picture, or None."""
    height, width = canvas.owner.shape
    x1, y1 = max(0, math.floor(left)), max(0, math.floor(top))
    x2, y2 = min(width, math.ceil(right) + 1), min(height, math.ceil(bottom) + 1)
    return (slice(y1, y2), slice(x1, x2)) if x1 < x2 and y1 < y2 else None


def line(mask: Pixels, points: npt.NDArray[Any], thickness: int) -> None:
    """Draw an open line into a mask."""
    cv2.polylines(
        mask,
        [fixed(points)],
        isClosed=False,
        color=(255,),
        thickness=thickness,
        lineType=cv2.LINE_AA,
        shift=FIXED_BITS,
    )


def blend(target: Floats, mask: Pixels, colour: Floats) -> None:
    """Paint `colour` on `target` where `mask` (0 to 255) says."""
    rows, columns = np.nonzero(mask)
    cover = mask[rows, columns, None].astype(np.float32) / 255
    target[rows, columns] += (colour - target[rows, columns]) * cover
