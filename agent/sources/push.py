"""Pictures that somebody sends: `POST /predict` with a picture answers what the model saw in exactly that picture.

The server (`agent.sources.pushserver`) runs in the capture process: a picture that crashes its decoder costs that
process, and nothing else. Between the server's threads and the one that reads stands `Desk`: requests wait there, up
to a bound, in the order in which they came.
"""

import contextlib
import hmac
import ipaddress
import os
import socket
import threading
from collections import Counter, deque
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Annotated, Protocol

import msgspec
import numpy as np
from msgspec import Meta

from agent import pictures
from agent.sources import Lost, Pixels

_LOOPBACK = "127.0.0.1"
_TOKEN_CHARS_MIN = 16
_PORT_MAX = 65_535

BUSY, STOPPING, TOO_LATE, UNREADABLE, FAILED, OK = 503, 503, 504, 422, 500, 200


class Reply(msgspec.Struct, frozen=True):
    """What became of a request.

    Attributes:
        status: Of HTTP.
        body: A JSON object without braces' neighbours: what is to be said beside the request's id.
        frame: The frame's number, when it got one.
    """

    status: int
    body: bytes
    frame: int | None = None


def problem(status: int, what: str, frame: int | None = None) -> Reply:
    """A refusal that says what is wrong, and what to do."""
    told: dict[str, object] = {"status": status, "error": what}
    if frame is not None:
        told["frame"] = frame
    return Reply(status, msgspec.json.encode(told), frame)


class _Request:
    """A picture that waits for its answer."""

    __slots__ = ("answered", "data", "frame", "reply")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.frame: int | None = None
        self.reply: Reply | None = None
        self.answered = threading.Event()


