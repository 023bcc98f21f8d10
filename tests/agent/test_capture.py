"""A source behind a deadline: real capture processes, which really block, crash and are killed."""

import contextlib
import gc
import logging
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import captureprocess
from agent.capture import Backoff, Capture, Frame, Progress
from agent.capture_child import SLOTS_BESIDE, Rate, Settled
from agent.clock import Clock
from agent.frames import Inbox
from agent.quality import Limits
from agent.sources import resolve
from agent.sources.synthetic import read_number
from shared.records import TICK_NS
from shared.schema import EVENTS

CAMERAS = Path(__file__).parent / "sources"
AT_ONCE = Backoff(0.001, 0.01)
PATIENCE_S = 20
SECRET = "s3cret"  # noqa: S105  # opens nothing

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def _cameras_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(CAMERAS))


def until(condition, what):
    """Wait for a condition, with a deadline."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.005)


def is_gone(pid):
    """Whether no process has this id, or only one that nobody has fetched the remains of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Watched:
    """A capture, and everything that it said, in order."""

    def __init__(self, source, fps=None, **options):
        self.progress = Progress.in_memory(["cam0"])
        self.counter = self.progress.counter("cam0")
        self.said: list[tuple[Any, ...]] = []
        options.setdefault("backoff", AT_ONCE)
        self.capture = Capture(
            "cam0",
            source,
            fps,
            self.progress,
            Clock(),
            on_event=lambda name, detail: self.said.append(("event", name, detail)),
            on_settled=lambda first, last, outcome: self.said.append((outcome, first, last)),
            **options,
        )

    def frames(self):
        """The frames, noted as they come."""
        for frame in self.capture.frames():
            self.said.append(("frame", frame.number, frame.number))
            yield frame

    def watch(self, look=lambda _frame: None):
        """Take every frame to the end."""
        with self.capture:
            for frame in self.frames():
                look(frame)
        return self

    def numbers(self, outcome):
        """The numbers that had an outcome."""
        return [n for kind, a, b in self.said if kind == outcome for n in range(a, b + 1)]

    def events(self):
        """Names of the events."""
        return [said[1] for said in self.said if said[0] == "event"]

    def detail(self, name):
        """Of the first event of a name."""
        return next(str(said[2]) for said in self.said if said[:2] == ("event", name))

    def check_books(self):
        """Every number was given exactly once, in order."""
        told = [n for kind, a, b in self.said if kind != "event" for n in range(a, b + 1)]
        assert told == list(range(1, self.counter.value + 1))
        assert set(self.events()) <= set(EVENTS)


def synthetic(**options):
    return resolve({"synthetic": "any", "width": 64, "height": 64, **options}, Path("/nowhere"))


def scripted(folder, *scripts, **options):
    folder.mkdir(exist_ok=True)
    return resolve({"cameras:Scripted": str(folder), "scripts": list(scripts), **options}, Path("/nowhere"))


# Frames and their numbers


def test_a_file_gives_every_frame_in_order_and_ends():
    seen = []
    watched = Watched(synthetic(count=40)).watch(lambda frame: seen.append(read_number(frame.pixels)))
    assert seen == watched.numbers("frame") == list(range(1, 41))
    assert watched.said[-1] == ("event", "stream_ended", "after 40 frames")
    watched.check_books()


def test_one_frame_is_one_frame():
    watched = Watched(synthetic(count=1)).watch()
    assert watched.detail("stream_ended") == "after 1 frame"


def test_a_damaged_video_is_read_to_its_end_and_says_what_was_missing(tmp_path):
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for level in range(60):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    data = bytearray(path.read_bytes())
    starts = [found.start() for found in re.finditer(b"\xff\xd8\xff", data)]
    data[starts[10] : starts[10] + 200] = bytes(200)
    path.write_bytes(data[: starts[40] - 8])  # without the next chunk's head
    watched = Watched(resolve({"files": str(path)}, Path("/nowhere"))).watch()
    assert watched.numbers("unreadable") == [11]
    assert watched.numbers("frame") == [number for number in range(1, 41) if number != 11]
    assert watched.detail("stream_ended") == "after 40 of 60 frames: the file is damaged"
    watched.check_books()


