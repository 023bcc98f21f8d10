"""Whatever a model gives, a decoder answers with what fits in the picture, or with a sentence.

A model that changes its mind at run time is rare; one quantised badly, or exported for another runtime, is not.
"""

from collections.abc import Callable

import numpy as np
import pytest
from graphs import PLAIN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.capture import Frame
from agent.clock import Clock
from agent.decoders import DECODERS, Found, Graph, Thresholds
from agent.decoders.choose import choose
from agent.loop import observe
from agent.model import Looker

PERSON = {"kpt_shape": "[17, 3]", "names": "['person']", "task": "pose"}


def of(*shapes, names=None, **changes):
    """Shapes of the outputs, their names, and what else the graph says of itself."""
    return dict(zip(names or [f"out{n}" for n in range(len(shapes))], shapes, strict=True)), changes


FACES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
CELLS = {8: 64, 16: 16, 32: 4}

GRAPHS = {
    "ultralytics-v5": of((1, 252, 8)),
    "ultralytics-v8": of((1, 7, 84)),
    "ultralytics-end2end": of((1, 300, 6)),
    "ultralytics-segment": of((1, 9, 84), (1, 2, 16, 16)),
    "ultralytics-pose": of((1, 56, 84), metadata=PERSON),
    "yolox": of((1, 84, 8)),
    "yolox-nms": of((1, 5, 5), (1, 5), names=["dets", "labels"]),
    "rtmdet": of((1, 5, 5), (1, 5), names=["dets", "labels"]),
    "freeyolo": of((1, 84, 8)),
    "yolov6": of((1, 84, 8)),
    "yolov7-nms": of((5, 7)),
    "yolo-nas": of((1, 1), (1, 5, 4), (1, 5), (1, 5)),
    "damo-yolo": of((1, 84, 3), (1, 84, 4)),
    "yolov3-keras": of((1, 9, 4), (1, 3, 9), (5, 3), beside=["image_shape"]),
    "yolov2-tiny": of((1, 40, 2, 2)),
    "yolov4": of((1, 9, 1, 4), (1, 9, 3), names=["boxes", "confs"]),
    "yolov4-maps": of((1, 8, 8, 3, 8), (1, 4, 4, 3, 8), (1, 2, 2, 3, 8)),
    "nanodet": of((1, 85, 35)),
    "fastestdet": of((1, 8, 4, 4)),
    "yunet": of(
        *((1, count, width) for width in FACES.values() for count in CELLS.values()),
        names=[f"{kind}_{stride}" for kind in FACES for stride in CELLS],
    ),
    "yolo-fastestv2": of((1, 4, 4, 18), (1, 2, 2, 18)),
    "yunet-2022": of((235, 14), (235, 2), (235, 1), names=["loc", "conf", "iou"]),
    "scrfd": of(*((2 * count, width) for width in (1, 4, 10) for count in CELLS.values())),
    "ultraface": of((1, 9, 2), (1, 9, 4), names=["scores", "boxes"]),
    "ssd": of(
        (1, 5, 4), (1, 5), (1, 5), (1,),
        names=["detection_boxes", "detection_classes", "detection_scores", "num_detections"],
        dtype="uint8",
    ),
    "ssd-softmax": of((1, 9, 4), (1, 9, 4), names=["scores", "boxes"]),
    "ssd-resnet34": of((1, 5, 4), (1, 5), (1, 5), names=["bboxes", "labels", "scores"]),
    "ppyoloe": of((5, 6), (1,), beside=["scale_factor"]),
    "ppyoloe-plus": of((1, 84, 4), (1, 3, 84), beside=["scale_factor"]),
    "detr-paddle": of((5, 6), (1,), beside=["im_shape", "scale_factor"]),
    "picodet": of((1, 85, 4), (1, 3, 85)),
    "detr": of((1, 5), (1, 5, 4), (1, 5), names=["labels", "boxes", "scores"], beside=["orig_target_sizes"]),
    "detr-ultralytics": of((1, 9, 7)),
    "detr-raw": of((1, 5, 4), (1, 5, 7), names=["dets", "labels"]),
    "detr-softmax": of((1, 5, 4), (1, 5, 7), names=["pred_boxes", "logits"]),
    "torchvision": of((5, 4), (5,), (5,)),
    "classifier": of((1, 7)),
}  # fmt: skip  # a family a line

INTEGERS = {"torchvision": [1], "yolo-nas": [0, 3], "yolov3-keras": [2], "ssd-resnet34": [1]}
"""Outputs that are whole numbers, by which the family is known."""

VALUES = [0, 1, -1, 0.5, 7, -1e9, 1e9, 3e38, -3e38, np.nan, np.inf, -np.inf]
DTYPES = ["float32", "float16", "float64", "int8", "uint8", "int64", "bool"]


def arrays(family) -> dict[str, np.ndarray]:
    shapes, _ = GRAPHS[family]
    kinds = ["int64" if n in INTEGERS.get(family, []) else "float32" for n in range(len(shapes))]
    values = {name: np.zeros(shape, kind) for (name, shape), kind in zip(shapes.items(), kinds, strict=True)}
    if family == "nanodet":  # known by distances that can be no scores
        values["out0"][..., 3:] = -3
    return values


