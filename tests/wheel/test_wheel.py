"""The wheel as a stranger installs it: bare environments, each side alone, commands run from another folder.

`make wheel` builds it first. Every CPython from 3.10 to 3.13 that this machine has is tried; for the others,
and for aarch64, pip resolves wheels only.
"""

import contextlib
import glob
import json
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
COLLECTOR_VERSIONS = VERSIONS[1:]
NOT_FOR_THE_AGENT = ("flask", "waitress", "influxdb_client", "sqlalchemy", "plotly", "amqtt")
NOT_FOR_THE_COLLECTOR = ("onnxruntime", "cv2")


CLIP_FRAMES = 300
AGENT = """\
drain_s: 0
state_dir: state
broker: {{url: "mqtt://127.0.0.1:9"}}
streams:
  - {{name: cam0, source: {{files: "{clip}"}}, model: "{model}"}}
"""


@cache
def wheel() -> Path:
    found = sorted((ROOT / "dist").glob("vigie-*.whl"))
    assert len(found) == 1, "run `make wheel`: it builds the wheel first"
    return found[0]


@cache
def interpreters() -> dict[str, str]:
    """CPython by version: on PATH, and pyenv's."""
    candidates = [shutil.which(f"python{version}") for version in VERSIONS]
    candidates += glob.glob(str(Path.home() / ".pyenv/versions/3.*/bin/python"))  # noqa: PTH207  # the home folder may be missing
    candidates.append(sys.executable)
    found: dict[str, str] = {}
    for candidate in filter(None, candidates):
        told = subprocess.run(
            [candidate, "-c", "import sys, ensurepip; print('%d.%d' % sys.version_info[:2], sys.implementation.name)"],
            capture_output=True,
            text=True,
            check=False,
        )
        version, _, name = told.stdout.strip().partition(" ")
        if told.returncode == 0 and name == "cpython" and version in VERSIONS:
            found.setdefault(version, candidate)
    return found


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def install(version: str, extra: str, folder: Path) -> Path:
    """A fresh environment with one side only; its bin folder."""
    run(interpreters()[version], "-m", "venv", folder / "venv", cwd=folder)
    pip = [folder / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    run(*pip, "--only-binary=:all:", f"{wheel()}[{extra}]", cwd=folder)
    return folder / "venv/bin"


def test_the_wheel_holds_the_three_packages_and_nothing_else() -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel()).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"agent", "collector", "shared"}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_agent_alone_predicts_from_another_folder(version: str, tmp_path: Path) -> None:
    if version not in interpreters():
        resolves("agent", version, "manylinux_2_28_x86_64", tmp_path)
        return
    bin_ = install(version, "agent", tmp_path)
    for module in NOT_FOR_THE_AGENT:
        assert not importable(bin_, module, tmp_path), f"[agent] must not bring {module}"
    ripeness = ROOT / "examples/ripeness"
    line = run(
        bin_ / "vigie-agent", "predict", ripeness / "ripeness.onnx", ripeness / "south.mp4", "--json", cwd=tmp_path
    ).splitlines()[0]
    assert json.loads(line)["detections"]
    assert "vigie-agent" in run(bin_ / "vigie-agent", "--version", cwd=tmp_path)
    other = subprocess.run([bin_ / "vigie-collector", "--version"], capture_output=True, text=True, check=False)
    assert (other.returncode, other.stderr.count("\n")) == (1, 1), "one line says what is missing"
    assert "pip install 'vigie[collector]'" in other.stderr or "needs Python 3.11" in other.stderr
    (tmp_path / "agent.yaml").write_text(AGENT.format(model=ripeness / "ripeness.onnx", clip=ripeness / "roof.mp4"))
    run(bin_ / "vigie-agent", "run", "--config", "agent.yaml", cwd=tmp_path)
    assert sealed_frames(tmp_path / "state/outbox.db") == CLIP_FRAMES


