"""The demo's clips open with OpenCV, have the stated length, and show what the demo needs to show."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from examples.ripeness.inference import HERE, Detector
from examples.ripeness.make_clips import CLIPS

SCORE_MIN = 0.4


@pytest.fixture(scope="module", params=[clip.name for clip in CLIPS])
def clip(request):
    capture = cv2.VideoCapture(str(HERE / f"{request.param}.mp4"))
    fps = capture.get(cv2.CAP_PROP_FPS)
    frames = []
    while True:
        there, frame = capture.read()
        if not there:
            break
        frames.append(frame)
    capture.release()
    return request.param, fps, frames


def test_a_clip_has_300_frames_of_640_by_480_at_10_per_second(clip):
    _, fps, frames = clip
    assert fps == pytest.approx(10)
    assert len(frames) == 300
    assert {frame.shape for frame in frames} == {(480, 640, 3)}


def test_a_clip_is_small_enough_for_a_checkout(clip):
    name, _, _ = clip
    assert (HERE / f"{name}.mp4").stat().st_size <= 1_600_000


def test_the_model_sees_what_each_clip_is_about(clip):
    name, _, frames = clip
    detector = Detector()
    seen = [detector(frame, SCORE_MIN).classes for frame in frames[::15]]
    everything = np.concatenate(seen)
    empty = sum(len(classes) == 0 for classes in seen)
    if name == "north":
        assert np.mean(everything == 0) > 0.6
    elif name == "south":
        assert np.mean(everything == 2) > 0.6
    else:
        assert 3 <= empty <= 12
    assert np.median([len(classes) for classes in seen if len(classes)]) >= 4