def filled(draw, array):
    """An array of that shape with any values, and now and then of another type."""
    seed = np.random.default_rng(draw(st.integers(0, 2**32)))
    share, noise = draw(st.sampled_from([0, 0.01, 0.6, 1])), draw(st.sampled_from([0, 1, 100, 1e30]))
    values = np.where(seed.random(array.shape) < share, seed.choice(VALUES, array.shape), seed.random(array.shape))
    values = seed.normal(0, noise, array.shape) if noise else values
    if draw(st.booleans()):
        values = np.full(array.shape, draw(st.sampled_from(VALUES)))
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(draw(st.sampled_from(DTYPES)) if draw(st.booleans()) else array.dtype)


DAMAGES = {
    "missing": lambda _: [],
    "extra": lambda array: [array, array],
    "empty": lambda array: [array[..., :0]],
    "deeper": lambda array: [array[None]],
    "flat": lambda array: [array.ravel()],
    "one number": lambda array: [array.ravel()[0]],
}
"""What becomes of one of the outputs."""


@st.composite
def damaged(draw, good):
    """Outputs of the right shapes with any values, or of which one is missing, empty, another, or one too many."""
    arrays = [filled(draw, array) for array in good]
    kind = draw(st.sampled_from(["none", "none", "none", "none", *DAMAGES]))
    which = draw(st.integers(0, len(good) - 1))
    damage = DAMAGES.get(kind, lambda array: [array])
    return [*arrays[:which], *damage(arrays[which]), *arrays[which + 1 :]]


def fits_in_the_picture(found: Found, task: str) -> None:
    count = len(found.class_ids)
    assert [str(array.dtype) for array in (found.class_ids, found.scores, found.boxes)] == [
        "int64",
        "float32",
        "float32",
    ]
    assert found.scores.shape == (count,)
    assert bool(np.all((found.scores >= 0) & (found.scores <= 1)))
    assert bool(np.all(found.class_ids >= 0))
    assert found.boxes.shape == ((0, 4) if task == "classify" else (count, 4))
    assert bool(np.all((found.boxes >= 0) & (found.boxes <= 64)))
    if found.areas is not None:
        assert found.areas.shape == (count,)
        assert bool(np.all((found.areas >= 0) & (found.areas <= 64 * 64 * 1.001)))
    if found.keypoints is not None:
        assert found.keypoints.shape == (count, 17, 3)
        assert bool(np.all((found.keypoints >= 0) & (found.keypoints <= 64)))


@pytest.fixture(params=GRAPHS)
def family(request):
    return request.param


@pytest.fixture
def made(family, outputs_of: Callable[..., Graph]):
    """The decoder of a family as the configuration names it, and outputs that it takes."""
    decoder, _ = choose(outputs_of(**GRAPHS[family][1], **arrays(family)), family)
    return decoder, list(arrays(family).values())


def test_every_family_is_here():
    assert set(GRAPHS) == set(DECODERS)


def test_outputs_as_at_the_start_are_decoded(made):
    decoder, good = made
    fits_in_the_picture(decoder.decode(good, PLAIN, Thresholds()), decoder.task)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([0.0, 0.25, 1.0]))
def test_any_output_is_decoded_or_refused_with_a_sentence(made, data, score):
    decoder, good = made
    outputs = data.draw(damaged(good))
    try:
        with np.errstate(all="ignore"):  # numpy's warnings, which are errors in tests, are lines of a log elsewhere
            found = decoder.decode(outputs, PLAIN, Thresholds(score=score))
    except ValueError:
        return  # which is what the loop makes a `failed` frame of, with the reason
    fits_in_the_picture(found, decoder.task)


class Looks(Looker):
    """A looker whose model gives what it is told."""

    def __init__(self, decoder, outputs):
        self.decoder, self.outputs = decoder, outputs

    def prepare(self, pixels):
        return pixels, PLAIN

    def infer(self, tensor):
        del tensor
        return self.outputs

    def decode(self, outputs, placement):
        return self.decoder.decode(outputs, placement, Thresholds())


@pytest.mark.parametrize("damage", ["nan", "shape", "none"])
def test_a_frame_whose_outputs_make_no_sense_is_failed_with_the_reason(made, damage):
    """The loop books a look with an error as `failed`."""
    decoder, good = made
    outputs = {
        "nan": [np.full(array.shape, np.nan, np.float32) for array in good],
        "shape": [array.ravel()[:-1] for array in good],
        "none": [],
    }[damage]
    frame = Frame(
        number=7, pixels=np.zeros((64, 64, 3), np.uint8), captured_boot_ns=0, capture_ticks=0, release=lambda: None
    )
    look = observe(frame, Looks(decoder, outputs), Clock())
    assert (look.frame, look.found) == (7, None)
    assert look.error.startswith("ValueError: the ")
