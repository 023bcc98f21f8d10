"""A small site for a journey: a real broker, and the agent and the collector as the processes that a site runs."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0


def wait_for(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:  # what it gives
    """Wait until `condition` gives something true, and give that."""
    deadline = time.monotonic() + deadline_s
    while True:
        if got := condition():
            return got
        assert time.monotonic() < deadline, f"waited {deadline_s} s for {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    assert found, f"{name} is not installed: make setup"
    return found


class Process:
    """A program of ours with a configuration; its output goes into a file, which a failing test shows."""

    def __init__(self, folder: Path, name: str, command: list[str]) -> None:
        self.log = folder / f"{name}.log"
        self.variables: dict[str, str] = {}
        self._command = command
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        path = os.pathsep.join([str(ROOT / "tests/plugins"), os.environ.get("PYTHONPATH", "")])
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path, **self.variables},
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self.code is not None

    @property
    def code(self) -> int | None:
        assert self._process is not None
        return self._process.poll()

    def kill(self) -> None:
        """As a power cut does it: SIGKILL."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int:
        """As systemd does it: SIGTERM; the exit code."""
        return self._signal(signal.SIGTERM)

    def send(self, number: int) -> None:
        """A signal, without waiting for what comes of it."""
        assert self._process is not None
        self._process.send_signal(number)

    def _signal(self, number: int) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(DEADLINE_S)

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Site:
    """What a journey test moves."""

    def __init__(self, folder: Path, broker_url: str) -> None:
        self.folder = folder
        self.broker_url = broker_url
        self.port = free_port()
        self._processes: list[Process] = []

    def collector(self, extra: str = "") -> Process:
        config = self.folder / "collector.yaml"
        config.write_text(
            f"broker: {{url: '{self.broker_url}', retry_s_max: 1}}\n"
            "store: {kind: sqlite, path: vigie.db}\nstate_dir: collector-state\n"
            f"web: {{host: 127.0.0.1, port: {self.port}}}\n{extra}"
        )
        return self._process("collector", [program("vigie-collector"), "run", "--config", str(config)])

    def agent(
        self, streams: str, device: str = "pi-roof", extra: str = "drain_s: 20", command: Sequence[str] = ()
    ) -> Process:
        config = self.folder / f"{device}.yaml"
        killable = "" if "safe_mode_after" in extra else "safe_mode_after: 0\n"
        config.write_text(
            f"site: greenhouse\ndevice: {device}\nbroker: {{url: '{self.broker_url}', retry_s_max: 1}}\n"
            f"state_dir: {device}-state\nseal_s: 0.5\nwindow_s: 5\n{killable}{extra}\nstreams:\n{streams}"
        )
        return self._process(device, [*(command or [program("vigie-agent")]), "run", "--config", str(config)])

    def _process(self, name: str, command: list[str]) -> Process:
        process = Process(self.folder, name, command)
        self._processes.append(process)
        return process

    def get(self, path: str) -> Any:  # JSON
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:  # ours
            return json.load(response)

    def ready(self) -> bool:
        try:
            return bool(self.get("/readyz"))
        except OSError:
            return False

    def ledger(self, device: str = "pi-roof") -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.get(f"/api/v1/devices/greenhouse/{device}/ledger")
        except OSError:
            return {"captured": 0, "missing": 0, "outcomes": {}, "fates": {}, "epochs": []}
        return found

    def predictions(self, device: str = "pi-roof") -> list[dict[str, Any]]:
        """All of a device's, oldest first."""
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get(f"/api/v1/predictions?site=greenhouse&device={device}&limit=1000{cursor}")
            rows += page["predictions"]
            if not page["next_cursor"]:
                return rows[::-1]
            cursor = f"&cursor={page['next_cursor']}"

    def close(self) -> None:
        for process in self._processes:
            process.kill()

    def logs(self) -> str:
        return "\n".join(f"--- {process.log.name}\n{process.said()[-6000:]}" for process in self._processes)
