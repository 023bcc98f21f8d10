"""NanoDet and NanoDet-Plus: for each cell class scores, and four distances to its sides, each a distribution.

Takes BGR less ImageNet's mean. Definitions: `nanodet/model/head/gfl_head.py` (NanoDet: three strides, seen from the
middle of a cell, pictures letterboxed in black) and `nanodet_plus_head.py` (NanoDet-Plus: four strides, seen from a
cell's corner, pictures stretched), each with its `forward_onnx`; `keep_ratio` in `config/`.
The scores have been through a sigmoid, the distances not. Four strides in outputs of their own are PicoDet's, too: here
they are told by `pred_stride` in their names, as in OpenCV's model zoo.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import Floats, select, several
from agent.decoders.grids import grid
from agent.decoders.reading import (
    are_scores,
    cells,
    class_names,
    colour_input,
    from_ultralytics,
    image_input,
    only_output,
    scaling,
)

SIDES = 4
"""Left, top, right and bottom."""

RANK = 3
"""Of every output: batch, cells, numbers."""

BINS = 8
"""Numbers that each distance's distribution has: `reg_max` is 7 in every configuration of the family, and one more."""

STRIDES = (8, 16, 32)
STRIDES_PLUS = (8, 16, 32, 64)
NAMED = "pred_stride"
"""Part of the names of outputs that are one stride's, such as `cls_pred_stride_8`."""

MEAN = (103.53, 116.28, 123.675)
DEVIATION = (57.375, 57.12, 58.395)
"""Of blue, green and red, in grey values."""


class NanoDet:
    """One output [1, cells, classes + 32], or one of scores and one of distances for each stride."""

    family: ClassVar[str] = "nanodet"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By one row per cell, scores in front and distances behind."""
        strides, names, count = _joined(graph), class_names(graph.metadata), 0
        if strides is not None:
            count = graph.outputs[0].shape[2] - SIDES * BINS
        elif (found := _by_stride(graph)) is not None:
            strides, levels = found
            count = graph.outputs[levels[0][0]].shape[2]
        if strides is None or (names and len(names) != count):
            return None
        return f"{count} scores and four distributions for each cell of strides {', '.join(map(str, strides))}"

    def __init__(self, graph: Graph) -> None:
        strides, levels = _joined(graph), None
        if strides is None and (found := _by_stride(graph)) is not None:
            strides, levels = found
        if strides is None:
            raise ValueError(
                "NanoDet has one output [1, cells, classes + 32], or outputs of scores [1, cells, classes] and of "
                "distances [1, cells, 32] for each of the strides 8, 16, 32, perhaps 64"
            )
        plus = strides == STRIDES_PLUS
        image = colour_input(graph)
        mean, scale = scaling(image, MEAN, DEVIATION)
        self.preparation = Preparation(
            image.width,
            image.height,
            fit="stretch" if plus else "letterbox_center",
            pad=0,
            colour="bgr",
            mean=mean,
            scale=scale,
            dtype=image.dtype,
            layout=image.layout,
        )
        self.suppresses = True
        width = graph.outputs[levels[0][0] if levels else 0].shape[2]
        self.class_count: int | None = width if levels else width - SIDES * BINS
        self._shapes = [port.shape for port in graph.outputs]
        self._levels = levels
        places, self._strides = grid(image.width, image.height, strides)
        self._centres = (places + (0.0 if plus else 0.5)) * self._strides[:, None]

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is the best class's; one label a cell."""
        values = several(outputs, self._shapes)
        if self._levels is None:
            scores, distances = values[0][0, :, : self.class_count], values[0][0, :, self.class_count :]
        else:
            scores, distances = joined(values, self._levels)
        return pick_cells(scores, distances, self._centres, self._strides, placement, thresholds)


Levels = Sequence[tuple[int, int]]
"""For each stride: which output has its scores, and which its distances."""


def named_plus(graph: Graph) -> bool:
    """Whether outputs of four strides are called as NanoDet-Plus has them, rather than PicoDet."""
    return all(NAMED in port.name for port in graph.outputs)


