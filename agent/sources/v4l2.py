"""A camera on this machine: USB, or anything else that Linux shows as a video device."""

import logging
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Annotated

import cv2
import msgspec
import numpy as np
from msgspec import Meta

from agent.sources import Lost, Pixels, Unreadable

DEVICES = Path("/dev")

_NUMBERED = re.compile(r"/dev/video[0-9]+")

_log = logging.getLogger(__name__)

Side = Annotated[int, Meta(ge=1, le=16_384)]


class V4l2:
    """Frames from a video device.

    Args:
        target: `/dev/v4l/by-id/…`, which stays the same; or `/dev/videoN`, in short `N`, which a boot may change.
        options: See `Options`.
    """

    class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """What the configuration may say. The camera takes the nearest that it has.

        Attributes:
            width: In pixels; None for what the camera is set to.
            height: In pixels; None for what the camera is set to.
            fps: Frames a second that the camera gives; None for what it is set to.
            fourcc: Pixel format. MJPG needs a tenth of YUYV's share of the USB bus; a camera without it takes its own.
        """

        width: Side | None = None
        height: Side | None = None
        fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
        fourcc: Annotated[str, Meta(pattern="^[ -~]{4}$")] = "MJPG"

    live = True

    def __init__(self, target: str, options: Options) -> None:
        path = f"/dev/video{target}" if target.isdecimal() else target
        if not path.startswith("/dev/"):
            raise ValueError(f"'v4l2' must be a device such as /dev/v4l/by-id/usb-… or /dev/video0, got '{target}'")
        if (options.width is None) != (options.height is None):
            raise ValueError("'v4l2': give both 'width' and 'height', or none of them")
        self._device = DEVICES / path.removeprefix("/dev/")
        self._path = path
        self._options = options
        self._video = cv2.VideoCapture()

    def __enter__(self) -> "V4l2":  # noqa: PYI034  # Self needs Python 3.11
        """Open the device and ask for what the options say."""
        _require(self._device)
        # OpenCV wants the device itself, not the link to it.
        if not self._video.open(str(self._device.resolve()), cv2.CAP_V4L2):
            raise Lost(
                f"{self._path} gives no pictures: another program may be using it, "
                "or it is one of a camera's devices that carry something else"
            )
        self._ask()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the device."""
        self._video.release()

    def advice(self) -> str:
        """What to say about the device's name, if there is such a device."""
        return advice(self._path) if self._device.exists() else ""

    def grab(self) -> bool:
        """Wait for the next frame.

        Raises:
            Lost: None came.
        """
        if not self._video.grab():
            raise Lost(f"{self._path} gives no more frames: it may have been unplugged")
        return True

    def retrieve(self) -> Pixels:
        """Decode the frame that `grab` waited for.

        Raises:
            Unreadable: It cannot be decoded.
        """
        good, pixels = self._video.retrieve()
        if not good or pixels is None:
            raise Unreadable("a frame of the camera cannot be decoded")
        return np.asarray(pixels, np.uint8)

    def read(self) -> Pixels | None:
        """The next frame. Raises `Unreadable` and `Lost`; a camera has no end."""
        self.grab()
        return self.retrieve()

    def _ask(self) -> None:
        """Ask for format, size and rate, in the order in which they depend on each other."""
        options = self._options
        self._video.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._video.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.fourcc))
        if options.width is not None and options.height is not None:
            self._video.set(cv2.CAP_PROP_FRAME_WIDTH, options.width)
            self._video.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height)
            got = round(self._video.get(cv2.CAP_PROP_FRAME_WIDTH)), round(self._video.get(cv2.CAP_PROP_FRAME_HEIGHT))
            if got != (options.width, options.height):
                _log.warning("asked for %d x %d pixels, the camera gives %d x %d", options.width, options.height, *got)
        if options.fps is not None:
            self._video.set(cv2.CAP_PROP_FPS, options.fps)


def advice(path: str) -> str:
    """What to say about a device's name: empty when it always means the same camera."""
    if not _NUMBERED.fullmatch(path):
        return ""
    text = f"{path} can be another camera after the next boot"
    device = DEVICES / path.removeprefix("/dev/")
    for link in _links():
        if link.resolve() == device.resolve():
            return f"{text}; {_shown(link)} always is this one"
    return f"{text}; use its name in /dev/v4l/by-id if it has one"


def _require(device: Path) -> None:
    """Raise `Lost` when the device is not there or may not be used."""
    if not device.exists():
        there = ", ".join(_shown(path) for path in present()) or "none"
        raise Lost(f"{_shown(device)} does not exist; video devices here: {there}")
    if not os.access(device, os.R_OK | os.W_OK):
        raise Lost(f"{_shown(device)} may not be used by this user; add it to the group that may: usually 'video'")


def present() -> list[Path]:
    """Video devices of this machine, those with a lasting name first."""
    links = _links()
    named = {link.resolve() for link in links}
    numbered = sorted(DEVICES.glob("video[0-9]*"), key=lambda path: (len(path.name), path.name))
    return links + [path for path in numbered if path.resolve() not in named]


def _links() -> list[Path]:
    return sorted((DEVICES / "v4l" / "by-id").glob("*"))


def _shown(path: Path) -> str:
    """The name by which the configuration knows it."""
    return f"/dev/{path.relative_to(DEVICES)}"
