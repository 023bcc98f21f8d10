"""A GStreamer pipeline, in GStreamer's own process: Jetson and Raspberry Pi cameras, and hardware decoders.

OpenCV's wheels come without GStreamer. Here `gst-launch-1.0` runs the user's pipeline and writes raw pictures into a
pipe, half the size of BGR; only those that are wanted are made BGR. Every size is told in the stream itself, so that
it may change on the way. The process ends with this one, however that ends.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from types import TracebackType
from typing import IO, Annotated

import msgspec
from msgspec import Meta

from agent.sources import Lost, Pixels
from agent.sources.gstframes import TAIL, NotPictures, Reader
from shared.redact import redact

PROGRAM = "gst-launch-1.0"

PACKAGES = {
    r"nvarguscamerasrc|nvv4l2.*|nvvidconv|nvjpeg.*": "nvidia-l4t-gstreamer (of JetPack)",
    r"libcamera.*": "gstreamer1.0-libcamera",
    r"videotestsrc|videoconvert|videoscale|videorate|decodebin|uridecodebin|playbin": "gstreamer1.0-plugins-base",
    r"v4l2.*|rtspsrc|rtp.*|udpsrc|souphttpsrc|jpegdec|multipartdemux|qtdemux|matroskademux":
        "gstreamer1.0-plugins-good",
    r"h26[45]parse|jpegparse|mpeg.*parse|openjpegdec|srtsrc|rtmp2?src|tsdemux": "gstreamer1.0-plugins-bad",
    r"avdec_.*|av.*": "gstreamer1.0-libav",
    r"x264enc": "gstreamer1.0-plugins-ugly",
}  # fmt: skip
"""Elements (regular expressions of whole names) and the Debian package that brings them."""

_TAIL = (
    # Of pictures that come faster than they are read, the newest stays.
    *("!", "queue", "leaky=downstream", "max-size-buffers=1", "max-size-bytes=0", "max-size-time=0"),
    *("!", *TAIL.split()),
)
_PIPE_BYTES = 1_048_576
_BUFFER_BYTES = 65_536
_END_S = 0.7
"""For closing the camera properly; the agent waits a second for all of it."""
_LINES = 60
_LINE_CHARS = 500
_PR_SET_PDEATHSIG = 1
_F_SETPIPE_SZ = 1031
_NO_ELEMENT = re.compile(r'no element "([^"]+)"')
_FROM_ELEMENT = re.compile(r"^from element \S*?([^/:]+:)?([^/: ]+): ")

Side = Annotated[int, Meta(ge=2, le=16_384)]


class Gstreamer:
    """Frames of a pipeline.

    Args:
        target: As `gst-launch-1.0` takes it, up to raw video in main memory; without a sink.
        options: See `Options`.
    """

    class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """What the configuration may say.

        Attributes:
            width: To which GStreamer scales the picture, in pixels; None for as it comes.
            height: The same.
        """

        width: Side | None = None
        height: Side | None = None

    live = True

    _process: "subprocess.Popen[bytes]"  # since `with`
    _pipe: IO[bytes]
    _reader: Reader
    _said: "_Said"

    def __init__(self, target: str, options: Options) -> None:
        try:
            self._words = shlex.split(target)
        except ValueError as error:
            raise ValueError(f"'gstreamer': {str(error).lower()} in the pipeline: check its quotes") from None
        if not self._words or self._words[0] == "!" or self._words[0].startswith("-"):
            raise ValueError("'gstreamer' must begin with an element: 'v4l2src device=/dev/video0 ! jpegdec'")
        if self._words[-1] == "!":
            raise ValueError("'gstreamer' must end with an element or caps, not with '!': the agent adds what follows")
        if any(re.fullmatch(r"\S*[^\s=,\"!]+![^\s=,\"!]*", word) for word in self._words):
            raise ValueError("'gstreamer': write a space on both sides of every '!'")
        if (options.width is None) != (options.height is None):
            raise ValueError("'gstreamer': give both 'width' and 'height', or none of them")
        self._options = options

    def __enter__(self) -> "Gstreamer":  # noqa: PYI034  # Self needs Python 3.11
        """Start the pipeline."""
        if shutil.which(PROGRAM) is None:
            packages = "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
            raise Lost(f"{PROGRAM} is not installed: sudo apt install {packages}")
        ours, theirs = os.pipe()
        with contextlib.suppress(OSError):  # more than this user may have: the usual 64 KiB will do
            fcntl.fcntl(ours, _F_SETPIPE_SZ, _PIPE_BYTES)
        self._pipe = os.fdopen(ours, "rb", _BUFFER_BYTES)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # no shell; the configuration says what to run
                [PROGRAM, "-q", "--", *self._words, *self._scaling(), *_TAIL, "!", "fdsink", f"fd={theirs}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
                preexec_fn=_ending_with(os.getpid()),  # noqa: PLW1509  # calls two functions of the C library
            )
        except OSError as error:
            self._pipe.close()
            raise Lost(f"{PROGRAM} cannot be started: {error}") from error
        finally:
            os.close(theirs)
        self._reader = Reader(self._pipe)  # type: ignore[arg-type]  # a BufferedReader, which IO does not say
        self._said = _Said(self._process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the pipeline: in order, so that a camera's driver can let go of it; by force when that takes long."""
        self._pipe.close()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)

    @property
    def pid(self) -> int:
        """Of GStreamer's process."""
        return self._process.pid

    def grab(self) -> bool:
        """Wait for the next frame.

        Raises:
            Lost: The pipeline ended, with GStreamer's reason.
        """
        try:
            if self._reader.grab():
                return True
        except NotPictures as error:
            raise Lost(f"the pipeline gave something else than pictures: {error}") from error
        raise Lost(self._why_it_ended())

    def retrieve(self) -> Pixels:
        """The frame that `grab` waited for."""
        return self._reader.retrieve()

    def read(self) -> Pixels | None:
        """The next frame. Raises `Lost`; a pipeline has no end but that."""
        self.grab()
        return self.retrieve()

    def _scaling(self) -> tuple[str, ...]:
        if self._options.width is None:
            return ()
        size = f"width={self._options.width},height={self._options.height}"
        return ("!", "videoscale", "!", f"video/x-raw,{size},pixel-aspect-ratio=1/1")

    def _why_it_ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        code = self._process.returncode
        if reason := explained(self._said.lines()):
            return f"GStreamer: {reason}"
        if code is not None and code < 0:
            return f"GStreamer's process was ended by {signal.Signals(-code).name}"
        return "the pipeline ended" if not code else f"the pipeline ended with code {code}"


