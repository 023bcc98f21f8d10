"""A region of the picture: what the model is to see of it, and where what it saw there lies in the whole."""

from dataclasses import replace

import numpy as np

from agent.decoders import Found, Placement
from agent.sources import Pixels

Region = tuple[float, float, float, float]
"""Left, top, right and bottom in shares of the picture."""


def part(pixels: Pixels, region: Region) -> tuple[Pixels, int, int]:
    """The region of `pixels` [height, width, 3] as a view, at least a pixel wide and high, and its left and top."""
    height, width = pixels.shape[:2]
    left, right = _span(region[0], region[2], width)
    top, bottom = _span(region[1], region[3], height)
    return pixels[top:bottom, left:right], left, top


def _span(low: float, high: float, side: int) -> tuple[int, int]:
    """From which pixel to which of a side; not empty unless the side is."""
    first = min(round(low * side), max(0, side - 1))
    return first, min(side, max(round(high * side), first + 1))


def moved(found: Found, placement: Placement) -> Found:
    """What was found in a region, where it lies in the whole picture."""
    if not (placement.x or placement.y) or not len(found.boxes):
        return found
    offset = np.array([placement.x, placement.y, placement.x, placement.y], dtype=np.float32)
    keypoints = found.keypoints
    if keypoints is not None:
        keypoints = keypoints + np.array([placement.x, placement.y, 0], dtype=np.float32)
    return replace(found, boxes=found.boxes + offset, keypoints=keypoints)
