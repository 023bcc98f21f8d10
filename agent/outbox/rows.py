"""The outbox's rows and epochs, and the transactions that change them on disk and in memory alike.

A batch's row is written once and never changed. What changes stands in one small row per epoch, which is written
with every few batches: what was not written yet is counted again at the next start, or only costs a resend.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.outbox import file, ranges
from shared import failpoints
from shared.records import Lane, StreamRuns, TimeQuality

LANES: tuple[Lane, Lane] = ("summary", "detail")
"""In the order of their importance."""

_NUMBERS = 1 << 40
"""A row's key is epoch * this + batch number: rows lie in the order of sealing, and no index is needed."""

_SHRINK_PAGES = 1024
_SHRINK_STEP = 256
_COLUMNS = "id, boot_ns, offset_ns, quality, streams, body"
_Runs = msgspec.json.Decoder(dict[str, StreamRuns])


class LaneState(msgspec.Struct):
    """One lane of an epoch.

    Attributes:
        sealed: Number of its last batch.
        waiting: Batches on disk that the collector has not settled.
        settled: Those that it has; batches that the quota thinned may lie in between.
    """

    sealed: int = 0
    waiting: int = 0
    settled: list[tuple[int, int]] = []


class Epoch(msgspec.Struct):
    """One start of the agent.

    Attributes:
        number: 1, 2, 3 ...
        nonce: As in the headers.
        boot_id: Of the boot that it belongs to; empty where the kernel has none.
        clean: Whether it ended as it should.
        offset_ns: From boot to wall time for batches sealed before the time was known; fixed once.
        quality: Where that came from.
        sent: Detail batches that may have been sent; the quota thins none of them.
        tails: Last sealed frame per stream.
        summary: The lane.
        detail: The lane.
    """

    number: int
    nonce: str
    boot_id: str
    clean: bool = False
    offset_ns: int | None = None
    quality: TimeQuality | None = None
    sent: list[tuple[int, int]] = []
    tails: dict[str, int] = {}
    summary: LaneState = msgspec.field(default_factory=LaneState)
    detail: LaneState = msgspec.field(default_factory=LaneState)

    def lane(self, name: Lane) -> LaneState:
        """Its lane of that name."""
        return self.summary if name == "summary" else self.detail


class Row(NamedTuple):
    """A batch: `offset_ns` and `quality` are None when the time was not known at its sealing."""

    number: int
    boot_ns: int
    offset_ns: int | None
    quality: TimeQuality | None
    streams: bytes
    body: bytes

    @property
    def runs(self) -> dict[str, StreamRuns]:
        """The frames that it covers."""
        return _Runs.decode(self.streams)


