"""A picture with what the model saw drawn into it, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from agent.sources import Pixels

_COLOURS = ((49, 130, 206), (214, 93, 14), (56, 142, 60), (142, 68, 173), (0, 150, 136), (192, 57, 43))
"""RGB; a class keeps its colour."""


def draw(pixels: Pixels, seen: Sequence[Mapping[str, Any]]) -> Pixels:
    """A copy of `pixels` [h, w, 3] BGR with the detections, or the classes' names at the top."""
    picture = np.ascontiguousarray(pixels).copy()
    scale = max(0.4, min(picture.shape[:2]) / 900)
    for line, guess in enumerate(seen):
        red, green, blue = _COLOURS[guess["class_id"] % len(_COLOURS)]
        colour = (blue, green, red)
        corner = (round(8 * scale), round((line + 1) * 28 * scale))
        if "box" in guess:
            x1, y1, x2, y2 = (round(side) for side in guess["box"])
            cv2.rectangle(picture, (x1, y1), (x2, y2), colour, max(1, round(2 * scale)))
            corner = (x1 + 2, max(y1 - round(6 * scale), round(20 * scale)))
        label = f"{guess['class']} {guess['score']:.2f}"
        _write(picture, label, corner, scale, colour)
    return picture


def _write(picture: Pixels, label: str, corner: tuple[int, int], scale: float, colour: tuple[int, int, int]) -> None:
    """Text on a patch of the class's colour. OpenCV's own font knows ASCII only: other letters come out as `?`."""
    font, thick = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(1.5 * scale))
    (width, height), below = cv2.getTextSize(label, font, 0.6 * scale, thick)
    x, y = corner
    cv2.rectangle(picture, (x - 2, y - height - 3), (x + width + 2, y + below), colour, cv2.FILLED)
    cv2.putText(picture, label, corner, font, 0.6 * scale, (255, 255, 255), thick, cv2.LINE_AA)
