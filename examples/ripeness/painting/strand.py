"""Stems, trusses and strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from examples.ripeness.painting.canvas import blend, line, window_of

if TYPE_CHECKING:
    from examples.ripeness.painting.canvas import Canvas
    from examples.ripeness.plants import Strand


def draw_strand(canvas: Canvas, strand: Strand, camera: tuple[float, float]) -> None:
    """Draw a stem with a lit edge."""
    shift = np.array([canvas.colour.shape[1] / 2 - camera[0] * canvas.height, -camera[1] * canvas.height])
    points = strand.points * canvas.height + shift
    width = max(1, round(strand.width * canvas.height))
    window = window_of(canvas, *(points.min(axis=0) - width), *(points.max(axis=0) + width))
    if window is None:
        return
    local = points - (window[1].start, window[0].start)
    edge = np.array([float(canvas.sun[0]), 0.0]) * width * 0.25
    for path, thickness, tone in ((local, width, 0.7), (local + edge, max(1, width // 2), 1.1)):
        mask = np.zeros(canvas.owner[window].shape, np.uint8)
        line(mask, path, thickness)
        blend(canvas.colour[window], mask, np.array(strand.colour, np.float32) * tone)