class _Said:
    """What the process prints: passed on while it works, and the last lines kept."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._failed = False
        self._thread = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
        self._thread.start()

    def lines(self) -> list[str]:
        """The last lines; to be asked when the process has ended."""
        self._thread.join(_END_S)
        return list(self._lines)

    def _listen(self, printed: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError), printed:
            for data in iter(lambda: printed.readline(_LINE_CHARS), b""):
                line = redact(data.decode(errors="replace").strip())
                self._lines.append(line)
                self._failed = self._failed or _is_error(line)
                if not self._failed:  # an error becomes the reason; the lines after it would hide that
                    sys.stderr.write(f"{line}\n")
                    sys.stderr.flush()


def explained(lines: list[str]) -> str:
    """The reason among what `gst-launch-1.0` printed, in a sentence with the way out; empty when it names none."""
    at = next((index for index, line in enumerate(lines) if _is_error(line)), None)
    if at is None:
        return ""
    reason = re.sub(r"^(ERROR|WARNING): (erroneous pipeline: |pipeline could not be constructed: )?", "", lines[at])
    if missing := _NO_ELEMENT.search(reason):
        return f"{reason.rstrip('.')}: {_way_to(missing[1])}"
    if "could not link" in reason:
        return f"{reason.rstrip('.')}: what is captured must be raw video in main memory, see docs/cameras.md"
    reason = _FROM_ELEMENT.sub(r"\2: ", reason).rstrip(".")
    if lines[at + 1 : at + 2] == ["Additional debug info:"] and at + 3 < len(lines) and not _is_error(lines[at + 3]):
        return f"{reason} ({lines[at + 3].rstrip('.')})"
    return reason


def _is_error(line: str) -> bool:
    return line.startswith(("ERROR:", "WARNING: erroneous pipeline:"))


def _way_to(element: str) -> str:
    """How to get an element."""
    for pattern, package in PACKAGES.items():
        if re.fullmatch(pattern, element):
            return f"sudo apt install {package}"
    return f"misspelt, or not installed; `apt-file search` or `gst-inspect-1.0 | grep {element}` may find it"


def _ending_with(parent_pid: int):  # type: ignore[no-untyped-def]  # noqa: ANN202  # what `preexec_fn` wants
    """What makes a new process end when the one that began it does."""
    libc = ctypes.CDLL(None)

    def follow() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            os._exit(0)

    return follow
