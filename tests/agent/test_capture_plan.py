"""Capture by a plan: real capture processes that end when the stream falls asleep, and begin again when it wakes."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from setclock import SECOND

from agent import duty
from agent.capture import Backoff, Capture, Progress
from agent.clock import Clock
from agent.quality import Limits
from agent.sources import resolve
from agent.timetable import Timetable
from shared.records import TimeQuality

if TYPE_CHECKING:
    from agent.dues import State

CAMERAS = Path(__file__).parent / "sources"
PATIENCE_S = 30
NOON = 1_779_883_200 * SECOND
"""27 May 2026, 12:00 UTC."""
MIDNIGHT = NOON + 12 * 3600 * SECOND
DAYS = Timetable(["06:00-20:00"], ZoneInfo("UTC"))

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def _cameras_can_be_imported(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(CAMERAS))
    monkeypatch.setattr(duty, "LOOK_S", 0.05)


class Wall(Clock):
    """The device's clocks, with a wall time that a test sets."""

    def __init__(self, wall_ns: int) -> None:
        super().__init__()
        self.set(wall_ns)

    def set(self, wall_ns: int) -> None:
        self._wall_offset_ns = wall_ns - self.boot_ns()

    def offset(self) -> tuple[int, TimeQuality]:
        return self._wall_offset_ns, "synced"


class Watched:
    """A capture in the background, and everything that it said, in order."""

    def __init__(self, source: Any, clock: Clock, fps: float | None = None, **options: Any) -> None:
        self.progress = Progress.in_memory(["cam0"])
        self.events: list[str] = []
        self.frames: list[tuple[float, Any]] = []
        self.settled: list[tuple[int, int, str]] = []
        self.switches: list[State] = []
        self.capture = Capture(
            "cam0",
            source,
            fps,
            self.progress,
            clock,
            backoff=Backoff(0.001, 0.01),
            on_event=lambda name, _detail: self.events.append(name),
            on_settled=lambda *settled: self.settled.append(settled),
            on_switch=lambda state, _boot_ns: self.switches.append(state),
            **options,
        )
        self._thread = threading.Thread(target=self._take)

    def _take(self) -> None:
        for frame in self.capture.frames():
            self.frames.append((time.monotonic(), frame.pixels.copy()))

    def __enter__(self) -> "Watched":  # noqa: PYI034  # Self needs Python 3.11
        self.capture.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.stop()
        self._thread.join()
        self.capture.__exit__(None, None, None)


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.005)


def moments(folder: Path, name: str) -> list[float]:
    path = folder / name
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def buffered(folder: Path, **options: object) -> Any:
    return resolve({"cameras:Buffered": str(folder), **options}, Path("/nowhere"))


def test_asleep_there_is_no_capture_process_and_no_frame(tmp_path) -> None:
    """By night the camera is closed and nothing is numbered; in the morning frames come again; nothing is a fault."""
    clock = Wall(NOON)
    with Watched(buffered(tmp_path), clock, timetable=DAYS, deadline_s=0.5) as watched:
        until(lambda: len(watched.frames) > 5, "frames by day")
        clock.set(MIDNIGHT)
        until(lambda: watched.events == ["stream_asleep"], "the night")
        assert watched.capture.pid is None
        assert len(moments(tmp_path, "closed")) == 1, "in good order"
        taken = watched.progress.counter("cam0").value
        time.sleep(1.5)  # nothing may happen: three times the deadline
        assert (watched.capture.pid, watched.progress.counter("cam0").value) == (None, taken)
        clock.set(MIDNIGHT + 6 * 3600 * SECOND)
        morning, seen = time.monotonic(), len(watched.frames)
        until(lambda: len(watched.frames) > seen, "frames in the morning")
        assert watched.frames[-1][0] - morning < 15
    assert watched.events == ["stream_asleep", "stream_awake"]
    assert watched.switches == ["awake", "asleep", "awake", "ended"]
    outcomes = len(watched.frames) + sum(last - first + 1 for first, last, _ in watched.settled)
    assert outcomes == watched.progress.counter("cam0").value
    assert {outcome for _, _, outcome in watched.settled} <= {"skipped"}


def test_a_stream_may_begin_asleep(tmp_path) -> None:
    with Watched(buffered(tmp_path), Wall(MIDNIGHT), timetable=DAYS) as watched:
        until(lambda: watched.events, "that it sleeps")
    assert watched.events == ["stream_asleep"]
    assert moments(tmp_path, "opened") == []


