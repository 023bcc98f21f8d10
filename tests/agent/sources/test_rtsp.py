"""RTSP cameras: GStreamer's real server with H.264, whose every picture carries its number."""

import contextlib
import os
import signal
import subprocess
import textwrap
import threading
import time
from pathlib import Path

import pytest
from brokers import free_port, missing

from agent.capture import Backoff, Capture, Progress
from agent.clock import Clock
from agent.sources import resolve
from agent.sources.synthetic import Synthetic, read_number

WIDTH, HEIGHT, FPS = 320, 240, 25
PASSWORD = "s3cret/p@ss"  # noqa: S105  # opens nothing else

SERVER = textwrap.dedent("""
    import sys
    import threading

    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    port, password, width, height = sys.argv[1:]
    server = GstRtspServer.RTSPServer(service=port)
    server.set_address("127.0.0.1")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    factory.set_launch(
        f"( appsrc name=film is-live=true do-timestamp=true format=time "
        f"caps=video/x-raw,format=BGR,width={width},height={height},framerate=25/1 "
        "! videoconvert ! video/x-raw,format=I420 "
        "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 bitrate=2000 threads=1 "
        "! rtph264pay name=pay0 config-interval=1 )"
    )


    def film(source):
        while data := sys.stdin.buffer.read(int(width) * int(height) * 3):
            if source.emit("push-buffer", Gst.Buffer.new_wrapped(data)) != Gst.FlowReturn.OK:
                return


    def configure(_factory, media):
        source = media.get_element().get_by_name("film")
        threading.Thread(target=film, args=[source], daemon=True).start()


    factory.connect("media-configure", configure)
    if password:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic("admin", password), token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()
""")

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module", autouse=True)
def _server_can_be_had():
    code = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; Gst.init(None); "
        "assert all(map(Gst.ElementFactory.find, ('x264enc', 'rtph264pay', 'appsrc')))"
    )
    if subprocess.run(["/usr/bin/python3", "-c", code], check=False, capture_output=True).returncode:
        packages = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
        missing("GStreamer's RTSP server", f"sudo apt install {packages} gstreamer1.0-plugins-ugly")


