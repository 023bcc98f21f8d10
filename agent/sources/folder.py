"""A folder that pictures are put into: by a camera's FTP, a microscope, another program."""

import contextlib
import itertools
import json
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from agent.sources import Lost, NothingYet, Pixels
from agent.sources.files import PICTURE_SUFFIXES, natural

_SLICE_S = 0.2
"""At most this long is waited at a time: the agent may want to stop."""
_REST = 10
"""A look at a folder of very many files is followed by a rest of so many times as long."""
_FORGET_FROM = 10_000
"""Remembered files that are gone are forgotten when there are more of them than this, and than three times the others:
a network folder that is away for a while looks empty."""

_log = logging.getLogger(__name__)


class State(NamedTuple):
    """By what a file's content is told from another one of the same name."""

    mtime_ns: int
    size: int


class Folder:
    """Pictures as they are put into a folder: each once, the oldest first.

    A file is read when two looks found it the same: then nobody writes to it any more.

    Args:
        target: Path of the folder.
        options: See `Options`.
    """

    class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """What the configuration may say.

        Attributes:
            then: What becomes of a picture that was read: `keep`, `delete`, or `move` to `move_to`.
            move_to: The folder for that.
            existing: Read those too that are there before the first look of all.
            remember: File that holds which ones were read, for after a restart.
            poll_s: Seconds between two looks.
        """

        then: Literal["keep", "delete", "move"] = "keep"
        move_to: str | None = None
        existing: bool = True
        remember: str | None = None
        poll_s: Annotated[float, Meta(ge=0.05, le=3600)] = 1.0

    PATHS = ("target", "move_to", "remember")

    live = False
    patient = True

    _memory: "_Memory"  # since `with`

    def __init__(self, target: str, options: Options) -> None:
        if (options.then == "move") != (options.move_to is not None):
            raise ValueError("'folder': 'then: move' and 'move_to' go together")
        if options.move_to is not None and Path(options.move_to).resolve() == Path(target).resolve():
            raise ValueError("'folder': 'move_to' must be another folder than the one that is watched")
        if options.remember is None and (options.then == "keep" or not options.existing):
            raise ValueError(
                "'folder' needs 'remember', a file that holds which pictures were read, so that a restart neither "
                "repeats nor misses any; or 'then: delete' or 'then: move' with 'existing: true'"
            )
        self._folder = Path(target)
        self._options = options
        self._device = 0
        self._found: dict[str, State] = {}  # in the look before
        self._ready: deque[tuple[str, State]] = deque()
        self._current: tuple[str, State] | None = None
        self._look_at = 0.0

    def __enter__(self) -> "Folder":  # noqa: PYI034  # Self needs Python 3.11
        """See whether the folder is there, and what was read of it before."""
        options = self._options
        self._reach()
        try:
            if options.move_to is not None:
                Path(options.move_to).mkdir(parents=True, exist_ok=True)
            self._memory = _Memory(None if options.remember is None else Path(options.remember))
            if self._memory.new and not options.existing:
                self._memory.add(self._look().items())
        except OSError as error:
            raise Lost(f"{error.filename}: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish with the last picture."""
        self._finish()
        self._memory.close()

    def probe(self) -> str:
        """How many pictures are there, without reading any."""
        self._reach()
        count = len(self._look())
        return f"{self._folder} is there, with {count} picture{'' if count == 1 else 's'}; check reads none"

    def grab(self) -> bool:
        """Go to the next picture, when there is one; what was read before is done with.

        Raises:
            NothingYet: There is none.
            Lost: The folder is gone.
        """
        self._finish()
        if not self._ready:
            wait_s = self._look_at - time.monotonic()
            if wait_s > 0:
                time.sleep(min(wait_s, _SLICE_S))
            if wait_s > _SLICE_S:
                raise NothingYet
            self._gather()
        if not self._ready:
            raise NothingYet
        self._current = self._ready.popleft()
        self._memory.add([self._current])
        return True

    def retrieve(self) -> Pixels:
        """The picture that `grab` went to.

        Raises:
            Unreadable: It cannot be decoded.
        """
        from agent import pictures  # noqa: PLC0415  # which lists folders by this package

        assert self._current is not None  # noqa: S101  # for the type checker: `grab` comes first
        return pictures.read(self._folder / self._current[0])

    def read(self) -> Pixels | None:
        """The next picture. Raises `NothingYet`, `Unreadable` and `Lost`; a folder has no end."""
        self.grab()
        return self.retrieve()

    def _reach(self) -> None:
        """See whether the folder is there and allows what is to be done."""
        try:
            self._device = self._folder.stat().st_dev
        except OSError as error:
            raise Lost(f"{self._folder}: {error.strerror}") from error
        then = self._options.then
        if then != "keep" and not os.access(self._folder, os.W_OK | os.X_OK):
            raise Lost(f"{self._folder}: this user may not {then} files in it; make it writable, or use 'then: keep'")

    def _gather(self) -> None:
        """Look, and take what is new and did not change since the look before."""
        began = time.monotonic()
        before, self._found = self._found, self._look()
        self._look_at = time.monotonic() + max(self._options.poll_s, _REST * (time.monotonic() - began))
        self._memory.forget(self._found)
        new = [item for item in self._found.items() if before.get(item[0]) == item[1] and not self._memory.has(*item)]
        self._ready.extend(sorted(new, key=lambda item: (item[1].mtime_ns, natural(item[0]))))

    def _look(self) -> dict[str, State]:
        """Every picture file of some size that is there.

        Raises:
            Lost: The folder is gone, or another file system's is in its place.
        """
        found = {}
        try:
            if self._folder.stat().st_dev != self._device:
                raise Lost(f"{self._folder} is on another file system than before: was it mounted or unmounted?")
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name[0] != "." and os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES:  # noqa: PTH122  # a Path for each of thousands costs more than the look
                        with contextlib.suppress(FileNotFoundError):  # gone since
                            status = entry.stat()
                            if status.st_size and entry.is_file():
                                found[entry.name] = State(status.st_mtime_ns, status.st_size)
        except OSError as error:
            raise Lost(f"{self._folder}: {error.strerror}") from error
        return found

    def _finish(self) -> None:
        """Do with the last picture what the options say."""
        if self._current is None:
            return
        name, state = self._current
        self._current = None
        path = self._folder / name
        try:
            if self._options.then == "keep" or _state_of(path) != state:
                return  # overwritten meanwhile: a new picture
            if self._options.then == "delete":
                path.unlink()
            else:
                shutil.move(path, _free_name(Path(str(self._options.move_to)), name))
        except OSError as error:
            _log.warning("%s: cannot %s it: %s", path, self._options.then, error.strerror or error)


class _Memory:
    """Which pictures were read: a line for each, in a file that outlives this process.

    Args:
        path: The file; None to remember only for now.

    Attributes:
        new: Whether nothing was remembered before.

    Raises:
        OSError: It can't be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self.new = path is None or not path.exists()
        self._path = path
        self._read = {} if path is None or self.new else _load(path)
        self._lines: IO[str] | None = None
        if path is not None and not self.new:
            self._open(path)

    def has(self, name: str, state: State) -> bool:
        """Whether this very file was read."""
        return self._read.get(name) == state

    def add(self, items: Iterable[tuple[str, State]]) -> None:
        """Remember files."""
        if self._path is not None and self._lines is None:
            self._open(self._path)
        for name, state in items:
            self._read[name] = state
            if self._lines is not None:
                self._lines.write(_line(name, state))
        if self._lines is not None:
            self._lines.flush()

    def forget(self, present: Collection[str]) -> None:
        """Forget files that are gone, when they have become very many."""
        if self._lines is None or self._path is None or len(self._read) <= _FORGET_FROM + 3 * len(present):
            return
        self._read = {name: state for name, state in self._read.items() if name in present}
        self.close()
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.write_text("".join(map(_line, self._read, self._read.values())), encoding="utf-8")
        fresh.replace(self._path)
        self._open(self._path)

    def close(self) -> None:
        """Let go of the file."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lines = path.open("a", encoding="utf-8")
        if path.stat().st_size:
            self._lines.write("\n")  # a power cut may have left half a line


def _line(name: str, state: State) -> str:
    """A file name may hold anything but a slash: also the end of a line, which JSON writes otherwise."""
    return json.dumps([name, *state]) + "\n"


def _load(path: Path) -> dict[str, State]:
    """What a memory file says; a line that a power cut left half is passed over."""
    read = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError, TypeError):
            name, mtime_ns, size = json.loads(line)
            read[str(name)] = State(int(mtime_ns), int(size))
    return read


def _state_of(path: Path) -> State:
    status = path.stat()
    return State(status.st_mtime_ns, status.st_size)


def _free_name(folder: Path, name: str) -> Path:
    """Where in `folder` to put a file: under its name, or with a number when that is taken."""
    path = folder / name
    numbers = itertools.count(2)
    while path.exists():
        path = folder / f"{Path(name).stem}-{next(numbers)}{Path(name).suffix}"
    return path
