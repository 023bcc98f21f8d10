"""GStreamer pipelines: real processes of `gst-launch-1.0` with its test pictures."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from brokers import missing

from agent.capture import Backoff, Capture, Progress
from agent.clock import Clock
from agent.sources import Lost, describe, resolve
from agent.sources.gstreamer import Gstreamer, explained

NOWHERE = Path("/nowhere")
LIVE = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=64,height=48,framerate=50/1"


@pytest.fixture(autouse=True)
def _gstreamer():
    if shutil.which("gst-launch-1.0") is None:
        missing("gst-launch-1.0", "sudo apt install gstreamer1.0-tools gstreamer1.0-plugins-{base,good}")


def opened(pipeline, **options):
    return Gstreamer(pipeline, Gstreamer.Options(**options))


def why(pipeline):
    """Why a pipeline gives no more frames."""
    with opened(pipeline) as source:
        try:
            while source.grab():
                pass
        except Lost as lost:
            return str(lost)
    raise AssertionError("a pipeline has no end but being lost")


def captured(pipeline, **more):
    """A capture of a pipeline, and the events that it tells."""
    events: list[tuple[str, str]] = []
    source = resolve({"gstreamer": pipeline}, NOWHERE)
    progress = Progress.in_memory(["cam0"])
    capture = Capture(
        *("cam0", source, None, progress, Clock()),
        backoff=Backoff(0.001, 0.01),
        on_event=lambda name, detail: events.append((name, detail)),
        **more,
    )
    return capture, events


def children(pid):
    """Process ids of what a process began and what has not ended."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.01)


COLOURS = {"red": (0, 0, 255), "blue": (255, 0, 0), "green": (0, 255, 0), "white": (255, 255, 255)}


@pytest.mark.parametrize("colorimetry", ["bt601", "bt709"])
@pytest.mark.parametrize("size", [(64, 48), (321, 7), (1280, 720)])
def test_colours_and_size_are_right(size, colorimetry):
    width, height = size
    for pattern, bgr in COLOURS.items():
        raw = f"video/x-raw,format=NV12,colorimetry={colorimetry},width={width},height={height}"
        with opened(f"videotestsrc pattern={pattern} num-buffers=2 ! {raw}") as source:
            pixels = source.read()
        assert pixels.shape == (height, width, 3)
        assert np.abs(pixels.astype(int) - bgr).max() <= 4


@pytest.mark.parametrize("width", [*range(5, 14), 1332])
def test_rows_of_any_width_begin_where_they_should(width):
    """The left half of GStreamer's picture is red, the right half green, whatever the padding of a row."""
    half = width // 2
    left, right = (
        f"videotestsrc num-buffers=4 pattern={colour} ! video/x-raw,format=BGRx,width={w},height=7"
        for colour, w in (("red", half), ("green", width - half))
    )
    with opened(f"{left} ! m. {right} ! m. compositor name=m sink_1::xpos={half}") as source:
        pixels = source.read().astype(int)
    assert pixels.shape == (7, width, 3)
    assert (pixels[:, 0, 2] > 200).all()
    assert (pixels[:, 0, 1] < 60).all()
    assert (pixels[:, -1, 1] > 200).all()
    assert (pixels[:, -1, 2] < 60).all()


def test_the_picture_can_be_scaled_by_gstreamer():
    with opened("videotestsrc ! video/x-raw,width=640,height=480", width=321, height=241) as source:
        assert source.read().shape == (241, 321, 3)


def test_quotes_are_understood_and_no_shell_is():
    assert 'No such file "/no such/$(touch a);b"' in why("filesrc location='/no such/$(touch a);b' ! pngdec")


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("videotestsrc num-buffers=3", "the pipeline ended"),
        ("no_such_element ! videoscale", 'GStreamer: no element "no_such_element": misspelt, or not installed; '),
        ("nvarguscamerasrc_ ! x", 'GStreamer: no element "nvarguscamerasrc_"'),
        ("videotestsrc colour=1", 'GStreamer: no property "colour" in element "videotestsrc"'),
        ("videotestsrc ! audioconvert", "GStreamer: could not link videotestsrc0 to audioconvert0: what is captured"),
        ("v4l2src device=/dev/video99", "GStreamer: v4l2src0: Cannot identify device '/dev/video99' (system error:"),
        ("videotestsrc ! identity error-after=3", "GStreamer: identity0: "),
        ("videotestsrc ! video/x-raw,format=I420 ! jpegenc", "GStreamer: could not link"),
    ],
)
def test_the_reason_is_gstreamers_own(pipeline, message):
    assert why(pipeline).startswith(message)