class Desk:
    """Where requests wait: the server's threads put them down and wait, the reader takes them one by one.

    Args:
        waiting: Requests that may be here at the same time.
        timeout_s: For how long each.
    """

    def __init__(self, waiting: int, timeout_s: float) -> None:
        self._waiting_max = waiting
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._queue: deque[_Request] = deque()
        self._taken: _Request | None = None
        self._frames: dict[int, _Request] = {}
        self._open = 0
        self._closed = False
        self._counts: Counter[int] = Counter()

    def fileno(self) -> int:
        """Can be read when a request waits."""
        return self._bell

    def put(self, data: bytes) -> Reply:
        """Let a picture wait for its answer, or for the reason why there is none."""
        request = _Request(data)
        with self._lock:
            if self._closed:
                return problem(STOPPING, "the agent is stopping; try again in a while")
            if self._open >= self._waiting_max:
                return problem(BUSY, f"{self._open} pictures wait already; try again after Retry-After seconds")
            self._open += 1
            self._queue.append(request)
            os.eventfd_write(self._bell, 1)
        try:
            request.answered.wait(self._timeout_s)
            return self._reply(request)
        finally:
            with self._lock:
                self._open -= 1

    def _reply(self, request: _Request) -> Reply:
        """What became of a request, at the end of its time at the latest."""
        with self._lock:
            if request.reply is not None:
                return request.reply
            if request.frame is not None:
                self._frames.pop(request.frame, None)
            elif request in self._queue:
                self._queue.remove(request)
                why = f"no picture was taken for {self._timeout_s:g} s: the model is behind, or the disk is full"
                return problem(BUSY, f"{why}; try again after Retry-After seconds")
            frame, said = request.frame, f"the model did not answer within {self._timeout_s:g} s"
            return problem(TOO_LATE, f"{said}; the picture is booked all the same, do not send it again", frame)

    def take(self) -> bool:
        """Let the next request be the one that `read` is about."""
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._bell)
            self._taken = self._queue.popleft() if self._queue else None
            if self._queue:
                os.eventfd_write(self._bell, 1)
            return self._taken is not None

    def picture(self) -> bytes:
        """Of the request that was taken; its memory is free afterwards."""
        if self._taken is None:
            raise RuntimeError("no request was taken")
        data, self._taken.data = self._taken.data, b""
        return data

    def number(self, frame: int) -> None:
        """The request that was taken is this frame."""
        with self._lock:
            if self._taken is not None:
                self._taken.frame = frame
                self._frames[frame] = self._taken
                self._taken = None

    def answer(self, reply: Reply) -> None:
        """Let the request whose frame this is have its answer; nobody may wait for it any more."""
        with self._lock:
            request = self._frames.pop(reply.frame or 0, None)
            if request is not None:
                request.reply = reply
                request.answered.set()

    def close(self) -> None:
        """Refuse everything that waits, and everything that comes."""
        with self._lock:
            self._closed = True
            for request in [*self._queue, *self._frames.values()]:
                said = "the agent is stopping"
                after = "; try again in a while" if request.frame is None else "; the picture is booked all the same"
                request.reply = problem(STOPPING, f"{said}{after}", request.frame)
                request.answered.set()
            self._queue.clear()
            self._frames.clear()

    def count(self, status: int) -> None:
        """Count a request that was answered."""
        with self._lock:
            self._counts[status] += 1

    def counts(self) -> dict[int, int]:
        """The counts since the last call."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            return dict(counts)


class _Server(Protocol):
    """What `agent.sources.pushserver` has."""

    def close(self) -> None:
        """Let the last answers get out, and end."""


class Push:
    """Pictures that come as HTTP requests.

    Args:
        target: Where to listen: `8080` for this machine only, `0.0.0.0:8080` for the network.
        options: See `Options`.
    """

    class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """What the configuration may say.

        Attributes:
            max_mb: Size of a picture's file at most, in MB.
            max_megapixels: Size of a picture at most, in millions of pixels.
            waiting: Requests that may wait for their answer at the same time; more are refused at once.
            timeout_s: Seconds after which a request that got no answer is told so.
            token_file: File whose first line every request must bring as `Authorization: Bearer …`.
        """

        max_mb: Annotated[float, Meta(gt=0, le=500)] = 20.0
        max_megapixels: Annotated[float, Meta(gt=0, le=pictures.PIXELS_MAX / 1e6)] = 25.0
        waiting: Annotated[int, Meta(ge=1, le=64)] = 8
        timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0
        token_file: str | None = None

    PATHS = ("token_file",)
    CAMERA = False

    live = False

    def __init__(self, target: str, options: Options) -> None:
        self.host, self.port = _address(target)
        self._options = options
        require_server("push")
        self._server: _Server | None = None
        self._desk = Desk(options.waiting, options.timeout_s)

    def __enter__(self) -> "Push":  # noqa: PYI034  # Self needs Python 3.11
        """Listen; raises `Lost` when another program does, or the token cannot be read."""
        from agent.sources import pushserver  # noqa: PLC0415  # Flask is in memory only where it serves

        options = self._options
        token = _token(Path(options.token_file)) if options.token_file else None
        try:
            self._server = pushserver.PushServer(
                self.host,
                self.port,
                self._desk,
                waiting=options.waiting,
                bytes_max=round(options.max_mb * 1e6),
                pixels_max=round(options.max_megapixels * 1e6),
                allowed=None if token is None else lambda given: hmac.compare_digest(given, token),
            )
        except OSError as error:
            raise self._deaf(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Refuse what waits, and stop listening."""
        self._desk.close()
        if self._server is not None:
            self._server.close()
            self._server = None

    def probe(self) -> str:
        """Whether it could listen; raises `Lost` as opening does."""
        if self._options.token_file:
            _token(Path(self._options.token_file))
        with socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((self.host, self.port))
            except OSError as error:
                raise self._deaf(error) from error
        said = f"{self.host}:{self.port} is free to listen on"
        return f"{said}; {self.advice()}" if self.advice() else said

    def _deaf(self, error: OSError) -> Lost:
        """Why it cannot listen, and what to do."""
        way_out = "end the program that listens there, or name another port"
        return Lost(f"cannot listen on {self.host}:{self.port}: {error.strerror}; {way_out}")

    def advice(self) -> str:
        """What to know when anybody on the network may ask."""
        if self._options.token_file or ipaddress.ip_address(self.host).is_loopback:
            return ""
        return f"everybody who reaches {self.host}:{self.port} may send pictures: 'token_file' asks for a token"

    def fileno(self) -> int:
        """Can be read when a request waits."""
        return self._desk.fileno()

    def take(self) -> bool:
        """Whether a picture is there for `read`."""
        return self._desk.take()

    def read(self) -> Pixels:
        """The picture of the request that was taken."""
        return np.ascontiguousarray(pictures.decode(self._desk.picture()))

    def numbered(self, number: int) -> None:
        """The request that was taken is this frame."""
        self._desk.number(number)

    def settled(self, number: int, outcome: str, reason: str) -> None:
        """Tell who waits why no model looked at a frame."""
        if outcome == "unreadable":
            self._desk.answer(problem(UNREADABLE, f"the picture {reason}; send it anew, or another", number))
        else:
            self._desk.answer(problem(BUSY, f"the frame was {outcome}; try again after Retry-After seconds", number))

    def answered(self, number: int, answer: bytes, *, ok: bool) -> None:
        """Tell who waits what the model saw."""
        self._desk.answer(Reply(OK if ok else FAILED, answer, number))

    def requests(self) -> dict[int, int]:
        """Requests that were answered since the last call, per HTTP status."""
        return self._desk.counts()


def require_server(who: str) -> None:
    """Raise ValueError, with what to do, when Flask or waitress is not installed."""
    missing = [name for name in ("flask", "waitress") if find_spec(name) is None]
    if missing:
        how = "pip install 'vigie[agent,push]', in a checkout '.[agent,push]'"
        raise ValueError(f"'{who}' needs {' and '.join(missing)}: {how}")


def _address(target: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        ValueError: It is no address of a machine's own.
    """
    host, _, port = target.rpartition(":")
    try:
        host = str(ipaddress.ip_address(host.strip("[]") or _LOOPBACK))
        number = int(port) if port.isdecimal() else 0
    except ValueError:
        number = 0
    if not 0 < number <= _PORT_MAX:
        rule = "a port such as 8080, or an address of this machine with a port, such as 0.0.0.0:8080"
        raise ValueError(f"'push' must be {rule}, got '{target}'")
    return host, number


def _token(path: Path) -> bytes:
    """The token in a file.

    Raises:
        Lost: It cannot be read, or is none.
    """
    try:
        first = path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Lost(f"'token_file': {path}: {getattr(error, 'strerror', '') or 'is no text'}") from error
    if len(first) < _TOKEN_CHARS_MIN:
        raise Lost(f"'token_file': {path}: its first line must have at least {_TOKEN_CHARS_MIN} characters")
    return first.encode()