def test_a_file_waits_for_a_slow_model():
    watched = Watched(synthetic(count=20))

    def look(frame):
        if frame.number == 1:
            until(lambda: watched.counter.value == SLOTS_BESIDE + 1, "as many frames read ahead as there is room for")
        assert watched.counter.value <= frame.number + SLOTS_BESIDE + 1

    watched.watch(look)
    assert watched.numbers("frame") == list(range(1, 21))


def test_of_a_camera_the_newest_frame_counts():
    watched = Watched(synthetic(live=True, fps=500, count=120))
    seen = []

    def look(frame):
        assert read_number(frame.pixels) == frame.number
        seen.append(frame.number)
        behind = min(120, frame.number + 20)
        until(lambda: watched.counter.value >= behind, "the camera went on meanwhile")

    watched.watch(look)
    assert watched.numbers("skipped")
    assert seen[-1] == 120
    watched.check_books()


def test_capture_times_are_whole_ticks_a_millisecond_apart():
    stamps = []
    Watched(synthetic(count=30)).watch(lambda frame: stamps.append(frame.captured_boot_ns))
    assert all(stamp % TICK_NS == 0 for stamp in stamps)
    assert all(later - earlier >= 1_000_000 for earlier, later in pairwise(stamps))
    assert 0 <= Clock().boot_ns() - stamps[-1] < PATIENCE_S * 1e9


def test_the_time_spent_reading_is_told(tmp_path):
    spent = []
    Watched(scripted(tmp_path, "slow*3")).watch(lambda frame: spent.append(frame.capture_ticks))
    assert min(spent) >= 2000


def test_a_released_frame_keeps_its_pixels_to_itself():
    frames: list[Frame] = []
    Watched(synthetic(count=2)).watch(frames.append)
    with pytest.raises(RuntimeError, match="frame 1 was released"):
        assert frames[0].pixels
    frames[0].release()


def test_pixels_cannot_be_written_to():
    def look(frame):
        with pytest.raises(ValueError, match="read-only"):
            frame.pixels[0, 0, 0] = 1

    Watched(synthetic(count=1)).watch(look)


def test_a_rate_makes_a_file_take_its_time():
    began = time.monotonic()
    watched = Watched(synthetic(count=6), fps=50).watch()
    assert time.monotonic() - began >= 5 / 50
    assert watched.numbers("frame") == [1, 2, 3, 4, 5, 6]


def test_a_rate_lets_a_cameras_frames_pass_without_a_number():
    seen = []
    stamps = []

    def look(frame):
        seen.append(read_number(frame.pixels))
        stamps.append(frame.captured_boot_ns)

    watched = Watched(synthetic(live=True, fps=200, count=100), fps=20).watch(look)
    assert watched.counter.value <= 25
    assert seen[-1] > 2 * watched.counter.value
    watched.check_books()


@settings(deadline=None)
@given(
    camera_fps=st.sampled_from([5.0, 15.0, 29.97, 30.0, 60.0]),
    fps=st.sampled_from([1.0, 5.0, 10.0, 15.0, 30.0]),
    seed=st.integers(0, 1000),
)
def test_a_rate_is_kept_whatever_the_jitter(camera_fps, fps, seed):
    """Frames that come up to 3 ms early or late: as many count as the slower of the two rates says."""
    jitter = random.Random(seed)  # noqa: S311  # not a secret
    rate = Rate(fps, 0.0)
    arrivals = [index / camera_fps + jitter.uniform(-3e-3, 3e-3) for index in range(int(camera_fps * 20))]
    taken = sum(rate.allows(arrival) for arrival in arrivals)
    assert taken == pytest.approx(20 * min(fps, camera_fps), rel=0.02, abs=2)


