"""YOLOX with its suppression in the graph. No real file was at hand: these outputs are all it was tried on."""

import numpy as np
import pytest
from graphs import PLAIN
from numpy.typing import NDArray

from agent.decoders import Thresholds
from agent.decoders.choose import Unclear, choose

BOX = [16, 0, 48, 32]
LAYOUTS: dict[str, dict[str, NDArray[np.generic]]] = {
    "mmdeploy": {"dets": np.array([[[*BOX, 0.9], [0] * 5]], np.float32), "labels": np.array([[2, -1]], np.int64)},
    "mmdeploy turned": {"labels": np.array([[2]], np.int64), "dets": np.array([[[*BOX, 0.9]]], np.float32)},
    "pinto": {"batchno_classid_score_x1y1x2y2": np.array([[0, 2, 0.9, *BOX]], np.float32)},
    "pinto, score last": {"batchno_classid_x1y1x2y2_score": np.array([[0, 2, *BOX, 0.9]], np.float32)},
    "nothing": {"batchno_classid_x1y1x2y2_score": np.zeros((0, 7), np.float32)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_read_by_the_names_of_the_outputs(outputs_of, layout):
    values = LAYOUTS[layout]
    decoder, _ = choose(outputs_of(**values), "yolox-nms")
    found = decoder.decode(list(values.values()), PLAIN, Thresholds())
    assert not decoder.suppresses
    assert (decoder.preparation.fit, decoder.preparation.colour) == ("letterbox_corner", "bgr")
    rows = list(zip(found.class_ids.tolist(), found.scores.round(3).tolist(), found.boxes.tolist(), strict=True))
    assert rows == ([] if layout == "nothing" else [(2, pytest.approx(0.9), BOX)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_never_guessed(outputs_of, layout):
    """MMDeploy writes the same outputs for models that want their pictures otherwise."""
    reason = "not clear.*yolox-nms: .*; rtmdet: " if "mmdeploy" in layout else "not known"
    with pytest.raises(Unclear, match=reason):
        choose(outputs_of(**LAYOUTS[layout]))


def test_rtmdet_reads_the_same_rows_and_takes_its_pictures_otherwise(outputs_of):
    values = LAYOUTS["mmdeploy"]
    decoder, _ = choose(outputs_of(**values), "rtmdet")
    want = decoder.preparation
    assert (want.fit, want.pad, want.colour, want.mean) == ("letterbox_corner", 114, "bgr", (103.53, 116.28, 123.675))
    assert want.scale == pytest.approx((1 / 57.375, 1 / 57.12, 1 / 58.395))
    assert decoder.decode(list(values.values()), PLAIN, Thresholds()).boxes.tolist() == [BOX]


def test_another_graph_is_refused_with_what_is_expected(outputs_of):
    with pytest.raises(Unclear, match="YOLOX with NMS has the outputs dets and labels, or one called"):
        choose(outputs_of(heat=np.zeros((1, 5), np.float32)), "yolox-nms")


@pytest.mark.parametrize("layout", ["mmdeploy", "pinto"])
def test_another_shape_or_nan_is_refused_when_it_comes(outputs_of, layout):
    values = list(LAYOUTS[layout].values())
    decoder, _ = choose(outputs_of(**LAYOUTS[layout]), "yolox-nms")
    nan = [np.full_like(array, np.nan) if array.dtype.kind == "f" else array for array in values]
    for wrong, reason in ((nan, "NaN"), ([values[0][..., :3], *values[1:]], "expected"), ([], "output")):
        with pytest.raises(ValueError, match=reason):
            decoder.decode(wrong, PLAIN, Thresholds())
