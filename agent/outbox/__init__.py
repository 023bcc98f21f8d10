"""Sealed batches on disk: put, due, acked. A batch goes only when the collector says that the store has it.

SQLite in WAL mode, one row per sealed batch, one commit per `put`. Acks are written with the puts that follow: one
that a power cut takes back only costs a resend, which changes nothing. A start never fails over a damaged file.

===========  ===================================================================
file         the database file: opened, checked, set aside when damaged
rows         its rows and epochs, and the transactions that change them
walltime     from boot time to wall time, once and for ever
quota        what goes when there is too much, or when it is over
ranges       sets of batch numbers
===========  ===================================================================
"""

import contextlib
import logging
import secrets
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

import msgspec

from agent.clock import Clock
from agent.config import OutboxSettings
from agent.outbox import file, ranges, walltime
from agent.outbox.file import InUse as OutboxInUse
from agent.outbox.quota import Quota
from agent.outbox.rows import LANES, Epoch, Row, Rows
from shared import wire
from shared.records import HELD_MAX, TICK_NS, WIRE_VERSION, Header, Held, Lane, StreamRuns, Summary

__all__ = ["Ended", "Key", "Mark", "Message", "Outbox", "OutboxInUse", "OutboxUnwritable", "Placed", "Start", "Waiting"]

NO_NONCE = "0" * 16

_FLUSH_PUTS = 16
_FLUSH_S = 10.0
_RESEND_MAX = 10_000
"""Batches that one ack can make due again: the collector asks once more for what is left."""

_STEP = 64
"""Batches that are purged or thinned in one commit."""

_MEMORY_MB = 16
_TELL_THINNED_S = 3600
_NS = 1_000_000_000

log = logging.getLogger(__name__)


class OutboxUnwritable(Exception):
    """The batch could not be kept: the caller keeps it and tries again. The text says why."""


class Key(NamedTuple):
    """What names a batch for ever."""

    epoch: int
    nonce: str
    lane: Lane
    batch: int


class Message(NamedTuple):
    """A batch as it is sent: the same bytes each time."""

    key: Key
    payload: bytes


class Mark(NamedTuple):
    """A moment of this start: the last sealed batch of each lane."""

    summary: int
    detail: int


class Ended(NamedTuple):
    """What the outbox knows of the epoch before this one.

    Attributes:
        epoch: 0 when there was none.
        nonce: `NO_NONCE` when there was none.
        sealed: Last sealed batch per lane, 0 when none was.
        clean: Whether it ended as it should; True when there was none.
        streams: Last sealed frame per stream.
    """

    epoch: int
    nonce: str
    sealed: dict[Lane, int]
    clean: bool
    streams: dict[str, int]


class Start(NamedTuple):
    """A new epoch, committed."""

    epoch: int
    nonce: str
    previous: Ended


class Waiting(NamedTuple):
    """What the collector has not settled.

    Attributes:
        batches: Their number.
        bytes: Size of the outbox on disk, kept batches included.
        oldest_s: Age of the oldest since its sealing; None when nothing waits, or when that cannot be known yet.
    """

    batches: int
    bytes: int
    oldest_s: float | None


class Placed(NamedTuple):
    """Where the batch of a frame stands in time, in ns: its sealing, and the offset to wall time."""

    sealed_boot_ns: int
    offset_ns: int


