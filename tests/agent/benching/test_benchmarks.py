"""`make bench` as a process, and how it judges."""

import subprocess
import sys
from pathlib import Path

import cv2
import memory
import numpy as np
import pytest
import table
from preparing import as_wanted

from agent.decoders import Preparation

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64))
    for grey in range(20):
        writer.write(np.full((64, 96, 3), grey * 12, np.uint8))
    writer.release()
    return path


def test_the_table_has_every_contender_and_a_model_that_cannot_be_loaded_does_not_stop_it(
    clip: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"x" * 5000)
    tiny = memory.tiny_model(tmp_path / "tiny.onnx")
    options = ["--pairs", "1", "--seconds", "0.2", "--clip", str(clip)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/table.py"), *options, str(broken), str(tiny)],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/usr/sbin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "broken.onnx" in done.stdout
    assert "not measured: " in done.stdout
    line = next(one for one in done.stdout.splitlines() if one.startswith("tiny.onnx"))
    assert "(overhead only)" in line
    assert line.endswith("x"), "how many times the naive pipeline's frames"
    assert "ultralytics" in done.stdout
    assert done.stdout.count(" to 640x640") >= 5, "prepare"
    assert done.stdout.count("over the bare one (target: at most 40") == 2


@pytest.mark.parametrize(
    ("bare_ms", "high", "expected"),
    [
        (40, 0.95, "at least 0.95: met"),
        (40, 0.949, "at least 0.95: MISSED"),
        (39.9, 0.86, "at least 0.85: met"),
        (10, 0.84, "at least 0.85: MISSED"),
        (9.9, 0.1, "(overhead only)"),
    ],
)
def test_a_target_is_missed_when_the_whole_interval_is_below_it(bare_ms: float, high: float, expected: str) -> None:
    assert table.judged(bare_ms, high) == expected


def test_the_other_side_of_prepare_gives_what_was_asked_for() -> None:
    blob = cv2.dnn.blobFromImage(np.zeros((8, 8, 3), np.uint8))
    wanted = as_wanted(np.asarray(blob), Preparation(8, 8, dtype="float16", layout="nhwc"))
    assert (wanted.shape, str(wanted.dtype)) == ((1, 8, 8, 3), "float16")