def test_a_camera_that_paused_does_not_hurry_afterwards():
    rate = Rate(10, 0.0)
    taken = [at for at in (0.0, 50.0, 50.03, 50.06, 50.1, 50.13) if rate.allows(at)]
    assert taken == [0.0, 50.0, 50.1]


# What a source may do


@pytest.mark.parametrize("garbage", ["floats", "grey", "rgba", "empty", "endless", "list", "unreadable"])
@pytest.mark.parametrize("live", [False, True])
def test_what_is_no_picture_is_unreadable_and_the_next_one_is_fine(tmp_path, garbage, live):
    source = scripted(tmp_path, f"frame {garbage}*3 frame", live=live)
    watched = Watched(source).watch()
    assert watched.numbers("unreadable") == [2, 3, 4]
    assert watched.numbers("frame")[-1] == 5
    watched.check_books()


def test_a_picture_that_changes_its_size_comes_whole(tmp_path):
    shapes = []
    watched = Watched(scripted(tmp_path, "frame wide large*9 wide frame"))
    watched.watch(
        lambda frame: shapes.append((*frame.pixels.shape, int(frame.pixels[0, 0, 0]), int(frame.pixels.min())))
    )
    sizes = [(32, 48), (32, 96), *[(480, 640)] * 9, (32, 96), (32, 96)]
    assert shapes == [(*size, 3, index, index) for index, size in enumerate(sizes, start=1)]


def test_a_camera_that_changes_its_size_is_told_of(tmp_path):
    watched = Watched(scripted(tmp_path, "frame*2 wide frame", live=True)).watch()
    assert watched.detail("stream_changed") == "from 48 x 32 to 96 x 32 pixels"
    assert watched.events().count("stream_changed") == 1


def test_a_camera_that_changes_its_size_all_the_time_floods_nobody(tmp_path):
    watched = Watched(scripted(tmp_path, " ".join(["frame wide large small"] * 20), live=True)).watch()
    assert watched.events().count("stream_changed") == 1


def test_pictures_of_a_folder_may_have_any_size(tmp_path):
    for number, width in enumerate((64, 32, 96)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((48, width, 3), 90, np.uint8))
    options = {"files": str(tmp_path), "realtime": True, "fps": 100}
    assert Watched(resolve(options, Path("/nowhere"))).watch().events() == ["stream_ended"]


@pytest.mark.parametrize("script", ["frame*2 block", "open-block", "block"])
def test_a_camera_that_blocks_for_ever_is_ended_and_opened_again(tmp_path, script):
    source = scripted(tmp_path, script, "frame*3")
    watched = Watched(source, deadline_s=0.6, open_deadline_s=1.5).watch()
    assert watched.events() == ["camera_stalled", "camera_back", "stream_ended"]
    assert watched.detail("camera_stalled").startswith("did not ")
    assert watched.numbers("frame")[-3:] == list(range(watched.counter.value - 2, watched.counter.value + 1))
    first, second = (tmp_path / "opened").read_text().split()
    assert first != second
    assert is_gone(int(first))
    watched.check_books()


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("exit", "the capture process ended with code 3"),
        ("crash", "the capture process was ended by SIGSEGV"),
        ("complain", "the capture process ended with code 3 (library: http://***@h refused)"),
        ("lost", "rtsp://***@camera/1 is gone"),
        ("raise", "ZeroDivisionError: a bug in rtsp://***@camera/1"),
        ("raise-odd", "OSError: no file ?.jpg"),
    ],
)
@pytest.mark.parametrize("opening", [False, True])
def test_a_camera_that_fails_is_opened_again(tmp_path, step, reason, opening):
    source = scripted(tmp_path, f"open-{step}" if opening else f"frame*2 {step}", "frame*3")
    watched = Watched(source).watch()
    assert watched.events() == ["camera_lost", "camera_back", "stream_ended"]
    assert watched.detail("camera_lost") == reason
    assert watched.detail("camera_back").startswith("after ")
    assert len(watched.numbers("frame")) == watched.counter.value == (3 if opening else 5)
    watched.check_books()