class Rows:
    """The open database. One thread at a time: the outbox has the lock.

    Args:
        path: Of the file; None for a database in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._undo: dict[int, bytes] = {}
        self._dirty: set[int] = set()
        self._flushed: set[int] = set()
        self.epochs: dict[int, Epoch] = {}

    def open(self) -> None:
        """Open and check the file, and read the epochs.

        Raises:
            file.Damaged: It is no outbox.
            msgspec.MsgspecError: It is no outbox.
            sqlite3.Error: It is damaged, or cannot be opened, read or written.
        """
        if self.path and self.path.is_dir():
            raise file.Damaged("it is a folder")
        if self.path and self.path.exists() and not self.path.stat().st_size:
            raise file.Damaged("it is empty")
        file.check(self.db)
        for (state,) in self.db.execute("SELECT state FROM epoch").fetchall():
            epoch = read_epoch(state)
            self.epochs[epoch.number] = epoch
            for lane in LANES:
                self._catch_up(epoch, lane)

    def _catch_up(self, epoch: Epoch, lane: Lane) -> None:
        """Count what was put after the epoch's row was last written."""
        state = epoch.lane(lane)
        while rows := self.select(epoch, lane, state.sealed + 1, _NUMBERS - 1, 1000):
            for row in rows:
                count_in(epoch, lane, row.number, row.runs)

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    @property
    def db(self) -> sqlite3.Connection:
        """The connection.

        Raises:
            sqlite3.Error: It cannot be opened.
        """
        if self._db is None:
            self._db = file.connect(self.path)
        return self._db

    @property
    def dirty(self) -> bool:
        """Whether something in memory is not on disk."""
        return bool(self._dirty)

    def in_order(self) -> list[Epoch]:
        """The epochs, oldest first."""
        return [self.epochs[number] for number in sorted(self.epochs)]

    def change(self, epoch: Epoch) -> Epoch:
        """Note how `epoch` was before this transaction changes it: if it fails, memory goes back too."""
        if epoch.number not in self._undo:
            self._undo[epoch.number] = msgspec.json.encode(epoch)
        self._dirty.add(epoch.number)
        return epoch

    def touch(self, epoch: Epoch) -> None:
        """Note that `epoch` changed in memory, whatever becomes of a transaction."""
        self._dirty.add(epoch.number)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, on disk and in memory.

        Raises:
            sqlite3.Error: Nothing was changed.
        """
        self._undo.clear()
        self._flushed.clear()
        db = self.db
        try:
            db.execute("BEGIN IMMEDIATE")
            yield
            failpoints.reached("before_commit")
            db.execute("COMMIT")
            failpoints.reached("after_commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            self._dirty |= self._flushed
            for number, before in self._undo.items():
                if number in self.epochs:
                    _restore(self.epochs[number], msgspec.json.decode(before, type=Epoch))
            raise

    def flush(self) -> None:
        """Write the epochs that changed."""
        for number in self._dirty & self.epochs.keys():
            state = msgspec.json.encode(self.epochs[number])
            self.db.execute("INSERT OR REPLACE INTO epoch VALUES (?, ?)", (number, state))
        self._flushed |= self._dirty
        self._dirty.clear()

    def insert(self, epoch: Epoch, lane: Lane, row: Row) -> None:
        """Write a batch and count it."""
        self.db.execute(
            # A commit that failed on a sick disk may have got through: the batch comes again under its number.
            f"INSERT OR REPLACE INTO {lane} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608  # a Lane, not a text
            (_key(epoch, row.number), *row[1:]),
        )
        count_in(self.change(epoch), lane, row.number, row.runs)

    def select(self, epoch: Epoch, lane: Lane, first: int, last: int, limit: int) -> list[Row]:
        """The first batches of `first` to `last` that are on disk."""
        found = self.db.execute(
            f"SELECT {_COLUMNS} FROM {lane} WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",  # noqa: S608  # a Lane, not a text
            (_key(epoch, first), _key(epoch, last), limit),
        )
        return [Row(key % _NUMBERS, *rest) for key, *rest in found.fetchall()]

    def count(self, epoch: Epoch, lane: Lane, first: int, last: int) -> int:
        """How many batches of `first` to `last` are on disk."""
        found = self.db.execute(
            f"SELECT count(*) FROM {lane} WHERE id BETWEEN ? AND ?",  # noqa: S608  # a Lane, not a text
            (_key(epoch, first), _key(epoch, last)),
        )
        return int(found.fetchone()[0])

    def numbers(self, epoch: Epoch, lane: Lane, first: int, last: int, limit: int) -> list[int]:
        """Which batches of `first` to `last` are on disk, ascending."""
        found = self.db.execute(
            f"SELECT id FROM {lane} WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",  # noqa: S608  # a Lane, not a text
            (_key(epoch, first), _key(epoch, last), limit),
        )
        return [key % _NUMBERS for (key,) in found.fetchall()]

    def any(self, epoch: Epoch, lane: Lane, first: int = 0, last: int = _NUMBERS - 1) -> bool:
        """Whether some batch of `first` to `last` is on disk."""
        found = self.db.execute(
            f"SELECT 1 FROM {lane} WHERE id BETWEEN ? AND ? LIMIT 1",  # noqa: S608  # a Lane, not a text
            (_key(epoch, first), _key(epoch, last)),
        )
        return found.fetchone() is not None

    def edges(self, epoch: Epoch, lane: Lane, first: int, last: int) -> tuple[int, int] | None:
        """The lowest and the highest batch of `first` to `last` that is on disk."""
        found = "SELECT {}(id) FROM {} WHERE id BETWEEN :first AND :last"
        low, high = self.db.execute(
            f"SELECT ({found.format('min', lane)}), ({found.format('max', lane)})",  # a Lane, not a text
            {"first": _key(epoch, first), "last": _key(epoch, last)},
        ).fetchone()
        return None if low is None else (low % _NUMBERS, high % _NUMBERS)

    def unsettled(self, epoch: Epoch, lane: Lane, first: int, last: int, limit: int) -> Iterator[Row]:
        """Batches of `first` to `last` that the collector has not settled, in order; `limit` is of each gap."""
        for low, high in ranges.gaps(epoch.lane(lane).settled, first, last):
            yield from self.select(epoch, lane, low, high, limit)

    def delete(self, epoch: Epoch, lane: Lane, numbers: Iterable[int]) -> None:
        """Delete batches. Their epoch is written soon after: their numbers must outlive them."""
        keys = [(_key(epoch, number),) for number in numbers]
        self.db.executemany(f"DELETE FROM {lane} WHERE id = ?", keys)  # noqa: S608  # a Lane, not a text
        self.touch(epoch)

    def last_boot_ns(self, epoch: Epoch) -> int:
        """Boot time of its last sealing that is still on disk; 0 when there is none."""
        last = 0
        for lane in LANES:
            found = self.db.execute(
                f"SELECT boot_ns FROM {lane} WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",  # noqa: S608  # a Lane, not a text
                (_key(epoch, 0), _key(epoch, _NUMBERS - 1)),
            ).fetchone()
            last = max(last, found[0] if found else 0)
        return last

    def forget_empty(self, keep: Epoch | None) -> None:
        """Forget the epochs but `keep` that have no batch any more."""
        for epoch in self.in_order():
            if epoch is not keep and not any(self.any(epoch, lane) for lane in LANES):
                self.db.execute("DELETE FROM epoch WHERE epoch = ?", (epoch.number,))
                del self.epochs[epoch.number]
                self._dirty.discard(epoch.number)

    def used_bytes(self) -> int:
        """Bytes of the pages that hold something."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def shrink(self) -> None:
        """Give pages back to the file system, a few at a time, once a quarter of the file is empty."""
        free = self._pragma("freelist_count")
        if free > _SHRINK_PAGES and free * 4 > self._pragma("page_count"):
            for _ in range(_SHRINK_STEP):  # sqlite3 takes one step of this statement, which is one page
                self.db.execute("PRAGMA incremental_vacuum(1)")

    def _pragma(self, name: str) -> int:
        return int(self.db.execute(f"PRAGMA {name}").fetchone()[0])


def read_epoch(state: bytes) -> Epoch:
    """An epoch's row; also as an earlier release wrote it, where `sent` was the last number and no ranges.

    Raises:
        msgspec.MsgspecError: It is none.
    """
    told = msgspec.json.decode(state)
    if isinstance(told, dict) and isinstance(told.get("sent"), int):
        told["sent"] = [(1, told["sent"])] if told["sent"] else []
    return msgspec.convert(told, Epoch)


def count_in(epoch: Epoch, lane: Lane, number: int, runs: dict[str, StreamRuns]) -> None:
    """Take a batch that is on disk into the epoch's books."""
    state = epoch.lane(lane)
    state.sealed = number
    state.waiting += 1
    for stream, frames in runs.items():
        epoch.tails[stream] = frames.last


def _key(epoch: Epoch, number: int) -> int:
    return epoch.number * _NUMBERS + number


def _restore(epoch: Epoch, before: Epoch) -> None:
    for name in Epoch.__struct_fields__:
        setattr(epoch, name, getattr(before, name))
