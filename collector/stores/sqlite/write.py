"""Batches into tables: one transaction for all of a call, each record once however often it comes."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from collector.stores import Rejected
from collector.stores.answers import Received, ReceivedStatus, Written
from collector.stores.sqlite.holes import Holes
from collector.stores.sqlite.keys import Keys
from collector.stores.sqlite.schema import BIN_COLUMNS, FATES, LANES, OUTCOMES, VITALS_COLUMNS
from shared import failpoints
from shared.histogram import BINS
from shared.records import (
    TICK_NS,
    Block,
    Detail,
    Event,
    Fate,
    Header,
    Held,
    Lane,
    ModelInfo,
    Observation,
    Previous,
    Status,
    StreamRuns,
    Summary,
    Tombstone,
    Vitals,
    Window,
)

_DETAIL = LANES.index("detail")
THINNED = FATES.index("thinned")
HOUR_S = 3600
MASK_BITS = 63
"""A class sets bit `class_id % 63` of an observation's mask, so that SQL can leave out what cannot match."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long records live, in ns: observations and ledger; windows below an hour, vitals and events; hours."""

    detail_ns: int
    minutes_ns: int
    hours_ns: int


def write(
    connection: sqlite3.Connection, keys: Keys, batches: Sequence[Received], retention: Retention
) -> list[Written]:
    """Write batches in one transaction.

    Raises:
        Rejected: A batch contradicts what is stored; nothing was written.
        sqlite3.Error: The file cannot be written; nothing was written.
    """
    writing = _Writing(connection, keys, retention)
    with _transaction(connection, keys):
        answers = writing.take_all(batches)
        writing.flush()
    return answers


class _Contradiction(Exception):
    """Raised for a batch that contradicts what is stored; it left nothing behind."""


def write_statuses(connection: sqlite3.Connection, keys: Keys, statuses: Sequence[ReceivedStatus]) -> None:
    """Write births and last wills in one transaction.

    Raises:
        sqlite3.Error: The file cannot be written; nothing was written.
    """
    with _transaction(connection, keys):
        for received in statuses:
            _write_status(connection, keys, received)


