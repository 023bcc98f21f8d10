"""The capture process: reads one source, numbers its frames, and hands them over in shared memory.

It may block, crash or be killed at any moment; `agent.capture` watches it from outside. It ends with the agent however
the agent ends. Frames lie in slots of a memory file that has no name, so that nothing is left behind.

The two processes talk over a socket that keeps messages apart: `Start`, `Release` and `Stop` go to this process,
everything else comes from it. The first `Arena` carries the memory file's descriptor with it.
"""

import contextlib
import ctypes
import logging
import mmap
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

from agent.clock import Clock
from agent.progress import Counter
from agent.quality import Finding, Limits, PictureCheck, Trace
from agent.sources import (
    Answering,
    Ending,
    FrameSource,
    Lost,
    NothingYet,
    Patient,
    Pixels,
    Resumable,
    TwoStep,
    Unreadable,
    import_source,
)
from shared.records import TICK_NS

SLOTS_BESIDE = 3
"""Beside those with the model: one waiting, one being filled, one on its way back."""

MESSAGE_BYTES = 65_536
REASON_CHARS = 2000

_GAP_NS = 1_000_000
"""Two frames of a stream are at least this far apart: capture times are keys."""

_PIXELS_MAX = 100_000_000
_SIDE_MAX = 65_535
_BEATS_IN_DEADLINE = 4
_COUNTS_S = 1.0
_PR_SET_PDEATHSIG = 1
_IOLBF = 1

_log = logging.getLogger(__name__)


class Start(Struct, tag=True):
    """What to read, and how.

    Attributes:
        source: `module:Class`.
        target: Of the source.
        options: Of the source, as plain data.
        fps: Frames a second to capture at most.
        counter: Index of the stream in the progress file.
        deadline_s: Silence after which this process will be killed.
        captured_boot_ns: Capture time of the stream's last frame, 0 for none.
        slots: Frames that may be in memory at the same time.
        limits: What a live source's pictures are watched for.
        picture: What was found of them up to now.
        trace: What another process left of that, if each of them looks at one picture.
        masks: Polygons that are painted over, as in `agent.masks`.
        settle_s: How long a camera's frames pass after it was opened.
    """

    source: str
    target: str
    options: dict[str, object]
    fps: float | None
    counter: int
    deadline_s: float
    captured_boot_ns: int
    slots: int
    limits: Limits = Limits()
    picture: Finding = Finding()
    trace: Trace | None = None
    masks: list[list[tuple[float, float]]] = []  # msgspec copies it
    settle_s: float = 0.0


class Release(Struct, tag=True):
    """A slot is free again."""

    arena: int
    slot: int


class Answer(Struct, tag=True):
    """What came of a frame, for a source that wants to know (`agent.sources.Answering`).

    Attributes:
        number: The frame's.
        ok: Whether the model looked at it.
        data: The answer, as JSON; empty when it is long and comes in a memory file of its own with this message.
    """

    number: int
    ok: bool
    data: bytes


class Stop(Struct, tag=True):
    """End after the frame in hand."""


class Opened(Struct, tag=True):
    """The source is open.

    Attributes:
        live: Frames may be replaced by newer ones.
        camera: Somebody films now: the same picture again, or another size, says something.
        answering: Who sends a picture waits for its answer; that nobody sends one is no fault.
        patient: That nothing comes is no fault.
    """

    live: bool
    camera: bool
    answering: bool = False
    patient: bool = False


class Beat(Struct, tag=True):
    """Still working, without a frame to show for it."""


class Arena(Struct, tag=True):
    """A new memory file comes with this message: frames from now on lie in it."""

    arena: int
    slot_bytes: int


class Given(Struct, tag=True):
    """A frame lies in a slot.

    Attributes:
        number: 1, 2, 3 ... of the stream in this start of the agent.
        arena: The memory file.
        slot: The part of it.
        captured_boot_ns: Boot time when `read` returned.
        capture_ticks: Spent in `read`, in hundredths of a millisecond.
        height: In pixels.
        width: In pixels.
    """

    number: int
    arena: int
    slot: int
    captured_boot_ns: int
    capture_ticks: int
    height: int
    width: int


