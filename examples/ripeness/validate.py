"""Measure the exported model on pictures that training never saw, and write `validation.json`.

Run it as `python -m examples.ripeness.validate`; it needs onnxruntime, OpenCV and numpy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import onnxruntime as ort

from examples.ripeness.average_precision import Curve, Truth, average_precision, curve, operating_point
from examples.ripeness.inference import HERE, IOU_MAX, MODEL_PATH, Detections, Detector
from examples.ripeness.scenes import CLASS_NAMES, Scene, random_params, render

if TYPE_CHECKING:
    from collections.abc import Sequence

REPORT_PATH: Final = HERE / "validation.json"
HELD_OUT_SEED: Final = 9_000_000
"""Seed of the first held-out picture; training uses seeds far below."""
HELD_OUT_PICTURES: Final = 500


def held_out(number: int) -> Scene:
    """Render one held-out picture, 640 x 480 as a camera would give it."""
    seed = HELD_OUT_SEED + number
    return render(random_params(np.random.default_rng(seed)), seed)


def measure(detector: Detector, pictures: int) -> dict[str, Any]:
    """Return what the detector achieves on the first `pictures` held-out pictures."""
    truths: list[Truth] = []
    found: list[Detections] = []
    infer_ms: list[float] = []
    for number in range(pictures):
        scene = held_out(number)
        truths.append(Truth(scene.boxes, scene.classes))
        start = time.perf_counter()
        found.append(detector(scene.image))
        infer_ms.append((time.perf_counter() - start) * 1000)
    curves = [curve(truths, found, class_id) for class_id in range(len(CLASS_NAMES))]
    return {
        "pictures": pictures,
        "boxes": sum(one.boxes for one in curves),
        "seed": HELD_OUT_SEED,
        **figures(curves),
        "detect_ms_median": round(float(np.median(infer_ms)), 2),
    }


def figures(curves: Sequence[Curve]) -> dict[str, Any]:
    """Turn the curves of all classes into the figures of the report."""
    precisions = np.stack([average_precision(one) for one in curves])
    score = best_score(curves)
    precision, recall = operating_point(curves, score)
    return {
        "map50": _rounded(precisions[:, 0].mean()),
        "map50_95": _rounded(precisions.mean()),
        "ap50": {name: _rounded(ap[0]) for name, ap in zip(CLASS_NAMES, precisions, strict=True)},
        "operating_point": {
            "score_min": score,
            "nms_iou_max": IOU_MAX,
            "precision": _rounded(precision),
            "recall": _rounded(recall),
        },
    }


def best_score(curves: Sequence[Curve]) -> float:
    """Return the score, in steps of 0.05, at which precision and recall balance best (F1)."""

    def balance(score: float) -> float:
        precision, recall = operating_point(curves, score)
        return 2 * precision * recall / max(precision + recall, 1e-9)

    return max((round(0.05 * step, 2) for step in range(2, 15)), key=balance)


def _rounded(value: float) -> float:
    """Keep four decimals."""
    return round(float(value), 4)


def report(pictures: int, training: dict[str, Any], path: Path = MODEL_PATH) -> dict[str, Any]:
    """Describe the model file, how it was trained and what it achieves."""
    return {
        "model": {
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        },
        "held_out": measure(Detector(path), pictures),
        "validated_with": {"onnxruntime": ort.__version__, "opencv": cv2.__version__, "numpy": np.__version__},
        "training": training,
    }


def main() -> None:
    """Measure, print and, on request, write the report; what is known of the training stays."""
    arguments = argparse.ArgumentParser(description="Measure the exported model on held-out pictures.")
    arguments.add_argument("--pictures", type=int, default=HELD_OUT_PICTURES)
    arguments.add_argument("--model", type=Path, default=MODEL_PATH)
    arguments.add_argument("--write", action="store_true", help="write validation.json beside the model")
    options = arguments.parse_args()
    before = json.loads(REPORT_PATH.read_text(encoding="utf-8")) if REPORT_PATH.exists() else {}
    result = report(options.pictures, before.get("training", {}), options.model)
    print(json.dumps(result["held_out"], indent=2))
    if options.write:
        REPORT_PATH.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
