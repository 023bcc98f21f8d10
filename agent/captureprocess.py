"""A capture process, seen from the agent: begun, listened to, given orders, weighed and ended.

What it does with them stands in `agent.capture_child`.
"""

import contextlib
import json
import logging
import mmap
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from agent.capture_child import MESSAGE_BYTES, Answer, Arena, Failed, Given, Notice, Opened, Release, Start, Stop
from agent.clock import Clock
from agent.frames import Frame
from shared.redact import redact

_REAP_S = 0.5
"""A process that was killed is gone within this, unless the kernel holds it in a driver."""
_ANSWER_BYTES = 16_384
"""A longer answer goes in a memory file: a full socket would lose the orders after it."""
_DETAIL_CHARS = 500
_LINES_MAX = 20
_LINES_S = 60.0
"""So many lines of a camera's libraries are logged in so many seconds."""
_PRINTED_BYTES = 4096
_PRINTED_READS = 100
_RECENT_S = 5.0
_OPENCV_ITSELF = re.compile(r"global cap\S*\.cpp")
"""OpenCV says after FFmpeg that it did not work; FFmpeg said why."""
_LIBRARY = re.compile(r"^(\[[^\]]*\] *)+")
_WEIGH_S = 5.0
_MB = 1_000_000
_CHILD = (
    "import json, sys; path, parent, agent, progress = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from agent.capture_child import main; main(parent, agent, progress)"
)

_log = logging.getLogger(__name__)


class Child:
    """A capture process, seen from the agent.

    Must be made by a thread that lives as long as it does: the kernel ends the process with the thread that began it.

    Attributes:
        born: Whether it got as far as its source.
        process: The process.
        readable_at: When its last frame came that could be read, or at first the first of all.
        frames_from: When its first frame came, on the monotonic clock.
        worked_s: From its first frame to its last.
        given: Whether it numbered a frame.
        live: Whether its source is.
        camera: Whether its source is one.
        answering: Whether somebody waits for what comes of each frame.
        patient: Whether it is no fault that nothing comes.
        ending: What its source said of its end.
    """

    def __init__(self, stream: str, slots: int, start: Start, progress_fd: int, lines: "Lines") -> None:
        self._stream = stream
        self._slots = slots
        self.born = False
        self.readable_at: float | None = None
        self.frames_from: float | None = None
        self._weigh_at = 0.0
        self.worked_s = 0.0
        self.live = self.camera = self.answering = self.patient = False
        self.given = False
        self.ending = ""
        self._decoder = msgspec.msgpack.Decoder(Notice)
        self._memory: mmap.mmap | None = None
        self._arena = Arena(0, 0)
        self._nonsense = ""
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = json.dumps([sys.path, os.getpid(), theirs.fileno(), progress_fd])
            try:
                self.process = subprocess.Popen(  # noqa: S603  # our own interpreter
                    [sys.executable, "-c", _CHILD, arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=(theirs.fileno(), progress_fd),
                    start_new_session=True,  # Ctrl-C goes to the agent, which decides
                )
            except OSError:
                self._socket.close()
                raise
        self._printed = _Printed(self.process, lines)
        self._send(start)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def wait(self, timeout_s: float, stop: socket.socket | None = None) -> bool:
        """Wait until there is something to receive; False when `timeout_s` is over, `stop` can be read, or for now."""
        ready = wait_for((self._socket, self._printed, stop), timeout_s)
        if self._printed in ready:
            self._printed.read()
        return self._socket in ready

    def receive(self) -> Notice | None:
        """What it says, or None when it has ended, or speaks nonsense."""
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, MESSAGE_BYTES, 1)
        except ConnectionResetError:
            # It ended before it read our last order. The kernel says so once, and before what it had sent.
            data, fds, _, _ = socket.recv_fds(self._socket, MESSAGE_BYTES, 1)
        try:
            notice: Notice | None = self._decoder.decode(data) if data else None
            if isinstance(notice, Arena):
                self._memory = mmap.mmap(fds[0], notice.slot_bytes * self._slots, prot=mmap.PROT_READ)
                self._arena = notice
            elif isinstance(notice, Opened):
                self.live, self.camera, self.answering = notice.live, notice.camera, notice.answering
                self.patient = notice.answering or notice.patient
            elif isinstance(notice, Given):
                self._check(notice)
        except (msgspec.DecodeError, ValueError, IndexError, OSError) as error:
            self._nonsense = f"the capture process sent something that is no notice: {error}"
            return None
        finally:
            for fd in fds:
                os.close(fd)
        self.born = self.born or notice is not None
        return notice

    def _check(self, given: Given) -> None:
        """Refuse a frame that does not lie in a slot; raises ValueError."""
        size = given.height * given.width * 3
        if (
            given.arena != self._arena.arena
            or not 0 <= given.slot < self._slots
            or not 0 < size <= self._arena.slot_bytes
        ):
            raise ValueError(f"frame {given.number} lies outside of its slot")

    def frame(self, given: Given) -> Frame:
        """The frame that a notice tells of."""
        shape = (given.height, given.width, 3)
        pixels = np.ndarray(shape, np.uint8, self._memory, given.slot * self._arena.slot_bytes)
        release = Release(given.arena, given.slot)
        return Frame(
            given.number,
            given.captured_boot_ns,
            given.capture_ticks,
            pixels,
            lambda: self._send(release),
            (lambda data, ok: self._answer(given.number, data, ok=ok)) if self.answering else None,
        )

    def _answer(self, number: int, data: bytes, *, ok: bool) -> None:
        """Send what came of a frame; an answer that gets lost is a time-out for who waits, and for nobody else."""
        if len(data) <= _ANSWER_BYTES:
            self._send(Answer(number, ok, data))
            return
        with contextlib.suppress(OSError), open(os.memfd_create("vigie-answer", os.MFD_CLOEXEC), "wb") as file:  # noqa: PTH123  # a descriptor, not a path
            file.write(data)
            file.flush()
            self._send(Answer(number, ok, b""), (file.fileno(),))

    def explain(self, failed: Failed | None) -> str:
        """Why it gives no more frames, without credentials."""
        if failed is None:
            self.kill()  # it is gone, or speaks nonsense; `_finish` sees to one that is held
        self._printed.read_all()
        reason = failed.reason if failed else self._nonsense or self._how_it_ended()
        last = self._printed.recent()
        text = f"{reason} ({last})" if last and last not in reason else reason
        return " ".join(redact(text).split())[:_DETAIL_CHARS]

    def ask_to_stop(self) -> None:
        """Let it end after the frame in hand."""
        self._send(Stop())

    def grown_mb(self, now: float) -> int:
        """Memory that it has to itself, in MB; looked at every few seconds, 0 in between and where nobody knows."""
        if now < self._weigh_at:
            return 0
        self._weigh_at = now + _WEIGH_S
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
            return int(status.partition("RssAnon:")[2].split(maxsplit=1)[0]) * 1024 // _MB
        except (OSError, ValueError, IndexError):
            return 0

    def kill(self) -> bool:
        """End it, and what it began; False when the kernel does not let it go."""
        if self.process.returncode is not None:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        try:
            self.process.wait(_REAP_S)
        except subprocess.TimeoutExpired:
            _log.warning("%s: the kernel holds capture process %d; it was left behind", self._stream, self.pid)
            # Whenever the kernel lets it go, nothing of it is to stay.
            threading.Thread(target=self.process.wait, name=f"reap-{self.pid}", daemon=True).start()
            return False
        return True

    def close(self) -> None:
        """Let go of it; frames that were not released stay readable."""
        with self._lock:
            self._socket.close()
        self._printed.close()

    def _send(self, order: Start | Release | Answer | Stop, fds: tuple[int, ...] = ()) -> None:
        """Give an order; one to a process that has ended is lost without harm."""
        with self._lock, contextlib.suppress(OSError):
            socket.send_fds(self._socket, [msgspec.msgpack.encode(order)], fds, socket.MSG_DONTWAIT)

    def _how_it_ended(self) -> str:
        code = self.process.returncode
        if code is not None and code < 0:
            return f"the capture process was ended by {signal.Signals(-code).name}"
        return f"the capture process ended with code {code}"


