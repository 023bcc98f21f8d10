"""Messages that could not be stored, with the reason: kept before they are refused, bounded in bytes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import sqlalchemy as sa

from collector.books import Quarantined
from collector.state.database import Database
from collector.state.tables import quarantine as table
from shared import topics
from shared.records import Header, StreamRuns

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
    """A message in quarantine; `payload` is None in lists, and empty where it was dropped: `size` is what is left."""

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
        mb_max: Size of all payloads at most; beyond it the oldest go.
        dropped: How many have gone so.
    """

    def __init__(self, database: Database | Path, *, mb_max: int = 100) -> None:
        self.mb_max = mb_max
        self.dropped = 0
        self._database = database if isinstance(database, Database) else Database(database)

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
        self._database.open()

    def close(self) -> None:
        """Close it."""
        self._database.close()

    @property
    def path(self) -> Path:
        """The database's file."""
        return self._database.path

    def probe(self) -> None:
        """Raise Unavailable unless it can be written."""
        with self._database.connected() as connection:
            connection.execute(table.delete().where(table.c.id < 0))

    def put(self, bad: Sequence[Bad]) -> int:
        """Keep messages, on the disk when this returns; how many are new.

        Raises:
            Unavailable: They cannot be kept now.
        """
        new = 0
        with self._database.connected() as connection:
            for one in bad:
                new += _insert(connection, one)
            self.dropped += _bound(connection, self.mb_max * 1_000_000)
        return new

    def newest(
        self, limit: int | None = 100, device: tuple[str, str] | None = None, before: int | None = None
    ) -> list[Kept]:
        """The newest first, without their payloads: of all, or on the topics of one device (its site and name).

        Raises:
            Unavailable: They cannot be read now.
        """
        wanted = sa.select(*_LISTED).order_by(table.c.id.desc()).limit(limit)
        if device is not None:
            wanted = wanted.where(table.c.topic.startswith(topics.prefix(*device), autoescape=True))
        if before is not None:
            wanted = wanted.where(table.c.id < before)
        with self._database.connected() as connection:
            return [Kept(*row) for row in connection.execute(wanted)]

    def get(self, number: int) -> Kept | None:
        """One with its payload, or None.

        Raises:
            Unavailable: It cannot be read now.
        """
        with self._database.connected() as connection:
            row = connection.execute(sa.select(*_LISTED, table.c.payload).where(table.c.id == number)).one_or_none()
        return Kept(*row) if row else None

    def remove(self, number: int) -> None:
        """Take one out.

        Raises:
            Unavailable: It cannot be written now.
        """
        with self._database.connected() as connection:
            connection.execute(table.delete().where(table.c.id == number))

    def drop(self, number: int) -> None:
        """Let go of a payload. Of a batch whose header could be read the entry stays, for the ledger.

        Raises:
            Unavailable: It cannot be written now.
        """
        with self._database.connected() as connection:
            _drop(connection, number)

    def devices(self) -> set[tuple[str, str]]:
        """Site and name of each device that has a batch here whose header could be read.

        Raises:
            Unavailable: They cannot be read now.
        """
        wanted = sa.select(table.c.site, table.c.device).where(table.c.batch.is_not(None)).distinct()
        with self._database.connected() as connection:
            return {(site, device) for site, device in connection.execute(wanted)}

    def of_device(self, site: str, device: str) -> list[Quarantined]:
        """Batches of a device whose header could be read.

        Raises:
            Unavailable: They cannot be read now.
        """
        columns = ("epoch", "nonce", "lane", "batch", "sealed_at_ns", "streams")
        with self._database.connected() as connection:
            rows = connection.execute(
                sa.select(*(table.c[name] for name in columns))
                .where(table.c.site == site, table.c.device == device, table.c.batch.is_not(None))
                .order_by(table.c.id)
            ).all()
        return [
            Quarantined(epoch, nonce, lane, batch, sealed_at_ns, _streams.decode(streams))
            for epoch, nonce, lane, batch, sealed_at_ns, streams in rows
        ]


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
    """Let go of the oldest payloads until the rest fits, then of the oldest entries; how many."""
    dropped = 0
    total = connection.execute(_TOTAL).scalar_one()
    for whole in (True, False):
        if total <= bytes_max:
            break
        rows = connection.execute(
            sa.select(table.c.id, table.c.bytes).where(_WHOLE if whole else sa.true()).order_by(table.c.id)
        ).all()
        for number, size in rows:
            if total <= bytes_max:
                break
            if whole:
                total -= size - _drop(connection, number)
            else:
                connection.execute(table.delete().where(table.c.id == number))
                total -= size
            dropped += whole
    return dropped


_TOTAL = sa.select(sa.func.coalesce(sa.func.sum(table.c.bytes), 0))
_WHOLE = table.c.payload != b""


def _drop(connection: sa.Connection, number: int) -> int:
    """Empty an entry that the ledger needs, delete another; the bytes that are left of it."""
    streams = connection.execute(
        sa.select(table.c.streams).where(table.c.id == number, table.c.batch.is_not(None))
    ).scalar_one_or_none()
    if streams is None:
        connection.execute(table.delete().where(table.c.id == number))
        return 0
    connection.execute(table.update().where(table.c.id == number).values(payload=b"", bytes=len(streams)))
    return len(streams)
