"""The installer: what it refuses, what it would do, and that its files are sound.

That it really installs is shown by tests/wheel, which has a wheel.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from brokers import missing

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy/install.sh"
UNITS = ROOT / "deploy/systemd"


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    if not found:
        missing(name, f"sudo apt install {package}")
    return str(found)


def install(*options: str, stubs: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = f"{stubs}:{os.environ['PATH']}" if stubs else os.environ["PATH"]
    return subprocess.run(
        ["bash", SCRIPT, *options], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip  # one argument a line would take eight


@pytest.fixture
def stub(tmp_path: Path):
    """Programs that answer what a test wants them to, found before the real ones."""
    folder = tmp_path / "stubs"
    folder.mkdir()

    def make(**answers: str) -> Path:
        for name, answer in answers.items():
            file = folder / name
            file.write_text(f"#!/bin/sh\necho '{answer}'\n")
            file.chmod(0o755)
        return folder

    return make


@pytest.mark.parametrize(
    ("architecture", "machine", "sentence"),
    [
        ("armhf", "aarch64", "this system is 32-bit (armhf on aarch64)"),
        ("armhf", "armv7l", "this system is 32-bit (armhf on armv7l)"),
        ("i386", "x86_64", "this system is 32-bit (i386 on x86_64)"),
        ("riscv64", "riscv64", "on arm64 and amd64, this is riscv64"),
        ("none", "aarch64", "Debian and its relatives"),
    ],
)
def test_another_kind_of_machine_is_refused_before_anything_is_done(stub, tmp_path, architecture, machine, sentence):
    stubs = stub(dpkg=architecture, uname=machine)
    done = install("--root", str(tmp_path / "root"), "--yes", stubs=stubs)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert not (tmp_path / "root").exists()


def test_an_arm64_userland_on_an_arm64_kernel_is_taken(stub, tmp_path):
    stubs = stub(dpkg="arm64")
    done = install("--root", str(tmp_path / "root"), "--yes", "--dry-run", stubs=stubs)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--site", "Green House"], "--site must be 2 to 32 of a-z, 0-9 and '-', got 'Green House'"),
        (["--device", "x"], "--device must be 2 to 32"),
        (["--broker", "http://host"], "--broker must be mqtt://host[:port]"),
        (["--broker", "mqtt://me:secret@host"], "without credentials"),
        (["--model", "/nowhere/model.onnx"], "/nowhere/model.onnx: cannot be read"),
        (["--site"], "--site needs a value"),
        (["--sight", "x"], "there is no option '--sight'"),
        (["--username", 'a"b'], "must not hold quotes"),
    ],
)
def test_a_mistyped_option_says_what_is_wrong(options, sentence, tmp_path):
    done = install("--root", str(tmp_path / "root"), "--yes", *options)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "secret" not in done.stderr
    assert not (tmp_path / "root").exists()


def test_a_dry_run_says_everything_and_does_nothing(tmp_path):
    done = install("--root", str(tmp_path / "root"), "--yes", "--dry-run", "--no-jetson")
    assert done.returncode == 0, done.stderr
    assert f"--only-binary=:all: {ROOT}[agent,push]" in done.stdout
    assert not (tmp_path / "root").exists()


def test_on_a_jetson_the_system_s_onnxruntime_is_used_and_never_overwritten(tmp_path):
    done = install("--root", str(tmp_path / "root"), "--yes", "--dry-run", "--jetson")
    assert f"{ROOT}[agent-jetson,push]" in done.stdout
    assert "-m venv --system-site-packages" in done.stdout


def test_the_script_is_sound():
    shellcheck = program("shellcheck", "shellcheck")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("name", "exposure_max"), [("vigie-agent", 2.3), ("vigie-collector", 2.0)])
def test_systemd_understands_the_units_and_finds_little_exposed(tmp_path, name, exposure_max):
    """Checked under the name of a program that is there: systemd looks whether it is.

    An agent needs cameras, a board's sensors and memory that is written and run, which the score holds against it.
    """
    analyze = program("systemd-analyze", "systemd")
    text = (UNITS / f"{name}.service").read_text()
    assert re.search(rf"^ExecStart=/opt/\S+/bin/{name} run --config /etc/\S+\.yaml$", text, re.MULTILINE)
    copy = tmp_path / f"{name}.service"
    copy.write_text(re.sub(r"/opt/\S+/bin/vigie-\w+", shutil.which("true") or "/bin/true", text))
    done = subprocess.run([analyze, "verify", copy], capture_output=True, text=True, check=False)
    about = [line for line in done.stderr.splitlines() if name in line]
    assert (done.returncode, about) == (0, [])
    judged = subprocess.run(
        [analyze, "security", "--offline=true", f"--threshold={round(exposure_max * 10)}", copy],
        capture_output=True, text=True, check=False,
    )  # fmt: skip  # one argument a line would take eight
    assert judged.returncode == 0, judged.stdout[-200:]


@pytest.mark.parametrize("name", ["vigie-agent", "vigie-collector"])
def test_systemd_watches_the_services(name):
    text = (UNITS / f"{name}.service").read_text()
    for line in ("Type=notify", "NotifyAccess=main", "TimeoutStartSec=15min", "Restart=always"):
        assert f"\n{line}\n" in text
    assert re.search(r"^WatchdogSec=\d+$", text, re.MULTILINE)
