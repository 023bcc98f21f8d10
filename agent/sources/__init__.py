"""Where pixels come from: one protocol, and one file for each kind of source.

A source runs in the capture process (`agent.capture`) and may block: its deadline is kept from outside.
A new kind is one new file and one line in `SOURCES`; a configuration may also name any `module:Class`.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""A picture: [height, width, 3], BGR."""

SOURCES = {
    "files": "agent.sources.files:Files",
    "stream": "agent.sources.stream:Stream",
    "synthetic": "agent.sources.synthetic:Synthetic",
    "v4l2": "agent.sources.v4l2:V4l2",
}
"""Kinds of source: name in the configuration -> `module:Class`, imported when chosen."""


class Unreadable(Exception):
    """Raised by `read` for a frame that came but cannot be decoded; the next one may be fine."""


class Lost(Exception):
    """Raised by `__enter__` and `read` when the source must be reopened; says why, without credentials."""


class FrameSource(Protocol):
    """A camera, a stream or files.

    The constructor checks its arguments and touches nothing (raising ValueError with the rule and the way out);
    `with` opens. All calls come from one thread.
    """

    Options: ClassVar[type[msgspec.Struct]]
    """What the configuration may say besides the target."""

    live: bool
    """True: frames come at their own pace and the newest counts. False: every frame, in order, as fast as asked for."""

    def __init__(self, target: str, options: Any) -> None:  # noqa: ANN401  # the implementation's own Options
        ...

    def __enter__(self) -> "FrameSource":
        """Open; raises `Lost` when that fails."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; never raises."""
        ...

    def read(self) -> Pixels | None:
        """The next frame, or None at the end. The array is the caller's until the next call.

        Raises:
            Unreadable: A frame came but cannot be decoded.
            Lost: The source must be reopened.
        """
        ...


SourceSettings = Mapping[str, object]
"""One key that names the kind and its target, and options: `{files: clip.mp4, loop: true}`."""
