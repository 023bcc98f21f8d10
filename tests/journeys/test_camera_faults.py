"""What cameras do to an agent: the real agent, a real broker, the real collector.

After each fault frames are looked at again within the deadline, every frame that was captured has one outcome, and
none is missing from the ledger.
"""

import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

import greymodel
import psutil
import pytest
from smallsite import Process, Site, wait_for

pytestmark = pytest.mark.journey

DEADLINE_S = 4.0
SLOW_S = 300.0
GROWTH_MB = 6.0
SLACK_S = 15.0
"""For beginning a process, a wait by chance and a busy machine."""


class Camera:
    """A camera that does as it is told, and the agent that watches it."""

    def __init__(
        self, site: Site, source: str = "", extra: str = "", command: tuple[str, ...] = (), **stream: object
    ) -> None:
        self.site = site
        self.folder = site.folder / "cam0"
        self.folder.mkdir(exist_ok=True)
        (self.folder / "opened").touch()
        greymodel.save(site.folder / "grey.onnx")
        keys = {"deadline_s": DEADLINE_S, "retry_s_max": 0.2, "snapshot_s": 1, **stream}
        told = ", ".join(f"{key}: {value}" for key, value in keys.items())
        camera = f"{{'faulty:Faulty': cam0{source}}}"
        streams = f"  - {{name: cam0, source: {camera}, model: grey.onnx, {told}}}\n"
        self.agent: Process = site.agent(streams, extra=f"drain_s: 20\n{extra}", command=command)

    def start(self) -> "Camera":
        self.start_collector()
        self.agent.start()
        self.more()
        return self

    def start_collector(self) -> None:
        self.site.collector().start()
        wait_for(self.site.ready, "the collector")

    def order(self, what: str) -> None:
        (self.folder / "new").write_text(what)
        (self.folder / "new").replace(self.folder / "do")

    def more(self, frames: int = 20) -> None:
        """Wait until so many more frames were looked at, and are in the store."""
        before = self.looked_at()
        wait_for(lambda: self.looked_at() >= before + frames, "frames that were looked at")

    def looked_at(self) -> int:
        return int(self.site.ledger()["outcomes"].get("ok", 0))

    @property
    def opened(self) -> list[int]:
        """Process ids of the openings."""
        return [int(pid) for pid in (self.folder / "opened").read_text().split()]

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Those of the camera, oldest first; of some names only, if any are given."""
        told = self.site.get("/api/v1/events?stream=cam0&limit=1000")["events"][::-1]
        return [event for event in told if not names or event["name"] in names]

    def resumed(self, *faults: str) -> float:
        """Wait until the camera is back after `faults`: after how many seconds without a frame."""
        back: list[dict[str, Any]] = wait_for(lambda: self.events("camera_back"), "the camera to be back")
        assert [event["name"] for event in self.events()] == [*faults, "camera_back"]
        self.more()
        return float(re.findall(r"after ([\d.]+) s", back[-1]["detail"])[0])

    def end(self) -> dict[str, Any]:
        """Stop the agent; the ledger, which adds up."""
        assert self.agent.stop() == 0
        ledger = self.site.ledger()
        assert ledger["missing"] == 0
        assert ledger["captured"] == sum(ledger["outcomes"].values())
        assert ledger["sealed"] == sum(ledger["fates"].values())
        rows = [(row["nonce"], row["frame"]) for row in self.site.predictions()]
        assert len(set(rows)) == len(rows), "nothing twice"
        assert ledger["fates"]["unsealed"] == 0
        return ledger


@pytest.fixture
def camera_with(site_with: Callable[[str], Site], mosquitto: Any) -> Callable[..., Camera]:
    """Make a camera on a site with a running broker."""

    def make(**options: Any) -> Camera:
        mosquitto.start()
        return Camera(site_with(mosquitto.url), **options)

    return make


@pytest.mark.parametrize(
    ("fault", "events", "most_s"),
    [
        ("block", ["camera_stalled"], DEADLINE_S + SLACK_S),
        ("stop", ["camera_stalled"], DEADLINE_S + SLACK_S),
        ("kill", ["camera_lost"], SLACK_S),
        ("lost", ["camera_lost"], SLACK_S),
        ("garbage 1000000", ["camera_stalled"], DEADLINE_S + SLACK_S),
    ],
)
def test_frames_come_again_after(
    camera_with: Callable[..., Camera], fault: str, events: list[str], most_s: float
) -> None:
    camera = camera_with().start()
    (first,) = camera.opened
    if fault in {"kill", "stop"}:
        os.kill(first, signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
    else:
        camera.order(fault)
    assert camera.resumed(*events) < most_s
    assert len(camera.opened) == 2
    wait_for(lambda: not psutil.pid_exists(first), "the first process to be gone, and fetched")
    ledger = camera.end()
    assert (ledger["outcomes"]["unreadable"] > 10) == fault.startswith("garbage")


def test_single_frames_of_garbage_are_unreadable_and_nothing_else(camera_with: Callable[..., Camera]) -> None:
    camera = camera_with().start()
    camera.order("garbage 12")
    wait_for(lambda: camera.site.ledger()["outcomes"]["unreadable"] >= 12, "twelve frames of garbage")
    camera.more()
    assert camera.events() == []
    assert len(camera.opened) == 1
    assert camera.end()["outcomes"]["unreadable"] == 12


def test_a_camera_that_freezes_is_told_of_opened_again_and_well(camera_with: Callable[..., Camera]) -> None:
    camera = camera_with(frozen_s=1.5).start()
    camera.order("freeze")
    wait_for(lambda: camera.events("picture_well"), "the picture to be well again")
    assert [event["name"] for event in camera.events()] == ["picture_frozen", "picture_well"]
    assert len(camera.opened) == 2
    camera.more()
    camera.end()


def test_a_picture_that_changes_its_size_is_told_of_and_looked_at(camera_with: Callable[..., Camera]) -> None:
    camera = camera_with().start()
    camera.order("wide")
    (event,) = wait_for(lambda: camera.events("stream_changed"), "the new size to be told")
    assert event["detail"] == "from 64 x 48 to 96 x 48 pixels"
    camera.more()
    assert len(camera.opened) == 1
    camera.end()
    sizes = {(row["width"], row["height"]) for row in camera.site.predictions()}
    assert sizes == {(64, 48), (96, 48)}


def test_a_camera_that_blocks_while_it_is_opened(camera_with: Callable[..., Camera]) -> None:
    """30 s are what opening may take."""
    camera = camera_with().start()
    camera.order("open-block")
    os.kill(camera.opened[0], signal.SIGKILL)
    wait_for(lambda: len(camera.opened) == 2, "the second opening")
    assert camera.resumed("camera_lost", "camera_stalled") < 30 + 2 * SLACK_S
    camera.end()


def test_a_camera_whose_library_leaks_and_prints_and_fails_in_closing(camera_with: Callable[..., Camera]) -> None:
    camera = camera_with(extra="capture_mb: 150").start()
    camera.order("flood 50")
    camera.more(50)
    assert camera.agent.said().count("noise") <= 20
    assert "s3cret" not in camera.agent.said()
    camera.order("close-badly")
    camera.more()
    assert camera.events() == []
    camera.order("leak")
    assert camera.resumed("camera_lost") < SLACK_S
    (lost,) = camera.events("camera_lost")
    assert re.match(r"its capture process grew to \d+ MB of memory; 'capture_mb' allows 150", lost["detail"])
    camera.end()


@pytest.mark.timeout(600)
def test_two_hundred_disconnects_leave_nothing_behind(camera_with: Callable[..., Camera]) -> None:
    camera = camera_with(source=", lost_after: 2", retry_s_max=0.01)
    camera.start()
    wait_for(lambda: len(camera.opened) >= 20, "the first 20", SLOW_S)
    before = Burden(camera.agent.pid)
    wait_for(lambda: len(camera.opened) >= 220, "200 more", SLOW_S)
    camera.order("steady")
    wait_for(lambda: not (camera.folder / "do").exists(), "the camera to stay")
    camera.more()
    after = Burden(camera.agent.pid)
    assert after.zombies == 0
    assert after.children == 1
    assert after.descriptors <= before.descriptors + 1, "a capture process was there, or was not"
    assert after.threads <= before.threads
    assert after.rss_mb <= before.rss_mb + GROWTH_MB
    assert len(camera.events("camera_back")) >= 200
    camera.end()


class Burden:
    """What an agent holds."""

    def __init__(self, pid: int) -> None:
        agent = psutil.Process(pid)
        children = agent.children()
        self.zombies = sum(child.status() == psutil.STATUS_ZOMBIE for child in children)
        self.children = len(children)
        self.descriptors = agent.num_fds()
        self.threads = agent.num_threads()
        self.rss_mb = agent.memory_info().rss / 1e6


# The agent's own machinery


def test_an_agent_that_cannot_begin_processes_is_started_anew_and_only_so_often(
    camera_with: Callable[..., Camera],
) -> None:
    """No file can be opened any more: so it is when something leaks them."""
    camera = camera_with(retry_s_max=0.05, extra="restarts_a_day: 1")
    camera.start()
    starve(camera)
    assert wait_for(lambda: camera.agent.code is not None, "the agent to end")
    assert camera.agent.code == 75
    (last,) = [event for event in told(camera) if event["name"] == "agent_restarting"]
    assert re.match(r"cam0: \d+ capture processes in a row could not begin: .*Too many open files", last["detail"])
    camera.agent.start()
    camera.more()
    starve(camera)
    wait_for(lambda: "it had its 1 of today" in camera.agent.said(), "the budget to be spent")
    assert not camera.agent.ended
    resource.prlimit(camera.agent.pid, resource.RLIMIT_NOFILE, (1024, 4096))
    camera.more()
    assert "restart_refused" in {event["name"] for event in told(camera)}
    camera.end()


def starve(camera: Camera) -> None:
    """Let the agent open nothing any more, and end its capture process."""
    resource.prlimit(camera.agent.pid, resource.RLIMIT_NOFILE, (8, 4096))
    os.kill(camera.opened[-1], signal.SIGKILL)


def told(camera: Camera) -> list[dict[str, Any]]:
    """The agent's own events."""
    events: list[dict[str, Any]] = camera.site.get("/api/v1/events?limit=1000")["events"]
    return [event for event in events if event["stream"] is None]


@pytest.mark.parametrize("part", ["sealer", "uplink"])
def test_an_agent_without_one_of_its_threads_ends_and_its_next_start_accounts_for_all(
    camera_with: Callable[..., Camera], part: str
) -> None:
    camera = camera_with(command=(sys.executable, "-m", "sabotage", part))
    camera.start_collector()
    camera.agent.start()
    assert wait_for(lambda: camera.agent.code is not None, "the agent to end")
    assert camera.agent.code == 75
    assert f"the thread for {'sealing' if part == 'sealer' else 'sending'} ended" in camera.agent.said()
    healthy = Camera(camera.site)
    healthy.agent.start()
    healthy.more()
    assert healthy.agent.stop() == 0
    ledger = camera.site.ledger()
    assert [epoch["epoch"] for epoch in ledger["epochs"]] == [1, 2]
    assert ledger["missing"] == 0
    assert ledger["captured"] == sum(ledger["outcomes"].values())
    if part == "uplink":
        assert ledger["fates"]["unsealed"] == 0
        assert "agent_restarting" in {event["name"] for event in told(camera)}
