"""COCO's average precision on 84 photographs, by COCO's own evaluation, within half a point of the expected table.

The table does not say with which overlap suppression was done: 0.6 lies between the usual 0.45 and 0.7. Nor whether a
box may count for several classes, as is usual in this measure; here it counts for its best one.
"""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from agent.decoders import Thresholds
from agent.model import Model
from agent.pictures import read

pytestmark = [pytest.mark.assets, pytest.mark.timeout(300)]

HALF_A_POINT = 0.005
COUNTS = Thresholds(score=0.001, iou=0.6, most=300)

OLD = tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 24)
NEEDS_SIGNED_INT8 = pytest.mark.skipif(OLD, reason="onnxruntime before 1.24 has no signed ConvInteger for this model")

MODELS = (
    "deimv2_atto_coco",
    "fastestdet_352",
    "nanodet_m_320",
    "yolov5n_fp16_jin",
    "yolov8n_int8_msh",
    "yolox_nano_416_kazuhito",
    pytest.param("yolo26n_int8", marks=NEEDS_SIGNED_INT8),
)


@pytest.fixture(scope="module")
def truth(assets: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(assets / "coco" / "instances.json"))


@pytest.mark.parametrize("name", MODELS)
def test_average_precision_is_that_of_the_table(assets: Path, truth: COCO, name: str):
    expected = json.loads((assets / "expected" / "coco_table.json").read_text())[name]["AP"]
    model = Model.load(assets / "models" / f"{name}.onnx", threads=1, thresholds=COUNTS)
    assert average_precision(truth, detections(truth, model, assets / "coco" / "images")) == pytest.approx(
        expected, abs=HALF_A_POINT
    )


def test_every_model_of_the_table_is_here(assets: Path):
    table = json.loads((assets / "expected" / "coco_table.json").read_text())
    assert set(table) == {name if isinstance(name, str) else name.values[0] for name in MODELS}


def detections(truth: COCO, model: Model, folder: Path) -> list[dict[str, object]]:
    """What the model finds in every picture, as COCO writes results: left, top, width, height."""
    looker, categories = model.looker(), sorted(truth.getCatIds())
    rows: list[dict[str, object]] = []
    for image_id, entry in truth.imgs.items():
        tensor, placement = looker.prepare(read(folder / entry["file_name"]))
        found = looker.decode(looker.infer(tensor), placement)
        boxes = np.concatenate((found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]), axis=1)
        rows += [
            {"image_id": image_id, "category_id": categories[class_id], "score": score, "bbox": box}
            for class_id, score, box in zip(
                found.class_ids.tolist(), found.scores.tolist(), boxes.tolist(), strict=True
            )
        ]
    return rows


def average_precision(truth: COCO, rows: list[dict[str, object]]) -> float:
    """Over the overlaps from 0.5 to 0.95."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
