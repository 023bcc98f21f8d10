"""A camera on the network: RTSP, or HTTP with MJPEG or video, through FFmpeg."""

import os
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import cv2
import msgspec
import numpy as np
from msgspec import Meta

from agent.sources import Lost, Pixels, Unreadable
from shared.redact import redact

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "srt", "tcp", "udp")

_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_FFMPEG_LOG_LEVEL = "OPENCV_FFMPEG_LOGLEVEL"
_FFMPEG_WARNINGS = "24"
"""At this level FFmpeg says why a server refused."""

_FAILURES_MAX = 20
"""Frames in a row that cannot be decoded, after which the stream is opened again."""
_AT_ONCE_S = 0.001
"""A grab that fails faster waited for nothing: so it is after the end."""
_ALL_OF_IT = 0.9
"""Of the time that FFmpeg waits: a grab that fails after so much of it came to its limit."""

Seconds = Annotated[float, Meta(gt=0, le=3600)]


class Stream:
    """Frames from a URL.

    Args:
        target: The URL, with or without `user:password@`.
        options: See `Options`.
    """

    class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """What the configuration may say.

        Attributes:
            transport: How RTSP carries pictures. UDP loses parts of them on a busy network, TCP does not.
            username: Instead of the one in the URL.
            password_file: File whose first line is the password, instead of the one in the URL.
            password_env: Environment variable that holds the password, instead of the one in the URL.
            open_timeout_s: After which FFmpeg gives up opening; the agent's own deadline stands behind it.
            read_timeout_s: After which FFmpeg gives up waiting for a frame.
        """

        transport: Literal["tcp", "udp"] = "tcp"
        username: str | None = None
        password_file: str | None = None
        password_env: str | None = None
        open_timeout_s: Seconds = 15.0
        read_timeout_s: Seconds = 8.0

    PATHS = ("password_file",)

    live = True

    def __init__(self, target: str, options: Options) -> None:
        scheme = urlsplit(target).scheme.lower()
        if scheme not in SCHEMES or "://" not in target:
            raise ValueError(
                f"'stream' must be a URL that starts with {'://, '.join(SCHEMES)}://, got '{redact(target)}'"
            )
        if options.password_file is not None and options.password_env is not None:
            raise ValueError("'stream': give 'password_file' or 'password_env', not both")
        self._url = target
        self._options = options
        self._video = cv2.VideoCapture()
        self._ahead: deque[bool] = deque()  # frames that came and were not yet asked for: whether they can be decoded
        self._failures = 0  # of `grab`, that may be frames or the end
        self._lost = ""
        self._decodable = False
        self._undecodable = 0  # in a row

    def __enter__(self) -> "Stream":  # noqa: PYI034  # Self needs Python 3.11
        """Connect."""
        options = self._options
        # Read by OpenCV when it opens a URL; this is the capture process, which opens no other.
        os.environ[_FFMPEG_OPTIONS] = f"rtsp_transport;{options.transport}"
        os.environ.setdefault(_FFMPEG_LOG_LEVEL, _FFMPEG_WARNINGS)
        settings = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(options.open_timeout_s * 1000)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(options.read_timeout_s * 1000)),
        ]
        if not self._video.open(with_credentials(self._url, options), cv2.CAP_FFMPEG, settings):
            raise Lost(
                f"{redact(self._url)} cannot be opened: check address, user and password, and that it is reachable"
            )
        self._video.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._video.release()

    def grab(self) -> bool:
        """Wait for the next frame, whether or not it can be decoded.

        Raises:
            Lost: The stream ended, nothing came in time, or nothing that can be decoded.
        """
        while not self._ahead:
            if self._lost:
                raise Lost(f"{redact(self._url)} {self._lost}")
            self._look()
        self._decodable = self._ahead.popleft()
        self._undecodable = 0 if self._decodable else self._undecodable + 1
        if self._undecodable > _FAILURES_MAX:
            raise Lost(f"{redact(self._url)} sent more than {_FAILURES_MAX} frames in a row that cannot be decoded")
        return True

    def retrieve(self) -> Pixels:
        """The frame that `grab` waited for.

        Raises:
            Unreadable: It cannot be decoded.
        """
        good, pixels = self._video.retrieve() if self._decodable else (False, None)
        if not good or pixels is None:
            raise Unreadable("a frame of the stream cannot be decoded")
        return np.asarray(pixels, np.uint8)

    def read(self) -> Pixels | None:
        """The next frame. Raises `Unreadable` and `Lost`; a stream has no end."""
        self.grab()
        return self.retrieve()

    def _look(self) -> None:
        """Grab once, and tell frames from the end.

        OpenCV says no to all of these: a frame that cannot be decoded, the end, and the end of its patience. A failure
        is a frame when the stream goes on after it: with a frame, or with a failure that took time. After the end
        every grab fails at once.
        """
        began = time.monotonic()
        good = self._video.grab()
        took_s = time.monotonic() - began
        # A picture after all of that time is one that the decoder held back, and gives away as it gives up.
        patience_s = self._options.read_timeout_s * (1 if good else _ALL_OF_IT)
        if good and took_s < patience_s:
            self._settle_failures()
            self._ahead.append(True)
        elif took_s >= patience_s:
            self._settle_failures()
            self._lost = f"sent nothing for {self._options.read_timeout_s:g} s"
        else:
            if took_s > _AT_ONCE_S:
                self._settle_failures()
            self._failures += 1
            if self._failures > _FAILURES_MAX:
                self._lost = "ended"

    def _settle_failures(self) -> None:
        """The stream went on: what failed before were frames."""
        self._ahead.extend([False] * self._failures)
        self._failures = 0


def with_credentials(url: str, options: Stream.Options) -> str:
    """The URL with the user and password that the options name.

    Raises:
        Lost: The password cannot be read.
    """
    password = _password(options)
    if options.username is None and password is None:
        return url
    parts = urlsplit(url)
    known, _, host = parts.netloc.rpartition("@")
    known_user, _, known_password = known.partition(":")
    user = known_user if options.username is None else quote(options.username, safe="")
    secret = known_password if password is None else quote(password, safe="")
    return urlunsplit(parts._replace(netloc=f"{user}:{secret}@{host}"))


def _password(options: Stream.Options) -> str | None:
    """The password from file or environment, if one of them is named; read at each opening, so that it may change."""
    if options.password_env is not None:
        password = os.environ.get(options.password_env)
        if password is None:
            raise Lost(f"the environment variable {options.password_env} ('password_env') is not set")
        return password
    if options.password_file is not None:
        try:
            return Path(options.password_file).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise Lost(f"the password cannot be read ('password_file'): {error}") from error
    return None
