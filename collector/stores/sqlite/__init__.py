"""The embedded store: one SQLite file, which two processes may share.

===========  ======================================================
schema       the tables
keys         names and their integers
write        batches into tables, in one transaction
read         tables into answers
holes        batches that must exist and have not arrived
ledger       the ledger out of its tables
entries      its single entries, and which frames have an observation
expire       deleting what is too old
===========  ======================================================

A write is on the disk (`synchronous = FULL`) when `write` returns. Readers never wait for writers (WAL). Before and
after each write the path must name the file that was opened: what goes into a deleted one is lost.
"""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self, TypeVar

from collector.stores import Rejected, Unavailable
from collector.stores.answers import (
    Balance,
    DeviceFacts,
    Entry,
    EpochBooks,
    EventSeen,
    Hole,
    LaneKey,
    ModelFacts,
    Pace,
    Place,
    Received,
    ReceivedStatus,
    Scope,
    Seen,
    VitalsSeen,
    Wanted,
    WindowSum,
    Written,
)
from collector.stores.opened import REOPENED, OpenedFile, lost
from collector.stores.sqlite import entries, expire, holes, ledger, read, schema, write
from collector.stores.sqlite.keys import Keys

BUSY_S = 5.0
"""How long a process waits for another one's write."""

LOST_RETRY_S = 0.25
"""After which a file that was deleted is to be opened anew."""

DAY_NS = 86_400 * 10**9

_log = logging.getLogger(__name__)

T = TypeVar("T")