class _transaction:  # noqa: N801  # used as a `with` clause
    """A write transaction; what was interned in one that failed is forgotten."""

    def __init__(self, connection: sqlite3.Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                failpoints.reached("before_commit")
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
                self._keys.forget()


def _write_status(connection: sqlite3.Connection, keys: Keys, received: ReceivedStatus) -> None:
    device = keys.device(received.site, received.device)
    known, state = connection.execute("SELECT status, state FROM devices WHERE id = ?", (device,)).fetchone()
    last = _statuses.decode(known) if known else None
    status = received.status
    gone = status.state == "offline"
    if gone and last is not None and not status.streams:
        # A last will was written at the start and says little: what the birth said still holds.
        status = msgspec.structs.replace(last, state=status.state, epoch=status.epoch, nonce=status.nonce)
    epoch = keys.epoch(device, status.epoch, status.nonce)
    for name in status.streams:
        keys.stream(device, name)
    body = msgspec.json.encode(status)
    if received.retained and known == body:
        return  # the broker repeats what is stored: no news, and no sign of life
    connection.execute(
        "INSERT INTO statuses (device, received_at_ns, retained, state, epoch, body) VALUES (?, ?, ?, ?, ?, ?)",
        (device, received.received_at_ns, received.retained, status.state, epoch, body),
    )
    if gone and not received.retained and last is not None and last.nonce != status.nonce:
        return  # of an earlier start, whose connection was missed only now
    connection.execute(
        "UPDATE devices SET status = ?, status_at_ns = ?, heard_at_ns = coalesce(?, heard_at_ns), state = ?, "
        "state_since_ns = iif(?, state_since_ns, ?) WHERE id = ?",
        (
            body,
            received.received_at_ns,
            None if received.retained or gone else received.received_at_ns,
            status.state,
            state == status.state,
            received.received_at_ns,
            device,
        ),
    )


_statuses = msgspec.json.Decoder(Status)


class _Writing:
    """One call's batches on their way into one transaction; rows of the big tables wait for `flush`."""

    def __init__(self, connection: sqlite3.Connection, keys: Keys, retention: Retention) -> None:
        self._execute = connection.execute
        self._executemany = connection.executemany
        self._keys = keys
        self._retention = retention
        self._observations: list[tuple[object, ...]] = []
        self._histograms: list[tuple[object, ...]] = []
        self._class_counts: list[tuple[object, ...]] = []
        self._request_counts: list[tuple[object, ...]] = []
        self._totals: dict[tuple[int, int], list[int]] = {}
        self._lanes: dict[tuple[int, int], list[int]] = {}
        self._epochs: dict[int, tuple[int, int]] = {}
        self._heard: dict[int, int] = {}
        self._holes = Holes(connection)
        self._held: list[_Told] = []
        self._window = 0

    def take_all(self, batches: Sequence[Received]) -> list[Written]:
        """Note batches.

        Raises:
            Rejected: Naming all that contradict what is stored; the transaction must not be committed then.
        """
        answers, culprits = [], {}
        for index, received in enumerate(batches):
            try:
                answers.append(self._take(received))
            except _Contradiction as error:  # noqa: PERF203  # contradictions are rare, and all are wanted
                culprits[index] = str(error)
        if culprits:
            raise Rejected(culprits, next(iter(culprits.values())))
        return answers

    def _take(self, received: Received) -> Written:
        batch, header = received.batch, received.batch.header
        device = self._keys.device(header.site, header.device)
        epoch = self._keys.epoch(device, header.epoch, header.nonce)
        self._heard[device] = max(self._heard.get(device, 0), received.received_at_ns)
        fate = self._fate(received)
        booked = _Booked(epoch, header.lane, header.batch, header.sha256, header.streams, fate)
        if not self._book(device, booked, header, received.received_at_ns):
            return "duplicate"
        first, last = self._epochs.get(epoch, (header.sealed_at_ns, header.sealed_at_ns))
        self._epochs[epoch] = (min(first, header.sealed_at_ns), max(last, header.sealed_at_ns))
        if isinstance(batch.body, Summary):
            self._summary(device, epoch, received, batch.body)
        elif fate == "stored":
            self._detail(device, epoch, header, batch.body)
        return "expired" if fate == "expired" else "stored"

    def flush(self) -> None:
        """Write the rows that wait."""
        self._executemany(_OBSERVATION, self._observations)
        self._executemany(_HISTOGRAM, self._histograms)
        self._executemany(_CLASS_COUNT, self._class_counts)
        self._executemany(_REQUEST_COUNT, self._request_counts)
        self._executemany(_TOTALS, [(*key, *counts) for key, counts in self._totals.items()])
        self._executemany(_LANE, [(*key, *counts) for key, counts in self._lanes.items()])
        self._executemany(
            "UPDATE epochs SET first_sealed_ns = min(coalesce(first_sealed_ns, ?1), ?1), "
            "last_sealed_ns = max(coalesce(last_sealed_ns, ?2), ?2) WHERE id = ?3",
            [(first, last, epoch) for epoch, (first, last) in self._epochs.items()],
        )
        self._executemany(
            "UPDATE devices SET last_batch_at_ns = max(coalesce(last_batch_at_ns, 0), ?) WHERE id = ?",
            [(at_ns, device) for device, at_ns in self._heard.items()],
        )
        for told in self._held:
            self._keep_held(told)
        self._holes.flush()

    def _fate(self, received: Received) -> Fate:
        header = received.batch.header
        too_old = header.sealed_at_ns < received.received_at_ns - self._retention.detail_ns
        return "expired" if too_old and header.lane == "detail" else "stored"

    def _book(self, device: int, booked: "_Booked", header: Header, received_at_ns: int) -> bool:
        """Enter a batch into the ledger; False when it is there already."""
        known = self._execute(
            "SELECT sha256, fate FROM batches WHERE epoch = ? AND lane = ? AND batch = ?",
            (booked.epoch, LANES.index(booked.lane), booked.batch),
        ).fetchone()
        sha256 = bytes.fromhex(booked.sha256)
        if known is not None:
            if known[0] != sha256:
                raise _Contradiction(
                    f"{booked.lane} batch {booked.batch} of this start is already stored with other content"
                )
            if known[1] != THINNED or booked.fate == "thinned":
                return False
            self._unbook(booked)
        if not self._spans(device, booked, header.sealed_at_ns, replacing=known is not None):
            return False
        frames = sum(runs.last - runs.first + 1 for runs in booked.streams.values())
        self._execute(
            "INSERT INTO batches (epoch, lane, batch, sealed_at_ns, received_at_ns, time_quality, sha256, frames, fate)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                booked.epoch,
                LANES.index(booked.lane),
                booked.batch,
                header.sealed_at_ns,
                received_at_ns,
                header.time_quality,
                sha256,
                frames,
                FATES.index(booked.fate),
            ),
        )
        lane = self._lanes.setdefault((booked.epoch, LANES.index(booked.lane)), [0, 0])
        lane[0] = max(lane[0], booked.batch)
        lane[1] += known is None
        if known is None:
            self._holes.arrived(booked.epoch, LANES.index(booked.lane), booked.batch, received_at_ns)
        return True

    def _unbook(self, booked: "_Booked") -> None:
        """Take a tombstone's entries out again: the batch itself arrived after all."""
        where = (booked.epoch, LANES.index(booked.lane), booked.batch)
        self._execute("DELETE FROM batches WHERE epoch = ? AND lane = ? AND batch = ?", where)
        rows = self._execute(
            f"SELECT stream, first, {', '.join(OUTCOMES)} FROM spans WHERE epoch = ? AND batch = ? AND fate = ?",  # noqa: S608  # names from the schema
            (booked.epoch, booked.batch, THINNED),
        ).fetchall()
        for stream, first, *counts in rows:
            self._execute(
                "DELETE FROM spans WHERE epoch = ? AND stream = ? AND first = ?", (booked.epoch, stream, first)
            )
            self._count(booked.epoch, stream, first, first, [-count for count in counts], "thinned")

    def _spans(self, device: int, booked: "_Booked", sealed_at_ns: int, *, replacing: bool) -> bool:
        """Enter the frames of a batch; False when their entries were forgotten long ago."""
        spans = [(self._keys.stream(device, name), runs) for name, runs in booked.streams.items()]
        for stream, runs in spans:
            before, forgotten_to = self._execute(
                _BEFORE, (booked.epoch, stream, runs.last, booked.epoch, stream)
            ).fetchone()
            if forgotten_to is not None and runs.first <= forgotten_to and not replacing:
                return False
            if before is not None and before >= runs.first:
                raise _Contradiction(f"frames {runs.first} to {runs.last} are in another batch of this start too")
        for stream, runs in spans:
            counts = _outcome_counts(runs)
            self._execute(
                _SPAN,
                (
                    booked.epoch,
                    stream,
                    runs.first,
                    runs.last,
                    booked.batch,
                    sealed_at_ns,
                    FATES.index(booked.fate),
                    *counts,
                    msgspec.msgpack.encode(runs.outcomes),
                ),
            )
            self._count(booked.epoch, stream, runs.first, runs.last, counts, booked.fate)
        return True

    def _count(self, epoch: int, stream: int, first: int, last: int, counts: Sequence[int], fate: Fate) -> None:
        totals = self._totals.setdefault((epoch, stream), [first, last, *[0] * (len(OUTCOMES) + len(FATES))])
        totals[0] = min(totals[0], first)
        totals[1] = max(totals[1], last)
        for position, count in enumerate(counts, start=2):
            totals[position] += count
        totals[2 + len(OUTCOMES) + FATES.index(fate)] += sum(counts)

    def _detail(self, device: int, epoch: int, header: Header, body: Detail) -> None:
        for block in body.blocks:
            stream = self._keys.stream(device, block.stream)
            maker = self._keys.maker(block.maker)
            self._observations += _observation_rows(block, stream, epoch, maker, header.sealed_at_ns)

    def _summary(self, device: int, epoch: int, received: Received, body: Summary) -> None:
        header = received.batch.header
        oldest_ns = received.received_at_ns - self._retention.minutes_ns
        for position, record in enumerate(body.records):
            at_ns = header.sealed_at_ns - record.age * TICK_NS
            key = (device, at_ns, epoch, header.batch, position)
            if isinstance(record, Vitals):
                self._note_vitals(device, epoch, record, received, at_ns)
            if isinstance(record, Tombstone):
                self._tombstone(device, record, header, received.received_at_ns)
            elif isinstance(record, Previous):
                self._previous(device, record, at_ns, received.received_at_ns)
            elif isinstance(record, ModelInfo):
                self._model(record, at_ns)
            elif isinstance(record, Window):
                self._take_window(device, epoch, record, at_ns, received.received_at_ns)
            elif at_ns < oldest_ns:
                continue
            elif isinstance(record, Event):
                self._execute(
                    "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*key, record.stream, record.name, record.detail),
                )
            else:
                self._execute(_VITALS, (*key, *_vitals_values(record)))

    def _keep_held(self, told: "_Told") -> None:
        """Keep it unless something newer is kept: by start and batch, for a device's clock may jump back."""
        body, epoch, nonce, batch = self._execute(
            "SELECT status, held_epoch, held_nonce, held_batch FROM devices WHERE id = ?", (told.device,)
        ).fetchone()
        newest = _statuses.decode(body).nonce if body else None
        if _is_newer(told, epoch, nonce, batch, newest):
            self._execute(
                "UPDATE devices SET held = ?, held_at_ns = ?, held_epoch = ?, held_nonce = ?, held_batch = ? "
                "WHERE id = ?",
                (msgspec.json.encode(told.held), told.at_ns, told.epoch, told.nonce, told.batch, told.device),
            )

    def _note_vitals(self, device: int, epoch: int, vitals: Vitals, received: Received, at_ns: int) -> None:
        """What the ledger needs of vitals, however old they are."""
        header = received.batch.header
        if vitals.held is not None:
            self._held.append(_Told(device, header.epoch, header.nonce, header.batch, at_ns, vitals.held))
        self._holes.told(epoch, _DETAIL, vitals.detail_sealed or 0, received.received_at_ns)

    def _tombstone(self, device: int, record: Tombstone, header: Header, received_at_ns: int) -> None:
        epoch = self._keys.epoch(device, record.epoch, record.nonce)
        booked = _Booked(epoch, "detail", record.batch, record.sha256, record.streams, "thinned")
        self._book(device, booked, header, received_at_ns)

    def _previous(self, device: int, record: Previous, at_ns: int, received_at_ns: int) -> None:
        if not record.epoch:
            return  # the device's first start
        epoch = self._keys.epoch(device, record.epoch, record.nonce)
        self._execute(
            _ENDING,
            (
                epoch,
                at_ns,
                record.sealed.get("summary", 0),
                record.sealed.get("detail", 0),
                record.clean,
                record.exact,
            ),
        )
        for number, lane in enumerate(LANES):
            self._holes.told(epoch, number, record.sealed.get(lane, 0), received_at_ns)
        self._executemany(
            _TAIL,
            [
                (epoch, self._keys.stream(device, name), tail.sealed, tail.captured)
                for name, tail in record.streams.items()
            ],
        )

    def _model(self, record: ModelInfo, at_ns: int) -> None:
        maker = record.maker
        self._execute(
            "INSERT INTO models VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sha256) DO UPDATE SET "
            "model = excluded.model, version = excluded.version, task = excluded.task, family = excluded.family, "
            "names = excluded.names, at_ns = excluded.at_ns WHERE excluded.at_ns >= models.at_ns",
            (
                maker.sha256,
                maker.model,
                maker.version,
                record.task,
                record.family,
                msgspec.json.encode(record.names).decode(),
                at_ns,
            ),
        )

    def _take_window(self, device: int, epoch: int, window: Window, started_at_ns: int, received_at_ns: int) -> None:
        hour = window.seconds >= HOUR_S
        oldest_ns = received_at_ns - (self._retention.hours_ns if hour else self._retention.minutes_ns)
        if started_at_ns < oldest_ns:
            return
        number = self._next_window()
        stream = self._keys.stream(device, window.stream)
        done = self._execute(
            _WINDOW,
            (
                number,
                stream,
                hour,
                started_at_ns,
                epoch,
                self._keys.maker(window.maker),
                window.seconds,
                window.duration,
                window.first,
                window.last,
                *(window.outcomes.get(outcome, 0) for outcome in OUTCOMES),
                window.none,
                window.planned,
                window.asleep,
            ),
        )
        if done.rowcount != 1:
            return
        if not hour and (window.planned is not None or window.asleep):
            captured = 0 if window.planned is None else sum(window.outcomes.values())
            self._execute(_PLAN, (epoch, stream, window.planned, captured, window.asleep))
        self._histograms += _histogram_rows(window, number)
        self._class_counts += [(number, c.class_id, c.frames, c.detections, c.top) for c in window.classes]
        self._request_counts += [(number, status, count) for status, count in window.requests.items()]

    def _next_window(self) -> int:
        """A number for a window; the transaction is the only writer, so counting on is enough."""
        if not self._window:
            self._window = self._execute("SELECT coalesce(max(id), 0) FROM windows").fetchone()[0]
        self._window += 1
        return self._window