class Camera:
    """A camera on the network, for as long as it is needed."""

    def __init__(self, port, password=""):
        self.url = f"rtsp://127.0.0.1:{port}/cam"
        self.server = subprocess.Popen(
            ["/usr/bin/python3", "-c", SERVER, str(port), password, str(WIDTH), str(HEIGHT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.server.stdout is not None
        assert self.server.stdout.readline() == b"ready\n"
        self.made_at: dict[int | None, float] = {}
        self._film = threading.Thread(target=self._make_pictures, daemon=True)
        self._film.start()

    def _make_pictures(self):
        """Give a picture when its time has come; none while nobody watches."""
        options = Synthetic.Options(width=WIDTH, height=HEIGHT)
        with Synthetic("any", options) as pictures, contextlib.suppress(OSError, ValueError):
            assert self.server.stdin is not None
            due = time.monotonic()
            while True:
                pixels = pictures.read()
                assert pixels is not None
                due = max(due + 1 / FPS, time.monotonic())
                time.sleep(max(0.0, due - time.monotonic()))
                self.made_at[read_number(pixels)] = time.monotonic()
                self.server.stdin.write(pixels.tobytes())
                self.server.stdin.flush()

    def close(self):
        """Be gone, as if the cable had been pulled out."""
        self.server.kill()
        self.server.wait()
        self._film.join(5)
        for pipe in (self.server.stdin, self.server.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()


@contextlib.contextmanager
def camera(port=None, password=""):
    made = Camera(port or free_port(), password)
    try:
        yield made
    finally:
        made.close()


def captured(url, **given):
    """A capture of a camera, and the events that it tells."""
    events: list[tuple[str, str]] = []
    more = {name: given.pop(name) for name in list(given) if name.endswith("deadline_s")}
    capture = Capture(
        *("cam0", resolve({"stream": url, **given}, Path("/nowhere")), None, Progress.in_memory(["cam0"]), Clock()),
        backoff=Backoff(0.05, 0.5),
        on_event=lambda name, detail: events.append((name, detail)),
        **more,
    )
    return capture, events


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_pictures_come_whole_and_in_order(transport):
    """Before the first picture it may be opened again: now and then nothing comes for a while, and why is not known."""
    numbers: list[int | None] = []
    at_first = 0
    with camera() as there:
        capture, events = captured(there.url, transport=transport, read_timeout_s=4)
        with capture:
            for frame in capture.frames():
                at_first = at_first if numbers else len(events)
                assert frame.pixels.shape == (HEIGHT, WIDTH, 3)
                numbers.append(read_number(frame.pixels))
                if len(numbers) == 50:
                    break
        assert set(numbers) <= set(there.made_at)
    assert all(number is not None for number in numbers)
    assert numbers == sorted(set(numbers), key=lambda number: number or 0)
    if transport == "tcp":  # UDP promises nothing
        assert events[at_first:] == []


def test_a_slow_reader_sees_new_pictures_and_never_older_ones():
    """A model that takes 0.25 s at 25 pictures a second: were they kept in order, it would be 5 s behind by the end."""
    ages: list[float] = []
    with camera() as there:
        capture, _ = captured(there.url)
        with capture:
            for frame in capture.frames():
                ages.append(time.monotonic() - there.made_at[read_number(frame.pixels)])
                time.sleep(0.25)
                if len(ages) == 24:
                    break
    print(f"ages in s: first {ages[0]:.2f}, median of the last twelve {sorted(ages[12:])[6]:.2f}, most {max(ages):.2f}")  # noqa: T201  # for who measures
    assert sorted(ages[12:])[6] < 1.5


def test_a_camera_that_goes_away_comes_back():
    port = free_port()
    with contextlib.ExitStack() as stack:
        there = stack.enter_context(camera(port))
        capture, events = captured(there.url, read_timeout_s=3)
        with capture:
            for frame in capture.frames():
                if frame.number == 5:
                    there.close()
                    stack.enter_context(camera(port))
                if "camera_back" in dict(events):
                    break
    assert [name for name, _ in events] == ["camera_lost", "camera_back"]
    assert dict(events)["camera_lost"].startswith(f"{there.url} ")


def test_a_camera_that_falls_silent_with_its_connection_open_is_noticed():
    with camera() as there:
        capture, events = captured(there.url, read_timeout_s=1)
        with capture:
            for frame in capture.frames():
                if frame.number == 5:
                    os.kill(there.server.pid, signal.SIGSTOP)
                    threading.Timer(4, os.kill, (there.server.pid, signal.SIGCONT)).start()
                if "camera_back" in dict(events):
                    break
    name, detail = events[0]
    assert name == "camera_lost"
    assert detail.startswith(f"{there.url} sent nothing for 1 s")


def test_the_right_password_opens_and_stays_secret(tmp_path, caplog):
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    caplog.set_level("DEBUG")
    with camera(password=PASSWORD) as there:
        capture, events = captured(there.url, username="admin", password_file=str(tmp_path / "password"))
        with capture:
            for _ in capture.frames():
                assert capture.pid is not None
                assert PASSWORD not in Path(f"/proc/{capture.pid}/cmdline").read_text()
                break
    assert events == []
    assert "s3cret" not in caplog.text


def test_a_wrong_password_says_so_and_stays_secret(caplog):
    caplog.set_level("DEBUG")
    with camera(password=PASSWORD) as there:
        capture, events = captured(there.url.replace("//", "//admin:s3cret-but-wrong@"))

        def stop(name, detail):
            events.append((name, detail))
            capture.stop()

        capture._on_event = stop
        with capture:
            assert list(capture.frames()) == []
    [(name, detail)] = events
    assert name == "camera_lost"
    assert "check address, user and password" in detail
    assert "401" in detail
    assert "s3cret" not in f"{detail} {caplog.text}"