class SQLite:
    """A store in one file.

    Attributes:
        path: The file; its folder is created at opening.
    """

    def __init__(
        self, path: Path, *, detail_days: float = 30, minutes_days: float = 90, hours_days: float = 1095
    ) -> None:
        self.path = Path(path)
        self._retention = write.Retention(
            int(detail_days * DAY_NS), int(minutes_days * DAY_NS), int(hours_days * DAY_NS)
        )
        self._writing = threading.Lock()
        self._pooling = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._keys: Keys | None = None
        self._readers: list[sqlite3.Connection] = []
        self._file: OpenedFile | None = None
        self._lost = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Open the file, creating it and its tables where they are missing.

        Raises:
            Unavailable: It cannot be opened, or a newer release made it.
        """
        with self._writing:
            if self._writer is None:
                with self._understood():
                    self._open()

    def close(self) -> None:
        """Close the file."""
        with self._writing:
            self._lost = False
            self._close()

    def probe(self) -> None:
        """Raise Unavailable unless the file can be written."""
        self._write(lambda connection, _: _probe(connection))

    def write(self, batches: Sequence[Received]) -> list[Written]:
        """Write batches in one transaction, on the disk when this returns.

        Raises:
            Rejected: A batch contradicts what is stored.
            Unavailable: The file cannot be written now.
        """
        return self._write(lambda connection, keys: write.write(connection, keys, batches, self._retention))

    def write_statuses(self, statuses: Sequence[ReceivedStatus]) -> None:
        """Write births and last wills, oldest first.

        Raises:
            Unavailable: The file cannot be written now.
        """
        self._write(lambda connection, keys: write.write_statuses(connection, keys, statuses))

    def expire(self, now_ns: int) -> int:
        """Delete what is older than the retention; the count of rows.

        Raises:
            Unavailable: The file cannot be written now.
        """
        with self._reading() as connection:
            return expire.expire(connection, self._step, self._retention, now_ns)

    def devices(self) -> list[DeviceFacts]:
        """Every device that ever wrote."""
        with self._reading() as connection:
            return read.devices(connection)

    def models(self) -> list[ModelFacts]:
        """Every model that a device told of."""
        with self._reading() as connection:
            return read.models(connection)

    def observations(self, wanted: Wanted, before: Place | None, limit: int) -> list[Seen]:
        """Observations, newest first."""
        with self._reading() as connection:
            return read.observations(connection, wanted, before, limit)

    def windows(
        self, scope: Scope, from_ns: int, to_ns: int, every_ns: int | None, *, hours: bool = False
    ) -> list[WindowSum]:
        """Sums of windows per stream, maker and bucket."""
        with self._reading() as connection:
            return read.windows(connection, scope, from_ns, to_ns, every_ns, hours=hours)

    def ledger(self, site: str, device: str, from_ns: int | None = None, to_ns: int | None = None) -> list[EpochBooks]:
        """The books of every start of a device."""
        with self._reading() as connection:
            return ledger.read(connection, site, device, from_ns, to_ns)

    def balances(self) -> list[Balance]:
        """The sums of every device's ledger."""
        with self._reading() as connection:
            return ledger.balances(connection)

    def holes(self) -> list[Hole]:
        """Batches of all devices that must exist and did not arrive."""
        with self._reading() as connection:
            return holes.read(connection)

    def entries(self, lane: LaneKey, after: int, limit: int) -> list[Entry]:
        """The ledger's entries of a lane, by number."""
        with self._reading() as connection:
            return entries.entries(connection, lane, after, limit)

    def frames(self, site: str, device: str, from_ns: int, to_ns: int) -> dict[tuple[int, str, str], list[int]]:
        """Numbers of the frames that have an observation."""
        with self._reading() as connection:
            return entries.frames(connection, site, device, from_ns, to_ns)

    def events(self, scope: Scope, from_ns: int, to_ns: int, limit: int) -> list[EventSeen]:
        """Events, newest first."""
        with self._reading() as connection:
            return read.events(connection, scope, from_ns, to_ns, limit)

    def vitals(self, scope: Scope, from_ns: int, to_ns: int, limit: int) -> list[VitalsSeen]:
        """Vitals, newest first."""
        with self._reading() as connection:
            return read.vitals(connection, scope, from_ns, to_ns, limit)

    def paces(self, since_ns: int) -> list[Pace]:
        """How fast each stream has been."""
        with self._reading() as connection:
            return read.paces(connection, since_ns)

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect()
        try:
            _prepare(connection, self.path)
            file = OpenedFile(self.path)
        except BaseException:
            connection.close()
            raise
        with self._pooling:
            self._file, self._lost = file, False
            self._writer, self._keys = connection, Keys(connection)

    def _close(self) -> None:
        with self._pooling:
            for connection in (self._writer, *self._readers):
                if connection is not None:
                    connection.close()
            self._writer = self._keys = None
            self._readers.clear()

    def _check_file(self) -> None:
        """Raise Unavailable unless the path still names the file that is open."""
        if self._file is not None and not self._file.in_place:
            raise Unavailable(lost(self.path), retry_after_s=LOST_RETRY_S)

    def _check_writable(self) -> None:
        """As `_check_file`; the lost file is let go of, so that the next write opens the path anew."""
        try:
            self._check_file()
        except Unavailable:
            self._lost = True
            self._close()
            if self._file is not None:
                self._file.remove_log()
            raise

    def _connect(self) -> sqlite3.Connection:
        # Without `psow` each commit begins in a sector of its own: a disk that spoils the sector that it is writing
        # when the power fails spoils none that was committed, and acked, before.
        name = f"{self.path.absolute().as_uri()}?psow=0"
        connection = sqlite3.connect(name, timeout=BUSY_S, isolation_level=None, check_same_thread=False, uri=True)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -16000")
        return connection

    def _write(self, work: Callable[[sqlite3.Connection, Keys], T]) -> T:
        with self._writing, self._understood():
            if self._lost:
                self._open()
                _log.error(REOPENED, self.path)
            if self._writer is None or self._keys is None:
                raise Unavailable(f"{self.path} is not open")
            self._check_writable()
            answer = work(self._writer, self._keys)
            self._check_writable()
            return answer

    def _step(self, step: Callable[[sqlite3.Connection], int]) -> int:
        """One step of expiring, in a transaction of its own."""

        def work(connection: sqlite3.Connection, _: Keys) -> int:
            connection.execute("BEGIN IMMEDIATE")
            try:
                count = step(connection)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            return count

        return self._write(work)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection in a read transaction: all its statements see one state of the file."""
        with self._understood():
            connection, file = self._reader()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._put_back(connection, file)

    def _reader(self) -> tuple[sqlite3.Connection, OpenedFile | None]:
        """A connection, and the file that it reads."""
        with self._pooling:
            if self._writer is None:
                raise Unavailable(f"{self.path} is not open")
            self._check_file()
            file = self._file
            if self._readers:
                return self._readers.pop(), file
        connection = self._connect()
        connection.execute("PRAGMA query_only = ON")
        return connection, file

    def _put_back(self, connection: sqlite3.Connection, file: OpenedFile | None) -> None:
        with self._pooling:
            if self._writer is not None and self._file is file:
                self._readers.append(connection)
                return
        connection.close()

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """SQLite's errors as what to do next."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError) as error:
            raise Rejected({}, f"the store cannot hold it: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{self.path}: {error}; {_advice(error)}") from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, once, however many processes open the file at the same time."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > schema.VERSION:
            raise Unavailable(f"{path} was made by a newer release of Vigie: upgrade the collector")
        if version < schema.VERSION:
            for statement in _missing(version):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {schema.VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _missing(version: int) -> Iterator[str]:
    """What makes a file of `version` (0: an empty one) one of ours."""
    if not version:
        yield from schema.TABLES
        return
    for step in range(version, schema.VERSION):
        yield from schema.UPGRADES[step]


def _probe(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("UPDATE devices SET site = site WHERE id = 0")
    finally:
        connection.execute("ROLLBACK")


def _advice(error: Exception) -> str:
    text = str(error)
    if "full" in text or "No space" in text:
        return "free some space on that disk"
    if "locked" in text or "busy" in text:
        return "another process has been writing for too long"
    if "readonly" in text or "read-only" in text or "ermission" in text or "unable to open" in text:
        return "give the collector's user the right to write the file and its folder"
    if "malformed" in text or "not a database" in text:
        return "set the file aside and start with a new one, or restore a backup"
    return "see that its disk works"