def test_trouble_is_told_once_however_often_opening_fails(tmp_path):
    watched = Watched(scripted(tmp_path, "open-lost", "open-lost", "open-exit", "open-raise", "frame")).watch()
    assert watched.events() == ["camera_lost", "camera_back", "stream_ended"]


def test_a_file_goes_on_after_its_process_died():
    watched = Watched(synthetic(count=30))
    seen = {}

    def look(frame):
        seen[frame.number] = read_number(frame.pixels)
        if frame.number == 10:
            assert watched.capture.pid is not None
            os.kill(watched.capture.pid, signal.SIGKILL)

    watched.watch(look)
    assert watched.counter.value == 30
    assert all(number == shown for number, shown in seen.items())
    watched.check_books()


@settings(max_examples=8, deadline=None)
@given(live=st.booleans(), kills=st.lists(st.tuples(st.integers(1, 40), st.floats(0, 0.004)), min_size=1, max_size=3))
def test_every_number_comes_once_whenever_the_process_is_killed(live, kills):
    watched = Watched(synthetic(count=60, live=live, fps=400))
    pending = sorted(kills)

    def look(frame):
        if pending and frame.number >= pending[0][0] and watched.capture.pid:
            time.sleep(pending.pop(0)[1])  # the moment of the kill is the case, nothing is waited for
            with contextlib.suppress(ProcessLookupError):
                os.kill(watched.capture.pid, signal.SIGKILL)

    watched.watch(look)
    watched.check_books()
    if not live:
        assert not watched.numbers("skipped")


def test_a_frozen_camera_is_opened_again_and_told_of_once(tmp_path):
    source = scripted(tmp_path, "slow still*500", "still*500", "still*9 slow*60", live=True)
    watched = Watched(source, limits=Limits(frozen_s=1.0)).watch()
    assert watched.events() == ["picture_frozen", "picture_well", "stream_ended"]
    assert re.fullmatch(r"it was frozen for \d+ s", watched.detail("picture_well"))
    assert len((tmp_path / "opened").read_text().split()) == 3, "the second process knew the picture again"
    watched.check_books()


def test_a_black_picture_is_told_of_and_nothing_is_opened_again(tmp_path):
    source = scripted(tmp_path, "slow*9 black*40 slow*60", live=True)
    watched = Watched(source, limits=Limits(frozen_s=0.5, blank_s=0.4)).watch()
    assert watched.events() == ["picture_black", "picture_well", "stream_ended"]
    assert len((tmp_path / "opened").read_text().split()) == 1
    watched.check_books()


def test_a_file_of_one_picture_is_not_frozen(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((48, 64, 3), 90, np.uint8))
    options = {"files": str(tmp_path / "a.png"), "loop": True, "realtime": True, "fps": 50}
    watched = Watched(resolve(options, Path("/nowhere")), limits=Limits(frozen_s=0.2, blank_s=0.2))
    with watched.capture:
        for frame in watched.frames():
            if frame.number >= 75:
                break
    assert watched.events() == []


def test_a_camera_that_gives_nothing_but_garbage_is_opened_again(tmp_path):
    watched = Watched(scripted(tmp_path, "list forever", "frame*3", live=True), deadline_s=0.5).watch()
    assert watched.events() == ["camera_stalled", "camera_back", "stream_ended"]
    assert watched.detail("camera_stalled") == "gave no readable frame within 0.5 s"
    assert watched.numbers("unreadable")
    assert len(watched.numbers("frame")) + len(watched.numbers("skipped")) == 3
    watched.check_books()


