"""NanoDet, on outputs worked out by hand. For 64x64 there are 8x8 + 4x4 + 2x2 cells, and one more of stride 64."""

import numpy as np
import pytest
from graphs import PLAIN, graph

from agent.decoders import Thresholds
from agent.decoders.choose import choose
from agent.decoders.nanodet import NanoDet, expected

CELL = 64 + 5
"""Second row, second column of the level of stride 16."""


def logits(*distances):
    """Distributions that are sure of whole distances."""
    values = np.zeros((len(distances), 8), np.float32)
    values[range(len(distances)), distances] = 100
    return values.ravel()


def joined(rows=85, classes=3):
    """Class 1 at the second row, second column of stride 16: one to the left, none up, two right, one down."""
    values = np.zeros((1, rows, classes + 32), np.float32)
    values[0, :, classes:] = -3
    values[0, CELL, 1] = 0.9
    values[0, CELL, classes:] = logits(1, 0, 2, 1)
    return values


def by_stride(classes=3):
    """The same, as two outputs for each stride; a level of stride 16 begins after 64 cells of stride 8."""
    rows = joined(84, classes)[:, :84]
    levels = np.split(rows, [64, 80], axis=1)
    scores = {f"cls_{n}": level[..., :classes] for n, level in enumerate(levels)}
    return scores | {f"dis_{n}": level[..., classes:] for n, level in enumerate(levels)}


def boxes(decoder, outputs):
    found = decoder.decode(list(outputs), PLAIN, Thresholds())
    return list(zip(found.class_ids.tolist(), found.boxes.round(3).tolist(), strict=True))


def test_the_mean_of_a_distribution_is_the_distance():
    assert expected(logits(0, 3, 7, 1)[None])[0] == pytest.approx([0, 3, 7, 1], abs=1e-6)
    assert expected(np.zeros((1, 32), np.float32)).tolist() == [[3.5] * 4]


def test_nanodet_plus_sees_from_the_corner_of_a_cell():
    """From (16, 16) in steps of 16; the picture is stretched."""
    decoder, why = choose(graph(joined()))
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("nanodet", 3, True)
    assert "strides 8, 16, 32, 64" in why
    assert (decoder.preparation.fit, decoder.preparation.colour) == ("stretch", "bgr")
    assert boxes(decoder, [joined()]) == [(1, [0, 16, 48, 32])]


@pytest.mark.parametrize("order", [lambda names: names, sorted, lambda names: sorted(names, reverse=True)])
def test_nanodet_sees_from_the_middle_of_a_cell_whatever_the_order_of_its_outputs(outputs_of, order):
    outputs = {name: by_stride()[name] for name in order(by_stride())}
    decoder, _ = choose(outputs_of(**outputs))
    assert (decoder.family, decoder.class_count) == ("nanodet", 3)
    assert (decoder.preparation.fit, decoder.preparation.pad) == ("letterbox_center", 0)
    assert boxes(decoder, outputs.values()) == [(1, [8, 24, 56, 40])]


def test_three_strides_in_one_output_are_those_of_nanodet():
    values = joined(84)
    decoder, _ = choose(graph(values))
    assert decoder.family == "nanodet"
    assert boxes(decoder, [values]) == [(1, [8, 24, 56, 40])]


def test_thirty_two_classes_are_told_from_distances_by_their_values(outputs_of):
    outputs = by_stride(32)
    decoder, _ = choose(outputs_of(**dict(reversed(outputs.items()))))
    assert boxes(decoder, list(reversed(outputs.values()))) == [(1, [8, 24, 56, 40])]


def test_yolox_is_not_claimed():
    values = np.full((1, 84, 40), 0.5, np.float32)
    assert choose(graph(values))[0].family == "yolox"
    assert NanoDet.claim(graph((1, 84, 40))) is None


@pytest.mark.parametrize("metadata", [{"names": "['a', 'b']"}, {"author": "Ultralytics"}])
def test_metadata_that_does_not_fit_is_not_claimed(metadata):
    assert NanoDet.claim(graph(joined(), metadata=metadata)) is None


def test_another_graph_is_refused_with_what_is_expected():
    with pytest.raises(ValueError, match=r"NanoDet has one output \[1, cells, classes \+ 32\], or"):
        NanoDet(graph((1, 80, 35)))


def test_another_shape_or_nan_is_refused_when_it_comes():
    decoder = NanoDet(graph(joined()))
    for wrong, reason in ((joined(84), "expected"), (np.full_like(joined(), np.nan), "NaN")):
        with pytest.raises(ValueError, match=reason):
            decoder.decode([wrong], PLAIN, Thresholds())


def test_four_strides_in_outputs_of_their_own_are_told_from_picodet_by_their_names(outputs_of):
    """From the corner of a cell, as NanoDet-Plus in one output."""
    levels = np.split(joined(85), [64, 80, 84], axis=1)
    outputs = {f"cls_pred_stride_{n}": level[..., :3] for n, level in enumerate(levels)}
    outputs |= {f"dis_pred_stride_{n}": level[..., 3:] for n, level in enumerate(levels)}
    decoder, _ = choose(outputs_of(**outputs))
    assert (decoder.family, decoder.preparation.fit, decoder.preparation.colour) == ("nanodet", "stretch", "bgr")
    assert boxes(decoder, outputs.values()) == [(1, [0, 16, 48, 32])]
    renamed = {name.replace("_pred", ""): array for name, array in outputs.items()}
    assert choose(outputs_of(**renamed))[0].family == "picodet"
