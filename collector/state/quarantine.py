"""Messages that could not be stored, with the reason: kept before they are refused, bounded in bytes."""

import contextlib
import hashlib
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from collector.books import Quarantined
from collector.state import tables
from collector.state.tables import quarantine as table
from collector.stores import Unavailable
from collector.stores.opened import REOPENED, OpenedFile, lost
from shared.records import Header, StreamRuns

_log = logging.getLogger(__name__)
_streams = msgspec.json.Decoder(dict[str, StreamRuns])


@dataclass(frozen=True, slots=True)
class Bad:
    """A message on its way into quarantine.

    Attributes:
        topic: It came on this topic.
        payload: As it came.
        cause: One word for metrics.
        reason: One sentence for people.
        received_at_ns: When it came.
        header: What could be read of it, where it names the topic's own device.
    """

    topic: str
    payload: bytes
    cause: str
    reason: str
    received_at_ns: int
    header: Header | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A message in quarantine; `payload` is None in lists."""

    id: int
    topic: str
    size: int
    cause: str
    reason: str
    received_at_ns: int
    epoch: int | None
    nonce: str | None
    lane: str | None
    batch: int | None
    payload: bytes | None = None


class Quarantine:
    """The quarantine in the state database; may be used from several threads.

    Attributes:
        path: The database's file.
        mb_max: Size of all payloads at most; beyond it the oldest go.
        dropped: How many have gone so.
    """

    def __init__(self, path: Path, *, mb_max: int = 100) -> None:
        self.path = Path(path)
        self.mb_max = mb_max
        self.dropped = 0
        self._engine: sa.Engine | None = None
        self._file: OpenedFile | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Open the database, creating what is missing.

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

    def probe(self) -> None:
        """Raise Unavailable unless it can be written."""
        with self._connected() as connection:
            connection.execute(table.delete().where(table.c.id < 0))

    def put(self, bad: Sequence[Bad]) -> int:
        """Keep messages, on the disk when this returns; how many are new.

        Raises:
            Unavailable: They cannot be kept now.
        """
        new = 0
        with self._connected() as connection:
            for one in bad:
                new += _insert(connection, one)
            self.dropped += _bound(connection, self.mb_max * 1_000_000)
        return new

    def newest(self, limit: int = 100) -> list[Kept]:
        """The newest first, without their payloads.

        Raises:
            Unavailable: They cannot be read now.
        """
        with self._connected() as connection:
            rows = connection.execute(sa.select(*_LISTED).order_by(table.c.id.desc()).limit(limit)).all()
        return [Kept(*row) for row in rows]

    def get(self, number: int) -> Kept | None:
        """One with its payload, or None.

        Raises:
            Unavailable: It cannot be read now.
        """
        with self._connected() as connection:
            row = connection.execute(sa.select(*_LISTED, table.c.payload).where(table.c.id == number)).one_or_none()
        return Kept(*row) if row else None

    def remove(self, number: int) -> None:
        """Take one out.

        Raises:
            Unavailable: It cannot be written now.
        """
        with self._connected() as connection:
            connection.execute(table.delete().where(table.c.id == number))

    def of_device(self, site: str, device: str) -> list[Quarantined]:
        """Batches of a device whose header could be read.

        Raises:
            Unavailable: They cannot be read now.
        """
        columns = ("epoch", "nonce", "lane", "batch", "sealed_at_ns", "streams")
        with self._connected() as connection:
            rows = connection.execute(
                sa.select(*(table.c[name] for name in columns))
                .where(table.c.site == site, table.c.device == device, table.c.batch.is_not(None))
                .order_by(table.c.id)
            ).all()
        return [
            Quarantined(epoch, nonce, lane, batch, sealed_at_ns, _streams.decode(streams))
            for epoch, nonce, lane, batch, sealed_at_ns, streams in rows
        ]

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        """A transaction whose errors say what to do next."""
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


_LISTED = tuple(
    table.c[name]
    for name in ("id", "topic", "bytes", "cause", "reason", "received_at_ns", "epoch", "nonce", "lane", "batch")
)


def _insert(connection: sa.Connection, bad: Bad) -> int:
    sha256 = hashlib.sha256(bad.payload).hexdigest()
    known = connection.execute(
        sa.select(table.c.id).where(table.c.topic == bad.topic, table.c.sha256 == sha256)
    ).one_or_none()
    if known is not None:
        return 0
    values: dict[str, object] = {
        "topic": bad.topic,
        "sha256": sha256,
        "payload": bad.payload,
        "bytes": len(bad.payload),
        "cause": bad.cause,
        "reason": bad.reason,
        "received_at_ns": bad.received_at_ns,
    }
    if bad.header is not None:
        values |= {name: getattr(bad.header, name) for name in _FROM_HEADER}
        values["streams"] = msgspec.json.encode(bad.header.streams).decode()
    connection.execute(table.insert().values(**values))
    return 1


_FROM_HEADER = ("site", "device", "epoch", "nonce", "lane", "batch", "sealed_at_ns")


def _bound(connection: sa.Connection, bytes_max: int) -> int:
    """Delete the oldest until the rest fits; how many."""
    total = connection.execute(sa.select(sa.func.coalesce(sa.func.sum(table.c.bytes), 0))).scalar_one()
    deleted = 0
    while total > bytes_max:
        rows = connection.execute(sa.select(table.c.id, table.c.bytes).order_by(table.c.id).limit(100)).all()
        for number, size in rows:
            if total <= bytes_max:
                break
            connection.execute(table.delete().where(table.c.id == number))
            total -= size
            deleted += 1
    return deleted


def _unavailable(path: Path, error: Exception) -> Unavailable:
    cause = getattr(error, "orig", None) or error
    return Unavailable(f"{path}: {cause}; see that its disk has space and the collector's user may write it")
