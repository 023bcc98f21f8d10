"""The demo as someone runs it: three cameras come alive, and nothing is left when it ends."""

import json
import os
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from smallsite import ROOT, free_port, program, wait_for

pytestmark = pytest.mark.journey


def start(folder: Path, port: int | str) -> subprocess.Popen[str]:
    command = [program("vigie-collector"), "demo", "--examples", str(ROOT / "examples/ripeness"), "--data", str(folder)]
    return subprocess.Popen(
        command,
        env={**os.environ, "VIGIE_PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        return json.load(response)


def online(port: int) -> list[str]:
    try:
        devices = get(port, "/api/v1/devices")["devices"]
    except OSError:
        return []
    return sorted(device["device"] for device in devices if device["online"])


def figures(port: int) -> dict[str, dict[str, Any]] | None:
    rows = {row["device"]: row for row in get(port, "/api/v1/summary?by=device&from=-1h")["rows"]}
    return rows if len(rows) == 3 and all(row["classes"] for row in rows.values()) else None


def test_three_cameras_come_alive_and_nothing_is_left(tmp_path: Path) -> None:
    port = free_port()
    demo = start(tmp_path, port)
    try:
        wait_for(lambda: online(port) == ["north-row", "roof", "south-row"], "three cameras online")
        rows = wait_for(lambda: figures(port), "their figures")
        assert {found["class"] for row in rows.values() for found in row["classes"]} == {"green", "turning", "ripe"}
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= 7, "a collector, three agents and their capture processes"
        demo.send_signal(signal.SIGINT)
        said, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
        demo.communicate()
    assert demo.returncode == 0
    assert f"the dashboard is at http://127.0.0.1:{port}" in said
    assert said.rstrip().endswith("stopped; nothing is left running")
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_a_killed_demo_takes_its_processes_with_it(tmp_path: Path) -> None:
    demo = start(tmp_path, free_port())
    try:
        wait_for(lambda: len(psutil.Process(demo.pid).children(recursive=True)) >= 7, "its processes")
        children = psutil.Process(demo.pid).children(recursive=True)
    finally:
        demo.kill()
        demo.communicate(timeout=60)
    assert psutil.wait_procs(children, timeout=40)[1] == []


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    port = free_port()
    first = start(tmp_path, port)
    try:
        wait_for(lambda: (tmp_path / "running").exists() and (tmp_path / "running").read_text(), "the first one")
        second = start(tmp_path, free_port())
        said, _ = second.communicate(timeout=60)
        assert second.returncode == 1
        assert f"a demo runs from {tmp_path} already: http://127.0.0.1:{port}; end it, or name another --data" in said
    finally:
        first.terminate()
        first.communicate(timeout=60)


@pytest.mark.parametrize(
    ("port", "message"),
    [("99999", "the port must be 1 to 65535, got 99999"), ("abc", "VIGIE_PORT must be a port number, got 'abc'")],
)
def test_a_port_that_is_none_is_named(port: str, message: str, tmp_path: Path) -> None:
    demo = start(tmp_path, port)
    said, _ = demo.communicate(timeout=60)
    assert (demo.returncode, said) == (1, f"vigie-collector demo: {message}\n")


def test_a_port_in_use_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo = start(tmp_path, port)
        said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert said == (
        f"vigie-collector demo: port {port} cannot be used (Address already in use): "
        f"try VIGIE_PORT={port + 1} make demo\n"
    )
