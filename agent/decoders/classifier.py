"""Classifiers: one output with a number per class, logits or probabilities.

Ultralytics' own (metadata `task: classify`) take RGB from 0 to 1, the shorter side resized to the input. Others are
taken to be trained like torchvision's reference on ImageNet: shorter side to 256 for an input of 224, the centre, RGB
with ImageNet's mean and deviation. With channels last, as TensorFlow has them, colours go from -1 to 1, as
`preprocess_input` of Keras makes them for MobileNet, Inception, Xception and others; where a layer is called
`rescaling`, as in Keras' EfficientNet and MobileNetV3, from 0 to 255. A grey input takes the whole picture, 0 to 1.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import finite
from agent.decoders.reading import IMAGENET_DEVIATION, IMAGENET_MEAN, ImageInput, from_ultralytics, image_input

CROP = 224 / 256
"""Side of the crop as a share of the resized shorter side, on ImageNet."""

MIDDLE = 127.5
"""Grey value that TensorFlow's models take as 0, and its distance from black and white."""

SUM_SLACK = 0.1
"""How far from 1 a quantised softmax may add up to."""

BOX_ROWS = "batchno_"
"""How PINTO's tools begin the name of an output with rows of boxes, of which there may be one."""

CLASSES_SHOWN = 5
"""The best classes are told even when they are below the threshold: a classifier always has a best guess."""


class Classifier:
    """One number per class; `Found` has the best ones and no boxes."""

    family: ClassVar[str] = "classifier"
    task: ClassVar[Task] = "classify"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By a single output that is one row of numbers."""
        count = _classes(graph)
        if count is None or graph.metadata.get("task", "classify") != "classify":
            return None
        if graph.outputs[0].name.startswith(BOX_ROWS):
            return None
        return f"the output is one row of {count} numbers"

    def __init__(self, graph: Graph) -> None:
        count = _classes(graph)
        if count is None:
            raise ValueError("a classifier has one output [1, classes] with at least 2 classes")
        self.preparation = _preparation(image_input(graph), ultralytics=_is_ultralytics(graph), rescales=graph.rescales)
        self.suppresses = False
        self.class_count: int | None = count
        self._logits = bool(graph.sample) and not _is_distribution(graph.sample[0].ravel().astype(np.float32))

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """The best classes, best first; `placement` and `thresholds.score` change nothing."""
        del placement
        if len(outputs) != 1 or np.size(outputs[0]) != self.class_count:
            shapes = [list(np.shape(output)) for output in outputs]
            raise ValueError(f"the outputs have the shapes {shapes}, expected one of {self.class_count} numbers")
        values = finite(np.asarray(outputs[0]).ravel().astype(np.float32, copy=False))
        scores = softmax(values) if self._logits or not _is_distribution(values) else np.clip(values, 0, 1)
        best = np.argsort(-scores, kind="stable")[: min(CLASSES_SHOWN, thresholds.most)]
        return Found(best.astype(np.int64), scores[best], np.empty((0, 4), dtype=np.float32))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n] probabilities; the greatest is subtracted first, so that nothing overflows."""
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)


def _is_distribution(values: NDArray[np.float32]) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1 and abs(float(values.sum()) - 1) <= SUM_SLACK)


def _classes(graph: Graph) -> int | None:
    """How many classes the single output has: [1, classes], or the same with more dimensions of 1."""
    if len(graph.outputs) != 1:
        return None
    shape = graph.outputs[0].shape
    wide = [size for size in shape if size != 1]
    return wide[0] if len(shape) > 1 and shape[0] == 1 and len(wide) == 1 else None


def _is_ultralytics(graph: Graph) -> bool:
    return from_ultralytics(graph.metadata) or graph.metadata.get("task") == "classify"


def _preparation(image: ImageInput, *, ultralytics: bool, rescales: bool) -> Preparation:
    """What the picture must look like, by the module's rules; a uint8 input is taken to scale by itself."""
    grey = image.channels == 1
    mean: tuple[float, ...] = (0.0,) * 3
    scale: tuple[float, ...] = (1.0 if image.dtype == "uint8" else 1 / 255,) * 3
    if image.dtype != "uint8" and not grey and not ultralytics:
        mean, scale = IMAGENET_MEAN, tuple(1 / deviation for deviation in IMAGENET_DEVIATION)
        if image.layout == "nhwc":
            mean, scale = ((0.0,) * 3, (1.0,) * 3) if rescales else ((MIDDLE,) * 3, (1 / MIDDLE,) * 3)
    side = min(image.width, image.height)
    return Preparation(
        image.width,
        image.height,
        fit="stretch" if grey else "crop_center",
        colour="gray" if grey else "rgb",
        mean=mean,
        scale=scale,
        dtype=image.dtype,
        layout=image.layout,
        resize_to=None if grey else side if ultralytics else round(side / CROP),
        smooth=True,
    )