@pytest.mark.parametrize(
    ("element", "package"),
    [
        ("nvarguscamerasrc", "nvidia-l4t-gstreamer (of JetPack)"),
        ("libcamerasrc", "gstreamer1.0-libcamera"),
        ("h264parse", "gstreamer1.0-plugins-bad"),
        ("avdec_h264", "gstreamer1.0-libav"),
        ("rtph264depay", "gstreamer1.0-plugins-good"),
    ],
)
def test_a_missing_element_names_the_package(element, package):
    assert explained([f'WARNING: erroneous pipeline: no element "{element}"']).endswith(f"sudo apt install {package}")


def test_a_machine_without_gstreamer_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Lost, match=r"^gst-launch-1.0 is not installed: sudo apt install gstreamer1.0-tools"):
        opened(LIVE).__enter__()


def test_no_credentials_are_told(capfd):
    pipeline = "rtspsrc location=rtsp://me:s3cret@127.0.0.1:1/x user-pw=s3cret ! rtph264depay"
    assert "s3cret" not in why(pipeline)
    assert "s3cret" not in describe(resolve({"gstreamer": pipeline}, NOWHERE))
    assert "s3cret" not in "".join(capfd.readouterr())


def test_the_newest_picture_is_seen_by_a_slow_reader():
    """A pipeline without end at 200 pictures a second, and a reader that takes 5: how old is what it sees?

    The second picture of every two shows when it was made, by GStreamer's running time, as a grey level.
    """
    with opened(f"{LIVE.replace('50/1', '200/1').replace('ball', 'blink')}") as source:
        source.read()
        began = time.monotonic()
        for _ in range(5):
            time.sleep(0.2)
            source.grab()
        # Nothing has piled up: after 1 s of 200 pictures a second only those in queue and pipe are left.
        quick = 0
        while True:
            asked = time.monotonic()
            source.grab()
            if time.monotonic() - asked > 0.002:
                break
            quick += 1
        assert time.monotonic() - began < 5
        pipe_holds = 1_048_576 // (64 * 48 * 3 // 2)
        assert quick <= pipe_holds + 16


def test_a_change_of_size_is_told_and_costs_nothing():
    small, large = (
        f"videotestsrc num-buffers=40 ! video/x-raw,width={w},height={h},framerate=100/1 ! c."
        for w, h in ((64, 48), (321, 241))
    )
    capture, events = captured(f"{small} {large} concat name=c ! identity sync=true")
    sizes = set()
    with capture:
        for frame in capture.frames():
            sizes.add(frame.pixels.shape[1::-1])
            if len(sizes) == 2:
                break
        assert [name for name, _ in events if name == "camera_lost"] == []
    assert ("stream_changed", "from 64 x 48 to 321 x 241 pixels") in events


def test_an_end_is_told_with_its_reason_and_the_pipeline_begins_again():
    capture, events = captured("videotestsrc num-buffers=5 is-live=true ! video/x-raw,width=64,height=48")
    with capture:
        for _ in capture.frames():
            if ("camera_back" in [name for name, _ in events]) and len(events) >= 2:
                break
    assert events[0] == ("camera_lost", "the pipeline ended")


def test_a_killed_pipeline_is_told_and_begins_again():
    capture, events = captured(LIVE)
    killed = 0
    with capture:
        for _ in capture.frames():
            if not killed:
                assert capture.pid is not None
                [killed] = children(capture.pid)
                os.kill(killed, signal.SIGKILL)
            elif "camera_back" in [name for name, _ in events]:
                break
    assert events[0] == ("camera_lost", "GStreamer's process was ended by SIGKILL")


def test_a_pipeline_that_hangs_is_ended_with_its_process():
    capture, events = captured(LIVE, deadline_s=0.5)
    stopped = 0
    with capture:
        for _ in capture.frames():
            if not stopped:
                assert capture.pid is not None
                [stopped] = children(capture.pid)
                os.kill(stopped, signal.SIGSTOP)
            elif "camera_back" in [name for name, _ in events]:
                break
    assert events[0] == ("camera_stalled", "did not give a frame within 0.5 s")
    until(lambda: is_gone(stopped))


def test_gstreamer_ends_with_the_agent_however_that_ends():
    code = (
        "from agent.sources.gstreamer import Gstreamer; import sys, time\n"
        f"with Gstreamer({LIVE!r}, Gstreamer.Options()) as source:\n"
        "    source.read(); print(source.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        pid = int(holder.stdout.readline())
        assert not is_gone(pid)
        holder.kill()
    until(lambda: is_gone(pid))


def test_closing_ends_the_pipeline_in_order():
    with opened(LIVE) as source:
        source.read()
        pid = source.pid
    assert is_gone(pid)
    assert source._process.returncode is not None