def _by_stride(graph: Graph) -> tuple[tuple[int, ...], Levels] | None:
    """The strides whose scores and distances are outputs of their own, and where; None when they are not."""
    if (levels := by_stride(graph, STRIDES)) is not None:
        return STRIDES, levels
    levels = by_stride(graph, STRIDES_PLUS) if named_plus(graph) else None
    return None if levels is None else (STRIDES_PLUS, levels)


def by_stride(graph: Graph, strides: Sequence[int]) -> Levels | None:
    """Where scores and distances of each stride are; None when the outputs are not two for each."""
    if len(graph.outputs) != 2 * len(strides) or any(len(port.shape) != RANK for port in graph.outputs):
        return None
    image = image_input(graph)
    levels = []
    for stride in strides:
        rows = cells(image.width, image.height, (stride,))
        places = [place for place, port in enumerate(graph.outputs) if port.shape[:2] == (1, rows)]
        if len(places) != 2:  # noqa: PLR2004  # scores and distances
            return None
        if not _is_distances(graph, places[1]):
            places.reverse()
        if not _is_distances(graph, places[1]) or (graph.sample and not are_scores(graph.sample[places[0]])):
            return None
        levels.append((places[0], places[1]))
    return levels if len({graph.outputs[place].shape[2] for place, _ in levels}) == 1 else None


def joined(values: Sequence[Floats], levels: Levels) -> tuple[Floats, Floats]:
    """[cells, classes] scores and [cells, 32] distances of all strides."""
    return (
        np.concatenate([values[place][0] for place, _ in levels]),
        np.concatenate([values[place][0] for _, place in levels]),
    )


def pick_cells(  # what a cell is made of
    scores: Floats,
    distances: Floats,
    centres: Floats,
    strides: Floats,
    placement: Placement,
    thresholds: Thresholds,
) -> Found:
    """Cells above the threshold, as boxes, after suppression.

    Args:
        scores: [cells, classes].
        distances: [cells, 32], logits of four distributions.
        centres: [cells, 2], from where the distances are, in tensor pixels.
        strides: [cells], the unit of the distances in tensor pixels.
        placement: Where the picture lies in the tensor.
        thresholds: What counts.
    """
    good = np.flatnonzero(scores.max(axis=1) >= thresholds.score)
    reach = expected(distances[good]) * strides[good, None]
    centre = centres[good]
    boxes = np.concatenate((centre - reach[:, :2], centre + reach[:, 2:]), axis=1)
    kept = scores[good]
    return select(boxes, kept.max(axis=1), kept.argmax(axis=1), placement, thresholds)


def expected(distances: Floats) -> Floats:
    """[n, 32] logits to [n, 4]: the mean of each distribution over 0 to 7."""
    logits = distances.reshape(-1, SIDES, BINS)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    return np.asarray(weights @ np.arange(BINS, dtype=np.float32), dtype=np.float32)


def _joined(graph: Graph) -> tuple[int, ...] | None:
    """Strides of a single output with scores in front and distances behind; None when it is none."""
    shape = only_output(graph, RANK)
    if shape is None or shape[2] <= SIDES * BINS or from_ultralytics(graph.metadata):
        return None
    image = image_input(graph)
    for strides in (STRIDES_PLUS, STRIDES):
        if shape[1] == cells(image.width, image.height, strides):
            break
    else:
        return None
    if not graph.sample:  # with three strides YOLOX has this shape as well
        return strides if strides == STRIDES_PLUS else None
    scores, distances = np.split(graph.sample[0], [shape[2] - SIDES * BINS], axis=2)
    return strides if are_scores(scores) and not are_scores(distances) else None


def _is_distances(graph: Graph, place: int) -> bool:
    """Whether an output has four distributions, of logits rather than scores."""
    right = graph.outputs[place].shape[2] == SIDES * BINS
    return right and not (graph.sample and are_scores(graph.sample[place]))
