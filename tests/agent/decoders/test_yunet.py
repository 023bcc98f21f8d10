"""YuNet, on outputs worked out by hand, for a picture of 64x64."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import choose
from agent.decoders.yunet import YuNet

CELLS = {8: 64, 16: 16, 32: 4}
WIDTHS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def outputs():
    """A face at the second row, third column of stride 16: offset half a cell and none, two cells wide, one high."""
    values = {
        f"{kind}_{stride}": np.zeros((1, cells, width), np.float32)
        for kind, width in WIDTHS.items()
        for stride, cells in CELLS.items()
    }
    values["cls_16"][0, 6], values["obj_16"][0, 6] = 0.9, 0.4
    values["bbox_16"][0, 6] = 0.5, 0, np.log(2), 0
    return values


def faces(decoder, values):
    found = decoder.decode(list(values.values()), PLAIN, Thresholds())
    return list(zip(found.class_ids.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True))


@pytest.mark.parametrize("order", [list, sorted, reversed])
def test_a_face_is_decoded_whatever_the_order_of_the_outputs(outputs_of, order):
    """Centre (2 + 0.5) * 16 = 40 and 1 * 16 = 16; score the root of 0.9 * 0.4."""
    values = {name: outputs()[name] for name in order(list(outputs()))}
    decoder, _ = choose(outputs_of(**values))
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("yunet", 1, True)
    ((kind, score, box),) = faces(decoder, values)
    assert (kind, box) == (0, pytest.approx([24, 8, 56, 24]))
    assert score == pytest.approx(0.6)


def test_without_landmarks_it_is_the_same(outputs_of):
    values = {name: array for name, array in outputs().items() if not name.startswith("kps")}
    decoder, _ = choose(outputs_of(**values))
    assert len(faces(decoder, values)) == 1


def test_one_output_less_or_of_another_shape_is_not_claimed(outputs_of):
    values = outputs()
    assert YuNet.claim(outputs_of(**values, size=(96, 96))) is None
    del values["obj_32"]
    assert YuNet.claim(outputs_of(**values)) is None
    with pytest.raises(ValueError, match="YuNet has the outputs cls_8, obj_8, bbox_8"):
        YuNet(outputs_of(**values))


def test_pictures_are_prepared_as_opencv_does(outputs_of):
    want = YuNet(outputs_of(**outputs())).preparation
    assert (want.fit, want.colour, want.scale) == ("stretch", "bgr", (1, 1, 1))


def test_nan_and_sizes_that_overflow_are_refused(outputs_of):
    decoder, values = YuNet(outputs_of(**outputs())), outputs()
    values["bbox_16"][0, 6, 2] = 1000
    with pytest.raises(ValueError, match="NaN or infinite"):
        faces(decoder, values)
    values["bbox_16"][0, 6, 2] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        faces(decoder, values)
