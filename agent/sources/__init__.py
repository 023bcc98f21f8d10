"""Where pixels come from: one protocol, and one file for each kind of source.

A source runs in the capture process (`agent.capture`) and may block: its deadline is kept from outside.
A new kind is one new file and one line in `SOURCES`; a configuration may also name any `module:Class`.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Protocol, cast, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.redact import redact

Pixels = NDArray[np.uint8]
"""A picture: [height, width, 3], BGR."""

SOURCES = {
    "files": "agent.sources.files:Files",
    "folder": "agent.sources.folder:Folder",
    "gstreamer": "agent.sources.gstreamer:Gstreamer",
    "picamera": "agent.sources.picamera:Picamera",
    "push": "agent.sources.push:Push",
    "stream": "agent.sources.stream:Stream",
    "synthetic": "agent.sources.synthetic:Synthetic",
    "v4l2": "agent.sources.v4l2:V4l2",
}
"""Kinds of source: name in the configuration -> `module:Class`, imported when chosen."""


class Unreadable(Exception):
    """Raised by `read` for a frame that came but cannot be decoded; the next one may be fine."""


class Lost(Exception):
    """Raised by `__enter__` and `read` when the source must be reopened; says why, without credentials."""


class NothingYet(Exception):
    """Raised by `read` and `grab` of a `Patient` source that was asked too early; it will be asked again at once."""


class FrameSource(Protocol):
    """A camera, a stream or files.

    The constructor checks its arguments and touches nothing (raising ValueError with the rule and the way out);
    `with` opens. All calls come from one thread. A class may also have `PATHS`, the names of what is a file path
    (`target`, or an option): these are then relative to the configuration file. With `CAMERA = False` it says that
    nobody films now (files, or what somebody sends): the same picture again, or another size, is nothing to tell of.
    """

    Options: ClassVar[type[msgspec.Struct]]
    """What the configuration may say besides the target."""

    live: bool
    """True: frames come at their own pace and the newest counts. False: every frame, in order, as fast as asked for."""

    def __init__(self, target: str, options: Any) -> None:  # noqa: ANN401  # the implementation's own Options
        ...

    def __enter__(self) -> "FrameSource":  # noqa: PYI034  # Self needs Python 3.11
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


@runtime_checkable
class TwoStep(FrameSource, Protocol):
    """A source that can let a frame pass without the cost of decoding it: `read` is `grab`, then `retrieve`."""

    def grab(self) -> bool:
        """Wait for the next frame; False at the end. Raises `Lost`."""
        ...

    def retrieve(self) -> Pixels:
        """Decode the frame that `grab` waited for. Raises `Unreadable` and `Lost`."""
        ...


@runtime_checkable
class Resumable(FrameSource, Protocol):
    """A source that is not live and can go on where another process of this start left off."""

    def resume(self, frames: int) -> None:
        """Called once after opening: pass over the first `frames` frames, unreadable ones included."""
        ...


@runtime_checkable
class Ending(FrameSource, Protocol):
    """A source that knows where its end should have been."""

    def ending(self) -> str:
        """Called after the end, while open: what the event `stream_ended` says of it; nothing for how many came."""
        ...


@runtime_checkable
class Answering(FrameSource, Protocol):
    """A source whose sender waits for what the model saw in its picture.

    It is not live: every picture counts. That nobody sends one is no fault, however long it lasts. All calls come from
    the thread that reads; `read` is called only after `take` said that it will not wait.
    """

    def fileno(self) -> int:
        """A file that can be read when `take` has something to do."""
        ...

    def take(self) -> bool:
        """Whether a picture is there for `read`."""
        ...

    def numbered(self, number: int) -> None:
        """The picture that `read` gave, or could not decode, is this frame."""
        ...

    def settled(self, number: int, outcome: str, reason: str) -> None:
        """No model will look at a frame: its outcome, and why."""
        ...

    def answered(self, number: int, answer: bytes, *, ok: bool) -> None:
        """What the model saw in a frame, or why it failed, as a JSON object; for a frame of this process."""
        ...

    def requests(self) -> dict[int, int]:
        """Requests that were answered since the last call, per HTTP status."""
        ...

    def probe(self) -> str:
        """Called by `vigie-agent check`, which waits for no picture: whether one could come. Raises `Lost`."""
        ...


@runtime_checkable
class Patient(FrameSource, Protocol):
    """A source that may have nothing for hours without being at fault: it raises `NothingYet` at least every second."""

    patient: bool

    def probe(self) -> str:
        """Called instead of opening it by `vigie-agent check`: what is there; nothing is taken. Raises `Lost`."""
        ...


@runtime_checkable
class Advising(FrameSource, Protocol):
    """A source that can say how to name it better."""

    def advice(self) -> str:
        """Called in the agent's own process, once in each start and before `with`; nothing when all is well."""
        ...