def test_a_camera_that_is_away_is_no_trouble_by_night(tmp_path) -> None:
    """What is wrong by day is told, forgotten by night, and told again if it is wrong in the morning."""
    clock = Wall(NOON)
    lost = resolve({"cameras:Scripted": str(tmp_path), "scripts": ["open-lost"]}, Path("/nowhere"))
    with Watched(lost, clock, timetable=DAYS) as watched:
        until(lambda: watched.events == ["camera_lost"], "the loss")
        clock.set(MIDNIGHT)
        until(lambda: watched.events[1:] == ["stream_asleep"], "the night")
        clock.set(NOON)
        until(lambda: watched.events[2:] == ["stream_awake", "camera_lost"], "the loss, told again")


def test_a_slow_plan_opens_the_camera_for_each_frame(tmp_path, monkeypatch) -> None:
    """It is closed in between, opened anew for a frame that is made then, and given time to find its exposure."""
    monkeypatch.setattr(duty, "CLOSED_FROM_S", 1.0)
    monkeypatch.setattr(duty, "SETTLE_S", 0.5)
    with Watched(buffered(tmp_path, dark_s=0.4), Wall(NOON), fps=1 / 3) as watched:
        until(lambda: len(moments(tmp_path, "closed")) == 1, "the first frame")
        until(lambda: watched.capture.pid is None, "the end of its process")
        until(lambda: len(watched.frames) == 3, "three frames")
    opened = moments(tmp_path, "opened")
    assert len(opened) >= 3
    for (seen_s, pixels), opened_s in zip(watched.frames, opened, strict=False):
        assert opened_s + 0.5 <= made_s(pixels) <= seen_s
        assert pixels[-1, -1, 0] == 200, "no frame of a camera that is still looking for its exposure"
    assert watched.events == [], "no fault"
    assert watched.frames[2][0] - watched.frames[0][0] == pytest.approx(6, abs=2), "in step"


def test_a_camera_that_is_opened_for_each_frame_can_be_frozen_too(tmp_path, monkeypatch) -> None:
    """Each of its processes sees one picture, and leaves it to the next."""
    monkeypatch.setattr(duty, "CLOSED_FROM_S", 0.5)
    monkeypatch.setattr(duty, "SETTLE_S", 0.1)
    still = resolve({"cameras:Scripted": str(tmp_path), "scripts": ["still*1000"], "live": True}, Path("/nowhere"))
    with Watched(still, Wall(NOON), fps=2, limits=Limits(frozen_s=2.0, blank_s=1.0)) as watched:
        until(lambda: watched.events == ["picture_frozen"], "that it is told")
    assert len((tmp_path / "opened").read_text().split()) >= 5


def test_an_open_camera_gives_a_fresh_frame(tmp_path) -> None:
    """Below the period that closes it, a camera's frames are read and let pass, so that none waits in a buffer."""
    with Watched(buffered(tmp_path), Wall(NOON), fps=0.5, deadline_s=1) as watched:
        until(lambda: len(watched.frames) == 3, "three frames")
    assert len(moments(tmp_path, "opened")) == 1
    for seen_s, pixels in watched.frames:
        assert seen_s - made_s(pixels) < 1, "four frames wait in the buffers of a camera that is not read: two seconds"
    assert watched.events == []


def made_s(pixels: Any) -> float:
    """When a frame of `Buffered` was made, on the monotonic clock."""
    return int.from_bytes(pixels[0, :8, 0].tobytes(), "little") / 1000


def test_a_slow_camera_that_blocks_is_found_when_its_frame_is_due(tmp_path, monkeypatch) -> None:
    """It hangs when it is opened for its second frame: told within the deadline for opening, and opened again."""
    monkeypatch.setattr(duty, "CLOSED_FROM_S", 1.0)
    monkeypatch.setattr(duty, "SETTLE_S", 0.1)
    scripts = ["slow forever", "open-block", "slow forever"]
    source = resolve({"cameras:Scripted": str(tmp_path), "scripts": scripts, "live": True}, Path("/nowhere"))
    with Watched(source, Wall(NOON), fps=1 / 3, deadline_s=0.5, open_deadline_s=2) as watched:
        until(lambda: len(watched.frames) == 1, "the first frame")
        until(lambda: watched.events == ["camera_stalled"], "that it hangs")
        found_s = time.monotonic()
        until(lambda: len(watched.frames) == 2, "a frame of the camera that was opened again")
        assert found_s - watched.frames[0][0] < 3 + 2 + 3, "a period, the deadline, and a busy machine"
        assert watched.events == ["camera_stalled", "camera_back"]