class _Printed:
    """What a capture process, and the libraries in it, print: logged without credentials; the last line is kept."""

    def __init__(self, process: "subprocess.Popen[bytes]", lines: "Lines") -> None:
        self._lines = lines
        self._pipe = process.stdout
        self._rest = b""
        self._last = ""
        self._last_s = 0.0

    def recent(self) -> str:
        """The last line, if it was printed a moment ago: what was wrong when something ended."""
        return redact(self._last) if time.monotonic() - self._last_s < _RECENT_S else ""

    def fileno(self) -> int:
        """Of the pipe; -1 when it has ended."""
        return self._pipe.fileno() if self._pipe and not self._pipe.closed else -1

    def read(self) -> None:
        """Take what was printed; to be called when the pipe can be read."""
        data = os.read(self.fileno(), _PRINTED_BYTES)
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_PRINTED_BYTES:]
        if not data:
            lines.append(rest)
            self.close()
        for line in lines:
            self._log(line.decode(errors="replace").strip())

    def read_all(self) -> None:
        """Take what was printed up to now, if it is not endless."""
        for _ in range(_PRINTED_READS):
            if not wait_for((self,), 0.0):
                return
            self.read()

    def close(self) -> None:
        """Close the pipe."""
        if self._pipe:
            self._pipe.close()

    def _log(self, line: str) -> None:
        level, _, message = line.partition(":")
        if level in {"WARNING", "INFO"}:
            self._lines.log(getattr(logging, level), message)
        elif line:
            self._lines.log(logging.DEBUG, line)
            if not _OPENCV_ITSELF.search(line):
                self._last = _LIBRARY.sub("", line)[:_DETAIL_CHARS]
                self._last_s = time.monotonic()


class Lines:
    """What is logged of a stream's capture processes: without credentials, and so that one cannot fill the disk."""

    def __init__(self, stream: str, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._until = 0.0
        self._left = 0
        self._kept_back = 0

    def log(self, level: int, message: str) -> None:
        """Log a line, or count it."""
        if not _log.isEnabledFor(level):
            return
        now = self._clock.monotonic()
        if now >= self._until:
            if self._kept_back:
                _log.log(level, "%s: %d more lines were not logged", self._stream, self._kept_back)
            self._until, self._left, self._kept_back = now + _LINES_S, _LINES_MAX, 0
        if self._left:
            self._left -= 1
            _log.log(level, "%s: %s", self._stream, redact(message))
        else:
            self._kept_back += 1


def wait_for(sources: Iterable["_HasFileno | None"], timeout_s: float) -> "list[_HasFileno]":
    """Those that can be read, or have ended, within `timeout_s`."""
    poll = select.poll()
    by_fd = {source.fileno(): source for source in sources if source is not None and source.fileno() >= 0}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _ in poll.poll(max(0.0, timeout_s) * 1000)]


class _HasFileno(Protocol):
    """Something to wait for."""

    def fileno(self) -> int: ...
