"""Make the README's picture, scenes with what the model found: `python -m examples.ripeness.make_picture`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from examples.ripeness.inference import HERE, Detections, Detector
from examples.ripeness.scenes import CLASS_NAMES, SceneParams, render

if TYPE_CHECKING:
    from examples.ripeness.arrays import Pixels

SCORE_MIN: Final = 0.4
COLOURS: Final = ((120, 230, 90), (60, 200, 255), (70, 60, 255))
TILE: Final = (320, 240)
SCENES: Final = (
    (SceneParams(season=0.22, time_of_day=0.3, fruit_count=11, zoom=1.15, leaf_density=0.5), 11),
    (SceneParams(season=0.5, time_of_day=0.5, fruit_count=13, zoom=1.2, leaf_density=0.5), 51),
    (SceneParams(season=0.9, time_of_day=0.8, warmth=0.3, fruit_count=13, zoom=1.3, leaf_density=0.4), 25),
    (SceneParams(season=0.55, brightness=0.6, warmth=-0.5, fog=0.3, fruit_count=12, zoom=1.2), 34),
)


def annotated(image: Pixels, seen: Detections) -> Pixels:
    """Draw each box with its class and score on a copy of the picture."""
    picture = image.copy()
    for box, score, class_id in zip(seen.boxes.round().astype(int), seen.scores, seen.classes, strict=True):
        low, high = (int(box[0]), int(box[1])), (int(box[2]), int(box[3]))
        cv2.rectangle(picture, low, high, COLOURS[class_id], 2, cv2.LINE_AA)
        text = f"{CLASS_NAMES[class_id]} {score:.2f}"
        place = (low[0], max(low[1] - 4, 10))
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, COLOURS[class_id], 1, cv2.LINE_AA)
    return picture


def main() -> None:
    """Write `scenes.jpg`, two rows of two scenes."""
    detector = Detector()
    tiles = []
    for params, seed in SCENES:
        image = render(params, seed).image
        tiles.append(cv2.resize(annotated(image, detector(image, SCORE_MIN)), TILE, interpolation=cv2.INTER_AREA))
    sheet = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    cv2.imwrite(str(HERE / "scenes.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
