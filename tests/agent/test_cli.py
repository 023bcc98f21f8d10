"""What someone gets who mistypes, forgets or unplugs something: the exact words."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import greymodel
import numpy as np
import onnxruntime as ort
import pytest
import tinyonnx

from agent import config
from agent.cli import main
from agent.decoders import DECODERS
from shared import __version__

GOOD = """\
site: greenhouse
device: pi-roof
broker: {url: "mqtt://127.0.0.1:PORT"}
state_dir: state
streams:
  - {name: cam0, source: {synthetic: test, count: 3}, model: grey.onnx}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good configuration, in which a broker's port answers nobody."""
    monkeypatch.chdir(tmp_path)
    greymodel.save(tmp_path / "grey.onnx")
    (tmp_path / "agent.yaml").write_text(GOOD.replace("PORT", str(free_port())))
    return tmp_path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "agent.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


SOURCE = "{synthetic: test, count: 3}"
REFUSED = {
    "an unknown key": (
        "count: 3}, model",
        "count: 3}, fsp: 2, model",
        ("'streams[0].fsp' is not a known key; did you mean 'fps'? Known in 'streams[0]': name, source, model, fps, "),
    ),
    "a wrong type": (
        "model: grey.onnx",
        "model: grey.onnx, fps: fast",
        "'streams[0].fps': expected a number or nothing, got 'fast'",
    ),
    "a value out of range": (
        "model: grey.onnx",
        "model: grey.onnx, fps: -5",
        "'streams[0].fps': expected a number > 0.0, got -5",
    ),
    "a site that is no slug": (
        "site: greenhouse",
        "site: Green House",
        "'site' must be 2 to 32 characters of a-z, 0-9 and '-', not starting with '-', got 'Green House'",
    ),
    "no streams": (
        f"streams:\n  - {{name: cam0, source: {SOURCE}, model: grey.onnx}}",
        "streams: []",
        "'streams' must name at least one stream: {name: cam0, source: …, model: …}",
    ),
    "two streams of one name": (
        "streams:\n",
        f"streams:\n  - {{name: cam0, source: {SOURCE}, model: grey.onnx}}\n",
        "'streams': two streams are called 'cam0'; give each its own name",
    ),
    "a missing model": (
        "model: grey.onnx",
        "model: no.onnx",
        "'streams[0].model': no.onnx: no such file; give the path of an .onnx file",
    ),
    "a model that is none": (
        "model: grey.onnx",
        "model: agent.yaml",
        "'streams[0].model': agent.yaml: is no ONNX model (it cannot be parsed); copy or download it again",
    ),
    "an unknown decoder": (
        "model: grey.onnx",
        "model: grey.onnx, decoder: yolo",
        (f"'streams[0].decoder' must be one of {', '.join(DECODERS)}, got 'yolo'"),
    ),
    "an unknown provider": (
        "site: greenhouse",
        "providers: [cudda]\nsite: greenhouse",
        "'providers': there is no execution provider 'cudda'; did you mean 'cuda'? There are cpu, cuda, tensorrt, ",
    ),
    "options of an unknown provider": (
        "site: greenhouse",
        "provider_options: {fast: {device_id: 0}}\nsite: greenhouse",
        "'provider_options': there is no execution provider 'fast'; there are cpu, cuda, tensorrt, ",
    ),
    "a level of optimisation that there is not": (
        "site: greenhouse",
        "optimisation: much\nsite: greenhouse",
        "'optimisation': must be one of all, extended, basic, none, got 'much'",
    ),
    "a provider that is required, and none named": (
        "site: greenhouse",
        "require_provider: true\nsite: greenhouse",
        "'require_provider' needs 'providers', which names the one that is required",
    ),
    "a required provider that this runtime lacks": (
        "site: greenhouse",
        "require_provider: true\nproviders: [rknpu]\nsite: greenhouse",
        (
            "'require_provider': grey.onnx: RknpuExecutionProvider was asked for, but this onnxruntime "
            f"{ort.__version__} has only {', '.join(ort.get_available_providers())}: install a build of onnxruntime "
            "that has it, or do without 'require_provider'"
        ),
    ),
    "an unknown source": (
        SOURCE,
        "{webcam: 0}",
        "'streams[0].source': ",
    ),
    "a password in the URL": (
        'url: "mqtt://',
        'url: "mqtt://me:secret@',
        "'broker.url' must not hold a user name or password: move them to 'username' and 'password_file'",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_wrong_configuration_refuses_to_start(mistake: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, message = REFUSED[mistake]
    change(folder, old, new)
    assert main(["run", "--config", "agent.yaml"]) == 2
    said = capsys.readouterr().err
    assert "secret" not in said
    assert f"vigie-agent: agent.yaml: {message}" in said, said


def test_a_missing_configuration_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", str(folder / "no.yaml")]) == 2
    assert capsys.readouterr().err == f"vigie-agent: {folder}/no.yaml: there is no such file\n"


def test_a_model_of_unknown_family_is_refused_with_what_it_has(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tinyonnx.save(folder / "odd.onnx", {"out": np.zeros((1, 7, 9, 2), np.float32)})
    change(folder, "model: grey.onnx", "model: odd.onnx")
    assert main(["run", "--config", "agent.yaml"]) == 2
    assert capsys.readouterr().err == (
        "vigie-agent: agent.yaml: 'streams[0].model': odd.onnx: its family is not known from what the file says "
        "(input images [1, 3, 64, 64], output out [1, 7, 9, 2]); if it is one of "
        f"{', '.join(DECODERS)}, name it as `decoder`\n"
    )


def findings(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, tuple[bool, str]]:
    assert main(["check", "--config", "agent.yaml", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is (code == 0)
    return {check["name"]: (check["ok"], check["detail"]) for check in told["checks"]}


@pytest.mark.usefixtures("folder")
def test_check_finds_what_is_well_and_a_broker_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys, 1)
    assert [name for name, (ok, _) in found.items() if not ok] == ["broker"]
    assert found["broker"][1].endswith(": connection refused: is the broker running there?")
    assert found["model cam0"][1].startswith("grey 2.1: ultralytics-v8")
    assert found["camera cam0"][1].startswith("640x480 after")
    assert set(found) == {
        "config", "model cam0", "provider cam0", "tuning cam0", "camera cam0", "broker", "clock", "disk"
    }  # fmt: skip  # one a line would take eight


def test_check_of_a_device_that_can_work_succeeds(
    folder: Path,
    mosquitto,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mosquitto.start()
    (folder / "agent.yaml").write_text(GOOD.replace("mqtt://127.0.0.1:PORT", mosquitto.url))
    assert all(ok for ok, _ in findings(capsys, 0).values())


def test_check_says_when_the_broker_refuses_the_password(
    folder: Path,
    mosquitto,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mosquitto.users = {"pi-roof": "right"}
    mosquitto.start()
    monkeypatch.setenv("VIGIE_BROKER_PASSWORD", "wrong-secret")
    (folder / "agent.yaml").write_text(GOOD.replace("mqtt://127.0.0.1:PORT", mosquitto.url))
    change(folder, "broker: {", "broker: {username: pi-roof, ")
    ok, detail = findings(capsys, 1)["broker"]
    assert not ok
    assert detail == (
        f"{mosquitto.url}: the broker refuses user 'pi-roof' (bad user name or password, or not allowed): "
        "check username and password_file"
    )


def test_check_names_the_camera_that_does_not_exist(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder, SOURCE, "{v4l2: /dev/video99}")
    ok, detail = findings(capsys, 1)["camera cam0"]
    assert not ok
    assert "/dev/video99" in detail


def test_check_names_the_clip_that_does_not_exist(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder, SOURCE, "{files: no.mp4}")
    ok, detail = findings(capsys, 1)["camera cam0"]
    assert not ok
    assert "no.mp4" in detail


def test_check_prints_a_line_for_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(folder / "agent.yaml")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok     config")
    assert any(line.startswith("WRONG  broker") for line in lines)


@pytest.mark.parametrize("command", [["config"], ["check", "--config", "agent.yaml"]])
def test_a_reader_that_has_seen_enough_is_no_error(folder: Path, command: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as deaf:
        ran = subprocess.run(
            [sys.executable, "-m", "agent", *command],
            cwd=folder,
            stdout=deaf,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, "")


def test_check_of_a_wrong_configuration_says_what_run_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder, "site:", "sight:")
    assert "did you mean 'site'?" in findings(capsys, 1)["config"][1]


def test_check_says_when_the_folder_cannot_be_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder, "state_dir: state", "state_dir: agent.yaml/state")
    ok, detail = findings(capsys, 1)["disk"]
    assert not ok
    assert "set 'state_dir' to another folder" in detail


def test_config_prints_the_defaults_and_their_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    assert capsys.readouterr().out == config.defaults()
    assert main(["config", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["$defs"]["Settings"]["properties"]) == set(config.Settings.__struct_fields__)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"vigie-agent {__version__}\n"
