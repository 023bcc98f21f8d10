"""A collector as a process of its own, for tests."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from brokers import free_port, until


class Process:
    """`vigie-collector run` in a folder; its port and its files stay over `kill` and `start`.

    Two of different names in one folder share store and state.
    """

    def __init__(self, folder: Path, broker: str, name: str = "collector") -> None:
        self.folder = folder
        self.port = free_port()
        self.config = folder / f"{name}.yaml"
        self._log = folder / ("log" if name == "collector" else f"{name}.log")
        self.config.write_text(
            f"{broker}\nstore: {{path: vigie.db, detail_days: 36500}}\nstate_dir: state\nweb: {{port: {self.port}}}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, failpoint: str = "", *, ready: bool = True) -> None:
        """Start it, and wait until it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "collector.cli", "run", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "VIGIE_FAILPOINT": failpoint},
                cwd=Path(__file__).resolve().parents[2],
            )
        if ready:
            until(self.ready, 60)

    def ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"the collector ended:\n{self.log()}")
        return self.get("/readyz")[0] == 200

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body of an answer; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:  # our own
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def text(self, path: str) -> str:
        """The body of an answer that is no JSON."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:  # our own
            return str(answer.read().decode())

    def everything(self, path: str, name: str) -> list[Any]:
        """All pages of a list."""
        found: list[Any] = []
        cursor = ""
        while True:
            status, answer = self.get(path + cursor)
            assert status == 200, answer
            found += answer[name]
            if answer["next_cursor"] is None:
                return found
            cursor = f"&cursor={answer['next_cursor']}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        assert self._process is not None
        return self._process.poll() is None

    def rss_mb_max(self) -> float:
        """The most memory that it ever had, in MB."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) / 1000

    def log(self) -> str:
        return self._log.read_text()

    def wait(self, timeout_s: float = 30) -> int:
        """Its exit code, when it has ended."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        self._process = None
        return code

    def stop(self) -> int:
        """End it in good order; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it as by a power cut."""
        if self._process is not None:
            self._process.kill()
            self.wait()