def test_a_leaking_camera_is_opened_again_before_it_takes_the_devices_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(captureprocess, "_WEIGH_S", 0.1)
    watched = Watched(scripted(tmp_path, "leak*1000", "frame*3", live=True), most_mb=100).watch()
    assert watched.events() == ["camera_lost", "camera_back", "stream_ended"]
    grown = re.fullmatch(
        r"its capture process grew to (\d+) MB of memory; 'capture_mb' allows 100", watched.detail("camera_lost")
    )
    assert grown is not None
    assert 100 < int(grown[1]) < 130
    watched.check_books()


def test_what_a_camera_prints_cannot_fill_the_disk(tmp_path, caplog):
    watched = Watched(scripted(tmp_path, "frame flood frame", "frame")).watch()
    assert watched.numbers("frame") == [1, 2, 3]
    logged = [record.getMessage() for record in caplog.records if "too much of it" in record.getMessage()]
    assert len(logged) == 20
    assert not [message for message in caplog.messages if SECRET in message]


def test_forty_attempts_are_one_line_in_the_log(tmp_path, caplog):
    """As many as in 20 minutes; here they come at once."""
    watched = Watched(scripted(tmp_path, *["open-lost"] * 40, "frame")).watch()
    assert watched.events() == ["camera_lost", "camera_back", "stream_ended"]
    assert len([record for record in caplog.records if record.levelno >= logging.INFO]) == 2


@pytest.mark.parametrize("script", ["raise-in-close frame*3", "raise-in-close frame*2 lost"])
def test_a_camera_that_fails_while_it_is_closed_changes_nothing(tmp_path, script):
    watched = Watched(scripted(tmp_path, script, "frame*3")).watch()
    expected = ["camera_lost", "camera_back"] if "lost" in script else []
    assert watched.events() == [*expected, "stream_ended"]
    watched.check_books()


def test_no_more_processes_are_begun_beside_those_that_the_kernel_holds(tmp_path, monkeypatch):
    """A process that cannot be killed, as one that waits in a driver."""
    kill = os.killpg
    monkeypatch.setattr(os, "killpg", lambda _group, _signal: None)
    watched = Watched(scripted(tmp_path, "block", "block", "frame*3"), deadline_s=0.3, open_deadline_s=1)
    with watched.capture:
        until(lambda: len(watched.capture._supervisor._held) == 2, "two processes are held")
        until(lambda: watched.capture._inbox._items and "lost" in str(watched.capture._inbox._items), "that is told")
        pids = [int(pid) for pid in (tmp_path / "opened").read_text().split()]
        assert len(pids) == 2
        for pid in pids:
            kill(pid, signal.SIGKILL)
        for _ in watched.frames():
            pass
    assert watched.events() == ["camera_stalled", "camera_lost", "camera_back", "stream_ended"]
    assert re.match(r"the kernel holds capture processes \d+, \d+ in a driver", watched.detail("camera_lost"))
    assert watched.capture.suspect == ""


@pytest.mark.parametrize("how", ["cannot be started", "cannot begin"])
def test_an_agent_that_cannot_begin_capture_processes_says_so_until_it_can(monkeypatch, how):
    monkeypatch.setattr(captureprocess, "_CHILD", "import sys; sys.exit(9)")
    if how == "cannot be started":
        monkeypatch.setattr(sys, "executable", "/no/such/python")
    watched = Watched(synthetic(count=3))
    with watched.capture:
        until(lambda: watched.capture.suspect, "it is told")
        assert re.match(
            r"\d+ capture processes in a row could not begin: .*(No such file|code 9)", watched.capture.suspect
        )
        monkeypatch.undo()
        assert [frame.number for frame in watched.frames()] == [1, 2, 3]
        assert watched.capture.suspect == ""
    assert watched.events() == ["camera_lost", "camera_back", "stream_ended"]


def test_a_camera_that_fails_is_no_reason_to_suspect_the_agent(tmp_path):
    suspected = []
    watched = Watched(scripted(tmp_path, *["open-exit"] * 12, "frame"))
    watched.watch(lambda _: suspected.append(watched.capture.suspect))
    assert suspected == [""]
    assert watched.events() == ["camera_lost", "camera_back", "stream_ended"]