class Resolved(NamedTuple):
    """A source as the configuration names it, checked but not opened."""

    kind: str
    source: type[FrameSource]
    target: str
    options: msgspec.Struct

    def build(self) -> FrameSource:
        """Make the source; nothing is touched before `with`."""
        return self.source(self.target, self.options)

    @property
    def sent(self) -> bool:
        """Whether somebody sends the pictures, in their own time: no rate says how many there should be."""
        return isinstance(self.build(), Answering | Patient)

    @property
    def path(self) -> str:
        """The class as `module:Class`, by which another process finds it."""
        return f"{self.source.__module__}:{self.source.__qualname__}"


SourceSettings = Mapping[str, object]
"""One key that names the kind and its target, and options: `{files: clip.mp4, loop: true}`."""


def resolve(settings: SourceSettings, base_dir: Path) -> Resolved:
    """Find out which source `settings` means, and check them as far as that is possible without touching anything.

    Args:
        settings: As in the configuration.
        base_dir: Folder of the configuration file: relative file paths start there.

    Raises:
        ValueError: Naming the key, the rule and what is known.
    """
    kind = _kind_of(settings)
    source = import_source(SOURCES.get(kind, kind))
    target = settings[kind]
    if isinstance(target, bool) or not isinstance(target, str | int) or target == "":
        raise ValueError(f"'{kind}' must name what to open, as text, got {target!r}")
    given = {key: value for key, value in settings.items() if key != kind}
    _check_options(kind, given, source.Options)
    places = {"target": str(target), **given}
    for name in getattr(source, "PATHS", ()):
        if isinstance(places.get(name), str):
            places[name] = str(base_dir / Path(str(places[name])).expanduser())
    target = str(places.pop("target"))
    try:
        resolved = Resolved(kind, source, target, msgspec.convert(places, source.Options))
        resolved.build()
    except msgspec.ValidationError as error:
        raise ValueError(f"'{kind}': {error}") from error
    return resolved


def import_source(path: str) -> type[FrameSource]:
    """Import the class that `module:Class` names.

    Raises:
        ValueError: Saying what could not be imported.
    """
    module, _, name = path.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"source '{path}' cannot be imported: {error}") from error
    if not isinstance(found, type) or not hasattr(found, "Options"):
        raise ValueError(f"source '{path}' must be a class with Options, see agent.sources.FrameSource")
    return cast("type[FrameSource]", found)


def _kind_of(settings: SourceSettings) -> str:
    """The one key that names a kind of source."""
    kinds = [key for key in settings if key in SOURCES or ":" in key]
    known = ", ".join(SOURCES)
    if not kinds:
        named = ", ".join(f"'{key}'" for key in settings) or "nothing"
        raise ValueError(f"must name one kind of source, got {named}; known: {known}, or your own module:Class")
    if len(kinds) > 1:
        both = " and ".join(f"'{kind}'" for kind in kinds)
        raise ValueError(f"must name one kind of source, got {both}")
    return kinds[0]


def _check_options(kind: str, given: Mapping[str, object], options: type[msgspec.Struct]) -> None:
    """Refuse options that this kind does not have, naming those that it has."""
    known = [field.encode_name for field in msgspec.structs.fields(options)]
    for key in given:
        if key not in known:
            raise ValueError(f"'{kind}' has no option '{key}'; known: {', '.join(known) or 'none'}")


def describe(resolved: Resolved) -> str:
    """The source in a few words for status and logs: kind and target, without credentials."""
    return f"{resolved.kind}: {redact(resolved.target)}"


def frames_text(count: int) -> str:
    """A number of frames in words: `1 frame`, `2 frames`."""
    return f"{count} frame" if count == 1 else f"{count} frames"
