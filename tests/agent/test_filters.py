"""What a stream filters, in the real agent process."""

import json
import os
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import greymodel
import msgspec
import numpy as np
import pytest
from smallsite import free_port, wait_for

from agent.masks import GREY
from agent.sources import Pixels
from shared import wire
from shared.records import SCALE, Detail, Observation, StreamRuns

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/plugins")])}
JPEG_ERROR = 6
EDGE = 10
"""Pixels on either side of an edge that JPEG smears."""


def start(folder: Path, stream: str) -> subprocess.CompletedProcess[str]:
    """Run the agent on a stream to its end, with nobody to send to: all stays in its state folder."""
    return subprocess.run(
        configure(folder, stream), cwd=folder, env=ENVIRONMENT, timeout=100,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def work(folder: Path, stream: str) -> None:
    """The same, which must go well."""
    done = start(folder, stream)
    assert done.returncode == 0, done.stderr


def configure(folder: Path, stream: str) -> list[str]:
    """Write a configuration with this stream and nobody to send to; the command that runs it."""
    greymodel.save(folder / "grey.onnx")
    (folder / "agent.yaml").write_text(
        "broker: {url: 'mqtt://127.0.0.1:1'}\nseal_s: 0.2\ndrain_s: 0\n"
        f"streams: [{{name: cam0, model: grey.onnx, snapshot_s: 0.01, {stream}}}]\n"
    )
    return [sys.executable, "-m", "agent", "run", "--config", "agent.yaml"]


def sealed(folder: Path) -> tuple[Counter[str], list[Observation]]:
    """What waits in the outbox: frames by outcome, and the observations in order."""
    outcomes: Counter[str] = Counter()
    observations: list[Observation] = []
    with sqlite3.connect(folder / "vigie-state/outbox.db") as db:
        for streams, body in db.execute("SELECT streams, body FROM detail ORDER BY id"):
            for runs in msgspec.json.decode(streams, type=dict[str, StreamRuns]).values():
                for run in runs.outcomes:
                    outcomes[run.outcome] += run.last - run.first + 1
            detail = msgspec.json.decode(wire.inflate(body), type=Detail)
            observations += [seen for block in detail.blocks for seen in block.observations]
    return outcomes, observations


def snapshots(folder: Path) -> list[Pixels]:
    paths = sorted((folder / "vigie-state/snapshots/cam0").glob("*.jpg"))
    pictures = [cv2.imread(str(path)) for path in paths]
    return [np.asarray(picture, np.uint8) for picture in pictures if picture is not None]


def test_no_masked_pixel_leaves_the_capture_process(tmp_path: Path) -> None:
    """The picture for the dashboard has none, nor has the model seen one."""
    masks = "masks: [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]"
    work(tmp_path, f"source: {{synthetic: test, width: 320, height: 240, count: 40}}, {masks}")
    outcomes, _ = sealed(tmp_path)
    assert outcomes == {"ok": 40}
    kept = snapshots(tmp_path)
    assert kept
    for picture in kept:
        assert abs(picture[:, : 160 - EDGE].astype(int) - GREY).max() <= JPEG_ERROR
        assert picture[:, 160 + EDGE :].std() > 1


def test_the_model_sees_a_masked_picture_as_grey(tmp_path: Path) -> None:
    """Its one box is as wide as the picture is bright."""
    masks = "masks: [[[0, 0], [1, 0], [1, 1], [0, 1]]]"
    work(tmp_path, f"source: {{synthetic: test, count: 5}}, {masks}")
    _, observations = sealed(tmp_path)
    assert len(observations) == 5
    for seen in observations:
        (box,) = seen.detections
        assert (box.x2 - box.x1) / SCALE == pytest.approx(GREY / 255, abs=0.002)


def test_the_model_sees_its_region_and_boxes_lie_in_the_whole_picture(tmp_path: Path) -> None:
    """The region is inside the mask: grey, whatever is beside it."""
    masks = "masks: [[[0, 0], [0.6, 0], [0.6, 1], [0, 1]]]"
    work(tmp_path, f"source: {{synthetic: test, width: 320, height: 320, count: 5}}, {masks}, region: [0, 0, 0.5, 0.5]")
    _, observations = sealed(tmp_path)
    assert len(observations) == 5
    for seen in observations:
        (box,) = seen.detections
        assert (box.x2 - box.x1) / SCALE == pytest.approx(0.5 * GREY / 255, abs=0.002)
        assert (box.x1 + box.x2) / 2 / SCALE == pytest.approx(0.25, abs=0.002)


def clip(folder: Path, greys: list[int]) -> str:
    """A folder of pictures, each of one grey, as a source."""
    (folder / "clip").mkdir()
    for number, grey in enumerate(greys):
        assert cv2.imwrite(str(folder / f"clip/{number}.png"), np.full((48, 64, 3), grey, np.uint8))
    return "source: {files: clip/}"


def test_what_is_gated_is_booked_and_all_adds_up(tmp_path: Path) -> None:
    greys = [50] * 10 + [200] * 10 + [50] * 10
    work(tmp_path, f"{clip(tmp_path, greys)}, gate: {{change: 0.01, every_s: 600}}")
    outcomes, observations = sealed(tmp_path)
    assert outcomes == {"ok": 3, "gated": 27}
    assert [seen.frame for seen in observations] == [1, 11, 21]


def test_each_start_looks_at_its_first_frame(tmp_path: Path) -> None:
    stream = f"{clip(tmp_path, [50] * 5)}, gate: {{change: 0.01, every_s: 600}}"
    for starts in (1, 2):
        work(tmp_path, stream)
        outcomes, _ = sealed(tmp_path)
        assert outcomes == {"ok": starts, "gated": 4 * starts}


def test_a_moving_scene_passes_the_gate(tmp_path: Path) -> None:
    work(tmp_path, "source: {synthetic: test, count: 30}, gate: {change: 0, every_s: 600}")
    outcomes, observations = sealed(tmp_path)
    assert outcomes.total() == 30
    assert outcomes["ok"] == len(observations) > 1


def test_without_a_gate_every_frame_is_looked_at(tmp_path: Path) -> None:
    work(tmp_path, clip(tmp_path, [50] * 10))
    assert sealed(tmp_path)[0] == {"ok": 10}


def test_a_class_counts_from_a_score_of_its_own(tmp_path: Path) -> None:
    """The model sees `grey` with 0.9, always."""
    work(tmp_path, f"{clip(tmp_path, [200] * 5)}, scores: {{grey: 0.95}}")
    assert [seen.detections for seen in sealed(tmp_path)[1]] == [()] * 5


def test_an_agent_with_scores_of_an_unknown_class_does_not_start(tmp_path: Path) -> None:
    done = start(tmp_path, "source: {synthetic: test, count: 5}, scores: {gray: 0.5}")
    assert done.returncode == 2
    assert "'streams[0].model'" in done.stderr
    assert "'scores' names the class 'gray', which it does not have; it has 2 classes, such as 'grey'" in done.stderr


def test_the_picture_is_prepared_as_the_stream_says(tmp_path: Path) -> None:
    """A scale of half the usual makes all half as bright, and the box half as wide."""
    work(tmp_path, f"{clip(tmp_path, [200] * 3)}, preparation: {{fit: stretch, scale: {0.5 / 255}}}")
    for seen in sealed(tmp_path)[1]:
        (box,) = seen.detections
        assert (box.x2 - box.x1) / SCALE == pytest.approx(0.5 * 200 / 255, abs=0.002)


def test_pushed_pictures_are_masked_and_never_gated(tmp_path: Path) -> None:
    """The same picture again and again: each is answered; the masked half is grey 114 to the model."""
    port = free_port()
    filters = "gate: {change: 1, every_s: 600}, masks: [[[0, 0], [1, 0], [1, 1], [0, 1]]]"
    body = cv2.imencode(".png", np.full((48, 64, 3), 250, np.uint8))[1].tobytes()
    process = subprocess.Popen(
        configure(tmp_path, f"source: {{push: {port}}}, {filters}"), cwd=tmp_path, env=ENVIRONMENT
    )

    def answer() -> dict[str, Any] | None:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body)
            request.add_header("Content-Type", "image/png")
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  # ours
                told: dict[str, Any] = json.load(response)
                return told
        except (OSError, urllib.error.URLError):
            return None

    try:
        answers = [wait_for(answer, "the push server's answer") for _ in range(4)]
    finally:
        process.terminate()
        assert process.wait(30) == 0
    for told in answers:
        (seen,) = told["detections"]
        assert (seen["box"][2] - seen["box"][0]) / 64 == pytest.approx(GREY / 255, abs=0.002)
    outcomes, _ = sealed(tmp_path)
    assert set(outcomes) == {"ok"}
    assert outcomes["ok"] >= len(answers)