@dataclass(frozen=True, slots=True)
class _Told:
    """What a device still held when it sealed a batch; the device is interned."""

    device: int
    epoch: int
    nonce: str
    batch: int
    at_ns: int
    held: tuple[Held, ...]


def _is_newer(told: _Told, epoch: int | None, nonce: str | None, batch: int | None, newest: str | None) -> bool:
    """Whether it was told after what is kept: a card that was written anew counts its starts from 1 again."""
    if nonce is None or batch is None or epoch is None:
        return True
    if told.nonce == nonce:
        return told.batch >= batch
    if newest in {told.nonce, nonce}:
        return told.nonce == newest
    return told.epoch > epoch


@dataclass(frozen=True, slots=True)
class _Booked:
    """A batch as the ledger books it; the epoch is interned."""

    epoch: int
    lane: Lane
    batch: int
    sha256: str
    streams: Mapping[str, StreamRuns]
    fate: Fate


def _outcome_counts(runs: StreamRuns) -> list[int]:
    counts = dict.fromkeys(OUTCOMES, 0)
    for run in runs.outcomes:
        counts[run.outcome] += run.last - run.first + 1
    return list(counts.values())


def _observation_rows(
    block: Block, stream: int, epoch: int, maker: int, sealed_at_ns: int
) -> Iterable[tuple[object, ...]]:
    width, height, encode = block.width, block.height, msgspec.msgpack.encode
    for seen in block.observations:
        mask, top = _seen(seen)
        yield (
            stream,
            sealed_at_ns - seen.age * TICK_NS,
            epoch,
            seen.frame,
            maker,
            width,
            height,
            seen.capture,
            seen.wait,
            seen.prepare,
            seen.infer,
            seen.decode,
            mask,
            top,
            encode((seen.detections, seen.classes)) if mask else None,
            seen.error or None,
        )


