"""`vigie-agent tune`, as a process: it keeps what it chose, and `run` uses it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import greymodel
import numpy as np
import onnx
import pytest
import tinyonnx

from agent import tuned

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """\
site: greenhouse
device: pi-roof
broker: {url: "mqtt://127.0.0.1:9"}
state_dir: state
drain_s: 0
streams:
  - {name: cam0, source: {synthetic: test, count: 3}, model: grey.onnx}
"""


def vigie(folder: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "agent", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    greymodel.save(tmp_path / "grey.onnx")
    (tmp_path / "agent.yaml").write_text(CONFIG)
    return tmp_path


def tune(folder: Path, *arguments: object) -> dict[str, Any]:
    done = vigie(folder, "tune", "grey.onnx", "--json", "--seconds", 2, "--frames", "128x96", *arguments)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_what_is_chosen_is_kept_beside_the_configuration_and_run_uses_it(folder: Path) -> None:
    told = tune(folder, "--config", "agent.yaml")
    assert told["kept"] == "tuned.json"
    kept = tuned.read(folder / "tuned.json")
    (entry,) = kept.models.values()
    assert list(kept.models) == [told["sha256"]]
    assert entry.machine == tuned.machine()
    assert entry.choice.provider in entry.providers
    assert {one.choice for one in entry.measured} >= {entry.choice, tuned.Choice()}
    assert max(one.ratio for one in entry.measured) >= 1
    assert all(one.fps > 0 for one in entry.measured)
    said = vigie(folder, "run", "--config", "agent.yaml").stderr
    assert f"stream cam0: {entry.choice}, as tuned {entry.at}" in said
    checked = vigie(folder, "check", "--config", "agent.yaml").stdout
    assert f"{entry.choice}, as tuned {entry.at}" in checked
    other = onnx.load(folder / "grey.onnx")
    other.doc_string = "trained a day longer"
    onnx.save(other, folder / "grey.onnx")
    said = vigie(folder, "run", "--config", "agent.yaml").stderr
    assert "grey.onnx is another file than the one that was tuned; the tuning is not used: tune again" in said


def test_frames_may_come_from_pictures_and_nothing_is_kept_without_a_configuration(folder: Path) -> None:
    (folder / "pictures").mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / "pictures" / f"{number}.png"), np.full((48, 64, 3), 40 * number, np.uint8))
    done = vigie(folder, "tune", "grey.onnx", "pictures", "--seconds", 1)
    assert done.returncode == 0, done.stderr
    assert "kept       nowhere" in done.stdout
    assert "CPUExecutionProvider             1" in done.stdout
    assert "vigie-agent tune: round 1 of " in done.stderr
    assert not (folder / "tuned.json").exists()


def test_what_the_configuration_says_is_not_tried_otherwise(folder: Path) -> None:
    (folder / "agent.yaml").write_text("threads: 1\nspinning: false\noptimisation: basic\n" + CONFIG)
    told = tune(folder, "--config", "agent.yaml", "--exhaustive")
    tried = {(one["choice"]["threads"], one["choice"]["optimisation"]) for one in told["measured"]}
    assert tried == {(1, "basic")}


def test_what_cannot_be_tuned_is_said(folder: Path) -> None:
    done = vigie(folder, "tune", "no.onnx")
    assert (done.returncode, done.stderr) == (
        1,
        "vigie-agent tune: no.onnx: no such file; give the path of an .onnx file\n",
    )
    done = vigie(folder, "tune", "grey.onnx", "no.mp4")
    assert done.returncode == 1
    assert "no.mp4: no such file; give a video or a folder of pictures, or none" in done.stderr
    tinyonnx.save(folder / "odd.onnx", {"out": np.zeros((1, 7, 9, 2), np.float32)})
    done = vigie(folder, "tune", "odd.onnx")
    assert done.returncode == 1
    assert "odd.onnx: its family is not known" in done.stderr
    assert done.stderr.count("\n") == 1, "said once, and not by each candidate"
    (folder / "empty").mkdir()
    done = vigie(folder, "tune", "grey.onnx", "empty", "--seconds", 1)
    assert done.returncode == 1
    assert "the source gives no frame: " in done.stderr
