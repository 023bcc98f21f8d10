"""Every family against the detections of an independent reference decode.

Threshold and overlap come from the head of each expected file. A box at least 0.02 above the threshold must be found
with the same class, an IoU of 0.95 and a score within 0.02, and none may be extra; two in a hundred may differ on
either side, which is what quantised kernels of another processor can cost. On the machine where this was written
none did.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import onnxruntime
import pytest

from agent.decoders import Thresholds
from agent.model import Looker, Model, ModelError
from agent.pictures import frames, read
from agent.sources import Pixels

pytestmark = pytest.mark.assets

MARGIN = 0.02
OVERLAP = 0.95
SHARE = 0.02

OLD = tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 24)
NEEDS_SIGNED_INT8 = pytest.mark.skipif(OLD, reason="onnxruntime before 1.24 has no signed ConvInteger for this model")
"""On Python 3.10 the newest runtime is 1.23."""

DETECTORS = {
    "yolov5n_fp16_jin": "ultralytics-v5",
    "yolov8n_int8_msh": "ultralytics-v8",
    "yolo26n_int8": "ultralytics-end2end",
    "yolox_nano_416_kazuhito": "yolox",
    "lightweight_person_detector": "yolox",
    "nanodet_m_320": "nanodet",
    "fastestdet_352": "fastestdet",
    "deimv2_atto_coco": "detr",
    "yunet_n_320": "yunet",
    "yunet_n_dynamic": "yunet",
    "ultraface_rfb_320": "ultraface",
}


class Box(NamedTuple):
    """One detection, of the reference or of ours; corners in pixels of the picture."""

    kind: int | str
    score: float
    corners: list[float]


class Tally:
    """Boxes of either side that count, and those that the other side lacks."""

    def __init__(self, threshold: float) -> None:
        self.least = threshold + MARGIN
        self.wanted = self.missed = self.given = self.extra = 0
        self.remarks: list[str] = []

    def compare(self, where: str, expected: list[Box], got: list[Box]) -> None:
        """Count one picture."""
        for box in self._counting(expected):
            self.wanted += 1
            if not any(agrees(box, other) for other in got):
                self.missed += 1
                self.remarks.append(f"{where}: missed {box}")
        for box in self._counting(got):
            self.given += 1
            if not any(agrees(box, other) for other in expected):
                self.extra += 1
                self.remarks.append(f"{where}: extra {box}")

    def _counting(self, boxes: list[Box]) -> Iterator[Box]:
        return (box for box in boxes if box.score >= self.least)

    def check(self) -> None:
        """Fail when more than two in a hundred differ."""
        assert self.wanted > 0
        assert self.missed <= SHARE * self.wanted, "\n".join(self.remarks)
        assert self.extra <= SHARE * self.given, "\n".join(self.remarks)


def agrees(one: Box, other: Box) -> bool:
    """Whether two boxes are the same but for the tolerance."""
    alike = one.kind == other.kind and abs(one.score - other.score) <= MARGIN
    return alike and overlap(one.corners, other.corners) >= OVERLAP


def overlap(one: list[float], other: list[float]) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (sum(areas) - shared)


def look(looker: Looker, pixels: Pixels) -> list[Box]:
    """What the model sees."""
    tensor, placement = looker.prepare(pixels)
    found = looker.decode(looker.infer(tensor), placement)
    return [
        Box(*row) for row in zip(found.class_ids.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[NEEDS_SIGNED_INT8] if name == "yolo26n_int8" else []) for name in DETECTORS]
)
def test_a_detector_sees_what_the_reference_sees(assets: Path, name: str):
    expected = json.loads((assets / "expected" / f"{name}.json").read_text())
    chosen = Thresholds(score=expected["score_threshold"], iou=expected["nms_iou"] or Thresholds().iou)
    model = Model.load(assets / "models" / f"{name}.onnx", threads=1, thresholds=chosen)
    assert model.family == DETECTORS[name]
    assert model.iou == expected["nms_iou"]
    looker, tally = model.looker(), Tally(chosen.score)
    for picture, rows in expected["images"].items():
        wanted = [Box(row["class_id"], row["score"], row["box"]) for row in rows]
        tally.compare(picture, wanted, look(looker, read(assets / "images" / picture)))
        for row in rows:
            assert row.get("class") in (None, model.class_name(row["class_id"]))
    tally.check()


@pytest.mark.parametrize("name", ["yolox_nano_416_kazuhito", "deimv2_atto_coco"])
@pytest.mark.parametrize("clip", ["intel_bottle-detection", "intel_one-by-one-person-detection"])
def test_a_clip_is_seen_as_the_reference_sees_it(assets: Path, clip: str, name: str):
    """Every twentieth frame: the reference counts frames from 0, we from 1."""
    expected = json.loads((assets / "expected" / f"video_{clip}.json").read_text())[name]
    threshold = expected["score_threshold"]
    model = Model.load(assets / "models" / f"{name}.onnx", threads=1, thresholds=Thresholds(score=threshold))
    looker, tally, count = model.looker(), Tally(threshold), 0
    for frame in frames(assets / "videos" / f"{clip}.mp4"):
        count += 1
        rows = expected["frames"].get(str(count - 1))
        if rows is not None:
            wanted = [Box(row["class"], row["score"], row["box"]) for row in rows]
            got = [box._replace(kind=model.class_name(int(box.kind))) for box in look(looker, frame.pixels)]
            tally.compare(f"frame {count}", wanted, got)
    assert count == expected["frames_total"]
    tally.check()


@NEEDS_SIGNED_INT8
def test_a_classifier_guesses_what_the_reference_guesses(assets: Path):
    """Its int8 kernels turn one ulp of their input into up to 0.07: of the 250 guesses two in a hundred may differ."""
    expected = json.loads((assets / "expected" / "mobilenetv2_int8_goku.json").read_text())["examples_top5"]
    model = Model.load(assets / "models" / "mobilenetv2_int8_goku.onnx", threads=1)
    assert (model.family, model.names_source) == ("classifier", "ImageNet")
    looker, wrong, guesses = model.looker(), [], 0
    labels = (assets / "classification" / "labels.txt").read_text().split()
    for picture, best in expected.items():
        got = dict(classes(looker, read(assets / "classification" / picture)))
        assert next(iter(got)) == best[0][0]
        assert model.class_name(best[0][0]) == labels[best[0][0]].replace("_", " ")
        guesses += len(best)
        wrong += [(picture, index) for index, score in best if abs(got.get(index, 0.0) - score) > MARGIN]
    assert len(wrong) <= SHARE * guesses, wrong


def classes(looker: Looker, pixels: Pixels) -> list[tuple[int, float]]:
    """The best classes of a picture, best first."""
    tensor, placement = looker.prepare(pixels)
    found = looker.decode(looker.infer(tensor), placement)
    return list(zip(found.class_ids.tolist(), found.scores.tolist(), strict=True))


STROKES = {
    0: [(10, 8), (14, 5), (18, 8), (19, 14), (18, 20), (14, 23), (10, 20), (9, 14), (10, 8)],
    1: [(14, 4), (14, 23)],
    2: [(9, 8), (14, 5), (18, 8), (17, 12), (9, 22), (19, 22)],
    3: [(9, 6), (17, 6), (13, 12), (18, 16), (16, 21), (9, 22)],
    4: [(10, 5), (9, 14), (18, 14), (18, 5), (18, 23)],
    5: [(18, 5), (10, 5), (10, 12), (17, 13), (18, 19), (9, 22)],
    7: [(8, 6), (19, 6), (12, 23)],
}
"""Digits as a hand would write them in the middle 20x20 of 28x28."""


@pytest.mark.parametrize("digit", STROKES)
def test_a_grey_classifier_reads_a_digit(assets: Path, digit: int):
    """There are no expected figures for this model; its digits are white on black (MNIST)."""
    picture = np.zeros((280, 280, 3), np.uint8)
    cv2.polylines(picture, [np.array(STROKES[digit]) * 10], isClosed=False, color=(255, 255, 255), thickness=22)
    model = Model.load(assets / "models" / "mnist_ort.onnx", threads=1)
    assert (model.family, model.input_size, model.preparation.colour) == ("classifier", (28, 28), "gray")
    (best, score), *_ = classes(model.looker(), picture)
    assert best == digit
    assert score > 0.5


def test_classes_of_its_own_get_numbers(assets: Path):
    """A detector of hand signs: its file says nothing but its shape, [1, 3549, 5 + 16]."""
    model = Model.load(assets / "models" / "yolox_nano_naruto14.onnx", threads=1)
    assert (model.family, len(model.names), model.names_source) == ("yolox", 16, "numbers")
    look(model.looker(), read(assets / "images" / "person.jpg"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("yolov10n_2bytes", "is no ONNX model: it has only 2 bytes"),
        ("lfs_pointer_yunet_2023mar", "is a git-LFS pointer, not the model; run `git lfs pull`"),
        (
            "mobilenetv2_external_data_missing",
            "its weights are in a separate file, which is missing: put mobilenet_v2_fp32.onnx.data beside it",
        ),
        ("not_an_image_model_sum_diff", "its input '1x4 Input Vector' has the shape [1, 1, 4]; an image is"),
    ],
)
def test_what_is_no_image_model_is_refused_with_the_reason(assets: Path, name: str, reason: str):
    path = assets / "models" / "negative" / f"{name}.onnx"
    with pytest.raises(ModelError, match=re.escape(f"{path}: {reason}")):
        Model.load(path)
