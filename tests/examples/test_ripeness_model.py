"""The shipped model is the one its report describes, and it detects."""

from __future__ import annotations

import ast
import hashlib
import json

import numpy as np
import onnxruntime as ort
import pytest

from examples.ripeness.average_precision import Truth, average_precision, curve
from examples.ripeness.inference import MODEL_PATH, Detections, Detector, Fit, decode, letterbox
from examples.ripeness.scenes import CLASS_NAMES
from examples.ripeness.validate import REPORT_PATH, measure


@pytest.fixture(scope="module")
def session():
    return ort.InferenceSession(str(MODEL_PATH), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def report():
    return json.loads(REPORT_PATH.read_text(encoding="utf-8"))


def test_the_report_is_about_this_file(report):
    content = MODEL_PATH.read_bytes()
    assert report["model"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert report["model"]["bytes"] == len(content)
    assert len(content) <= 3_000_000


def test_the_reported_figures_meet_the_bar(report):
    assert report["held_out"]["map50"] >= 0.85
    assert report["held_out"]["pictures"] == 500
    assert set(report["held_out"]["ap50"]) == set(CLASS_NAMES)


def test_the_model_says_what_it_is(session):
    metadata = session.get_modelmeta().custom_metadata_map
    assert ast.literal_eval(metadata.pop("names")) == dict(enumerate(CLASS_NAMES))
    assert metadata.pop("description")
    assert metadata == {
        "name": "ripeness",
        "version": "1.0.0",
        "task": "detect",
        "imgsz": "[320, 320]",
        "stride": "32",
        "author": "Vigie",
        "license": "Apache-2.0",
    }


def test_the_model_has_one_fixed_input_and_one_output(session):
    assert [(one.name, one.shape, one.type) for one in session.get_inputs()] == [
        ("images", [1, 3, 320, 320], "tensor(float)")
    ]
    assert [(one.name, one.shape) for one in session.get_outputs()] == [("output0", [1, 7, 2100])]


def test_the_model_detects_on_pictures_it_never_saw():
    assert measure(Detector(), 40)["map50"] >= 0.8


def test_an_empty_picture_has_no_fruit():
    grey = np.full((480, 640, 3), 114, np.uint8)
    assert len(Detector()(grey, 0.4).scores) == 0


def test_the_letterbox_keeps_the_shape_and_centres_the_picture():
    square, fit = letterbox(np.full((480, 640, 3), 200, np.uint8))
    assert fit == Fit(scale=0.5, left=0, top=40)
    assert (square[:40] == 114).all()
    assert (square[40:280] == 200).all()
    assert (square[280:] == 114).all()


def test_decoding_returns_to_the_picture_and_keeps_one_box_per_fruit():
    output = np.zeros((7, 3), np.float32)
    output[:4] = np.array([[100, 100, 40, 20], [101, 100, 40, 20], [200, 200, 40, 40]]).T
    output[4], output[6] = (0.9, 0.8, 0.0), (0.0, 0.0, 0.7)
    seen = decode(output, Fit(0.5, 0, 40), (480, 640), 0.25)
    assert seen.boxes.tolist() == [[160, 100, 240, 140], [360, 280, 440, 360]]
    assert seen.classes.tolist() == [0, 2]


def test_average_precision_of_a_hand_computed_case():
    truth = Truth(np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32), np.array([0, 0]))
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 30, 30]], np.float32)
    seen = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 0, 0]))
    # Precision is 1 up to recall 0.5 (51 of 101 points) and 2/3 beyond.
    expected = (51 * 1 + 50 * 2 / 3) / 101
    assert average_precision(curve([truth], [seen], 0)) == pytest.approx([expected] * 10)