class Settled(Struct, tag=True):
    """Frames `first` to `last` got a number and will not be given."""

    first: int
    last: int
    outcome: Literal["skipped", "unreadable"]


class Seen(Struct, tag=True):
    """What is wrong with the picture has changed, with the frame that comes next; or what is to be remembered has."""

    finding: Finding
    trace: Trace | None = None


class Asked(Struct, tag=True):
    """How many requests a source answered since it told last, per HTTP status."""

    requests: dict[int, int]


class Ended(Struct, tag=True):
    """The source has no more frames.

    Attributes:
        detail: What is to be said of that, if the source knows more than how many came.
    """

    detail: str = ""


class Failed(Struct, tag=True):
    """The source must be reopened."""

    reason: str


Order = Start | Release | Answer | Stop
Notice = Opened | Beat | Arena | Given | Settled | Seen | Asked | Ended | Failed


class _Stopped(Exception):
    """The agent wants no more frames."""


class _Passed(Exception):
    """A frame came that is not due at the configured rate."""


Copy = Callable[[Pixels, Pixels], None]
"""Copies a picture into another of the same shape, but for what nobody is to see."""


def _copying(masks: list[list[tuple[float, float]]]) -> Copy:
    """How pictures get into the shared memory."""
    if not masks:
        return lambda source, target: np.copyto(target, source)
    # OpenCV takes memory that a source without it, and without masks, can do without.
    from agent.masks import Masks  # noqa: PLC0415

    return Masks(masks).copy


class _Link:
    """This process's end of the socket, and the free slots that it tells of."""

    def __init__(self, agent: socket.socket, beat_s: float, slots: int, copy: Copy) -> None:
        self._agent = agent
        self._copy = copy
        self._slots = slots
        self._beat_s = beat_s
        self._spoke = time.monotonic()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Order)
        self._poll = select.poll()
        self._poll.register(agent, select.POLLIN)
        self._answers: list[tuple[int, bool, bytes]] = []
        self._arena = 0
        self._memory = mmap.mmap(-1, 1)
        self.slot_bytes = 0
        self._free: list[int] = []

    def tell(self, notice: Notice, fds: tuple[int, ...] = ()) -> None:
        """Send a notice; raises `_Stopped` when nobody is there to hear it."""
        self._spoke = time.monotonic()
        try:
            socket.send_fds(self._agent, [self._encoder.encode(notice)], fds)
        except (BrokenPipeError, ConnectionResetError):
            raise _Stopped from None

    def beat(self) -> None:
        """Say that work goes on, if nothing was said for a while."""
        if time.monotonic() - self._spoke >= self._beat_s:
            self.tell(Beat())

    def listen(self, timeout_s: float = 0.0) -> None:
        """Take orders for at most `timeout_s`; returns at the first. Raises `_Stopped`."""
        timeout_s = min(timeout_s, self._beat_s)
        while self._poll.poll(timeout_s * 1000):
            timeout_s = 0.0
            try:
                data, fds, _, _ = socket.recv_fds(self._agent, MESSAGE_BYTES, 1)
            except ConnectionResetError:
                raise _Stopped from None
            order = self._decoder.decode(data) if data else Stop()
            if isinstance(order, Stop):
                raise _Stopped
            if isinstance(order, Release) and order.arena == self._arena:
                self._free.append(order.slot)
            elif isinstance(order, Answer):
                self._answers.append((order.number, order.ok, _read(fds[0]) if fds else order.data))
        self.beat()

    def listen_for(self, ready: int) -> None:
        """Take orders until the file `ready` can be read, but for no longer than a beat. Raises `_Stopped`."""
        poll = select.poll()
        poll.register(self._agent, select.POLLIN)
        poll.register(ready, select.POLLIN)
        poll.poll(self._beat_s * 1000)
        self.listen()

    def answers(self) -> list[tuple[int, bool, bytes]]:
        """The answers that came, once: the frame's number, whether the model looked at it, and what is to be said."""
        came, self._answers = self._answers, []
        return came

    def wait_until(self, moment: float) -> None:
        """Sleep until `moment` on the monotonic clock, taking orders meanwhile."""
        while (left_s := moment - time.monotonic()) > 0:
            self.listen(left_s)

    def wait_for_slot(self) -> None:
        """Sleep until a slot is free, taking orders meanwhile. A source that nobody keeps up with rests here."""
        self.listen()
        while self.slot_bytes and not self._free:
            self.listen(self._beat_s)

    def put(self, pixels: Pixels) -> tuple[int, int] | None:
        """Copy a frame into a free slot: the arena and the slot, or None when none is free."""
        self.listen()
        if pixels.nbytes > self.slot_bytes:
            self._grow(pixels.nbytes)
        if not self._free:
            return None
        slot = self._free.pop()
        target = np.ndarray(pixels.shape, np.uint8, self._memory, slot * self.slot_bytes)
        self._copy(pixels, target)
        return self._arena, slot

    def _grow(self, size: int) -> None:
        """Begin a new memory file whose slots hold `size` bytes; the old one lives until its last frame is let go."""
        slot_bytes = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        fd = os.memfd_create("vigie-frames", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, slot_bytes * self._slots)
            self._memory = mmap.mmap(fd, slot_bytes * self._slots)
            self._arena += 1
            self.slot_bytes = slot_bytes
            self._free = list(range(self._slots))
            self.tell(Arena(self._arena, slot_bytes), (fd,))
        finally:
            os.close(fd)


