"""What every source of frames promises, over each one that runs without hardware."""

import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from agent.capture import Capture, Progress
from agent.clock import Clock
from agent.sources import SOURCES, Lost, Resumable, TwoStep, resolve

COUNT = 6
WIDTH, HEIGHT = 96, 64
DOCS = Path(__file__).resolve().parents[2] / "docs/cameras.md"

MJPEG_SERVER = textwrap.dedent("""
    import itertools, sys
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from pathlib import Path

    pictures = [path.read_bytes() for path in sorted(Path(sys.argv[1]).glob("*.jpg"))]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            rounds = itertools.cycle(pictures) if self.path == "/endless" else pictures * 5
            for picture in rounds:
                head = f"--frame\\r\\nContent-Type: image/jpeg\\r\\nContent-Length: {len(picture)}\\r\\n\\r\\n"
                self.wfile.write(head.encode() + picture + b"\\r\\n")

        def log_message(self, *args):
            pass

    ThreadingHTTPServer.daemon_threads = True
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.handle_error = lambda *args: None
    server.serve_forever()
""")


def picture(number):
    """A grey picture, brighter with its number."""
    return np.full((HEIGHT, WIDTH, 3), 20 + 30 * number, np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures whose natural order is not their alphabetical one."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        cv2.imwrite(str(folder / f"frame{number + 6}.jpg"), picture(number))
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """The same as a video file."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
    for number in range(COUNT):
        writer.write(picture(number))
    writer.release()
    return path


@pytest.fixture(scope="module")
def mjpeg(folder):
    """Address of a camera that speaks HTTP."""
    with subprocess.Popen([sys.executable, "-c", MJPEG_SERVER, folder], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        yield f"http://127.0.0.1:{port}"
        server.kill()


@pytest.fixture(params=["folder", "video", "realtime", "synthetic", "synthetic live", "stream"])
def source(request):
    """Each source as the configuration names it, not yet opened."""
    made = {
        "folder": lambda: {"files": str(request.getfixturevalue("folder"))},
        "video": lambda: {"files": str(request.getfixturevalue("video"))},
        "realtime": lambda: {"files": str(request.getfixturevalue("video")), "realtime": True, "fps": 200},
        "synthetic": lambda: {"synthetic": "any", "width": WIDTH, "height": HEIGHT, "count": COUNT},
        "synthetic live": lambda: {
            "synthetic": "any", "width": WIDTH, "height": HEIGHT, "count": COUNT, "live": True, "fps": 200,
        },
        "stream": lambda: {"stream": request.getfixturevalue("mjpeg")},
    }  # fmt: skip
    settings = made[request.param]()
    assert isinstance(settings, dict)
    return resolve(settings, Path("/nowhere"))


def test_a_source_gives_pictures_of_the_promised_form(source):
    with source.build() as frames:
        pixels = frames.read()
    assert pixels is not None
    assert pixels.dtype == np.uint8
    assert pixels.shape == (HEIGHT, WIDTH, 3)


def test_a_source_gives_every_frame_and_then_ends_or_is_lost(source):
    given = 0
    with source.build() as frames:
        try:
            while frames.read() is not None:
                given += 1
        except Lost:
            assert source.kind == "stream"
            # FFmpeg keeps a picture or two of a stream that breaks off to itself.
            assert given >= COUNT
        else:
            assert given == COUNT


def test_a_source_can_be_opened_again_and_closed_unread(source):
    for _ in range(2):
        with source.build():
            pass


def test_a_source_says_whether_it_is_live_before_it_is_opened(source):
    assert isinstance(source.build().live, bool)


def test_a_source_that_can_let_frames_pass_counts_them(source):
    frames = source.build()
    if not isinstance(frames, TwoStep):
        assert not hasattr(frames, "grab"), "a source has both steps, or neither"
        return
    with frames:
        first = frames.read()
        assert frames.grab()
        assert frames.grab()
        third = frames.retrieve()
    assert first is not None
    assert not np.array_equal(first, third)


def test_a_source_that_can_resume_goes_on_where_it_was_told(source):
    frames, again = source.build(), source.build()
    if not isinstance(frames, Resumable) or not isinstance(again, Resumable) or frames.live:
        assert frames.live or not hasattr(frames, "resume"), "what is not live and can resume does so"
        return
    with frames, again:
        again.resume(4)
        for _ in range(4):
            frames.read()
        fifth, other = frames.read(), again.read()
    assert fifth is not None
    assert other is not None
    assert np.array_equal(fifth, other)


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_names_its_options_and_the_page_tells_them(kind):
    target = {"stream": "rtsp://camera/1", "v4l2": "/dev/video0", "push": "8080", "picamera": 0}.get(kind, "x")
    more = {"folder": {"remember": "seen"}}.get(kind, {})
    source = resolve({kind: target, **more}, Path("/nowhere"))
    assert msgspec.structs.fields(source.source.Options)
    chapter = DOCS.read_text().split(f"\n## `{kind}`")[1].split("\n## ")[0]
    for field in msgspec.structs.fields(source.source.Options):
        assert f"`{field.name}`" in chapter
    with pytest.raises(ValueError, match=f"'{kind}' has no option 'colour'; known: "):
        resolve({kind: "x", "colour": "blue"}, Path("/nowhere"))


def test_the_pages_example_of_a_source_of_ones_own_works(tmp_path, monkeypatch):
    example = DOCS.read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "vigie_example_camera.py").write_text(example)
    monkeypatch.syspath_prepend(str(tmp_path))
    source = resolve({"vigie_example_camera:Noise": "any", "width": WIDTH}, tmp_path)
    with Capture("cam0", source, None, Progress.in_memory(["cam0"]), Clock()) as capture:
        for frame in capture.frames():
            assert frame.pixels.shape == (480, WIDTH, 3)
            break
