"""The rendered scenes are reproducible, and their labels say what the pixels show."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from examples.ripeness.scenes import CLASS_NAMES, Motion, SceneParams, play, random_params, render, stage

SMALL = SceneParams(width=320, height=240, fruit_count=12, occlusion=0.1, noise=0.0)


def test_one_seed_gives_one_picture():
    first, again, other = render(SMALL, 5), render(SMALL, 5), render(SMALL, 6)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.boxes, again.boxes)
    assert np.array_equal(first.classes, again.classes)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("size", [(640, 480), (320, 240), (240, 320), (320, 320)])
def test_a_picture_has_the_size_that_was_asked_for(size):
    image = render(replace(SMALL, width=size[0], height=size[1]), 1).image
    assert image.shape == (size[1], size[0], 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("seed", range(20))
def test_boxes_lie_in_the_picture_and_are_not_empty(seed):
    scene = render(random_params(np.random.default_rng(seed), 320, 240), seed)
    assert scene.boxes.shape == (len(scene.classes), 4)
    assert (scene.boxes[:, :2] >= 0).all()
    assert (scene.boxes[:, 2] <= 320).all()
    assert (scene.boxes[:, 3] <= 240).all()
    assert (scene.boxes[:, 2:] - scene.boxes[:, :2] >= 5).all()
    assert set(scene.classes) <= set(range(len(CLASS_NAMES)))


def test_a_bare_plant_has_no_boxes():
    scene = render(replace(SMALL, fruit_count=0), 3)
    assert scene.boxes.shape == (0, 4)
    assert scene.classes.shape == (0,)


def test_riper_fruit_is_redder():
    redness: dict[int, list[float]] = {class_id: [] for class_id in range(len(CLASS_NAMES))}
    for seed in range(12):
        scene = render(replace(SMALL, season=seed / 11), seed)
        for box, class_id in zip(scene.boxes.astype(int), scene.classes, strict=True):
            redness[class_id].append(_redness(scene.image[box[1] : box[3], box[0] : box[2]]))
    green, turning, ripe = (np.mean(redness[class_id]) for class_id in range(3))
    assert green < turning - 10
    assert turning < ripe - 10


def test_a_late_season_has_riper_fruit():
    early, late = (
        np.concatenate([render(replace(SMALL, season=season), seed).classes for seed in range(6)])
        for season in (0.1, 0.9)
    )
    assert early.mean() < late.mean() - 0.8


def test_hidden_fruit_is_not_labelled():
    bare, thicket = (
        sum(len(render(replace(SMALL, occlusion=occlusion), seed).boxes) for seed in range(8))
        for occlusion in (0.0, 1.0)
    )
    assert thicket < bare


@pytest.mark.parametrize(("ripeness", "name"), [(0.0, "green"), (0.39, "green"), (0.4, "turning"), (0.7, "ripe")])
def test_the_stage_follows_from_the_ripeness(ripeness, name):
    assert CLASS_NAMES[stage(ripeness)] == name


def test_consecutive_frames_resemble_each_other_more_than_distant_ones():
    frames = [scene.image.astype(float) for scene in play(SMALL, 4, Motion(seconds=6, sway=0.05, wind=1.0))]
    step = np.mean([np.abs(frames[i] - frames[i + 1]).mean() for i in range(20)])
    jump = np.mean([np.abs(frames[i] - frames[i + 15]).mean() for i in range(20)])
    assert 0 < step < jump / 2


def test_the_camera_finds_no_fruit_where_it_looks_away():
    motion = Motion(seconds=3, away=((0.4, 0.7),))
    counts = [len(scene.boxes) for scene in play(SMALL, 4, motion)]
    assert len(counts) == 30
    assert max(counts) > 0
    assert counts.count(0) >= 4


def test_a_passer_by_hides_the_fruit_while_the_loop_wraps():
    counts = [len(scene.boxes) for scene in play(SMALL, 4, Motion(seconds=10, passer=True))]
    assert counts[0] > 0
    assert min(counts[85:92]) == 0


def _redness(crop):
    """Return how far red is above green in the middle of a crop, where the fruit is."""
    height, width = crop.shape[:2]
    blue_green_red = cv2.mean(crop[height // 4 : height * 3 // 4 + 1, width // 4 : width * 3 // 4 + 1])
    return blue_green_red[2] - blue_green_red[1]