def test_one_blocked_camera_does_not_hold_up_another(tmp_path):
    blocked = Watched(scripted(tmp_path, "block"), open_deadline_s=60, deadline_s=60)
    with blocked.capture:
        until((tmp_path / "opened").exists, "the first camera is open")
        assert Watched(synthetic(count=30)).watch().numbers("frame") == list(range(1, 31))


@pytest.mark.parametrize("script", ["block", "open-block", "frame*2 block", "frame*2 hang-in-close", "frame forever"])
def test_a_stop_takes_less_than_two_seconds(tmp_path, script):
    watched = Watched(scripted(tmp_path, script, live=True), deadline_s=60)
    with watched.capture:
        until((tmp_path / "opened").exists, "the camera is open")
        pid = watched.capture.pid
        began = time.monotonic()
        watched.capture.stop()
        for _ in watched.frames():
            pass
    assert time.monotonic() - began < 2
    assert pid is not None
    assert is_gone(pid)
    watched.check_books()


def test_a_stop_between_attempts_does_not_wait_for_the_next(tmp_path):
    watched = Watched(scripted(tmp_path, "open-lost"), backoff=Backoff(1000, 1000))
    with watched.capture:
        until(lambda: watched.capture._inbox._items, "the first attempt failed")
        began = time.monotonic()
        watched.capture.stop()
        for _ in watched.frames():
            pass
    assert time.monotonic() - began < 2
    assert watched.events() == ["camera_lost"]


def test_what_was_read_ahead_at_a_stop_is_skipped():
    watched = Watched(synthetic(count=100))
    with watched.capture:
        for frame in watched.frames():
            if frame.number == 3:
                until(lambda: watched.counter.value > 4, "frames wait")
                break
    assert watched.numbers("frame") == [1, 2, 3]
    assert watched.numbers("skipped")[0] == 4
    watched.check_books()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_capture_process_leaves_ctrl_c_and_systemd_to_the_agent(number):
    watched = Watched(synthetic(count=40))

    def look(frame):
        if frame.number == 5:
            assert watched.capture.pid is not None
            os.kill(watched.capture.pid, number)

    watched.watch(look)
    assert watched.events() == ["stream_ended"]
    assert watched.numbers("frame") == list(range(1, 41))


def test_secrets_are_not_in_the_list_of_processes(tmp_path):
    watched = Watched(scripted(tmp_path, "frame forever", live=True, secret=SECRET))
    with watched.capture:
        for _ in watched.capture.frames():
            assert SECRET not in Path(f"/proc/{watched.capture.pid}/cmdline").read_text()
            watched.capture.stop()


def test_a_camera_that_comes_and_goes_leaves_nothing_behind(tmp_path):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # counts, among them the listing's own

    Watched(synthetic(count=1)).watch()
    gc.collect()
    before = descriptors()
    watched = Watched(scripted(tmp_path, *["frame lost", "frame exit"] * 6, "frame")).watch()
    watched.progress.close()
    assert watched.numbers("frame") == list(range(1, 14))
    assert watched.events().count("camera_back") == 12
    del watched
    gc.collect()
    assert descriptors() <= before + 1


# The agent's own end

AGENT = textwrap.dedent("""
    import sys
    from pathlib import Path
    from agent.capture import Capture, Progress
    from agent.clock import Clock
    from agent.sources import resolve

    folder = Path(sys.argv[1])
    progress = Progress.create(folder / "progress", 7, "00000000000000aa", ["cam0", "cam1"])
    source = resolve({"cameras:Scripted": str(folder), "scripts": ["frame forever"], "live": True}, folder)
    with Capture("cam1", source, None, progress, Clock()) as capture:
        for frame in capture.frames():
            print(capture.pid, flush=True)
""")


