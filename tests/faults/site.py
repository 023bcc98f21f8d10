"""A small real site whose parts a campaign breaks: agent, broker and collector as processes, with links between."""

import json
import os
import socket
import sqlite3
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import greymodel
import psutil
from smallsite import free_port

from tests.faults import builds, camera
from tests.faults.proxy import Proxy
from tests.faults.services import Service

SITE, DEVICE = "greenhouse", "pi-roof"
STREAMS = ("cam0", "cam1")
PACE_S = 0.05
SEAL_S = 0.3


class Site:
    """Everything runs between `start` and `close`.

    Args:
        folder: For all files.
        build: `good`, or one of `tests.faults.builds`.
        pace_s: Seconds between the frames of a camera.

    Attributes:
        may_cost: (nonce, stream, first, last) of frames that a fault took from the outbox before the collector had
            them: such a fault notes what it takes.
        lost_summaries: (nonce, batch) of summaries that it took.
        injected: System calls that a fault made fail, by error.
        damaged: How often a fault damaged the outbox.
        aheads_s: Seconds that some wall clock was ahead of the real one at some time.
        notes: What went on and is worth telling.
    """

    def __init__(self, folder: Path, build: str = builds.GOOD, pace_s: float = PACE_S) -> None:
        self.folder = folder
        self.build = build
        self.broker_port = free_port()
        self.agent_link, self.collector_link = Proxy(self.broker_port), Proxy(self.broker_port)
        self.web_port = free_port()
        self.may_cost: list[tuple[str, str, int, int]] = []
        self.aheads_s: set[int] = {0}
        self.lost_summaries: set[tuple[str, int]] = set()
        self.injected: dict[str, int] = {}
        self.damaged = 0
        self.notes: list[str] = []
        greymodel.save(folder / "grey.onnx")
        self.broker = Service("broker", folder, self._broker_command(), self._broker_ready)
        self.collector = self._collector("collector", self.web_port)
        self.agent = Service("agent", folder, self._agent_command(pace_s), self._agent_ready, self._note_nonces)
        self.services = [self.broker, self.collector, self.agent]
        self._nonces_before: set[str] = set()

    # Its parts

    def _broker_command(self) -> list[str]:
        lines = [f"listener {self.broker_port} 127.0.0.1", "allow_anonymous true"]
        if os.geteuid() == 0:
            lines.append("user root")  # else it changes to a user that cannot read this folder
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        return ["mosquitto", "-c", "mosquitto.conf"]

    def _launch(self, what: str, name: str, config: str) -> list[str]:
        return [sys.executable, "-m", "tests.faults.launch", what, name, self.build, "run", "--config", config]

    def _collector(self, name: str, port: int) -> Service:
        (self.folder / f"{name}.yaml").write_text(
            f"broker: {{url: 'mqtt://127.0.0.1:{self.collector_link.port}', retry_s_max: 1}}\n"
            "store: {kind: sqlite, path: vigie.db, detail_days: 36500, minutes_days: 36500, hours_days: 36500}\n"
            "state_dir: collector-state\n"
            f"web: {{host: 127.0.0.1, port: {port}}}\n"
            "limits: {clock_ahead_s: 31536000}\n"
        )
        return Service(name, self.folder, self._launch("collector", name, f"{name}.yaml"), lambda: self._answers(port))

    def second_collector(self) -> Service:
        """Another one on the same store."""
        return self._collector("collector-2", free_port())

    def _agent_command(self, pace_s: float) -> list[str]:
        streams = "".join(
            f"  - {{name: {name}, source: {{'tests.faults.camera:Camera': ., called: {name}, index: {index}, "
            f"pace_s: {pace_s}}}, model: grey.onnx, snapshot_s: 2, deadline_s: 3, retry_s_max: 1}}\n"
            for index, name in enumerate(STREAMS)
        )
        (self.folder / "agent.yaml").write_text(
            f"site: {SITE}\ndevice: {DEVICE}\n"
            f"broker: {{url: 'mqtt://127.0.0.1:{self.agent_link.port}', retry_s_max: 1}}\n"
            f"state_dir: agent-state\nseal_s: {SEAL_S}\nwindow_s: 5\nvitals_s: 2\ndrain_s: 5\nrestarts_a_day: 1000\n"
            "safe_mode_after: 0\n"
            f"threads: 1\nstreams:\n{streams}"
        )
        return self._launch("agent", "agent", "agent.yaml")

    # How they are

    def _broker_ready(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.broker_port)) == 0

    @staticmethod
    def _answers(port: int) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:  # ours
            return int(answer.status) == 200

    def _agent_ready(self) -> bool:
        """Whether the newest start gave a frame."""
        return bool(self._last_nonces() - self._nonces_before)

    def _last_nonces(self) -> set[str]:
        nonces: set[str] = set()
        for path in self.folder.glob("given-*"):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 200))
                nonces.update(line.split()[0].decode() for line in file.read().splitlines()[1:] if line.split())
        return nonces

    def _note_nonces(self) -> None:
        self._nonces_before = self._last_nonces()

    # What they say

    def get(self, path: str) -> Any:  # JSON
        """An answer of the collector."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}{path}", timeout=30) as response:  # ours
            return json.load(response)

    def ledger(self) -> dict[str, Any]:
        """The device's."""
        found: dict[str, Any] = self.get(f"/api/v1/devices/{SITE}/{DEVICE}/ledger")
        return found

    def predictions(self) -> list[dict[str, Any]]:
        """All of them."""
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get(f"/api/v1/predictions?site={SITE}&device={DEVICE}&limit=1000{cursor}")
            rows += page["predictions"]
            if not page["next_cursor"]:
                return rows
            cursor = f"&cursor={page['next_cursor']}"

    def store(self) -> sqlite3.Connection:
        """The collector's store, to be read."""
        return sqlite3.connect(f"file:{self.folder / 'vigie.db'}?mode=ro", uri=True)

    def capture_processes(self) -> list[psutil.Process]:
        """Those of the agent."""
        pid = self.agent.pid
        try:
            return psutil.Process(pid).children() if pid else []
        except psutil.Error:  # it ended meanwhile
            return []

    def end_cameras(self) -> None:
        """Let every camera end by itself, now and after each start."""
        (self.folder / camera.END).touch()

    def close(self) -> None:
        """End everything."""
        for service in reversed(self.services):
            service.close()
        for link in (self.agent_link, self.collector_link):
            link.close()
