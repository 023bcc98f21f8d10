"""Run the exported model as an agent would: letterbox, ONNX Runtime, non-maximum suppression. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import onnxruntime as ort

if TYPE_CHECKING:
    from examples.ripeness.arrays import Floats, Ints, Pixels

HERE: Final = Path(__file__).resolve().parent
MODEL_PATH: Final = HERE / "ripeness.onnx"
SIDE_PX: Final = 320
GREY: Final = 114
IOU_MAX: Final = 0.6
"""Two boxes of one class that overlap more than this are one fruit. Fruit hides fruit, so it is not lower."""
BOXES_MAX: Final = 100


@dataclass(frozen=True)
class Detections:
    """What the model saw in one picture."""

    boxes: Floats
    """[N, 4], x1 y1 x2 y2 in pixels of the picture."""
    scores: Floats
    """[N], highest first."""
    classes: Ints
    """[N]."""

    def above(self, score: float) -> Detections:
        """Keep what is at least as sure as `score`."""
        keep = self.scores >= score
        return Detections(self.boxes[keep], self.scores[keep], self.classes[keep])


@dataclass(frozen=True)
class Fit:
    """How a picture was fitted into the square: picture pixels times `scale` plus the padding."""

    scale: float
    left: int
    top: int


def letterbox(image: Pixels) -> tuple[Pixels, Fit]:
    """Fit a picture [H, W, 3] into the square [320, 320, 3], centred on grey."""
    height, width = image.shape[:2]
    scale = SIDE_PX / max(height, width)
    size = (round(width * scale), round(height * scale))
    square = np.full((SIDE_PX, SIDE_PX, 3), GREY, np.uint8)
    left, top = (SIDE_PX - size[0]) // 2, (SIDE_PX - size[1]) // 2
    square[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return square, Fit(scale, left, top)


class Detector:
    """The exported model with one thread, as it shares its machine with others."""

    def __init__(self, path: Path = MODEL_PATH, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, image: Pixels, score_min: float = 0.001) -> Detections:
        """Find fruit in a BGR picture [H, W, 3]."""
        square, fit = letterbox(image)
        output = self.infer(as_input(square))
        return decode(output, fit, image.shape[:2], score_min)

    def infer(self, tensor: Floats) -> Floats:
        """Run the network alone: [1, 3, 320, 320] in, [4 + 3, N] out."""
        output: Floats = self._session.run(None, {"images": tensor})[0][0]
        return output


def as_input(square: Pixels) -> Floats:
    """Turn a BGR square into the model's input: RGB, 0 to 1, [1, 3, 320, 320]."""
    rgb = square[..., ::-1].transpose(2, 0, 1)[None]
    return np.ascontiguousarray(rgb, np.float32) / np.float32(255)


def decode(output: Floats, fit: Fit, size: tuple[int, ...], score_min: float) -> Detections:
    """Turn [4 + 3, N] into boxes in the picture of `size` (height, width), one per fruit."""
    scores, classes = output[4:].max(axis=0), output[4:].argmax(axis=0)
    likely = np.flatnonzero(scores >= score_min)
    likely = likely[np.argsort(-scores[likely], kind="stable")][: 10 * BOXES_MAX]
    centre, half = output[:2, likely].T, output[2:4, likely].T / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    boxes = (boxes - np.array([fit.left, fit.top] * 2, np.float32)) / np.float32(fit.scale)
    boxes = boxes.clip(0, np.array([size[1], size[0]] * 2, np.float32)).astype(np.float32)
    keep = suppress(boxes, classes[likely])[:BOXES_MAX]
    return Detections(boxes[keep], scores[likely][keep], classes[likely][keep].astype(np.int64))


def suppress(boxes: Floats, classes: Ints) -> Ints:
    """Return the indices of the boxes [N, 4], best first, that no better one of their class covers."""
    # Shifting each class to a place of its own lets one pass serve all classes.
    apart = boxes + (classes[:, None] * 10_000).astype(np.float32)
    keep: list[int] = []
    waiting = np.arange(len(boxes))
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        keep.append(int(best))
        waiting = waiting[overlap(apart[best : best + 1], apart[waiting])[0] <= IOU_MAX]
    return np.array(keep, np.int64)


def overlap(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of every pair: [N, 4] and [M, 4] give [N, M]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - both
    share: Floats = (both / np.maximum(union, 1e-9)).astype(np.float32)
    return share