class Outbox:
    """The agent's sealed batches. `with` opens it; safe for several threads.

    Args:
        path: Of the database; its folder is made.
        clock: The agent's.
        settings: Quota, and how long acked batches stay.
        site: For the headers.
        device: For the headers.
        tell: Called with name and detail of an event of `shared.schema.EVENTS`.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        settings: OutboxSettings,
        site: str,
        device: str,
        tell: Callable[[str, str], None] | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._settings = settings
        self._site = site
        self._device = device
        self._tell = tell or (lambda _name, _detail: None)
        self._lock = threading.RLock()
        self._file_lock: IO[bytes] | None = None
        self._begun: Epoch | None = None
        self._started: Start | None = None
        self._unflushed = 0
        self._flushed_at = 0.0
        self._thinning_told_at: float | None = None
        self._use(Rows(path), settings.quota_mb)
        self.sending = False
        """Whether the uplink sends at once what is put: such batches are never thinned, and cost no extra write."""

    def _use(self, rows: Rows, quota_mb: int) -> None:
        self._rows = rows
        self._quota_mb = quota_mb
        self._quota = Quota(rows, self._clock, quota_mb * 1_000_000, int(self._settings.keep_acked_h * 3600 * _NS))

    def __enter__(self) -> "Outbox":  # noqa: PYI034  # Python 3.10 has no Self
        """Open.

        Raises:
            OutboxInUse: Another agent has it open.
        """
        self._file_lock = file.lock(self._path)
        with self._lock:
            self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._flush()
            self._rows.close()
            if self._file_lock is not None:
                self._file_lock.close()

    # Starts and ends

    def begin(self, after: int = 0, first: Callable[[Start], Summary] | None = None) -> Start:
        """Begin an epoch, numbered above every one before and above `after`, and commit it.

        Args:
            after: A number that another file remembers.
            first: Makes the first batch. It is part of the same commit: an epoch that a kill ends before it seals
                anything still tells how the one before it ended.
        """
        with self._lock:
            epochs = self._rows.in_order()
            last = epochs[-1] if epochs else None
            number = max(last.number if last else 0, after) + 1
            epoch = self._begun = Epoch(number, secrets.token_hex(8), self._clock.boot_id())
            self._started = Start(number, epoch.nonce, _ended(last))
            body = None if first is None else wire.pack(first(self._started))
            self._rows.epochs[number] = epoch
            try:
                self._begin(epoch, body)
            except sqlite3.Error as error:
                self._to_memory(str(error))
                if body is not None:
                    self._begin(epoch, body)
            return self._started

    def _begin(self, epoch: Epoch, body: bytes | None) -> None:
        with self._rows.transaction():
            self._rows.touch(epoch)
            if body is not None:
                self._insert("summary", {}, body, self._clock.boot_ns() // TICK_NS * TICK_NS)
            self._rows.flush()
            self._rows.forget_empty(keep=epoch)

    def end_clean(self) -> None:
        """Note that the epoch ends as it should, with everything sealed; acks may still come."""
        with self._lock:
            self._current.clean = True
            self._rows.touch(self._current)
            self._flush()

    @property
    def started(self) -> Start:
        """What `begin` returned."""
        if self._started is None:
            raise RuntimeError("begin() comes first")
        return self._started

    @property
    def nonce(self) -> str:
        """Of this start."""
        return self._current.nonce

    @property
    def _current(self) -> Epoch:
        if self._begun is None:
            raise RuntimeError("begin() comes first")
        return self._begun

    # Batches in

    def put(self, lane: Lane, streams: dict[str, StreamRuns], body: bytes, sealed_boot_ns: int) -> int:
        """Commit a sealed batch.

        Args:
            lane: Where it counts.
            streams: The frames that it covers; empty in the summary lane.
            body: As `wire.pack` made it.
            sealed_boot_ns: Boot time of its sealing, in whole ticks.

        Returns:
            Its number in the lane: 1, 2, 3 ... in each epoch.

        Raises:
            OutboxUnwritable: It is not kept.
        """
        with self._lock:
            try:
                return self._put(lane, streams, body, sealed_boot_ns)
            except sqlite3.Error as error:
                if not file.is_corrupt(error):
                    raise self._unwritable(error) from error
                self._begin_anew(str(error))
            try:
                return self._put(lane, streams, body, sealed_boot_ns)
            except sqlite3.Error as error:
                raise self._unwritable(error) from error

    def _put(self, lane: Lane, streams: dict[str, StreamRuns], body: bytes, sealed_boot_ns: int) -> int:
        epoch = self._current
        self._make_room(lane)
        with self._rows.transaction():
            number = self._insert(lane, streams, body, sealed_boot_ns)
            ahead = self.sending and lane == "detail" and not ranges.contains(epoch.sent, number)
            if ahead:  # marked before it is sent, and for the next few too: they need no write of their own
                self._rows.change(epoch).sent = ranges.added(epoch.sent, number, number + _FLUSH_PUTS)
            self._unflushed += 1
            if ahead or self._unflushed >= _FLUSH_PUTS:
                self._quota.purge(_STEP, epoch, young=False)
                self._write_epochs()
        return number

    def _insert(self, lane: Lane, streams: dict[str, StreamRuns], body: bytes, sealed_boot_ns: int) -> int:
        epoch = self._current
        known = self._clock.offset()
        if known and epoch.offset_ns is None:
            walltime.fix(self._rows, epoch, *known)
            self._unflushed = _FLUSH_PUTS
        offset_ns, quality = known or (None, None)
        number = epoch.lane(lane).sealed + 1
        row = Row(number, sealed_boot_ns, offset_ns, quality, msgspec.json.encode(streams), body)
        self._rows.insert(epoch, lane, row)
        return number

    def _make_room(self, lane: Lane) -> None:
        """Keep the quota.

        Raises:
            OutboxUnwritable: It is used up, and nothing more may go.
        """
        if not self._quota.exceeded:
            return
        try:
            with self._rows.transaction():
                if not self._quota.purge(_STEP, self._current, young=True):
                    self._thin()
                self._write_epochs()
        except sqlite3.Error:
            self._quota.forget_progress()
            raise
        if self._quota.refuses(lane):
            raise OutboxUnwritable(f"{self._path}: the quota of {self._quota_mb} MB is used up")

    def _thin(self) -> None:
        """Thin, and put the tombstones into the summary lane: both or neither."""
        tombstones = self._quota.thin(_STEP)
        if not tombstones:
            return
        now_boot_ns = self._clock.boot_ns() // TICK_NS * TICK_NS
        self._insert("summary", {}, wire.pack(Summary(tuple(tombstones))), now_boot_ns)
        now = self._clock.monotonic()
        if self._thinning_told_at is None or now - self._thinning_told_at >= _TELL_THINNED_S:
            self._thinning_told_at = now
            detail = f"the quota of {self._quota_mb} MB is used up: detail batches are being thinned, evenly over time"
            log.warning("%s", detail)
            self._tell("outbox_thinned", detail)

    # Batches out

    def mark(self) -> Mark:
        """This moment: what is sealed from now on comes after it."""
        with self._lock:
            return Mark(self._current.summary.sealed, self._current.detail.sealed)

    def due(
        self, limit: int, skip: Collection[Key] = (), *, after: Mark | None = None, before: Mark | None = None
    ) -> list[Message]:
        """What to send next, in order: summary before detail, older epochs first; without those of `skip`.

        All have their time fixed on disk; what has none yet waits.

        Args:
            limit: So many at most.
            skip: On their way.
            after: Only what this start sealed after that moment.
            before: Only what was sealed before it, by earlier starts too.
        """
        with self._lock:
            try:
                messages = list(islice(self._due(limit + len(skip), skip, after, before), limit))
            except sqlite3.Error as error:
                self._failed(error)
                return []
            self._mark_sent(messages)
            return messages

    def _due(self, limit: int, skip: Collection[Key], after: Mark | None, before: Mark | None) -> Iterator[Message]:
        for lane in LANES:
            for epoch, first, last in self._between(lane, after, before):
                for row in self._rows.unsettled(epoch, lane, first, last, limit):
                    if not self._time_is_fixed(epoch):
                        break
                    key = Key(epoch.number, epoch.nonce, lane, row.number)
                    if key not in skip and (message := self._readable(epoch, key, row)):
                        yield message

    def _between(self, lane: Lane, after: Mark | None, before: Mark | None) -> Iterator[tuple[Epoch, int, int]]:
        """The batches of a lane that two moments include: first and last per epoch, oldest first."""
        for epoch in self._rows.in_order():
            first, last = 1, epoch.lane(lane).sealed
            if epoch is self._current:
                first = 1 + getattr(after, lane) if after else first
                last = min(last, getattr(before, lane)) if before else last
            elif after:
                continue
            yield epoch, first, last

    def _readable(self, epoch: Epoch, key: Key, row: Row) -> Message | None:
        """The message; None of a damaged row, which is given up: it must not hold up all others."""
        try:
            return self._message(epoch, key, row)
        except msgspec.MsgspecError as error:
            detail = f"{key.lane} batch {key.batch} of epoch {key.epoch} is damaged on disk and lost: {error}"
            log.error("%s", detail)  # noqa: TRY400  # the reason is the message
            self._settle(epoch, key.lane, key.batch, key.batch)
            self._tell("outbox_reset", detail)
            return None

    def _message(self, epoch: Epoch, key: Key, row: Row) -> Message:
        header = Header(
            v=WIRE_VERSION,
            site=self._site,
            device=self._device,
            epoch=key.epoch,
            nonce=key.nonce,
            lane=key.lane,
            batch=key.batch,
            sealed_at_ns=row.boot_ns + (walltime.to_wall_ns(epoch, row) or 0),
            time_quality=row.quality or epoch.quality or "estimated",
            sha256=wire.digest(row.body),
            streams=row.runs,
        )
        return Message(key, wire.join(header, row.body))

    def _mark_sent(self, messages: Sequence[Message]) -> None:
        """Note on disk what is about to be sent: the quota must not thin it any more."""
        marked = False
        for message in messages:
            epoch = self._rows.epochs[message.key.epoch]
            number = message.key.batch
            if message.key.lane == "detail" and not ranges.contains(epoch.sent, number):
                # ahead, or a backlog would cost a commit for each batch
                epoch.sent = ranges.added(epoch.sent, number, number + _STEP)
                self._rows.touch(epoch)
                marked = True
        if marked or (self._rows.dirty and self._clock.monotonic() - self._flushed_at > _FLUSH_S):
            self._flush()  # on a full disk the mark stays in memory: delivering is what frees the disk

    def _time_is_fixed(self, epoch: Epoch) -> bool:
        """Whether all its batches have their wall time on disk, after fixing it if that is possible now."""
        if epoch.offset_ns is not None:
            return True
        try:
            with self._rows.transaction():
                if not walltime.fix_now(self._rows, self._clock, epoch, self._current):
                    return False
                self._write_epochs()
        except sqlite3.OperationalError:
            return False  # not on disk: it could be another time after the next start
        return epoch.offset_ns is not None

    def placed(self, nonce: str, stream: str, frame: int, captured_boot_ns: int) -> Placed | None:
        """Where the batch that holds a frame stands in time; None while it is not sealed, or its time not fixed.

        A frame whose batch was thinned or purged gets the place of the next batch that is left.

        Raises:
            KeyError: The frame has no batch and gets none any more.
        """
        with self._lock:
            epoch = next((e for e in self._rows.epochs.values() if e.nonce == nonce), None)
            if epoch is None:
                raise KeyError(nonce)
            try:
                row = self._batch_of(epoch, stream, frame, captured_boot_ns)
            except sqlite3.Error as error:  # the picture waits until it can be read again
                self._failed(error)
                return None
            except msgspec.MsgspecError as error:
                raise KeyError(frame) from error
            if row is None and epoch is not self._current:
                raise KeyError(frame)
            if row is None or not self._time_is_fixed(epoch):
                return None
            return Placed(row.boot_ns, walltime.to_wall_ns(epoch, row) or 0)

    def _batch_of(self, epoch: Epoch, stream: str, frame: int, captured_boot_ns: int) -> Row | None:
        number = self._sealed_since(epoch, captured_boot_ns)
        for row in self._rows.select(epoch, "detail", number, epoch.detail.sealed, _STEP):
            frames = row.runs.get(stream)
            if frames is not None and frames.last >= frame:
                return row
        return None

    def _sealed_since(self, epoch: Epoch, boot_ns: int) -> int:
        """Number of the first detail batch sealed at `boot_ns` or later, by bisection; numbers may be missing."""
        low, high = 1, epoch.detail.sealed + 1
        while low < high:
            middle = (low + high) // 2
            rows = self._rows.select(epoch, "detail", middle, high - 1, 1)
            if not rows or rows[0].boot_ns >= boot_ns:
                high = middle
            else:
                low = rows[0].number + 1
        return low

    # The collector's word

    def acked(self, epoch: int, nonce: str, lane: Lane, stored: Sequence[tuple[int, int]]) -> int:
        """Take note that the store has these batches (ranges, both ends included); how many that settled."""
        with self._lock:
            known = self._known(epoch, nonce)
            if known is None:
                return 0
            before = known.lane(lane).waiting
            try:
                for first, last in stored:
                    self._settle(known, lane, max(first, 1), min(last, known.lane(lane).sealed))
            except sqlite3.Error as error:
                self._failed(error)
            return before - known.lane(lane).waiting

    def refused(self, epoch: int, nonce: str, lane: Lane, refusals: Sequence[tuple[int, str]]) -> int:
        """Take note that the collector put these into quarantine: sending them again would not help."""
        for number, reason in refusals:
            log.warning("the collector refused %s batch %d of epoch %d: %s", lane, number, epoch, reason)
        return self.acked(epoch, nonce, lane, [(number, number) for number, _ in refusals])

    def resend(self, epoch: int, nonce: str, lane: Lane, wanted: Sequence[tuple[int, int]]) -> int:
        """Make acked batches (ranges, both ends included) due again, as far as they are still kept; how many are."""
        with self._lock:
            known = self._known(epoch, nonce)
            if known is None:
                return 0
            try:
                again = ranges.of(self._kept(known, lane, wanted))
            except sqlite3.Error as error:
                self._failed(error)
                return 0
            state = known.lane(lane)
            for first, last in again:
                state.settled = ranges.removed(state.settled, first, last)
                state.waiting += last - first + 1
            self._rows.touch(known)
            return sum(last - first + 1 for first, last in again)

    @property
    def unsettled(self) -> int:
        """Batches that the collector has not settled."""
        with self._lock:
            return sum(epoch.lane(lane).waiting for epoch in self._rows.epochs.values() for lane in LANES)

    def waiting(self) -> Waiting:
        """How much the collector has not settled."""
        with self._lock:
            batches = self.unsettled
            try:
                return Waiting(batches, file.size(self._path), self._oldest_s())
            except sqlite3.Error as error:
                self._failed(error)
                return Waiting(batches, 0, None)

    def sealed(self, lane: Lane) -> int:
        """Number of this start's last batch of a lane; 0 when there is none."""
        with self._lock:
            return self._current.lane(lane).sealed

    def held(self) -> tuple[Held, ...] | None:
        """What is on disk and not settled, oldest first; where that is in too many pieces, as one per epoch and lane.

        None when that cannot be read. Of more than `HELD_MAX` the newest are left out: what is not named here may be
        asked for, which costs nothing.
        """
        with self._lock:
            try:
                return tuple(islice(self._held(), HELD_MAX))
            except sqlite3.Error as error:
                self._failed(error)
                return None

    def _held(self) -> Iterator[Held]:
        pieces = {
            (epoch.number, lane): list(ranges.gaps(epoch.lane(lane).settled, 1, epoch.lane(lane).sealed))
            for epoch in self._rows.in_order()
            for lane in LANES
        }
        if sum(len(gaps) for gaps in pieces.values()) > HELD_MAX:
            pieces = {place: [(gaps[0][0], gaps[-1][1])] for place, gaps in pieces.items() if gaps}
        for (number, lane), gaps in pieces.items():
            epoch = self._rows.epochs[number]
            for gap in gaps:
                if edges := self._rows.edges(epoch, lane, *gap):
                    yield Held(number, epoch.nonce, lane, *edges)

    def _known(self, epoch: int, nonce: str) -> Epoch | None:
        known = self._rows.epochs.get(epoch)
        return known if known is not None and known.nonce == nonce else None

    def _kept(self, epoch: Epoch, lane: Lane, wanted: Sequence[tuple[int, int]]) -> list[int]:
        """Which of these the collector has had and the disk still has, ascending."""
        kept: set[int] = set()
        for first, last in wanted:
            for had in ranges.within(epoch.lane(lane).settled, first, last):
                kept.update(self._rows.numbers(epoch, lane, *had, _RESEND_MAX - len(kept)))
        return sorted(kept)

    def _settle(self, epoch: Epoch, lane: Lane, first: int, last: int) -> None:
        if first > last:
            return
        state = epoch.lane(lane)
        new = sum(self._rows.count(epoch, lane, *gap) for gap in ranges.gaps(state.settled, first, last))
        settled = ranges.added(state.settled, first, last)
        # Thinning leaves holes: one that is empty is closed, or the list would grow with the outage.
        hole = ranges.before(settled, first)
        if hole is not None and not self._rows.any(epoch, lane, *hole):
            settled = ranges.added(settled, *hole)
        state.settled = settled
        state.waiting -= new
        self._rows.touch(epoch)

    def _oldest_s(self) -> float | None:
        ages = []
        for lane in LANES:
            for epoch in self._rows.in_order():
                row = next(self._rows.unsettled(epoch, lane, 1, epoch.lane(lane).sealed, 1), None)
                age_ns = row and walltime.age_ns(self._clock, epoch, row, self._current)
                if age_ns is not None:
                    ages.append(max(0.0, age_ns / _NS))
        return max(ages, default=None)

    # When the disk fails

    def _write_epochs(self) -> None:
        self._rows.flush()
        self._unflushed = 0
        self._flushed_at = self._clock.monotonic()

    def _flush(self) -> None:
        """Write what is only in memory, if the disk lets us: none of it is lost for good otherwise."""
        if self._rows.dirty:
            with contextlib.suppress(sqlite3.Error), self._rows.transaction():
                self._write_epochs()

    def _unwritable(self, error: sqlite3.Error) -> OutboxUnwritable:
        self._failed(error)
        return OutboxUnwritable(f"{self._path}: {error}")

    def _failed(self, error: sqlite3.Error) -> None:
        """After an I/O error nothing that a connection believes is sure; what is corrupt is begun anew."""
        if file.is_corrupt(error) and self._begun:
            self._begin_anew(str(error))
        elif "I/O" in str(error) and self._on_disk:
            self._rows.close()

    @property
    def _on_disk(self) -> bool:
        return self._rows.path is not None

    def _open(self) -> None:
        try:
            try:
                self._rows.open()
            except (file.Damaged, sqlite3.DatabaseError, msgspec.MsgspecError) as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._set_aside(str(error))
                self._rows.open()
        except (sqlite3.Error, OSError) as error:
            self._to_memory(str(error))

    def _set_aside(self, reason: str) -> None:
        self._rows.close()
        self._rows.epochs.clear()
        aside = file.set_aside(self._path)
        detail = f"{self._path.name} could not be read ({reason}); it was moved to {aside.name}"
        log.error("%s", detail)
        self._tell("outbox_reset", detail)

    def _begin_anew(self, reason: str) -> None:
        """Go on with a new file while running; the epoch and its numbers stay."""
        epoch = self._current
        try:
            self._set_aside(reason)
        except OSError as error:
            log.warning("the damaged outbox cannot be moved: %s", error)
            return
        for lane in LANES:
            state = epoch.lane(lane)
            state.settled, state.waiting = ([(1, state.sealed)] if state.sealed else []), 0
        self._rows.epochs[epoch.number] = epoch
        self._rows.touch(epoch)
        self._flush()

    def _to_memory(self, reason: str) -> None:
        """Without a disk an agent that delivers is better than none: a small outbox in memory."""
        detail = f"{self._path} cannot be used ({reason}): batches wait in memory, up to {_MEMORY_MB} MB"
        log.error("%s", detail)
        self._tell("outbox_unwritable", detail)
        self._rows.close()
        self._use(Rows(None), min(self._settings.quota_mb, _MEMORY_MB))
        if self._begun is not None:
            self._rows.epochs[self._begun.number] = self._begun
            self._rows.touch(self._begun)
            self._flush()


def _ended(epoch: Epoch | None) -> Ended:
    if epoch is None:
        return Ended(0, NO_NONCE, dict.fromkeys(LANES, 0), clean=True, streams={})
    sealed: dict[Lane, int] = {lane: epoch.lane(lane).sealed for lane in LANES}
    return Ended(epoch.number, epoch.nonce, sealed, epoch.clean, dict(epoch.tails))
