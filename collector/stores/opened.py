"""Which file is open: a path may come to name another one, and what goes into a deleted file is lost."""

from pathlib import Path
from typing import TypeAlias

REOPENED = "%s had been deleted or replaced: what it names now is in use, and what only the old file had is gone"
"""Logged when a lost file's path is open again."""

_Identity: TypeAlias = tuple[int, int]
_NOWHERE: _Identity = (0, 0)


class OpenedFile:
    """A SQLite file with its log, as they were found at opening."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _identity(path)
        self._log = _identity(_beside(path, "-wal"))

    @property
    def in_place(self) -> bool:
        """Whether the path still names the file."""
        return _identity(self.path) == self._file

    def remove_log(self) -> None:
        """Remove the log of a file that is gone: SQLite would replay it into the one that takes its place."""
        if _identity(_beside(self.path, "-wal")) == self._log:
            for suffix in ("-wal", "-shm"):
                _beside(self.path, suffix).unlink(missing_ok=True)


def lost(path: Path) -> str:
    """What to say of a file that is gone."""
    return (
        f"{path} was deleted or replaced while the collector had it open: it is opened anew, and created where there "
        "is none; what only the old file had is gone"
    )


def _identity(path: Path) -> _Identity:
    try:
        found = path.stat()
    except FileNotFoundError:
        return _NOWHERE
    return found.st_dev, found.st_ino


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
