"""The pipeline that everybody writes: read, resize, blobFromImage, run with the default options, decode with numpy."""

import time
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from agent.decoders.reading import beside
from agent.model import Model

_SCORE, _IOU = 0.25, 0.45
_DETECTOR_AXES = 3


class Naive:
    """Reads a clip again and again, and looks at each frame.

    Args:
        model: Loaded by the agent, which knows the size of a dynamic input.
        clip: A video.
    """

    def __init__(self, model: Model, clip: Path) -> None:
        self._session = ort.InferenceSession(str(model.path))
        self._input = self._session.get_inputs()[0].name
        self._beside = beside(model.graph.inputs)
        self._want = model.preparation
        self._clip = clip
        self._video = cv2.VideoCapture(str(clip))

    def fps(self, seconds: float) -> float:
        """Work for `seconds`: frames a second."""
        done, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds or not done:
            good, frame = self._video.read()
            if not good:
                self._video = cv2.VideoCapture(str(self._clip))
                continue
            decode(
                self._session.run(
                    None, {self._input: self._prepare(frame.astype(np.uint8, copy=False)), **self._beside}
                )
            )
            done += 1
        return done / passed

    def _prepare(self, frame: NDArray[np.uint8]) -> NDArray[np.generic]:
        if self._want.colour == "gray":
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
        resized = cv2.resize(frame, (self._want.width, self._want.height))
        blob = cv2.dnn.blobFromImage(resized, 1 / 255, swapRB=self._want.colour == "rgb")
        if self._want.layout == "nhwc":
            blob = blob.transpose(0, 2, 3, 1)
        return blob.astype(self._want.dtype, copy=False)


def decode(outputs: list[NDArray[np.float32]]) -> int:
    """Boxes of the first output with a score above the threshold, without those that overlap: how many."""
    values = outputs[0][0].astype(np.float32, copy=False)
    if values.ndim != _DETECTOR_AXES - 1 or min(values.shape) < _DETECTOR_AXES + 2:
        return int(values.argmax())
    rows = values.T if values.shape[0] < values.shape[1] else values
    best = rows[:, 4:].max(axis=1)
    kept = np.flatnonzero(best > _SCORE)[:1000]
    boxes = rows[kept, :4].copy()
    boxes[:, :2] -= boxes[:, 2:] / 2
    return len(cv2.dnn.NMSBoxes(boxes.tolist(), best[kept].tolist(), _SCORE, _IOU))