@pytest.mark.parametrize("version", COLLECTOR_VERSIONS)
def test_the_collector_alone_checks_its_configuration(version: str, tmp_path: Path) -> None:
    if version not in interpreters():
        resolves("collector", version, "manylinux_2_28_x86_64", tmp_path)
        return
    bin_ = install(version, "collector", tmp_path)
    for module in NOT_FOR_THE_COLLECTOR:
        assert not importable(bin_, module, tmp_path), f"[collector] must not bring {module}"
    assert "vigie-collector" in run(bin_ / "vigie-collector", "--version", cwd=tmp_path)
    assert "embedded_broker" in run(bin_ / "vigie-collector", "config", cwd=tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("extra", ["agent", "collector"])
def test_wheels_for_a_pi_exist(extra: str, version: str, tmp_path: Path) -> None:
    if extra == "collector" and version not in COLLECTOR_VERSIONS:
        extra = "agent"  # the collector starts at 3.11
    resolves(extra, version, "manylinux_2_28_aarch64", tmp_path)


def resolves(extra: str, version: str, platform: str, folder: Path) -> None:
    """Pip finds a wheel for every requirement, without building anything."""
    platforms = [
        f"--platform={name}"
        for name in (platform, platform.replace("_2_28", "2014"), platform.replace("_2_28", "_2_27"))
    ]
    run(
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--dry-run",
        "-q",
        "--only-binary=:all:",
        "--python-version",
        version,
        *platforms,
        "--target",
        folder / "none",
        f"{wheel()}[{extra}]",
        cwd=folder,
    )


def sealed_frames(outbox: Path) -> int:
    """The last frame that the detail batches of an outbox cover."""
    with contextlib.closing(sqlite3.connect(outbox)) as database:
        rows = database.execute("SELECT streams FROM detail").fetchall()
    covered = [json.loads(streams) for (streams,) in rows if streams]
    return max((runs["cam0"]["last"] for runs in covered if "cam0" in runs), default=0)


def importable(bin_: Path, module: str, folder: Path) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([bin_ / "python", "-c", code], cwd=folder, check=False).returncode == 0


def installer(root: Path, *options: object) -> subprocess.CompletedProcess[str]:
    command = ["bash", ROOT / "deploy/install.sh", "--root", root, "--yes", "--no-jetson", *options]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def test_the_installer_installs_upgrades_and_removes(tmp_path: Path) -> None:
    root = tmp_path / "root"
    model = next((ROOT / "examples/ripeness").glob("*.onnx"))
    first = ["--site", "greenhouse", "--device", "pi-roof", "--broker", "mqtt://127.0.0.1:9", "--model", model]
    done = installer(root, "--from", wheel(), *first, "--camera", "/dev/v4l/by-id/none-video-index0")
    assert done.returncode == 0, done.stderr
    agent, config = root / "usr/local/bin/vigie-agent", root / "etc/vigie/agent.yaml"
    report = subprocess.run([agent, "check", "--json", "--config", config], capture_output=True, text=True, check=False)
    found = {one["name"]: one["ok"] for one in json.loads(report.stdout)["checks"]}
    # All is well but for what this machine does not have.
    assert {name for name, ok in found.items() if not ok} == {"camera cam0", "broker"}

    config.write_text(config.read_text() + "threads: 2\n")
    failing = installer(root, "--from", tmp_path / "no-such-1.0-py3-none-any.whl")
    assert failing.returncode != 0
    run(agent, "--version", cwd=tmp_path)
    again = installer(root, "--from", wheel())
    assert again.returncode == 0, again.stderr
    assert "stays as it is" in again.stdout
    assert "threads: 2" in config.read_text()
    assert len(list((root / "opt/vigie").glob("venv-*"))) == 1

    assert installer(root, "--uninstall").returncode == 0
    assert not agent.exists()
    assert config.exists()
    assert installer(root, "--uninstall", "--purge").returncode == 0
    assert not config.exists()
