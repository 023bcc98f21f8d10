"""The DETR family, on outputs worked out by hand, for a picture of 64x64."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import Unclear, choose
from agent.decoders.coco import CATEGORIES, class_of
from agent.decoders.detr import Detr, DetrRaw, DetrSoftmax, DetrUltralytics

QUERIES = 5
SIZE = ("orig_target_sizes",)


def selected(**changes):
    """Query 3 is a box of class 7, from a quarter to three quarters across, in the upper half."""
    labels, boxes, scores = (
        np.zeros((1, QUERIES), np.int64),
        np.zeros((1, QUERIES, 4), np.float32),
        np.zeros((1, QUERIES), np.float32),
    )
    labels[0, 3], boxes[0, 3], scores[0, 3] = 7, (0.25, 0, 0.75, 0.5), 0.9
    return {"labels": labels, "boxes": boxes, "scores": scores} | changes


def raw(classes=91, column=3, **changes):
    boxes, logits = np.zeros((1, QUERIES, 4), np.float32), np.full((1, QUERIES, classes), -9, np.float32)
    boxes[0, 2], logits[0, 2, column] = (0.5, 0.25, 0.5, 0.5), 1
    return {"dets": boxes, "labels": logits} | changes


def found(decoder, outputs, **thresholds):
    seen = decoder.decode(list(outputs.values()), PLAIN, Thresholds(**thresholds))
    return list(
        zip(seen.class_ids.tolist(), np.round(seen.scores.astype(float), 4).tolist(), seen.boxes.tolist(), strict=True)
    )


BOX = [16, 0, 48, 32]


@pytest.mark.parametrize("order", [("labels", "boxes", "scores"), ("scores", "labels", "boxes")])
def test_selected_queries_are_known_by_their_names_in_any_order(outputs_of, order):
    outputs = {name: selected()[name] for name in order}
    decoder, why = choose(outputs_of(beside=SIZE, **outputs))
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("detr", 80, False)
    assert "5 queries" in why
    assert found(decoder, outputs) == [(7, 0.9, BOX)]


def test_the_best_queries_come_first_and_at_most_as_many_as_wanted(outputs_of):
    scores = np.array([[0.3, 0.9, 0.5, 0.8, 0.1]], np.float32)
    boxes = np.full((1, QUERIES, 4), (0, 0, 1, 1), np.float32)
    outputs = selected(scores=scores, boxes=boxes)
    decoder = Detr(outputs_of(beside=SIZE, **outputs))
    assert [score for _, score, _ in found(decoder, outputs, most=3)] == [pytest.approx(s) for s in (0.9, 0.8, 0.5)]


def test_boxes_that_do_not_follow_the_given_size_are_not_claimed(outputs_of):
    outputs = selected(boxes=np.full((1, QUERIES, 4), 300, np.float32))
    with pytest.raises(Unclear, match="not known"):
        choose(outputs_of(beside=SIZE, **outputs))


def test_without_the_input_for_the_size_it_is_not_claimed(outputs_of):
    assert Detr.claim(outputs_of(**selected())) is None


def test_ids_beyond_coco_are_counted_as_unknown(outputs_of):
    labels = np.full((1, QUERIES), 300)
    assert Detr(outputs_of(beside=SIZE, **selected(labels=labels))).class_count is None
    names = str([f"n{n}" for n in range(365)])
    graph = outputs_of(beside=SIZE, metadata={"names": names}, **selected(labels=labels))
    assert Detr(graph).class_count == 365


def test_a_negative_class_is_refused(outputs_of):
    graph = outputs_of(beside=SIZE, **selected())
    with pytest.raises(ValueError, match="class id -1"):
        found(Detr(graph), selected(labels=np.full((1, QUERIES), -1)))


def test_rf_detrs_categories_become_coco_classes(outputs_of):
    """Category 18 is the dog, class 16; columns of no category do not count."""
    outputs = raw(column=18)
    outputs["labels"][0, 2, 12] = 5
    decoder, _ = choose(outputs_of(**outputs))
    assert (decoder.family, decoder.class_count) == ("detr-raw", 80)
    assert decoder.preparation.mean[0] == pytest.approx(123.675)
    assert found(decoder, outputs) == [(16, 0.7311, BOX)]


def test_rf_detr_with_classes_of_its_own_counts_from_zero(outputs_of):
    """The logit after the last class is never trained."""
    outputs = raw(classes=4, column=1)
    outputs["labels"][0, 2, 3] = 5
    graph = outputs_of(metadata={"names": "['a', 'b', 'c']"}, **outputs)
    assert found(DetrRaw(graph), outputs) == [(1, 0.7311, BOX)]
    assert DetrRaw(outputs_of(**outputs)).class_count == 4


def test_transformers_exports_are_scaled_otherwise(outputs_of):
    values = raw(classes=80, column=1)
    outputs = {"logits": values["labels"], "pred_boxes": values["dets"]}
    decoder, _ = choose(outputs_of(**outputs))
    assert (decoder.family, decoder.preparation.mean) == ("detr-raw", (0, 0, 0))
    assert found(decoder, outputs) == [(1, 0.7311, BOX)]


def softmax(classes, **changes):
    """Every query is no object, but for query 2: class 1, whose share is two thirds."""
    logits = np.full((1, 20, classes + 1), -20, np.float32)
    boxes = np.zeros((1, 20, 4), np.float32)
    logits[0, :, -1] = 5
    boxes[0, 2], logits[0, 2, 1] = (0.5, 0.25, 0.5, 0.5), 5 + np.log(2)
    return {"logits": logits, "pred_boxes": boxes} | changes


def test_the_first_detr_s_last_logit_says_no_object(outputs_of):
    outputs = softmax(7)
    decoder, why = choose(outputs_of(**outputs))
    assert (decoder.family, decoder.class_count) == ("detr-softmax", 7)
    assert "7 logits each, and one for no object" in why
    assert decoder.preparation.mean[0] == pytest.approx(123.675)
    assert found(decoder, outputs) == [(1, 0.6667, BOX)]


def test_the_first_detr_for_coco_has_91_categories_and_none(outputs_of):
    outputs = softmax(91)
    outputs["logits"][0, 2, 18], outputs["logits"][0, 2, 1] = outputs["logits"][0, 2, 1], -20
    decoder, _ = choose(outputs_of(**outputs))
    assert decoder.class_count == 80
    assert found(decoder, outputs) == [(16, 0.6667, BOX)]


def test_names_settle_whether_the_last_logit_is_a_class(outputs_of):
    names = {"names": "['a', 'b', 'c']"}
    values = raw(classes=3, column=1)
    plain = {"logits": values["labels"], "pred_boxes": values["dets"]}
    assert choose(outputs_of(metadata=names, **plain))[0].family == "detr-raw"
    values = raw(classes=4, column=1)
    plain = {"logits": values["labels"], "pred_boxes": values["dets"]}
    assert choose(outputs_of(metadata=names, **plain))[0].family == "detr-softmax"


def test_91_logits_of_a_deformable_detr_are_not_guessed(outputs_of):
    values = raw(classes=91)
    with pytest.raises(Unclear, match="not known"):
        choose(outputs_of(logits=values["labels"], pred_boxes=values["dets"]))


def test_boxes_that_are_no_parts_are_not_claimed(outputs_of):
    assert DetrRaw.claim(outputs_of(**raw(dets=np.full((1, QUERIES, 4), 30, np.float32)))) is None


def test_ultralytics_rt_detr_is_told_from_its_yolos(outputs_of):
    values = np.zeros((1, 300, 7), np.float32)
    values[0, 9] = (0.5, 0.25, 0.5, 0.5, 0.1, 0.7, 0.2)
    metadata = {"author": "Ultralytics", "task": "detect", "names": "{0: 'a', 1: 'b', 2: 'c'}"}
    decoder, _ = choose(outputs_of(metadata=metadata, output0=values))
    assert (decoder.family, decoder.preparation.fit) == ("detr-ultralytics", "stretch")
    assert found(decoder, {"output0": values}) == [(1, 0.7, BOX)]
    assert DetrUltralytics.claim(outputs_of(output0=values)) is None


@pytest.mark.parametrize("kind", [Detr, DetrRaw, DetrSoftmax, DetrUltralytics])
def test_another_graph_is_refused_with_what_is_expected(outputs_of, kind):
    with pytest.raises(ValueError, match="output"):
        kind(outputs_of(heat=np.zeros((1, 5), np.float32)))


@pytest.mark.parametrize("kind", ["selected", "raw", "softmax"])
def test_another_shape_at_run_time_or_nan_is_refused(outputs_of, kind):
    outputs = {"selected": selected, "raw": raw, "softmax": lambda: softmax(7)}[kind]()
    decoder, _ = choose(outputs_of(beside=SIZE if kind == "selected" else (), **outputs))
    for wrong, reason in (
        ([values[:, :2] for values in outputs.values()], "expected"),
        ([np.full_like(values, np.nan) if values.dtype.kind == "f" else values for values in outputs.values()], "NaN"),
        ([], "expected"),
    ):
        with pytest.raises(ValueError, match=reason):
            decoder.decode(wrong, PLAIN, Thresholds())


def test_categories_and_classes_agree():
    assert len(CATEGORIES) == 80
    assert class_of(np.array([1, 90, 12, 0, 91, -1, 18])).tolist() == [0, 79, -1, -1, -1, -1, 16]
