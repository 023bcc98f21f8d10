"""The state database as its tables' keepers use it: opened once, checked to be in place, errors that say what to do."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from collector.state import tables
from collector.stores import Unavailable
from collector.stores.opened import REOPENED, OpenedFile, lost

_log = logging.getLogger(__name__)


class Database:
    """One SQLite file; may be used from several threads, and opened by several processes.

    Attributes:
        path: The file; its folder is created at opening.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._engine: sa.Engine | None = None
        self._file: OpenedFile | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """Open it, creating what is missing.

        Raises:
            Unavailable: It cannot be opened.
        """
        with self._lock:
            if self._engine is None:
                self._open()

    def close(self) -> None:
        """Close it."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
            self._engine = self._file = None

    @contextlib.contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        """A transaction, on the disk when the block has ended.

        Raises:
            Unavailable: It cannot be used now; nothing was written, or it can be written again.
        """
        try:
            with self._opened().begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise _unavailable(self.path, error) from error
        self._check_file()

    def _open(self) -> None:
        engine = tables.engine(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            tables.metadata.create_all(engine)
            file = OpenedFile(self.path)
        except (SQLAlchemyError, OSError) as error:
            engine.dispose()
            raise _unavailable(self.path, error) from error
        self._engine, self._file = engine, file

    def _opened(self) -> sa.Engine:
        """The database, opened anew where its file was lost."""
        self._check_file()
        with self._lock:
            if self._engine is None and self._file is not None:
                self._open()
                _log.error(REOPENED, self.path)
            if self._engine is None:
                raise Unavailable(f"{self.path} is not open")
            return self._engine

    def _check_file(self) -> None:
        """Raise Unavailable, and let go of the file, unless the path still names the one that is open."""
        with self._lock:
            if self._engine is not None and self._file is not None and not self._file.in_place:
                self._engine.dispose()
                self._file.remove_log()
                self._engine = None
                raise Unavailable(lost(self.path))


def _unavailable(path: Path, error: Exception) -> Unavailable:
    cause = getattr(error, "orig", None) or error
    return Unavailable(f"{path}: {cause}; see that its disk has space and the collector's user may write it")