def _read(fd: int) -> bytes:
    """What is in a memory file, which is closed."""
    with open(fd, "rb") as file:  # a descriptor, not a path
        file.seek(0)
        return file.read()


class Rate:
    """Which frames count at a configured rate.

    Args:
        fps: Frames a second at most; None for every one.
        now: On the monotonic clock.

    Attributes:
        due: When the next frame is wanted, on the monotonic clock.
    """

    def __init__(self, fps: float | None, now: float) -> None:
        self._period_s = 1 / fps if fps else 0.0
        self.due = now

    def allows(self, now: float, *, in_time: bool = False) -> bool:
        """Whether a frame that came `now` counts; if so, the next one is wanted a period later.

        A camera's frames come a little early or late: a tenth of a period is let through, so that a rate equal to
        the camera's own keeps every frame. With `in_time` the frame was waited for and counts anyway.
        """
        if not in_time and now < self.due - self._period_s / 10:
            return False
        late = now > self.due + self._period_s
        self.due = (now if late else self.due) + self._period_s
        return True


class _Reader:
    """Reads a source, frame by frame, until it ends."""

    def __init__(self, source: FrameSource, start: Start, link: _Link, counter: Counter) -> None:
        self._source = source
        self._two_step = source if isinstance(source, TwoStep) else None
        self._answering = _Answerer(source, link) if isinstance(source, Answering) else None
        self._link = link
        self._counter = counter
        self._clock = Clock()
        self._captured_ns = start.captured_boot_ns
        self._rate = Rate(start.fps, self._clock.monotonic())
        self._check: PictureCheck | None = None
        if source.live:
            self._check = PictureCheck(_limits(source, start.limits), start.picture, start.trace)
        self._brief = start.settle_s > 0
        self._settled_s = self._clock.monotonic() + (start.settle_s if _is_camera(source) else 0.0)

    def run(self) -> None:
        """Read until the source ends. Raises `Lost` and `_Stopped`."""
        while self._step():
            pass

    def _step(self) -> bool:
        """Read one frame and hand it over, or let it pass; False at the end."""
        if not self._source.live:
            self._link.wait_for_slot()
            self._link.wait_until(self._rate.due)
        if self._answering is not None and not self._answering.wait():
            return True
        self._keep_apart()
        started_ns = self._clock.boot_ns()
        try:
            pixels = self._read()
        except _Passed:
            self._link.listen()
            return True
        except NothingYet:
            self._link.tell(Beat())
            self._link.listen()
            return True
        except Unreadable as error:
            self._settle(self._number(), "unreadable", str(error))
            return True
        if pixels is None:
            return False
        number = self._number()
        self._hand_over(number, pixels, max(0, self._captured_ns - started_ns) // TICK_NS)
        return True

    def _number(self) -> int:
        """Number and stamp the frame that has just come."""
        number = self._counter.next()
        self._captured_ns = self._clock.boot_ns() // TICK_NS * TICK_NS
        if self._answering is not None:
            self._answering.source.numbered(number)
        return number

    def _read(self) -> Pixels | None:
        """The next frame; raises `_Passed` when one came that is not due."""
        if self._two_step is not None:
            if not self._two_step.grab():
                return None
            self._require_due()
            return self._two_step.retrieve()
        try:
            pixels = self._source.read()
        except Unreadable:
            self._require_due()
            raise
        if pixels is not None:
            self._require_due()
        return pixels

    def _require_due(self) -> None:
        now = self._clock.monotonic()
        if now < self._settled_s or not self._rate.allows(now, in_time=not self._source.live):
            raise _Passed

    def _keep_apart(self) -> None:
        """Wait until a frame read from now on is stamped late enough after the one before."""
        early_ns = self._captured_ns + _GAP_NS + TICK_NS - self._clock.boot_ns()
        if early_ns > 0:
            time.sleep(min(early_ns, _GAP_NS) / 1e9)

    def _hand_over(self, number: int, pixels: Pixels, capture_ticks: int) -> None:
        """Put a frame into a slot and say so; or say that it cannot be."""
        garbage = _what_is_wrong(pixels)
        if garbage:
            self._settle(number, "unreadable", garbage)
            return
        if self._check is not None:
            self._look_at(self._check, pixels)
        place = self._link.put(pixels)
        if place is None:
            self._settle(number, "skipped", "")
            return
        height, width, _ = pixels.shape
        self._link.tell(Given(number, *place, self._captured_ns, capture_ticks, height, width))

    def _look_at(self, check: PictureCheck, pixels: Pixels) -> None:
        """Tell what has changed about the picture; where this process ends after a frame, all that is to be known."""
        finding = check.look(pixels, self._clock.monotonic())
        if self._brief:
            self._link.tell(Seen(check.found, check.trace(pixels)))
        elif finding is not None:
            self._link.tell(Seen(finding))

    def _settle(self, number: int, outcome: Literal["skipped", "unreadable"], reason: str) -> None:
        if reason:
            _log.info("frame %d is unreadable: %s", number, reason)
        if self._answering is not None:
            self._answering.source.settled(number, outcome, reason)
        self._link.listen()
        self._link.tell(Settled(number, number, outcome))


class _Answerer:
    """Carries answers to a source that wants them, and its counts of requests to the agent."""

    def __init__(self, source: Answering, link: _Link) -> None:
        self.source = source
        self._link = link
        self._counts_due = 0.0

    def wait(self) -> bool:
        """Wait for a picture, for no longer than a beat, handing out answers; whether one is there."""
        self.hand_out()
        self._link.listen_for(self.source.fileno())
        self.hand_out()
        if time.monotonic() >= self._counts_due:
            self.count()
        return self.source.take()

    def hand_out(self) -> None:
        """Hand out the answers that came."""
        for number, ok, data in self._link.answers():
            self.source.answered(number, data, ok=ok)

    def count(self) -> None:
        """Tell how many requests there were."""
        self._counts_due = time.monotonic() + _COUNTS_S
        if requests := self.source.requests():
            self._link.tell(Asked(requests))


def _limits(source: FrameSource, limits: Limits) -> Limits:
    """What to watch the pictures of this source for."""
    return limits if _is_camera(source) else Limits(blank_s=limits.blank_s)


def _is_camera(source: FrameSource) -> bool:
    return source.live and bool(getattr(source, "CAMERA", True))


def _what_is_wrong(pixels: object) -> str:
    """Why this is not a picture, or nothing."""
    if not isinstance(pixels, np.ndarray):
        return f"the source gave {type(pixels).__name__} instead of an array"
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:  # noqa: PLR2004  # height, width, BGR
        return (
            f"the source gave an array of {pixels.dtype} with shape {pixels.shape} instead of uint8 [height, width, 3]"
        )
    height, width = pixels.shape[:2]
    if not 0 < height <= _SIDE_MAX or not 0 < width <= _SIDE_MAX or height * width > _PIXELS_MAX:
        return f"the source gave a picture of {width} x {height} pixels"
    return ""


def _is_patient(source: FrameSource) -> bool:
    """Whether it may have nothing to give for as long as it likes."""
    return isinstance(source, Patient) and source.patient


def _follow(parent_pid: int) -> None:
    """End when the agent ends, however it ends; leave Ctrl-C and systemd's signals to the agent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _print_by_the_line() -> None:
    """Let what C libraries print get out at once: the last words before a crash say most."""
    libc = ctypes.CDLL(None)
    with contextlib.suppress(ValueError, AttributeError):  # a C library that calls it something else
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _IOLBF, 0)


def _capture(start: Start, link: _Link, counter: Counter) -> None:
    """Open the source, read it to its end, and say how it ended."""
    with contextlib.ExitStack() as closing:
        try:
            kind = import_source(start.source)
            made = kind(start.target, msgspec.convert(start.options, kind.Options))
            if isinstance(made, Answering):
                closing.callback(_last_counts, made, link)  # after closing, which refuses what still waits
            source = closing.enter_context(made)
            answering, patient = isinstance(source, Answering), _is_patient(source)
            link.tell(Opened(source.live, camera=_is_camera(source), answering=answering, patient=patient))
            if counter.value and not source.live and isinstance(source, Resumable):
                source.resume(counter.value)
            _Reader(source, start, link, counter).run()
            ending: Notice = Ended(_reason(source.ending()) if isinstance(source, Ending) else "")
        except _Stopped:
            return
        except Lost as error:
            ending = Failed(_reason(str(error)))
        except Exception as error:  # noqa: BLE001  # a user's own source may raise anything; the agent reopens it
            ending = Failed(_reason(f"{type(error).__name__}: {error}"))
        # Said before the source is closed: closing may hang, and this process is then killed.
        with contextlib.suppress(_Stopped):
            link.tell(ending)


def _reason(text: str) -> str:
    """What a source said, as text that can be sent: a file's name may hold what no encoding has."""
    return text.encode("utf-8", "replace").decode()[:REASON_CHARS]


def _last_counts(source: Answering, link: _Link) -> None:
    """Tell what was asked up to the end."""
    with contextlib.suppress(_Stopped):
        _Answerer(source, link).count()


def main(parent_pid: int, socket_fd: int, progress_fd: int) -> None:
    """Run the capture process.

    Args:
        parent_pid: The agent's process id.
        socket_fd: This process's end of the socket.
        progress_fd: The progress file.
    """
    _follow(parent_pid)
    _print_by_the_line()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s:%(message)s")
    agent = socket.socket(fileno=socket_fd)
    start = msgspec.msgpack.decode(agent.recv(MESSAGE_BYTES), type=Start)
    link = _Link(agent, start.deadline_s / _BEATS_IN_DEADLINE, start.slots, _copying(start.masks))
    counter = Counter(progress_fd, start.counter)
    # What goes wrong before this is the agent's own fault, after it the source's.
    link.tell(Beat())
    _capture(start, link, counter)
    # No clean-up of libraries that may hang in theirs: all that matters has been sent.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