def _seen(observation: Observation) -> tuple[int, int]:
    """The mask of the classes in it, and its best score."""
    mask = top = 0
    for found in observation.detections or observation.classes:
        mask |= 1 << found.class_id % MASK_BITS
        top = max(top, found.score)
    return mask, top


def _histogram_rows(window: Window, number: int) -> Iterable[tuple[object, ...]]:
    for name, data in window.histograms.items():
        if name not in BINS:
            continue  # of a newer minor version
        counts = [0] * len(BIN_COLUMNS)
        for index, count in data.bins:
            counts[index] = count
        yield (number, name, data.n, data.sum, *counts)


def _vitals_values(vitals: Vitals) -> list[object]:
    return [getattr(vitals, name) for name in VITALS_COLUMNS]


def _insert(table: str, columns: Sequence[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  # names from the schema


_OBSERVATION = _insert(
    "observations",
    (
        *("stream", "captured_at_ns", "epoch", "frame", "maker", "width", "height"),
        *("capture", "wait", "prepare", "infer", "decode", "classes", "top", "body", "error"),
    ),
)
_HISTOGRAM = _insert("histograms", ("window", "property", "n", "sum", *BIN_COLUMNS))
_REQUEST_COUNT = _insert("request_counts", ("window", "status", "requests"))
_CLASS_COUNT = _insert("class_counts", ("window", "class_id", "frames", "detections", "top"))
_VITALS = _insert("vitals", ("device", "at_ns", "epoch", "batch", "position", *VITALS_COLUMNS))
_WINDOW = _insert(
    "windows",
    (
        *("id", "stream", "hour", "started_at_ns", "epoch", "maker", "seconds", "duration", "first", "last"),
        *OUTCOMES,
        *("none", "planned", "asleep"),
    ),
)
_PLAN = (
    "INSERT INTO plans (epoch, stream, planned, captured, asleep) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "planned = coalesce(planned + excluded.planned, planned, excluded.planned), "
    "captured = captured + excluded.captured, asleep = asleep + excluded.asleep"
)
_SPAN = _insert(
    "spans", ("epoch", "stream", "first", "last", "batch", "sealed_at_ns", "fate", *OUTCOMES, "runs")
).replace(" OR IGNORE", "")
_TOTALS = (
    _insert("totals", ("epoch", "stream", "first", "last", *OUTCOMES, *FATES)).replace(" OR IGNORE", "")
    + " ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last), "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in (*OUTCOMES, *FATES))
)
_LANE = (
    "INSERT INTO lanes (epoch, lane, last, batches) VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET last = max(last, excluded.last), batches = batches + excluded.batches"
)
# Two cards of one origin may tell of the same start: the same is kept whichever comes first.
_ENDING = (
    "INSERT INTO endings (epoch, told_at_ns, summary, detail, clean, exact) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET told_at_ns = min(told_at_ns, excluded.told_at_ns), "
    "summary = max(summary, excluded.summary), detail = max(detail, excluded.detail), "
    "clean = min(clean, excluded.clean), exact = min(exact, excluded.exact)"
)
_TAIL = (
    "INSERT INTO tails (epoch, stream, sealed, captured) VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET sealed = max(sealed, excluded.sealed), captured = max(captured, excluded.captured)"
)
_BEFORE = (
    "SELECT (SELECT last FROM spans WHERE epoch = ? AND stream = ? AND first <= ? ORDER BY first DESC LIMIT 1), "
    "(SELECT forgotten_to FROM totals WHERE epoch = ? AND stream = ?)"
)