def test_the_number_of_frames_is_exact_after_the_agent_was_killed(tmp_path):
    path = os.pathsep.join([str(Path.cwd()), str(CAMERAS)])
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, tmp_path], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as agent:
        assert agent.stdout is not None
        pid = int(agent.stdout.readline())
        until(lambda: len((tmp_path / "given").read_text()) > 100, "some frames")
        agent.kill()
    until(lambda: is_gone(pid), "the capture process ended with the agent")
    captured = Progress.read(tmp_path / "progress")
    given_frames = len((tmp_path / "given").read_text().splitlines())
    assert captured is not None
    assert captured.streams["cam0"] == 0
    assert captured.streams["cam1"] in {given_frames - 1, given_frames}  # killed before `read` returned, or after
    assert captured[:3] == (7, "00000000000000aa", Clock().boot_id())


# The meeting of the two threads


class Slot:
    """Counts how often it was released."""

    def __init__(self):
        self.released = 0

    def release(self):
        """Give the slot back."""
        self.released += 1


class Meeting:
    """A supervisor and a consumer in one thread."""

    def __init__(self, newest_wins):
        self.inbox = Inbox()
        self.newest_wins = newest_wins
        self.number = 0
        self.slots: list[Slot] = []
        self.told: list[int] = []

    def frame(self):
        """A frame comes."""
        self.number += 1
        self.slots.append(Slot())
        frame = Frame(self.number, 0, 0, np.zeros((1, 1, 3), np.uint8), self.slots[-1].release)
        self.inbox.put_frame(frame, newest_wins=self.newest_wins)

    def unreadable(self):
        """A frame comes that cannot be read."""
        self.number += 1
        self.inbox.put_settled(self.number, self.number, "unreadable")

    def event(self):
        """Something happens."""
        self.inbox.put_event("camera_lost", "")

    def stop(self):
        """The agent is to end."""
        self.inbox.stop()

    def take(self):
        """The consumer looks whether there is something."""
        item = self.inbox.take() if self.inbox._items else None
        if isinstance(item, Frame):
            self.told.append(item.number)
            item.release()
        elif isinstance(item, Settled):
            self.told.extend(range(item.first, item.last + 1))


@given(
    st.lists(st.sampled_from(["frame", "unreadable", "event", "take", "stop"]), max_size=60),
    st.booleans(),
)
def test_the_inbox_loses_nothing_and_keeps_the_order(steps, newest_wins):
    meeting = Meeting(newest_wins)
    for step in steps:
        getattr(meeting, step)()
        waiting = sum(isinstance(item, Frame) for item in meeting.inbox._items)
        assert not newest_wins or waiting <= 1
    meeting.inbox.close()
    while meeting.inbox._items:
        meeting.take()
    assert meeting.told == list(range(1, meeting.number + 1))
    assert [slot.released for slot in meeting.slots] == [1] * len(meeting.slots)


def test_waits_between_attempts_grow_to_their_limit():
    backoff = Backoff()
    assert [backoff.ceiling_s(attempt) for attempt in (0, 1, 2, 5, 6, 7, 10_000)] == [1, 2, 4, 32, 60, 60, 60]


def test_a_slow_rate_is_no_silence(tmp_path):
    """Between two frames of a slow plan nothing is due; a camera that blocks is found when its frame is overdue."""
    watched = Watched(scripted(tmp_path, "frame block", "frame end"), fps=0.5, deadline_s=0.5, open_deadline_s=10)
    came = []
    watched.watch(lambda _frame: came.append(time.monotonic()))
    assert watched.events() == ["camera_stalled", "camera_back", "stream_ended"]
    assert came[1] - came[0] > 2 + 0.5, "two seconds until it was due, and the deadline"
    assert watched.detail("camera_stalled") == "did not give a frame within 0.5 s"


def test_a_stream_that_the_progress_file_does_not_know_is_refused():
    with pytest.raises(ValueError, match="cam1"):
        Capture("cam1", synthetic(), None, Progress.in_memory(["cam0"]), Clock())
