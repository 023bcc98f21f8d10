"""Tables into answers. Every function takes a connection inside a read transaction, so that its figures agree."""

import heapq
import sqlite3
from collections.abc import Iterator
from itertools import islice

import msgspec

from collector.stores.answers import (
    DeviceFacts,
    EventSeen,
    ModelFacts,
    Pace,
    Place,
    Scope,
    Seen,
    VitalsSeen,
    Wanted,
    WindowSum,
)
from collector.stores.sqlite.schema import BIN_COLUMNS, OUTCOMES, VITALS_COLUMNS
from collector.stores.sqlite.write import MASK_BITS
from shared.records import Detection, Guess, Held, HistogramData, Maker, Status
from shared.schema import VITALS

PACE_BATCHES_MAX = 600

_CAPTURED = " + ".join(f"w.{name}" for name in OUTCOMES)
PLAN_SUMS = f"sum(w.planned), sum(iif(w.planned IS NULL, 0, {_CAPTURED})), sum(w.asleep)"
"""What windows `w` say of the plan: frames planned, frames captured where it says so, ticks asleep."""

_statuses = msgspec.json.Decoder(Status)
_makers = msgspec.json.Decoder(Maker)
_names = msgspec.json.Decoder(tuple[str, ...])
_held = msgspec.json.Decoder(tuple[Held, ...])
_found = msgspec.msgpack.Decoder(tuple[tuple[Detection, ...], tuple[Guess, ...]])
_BOOLS = frozenset(field.name for field in VITALS if field.kind == "bool")


def devices(connection: sqlite3.Connection) -> list[DeviceFacts]:
    """Every device, by site and device."""
    streams: dict[int, list[str]] = {}
    for device, name in connection.execute("SELECT device, name FROM streams ORDER BY name"):
        streams.setdefault(device, []).append(name)
    sealed = {
        device: (at_ns, epoch)
        for device, at_ns, epoch in connection.execute(
            "SELECT device, max(last_sealed_ns), epoch FROM epochs WHERE last_sealed_ns IS NOT NULL GROUP BY device"
        )
    }
    rows = connection.execute(
        "SELECT id, site, device, last_batch_at_ns, status, status_at_ns, heard_at_ns, state_since_ns, "
        "held, held_at_ns FROM devices ORDER BY site, device"
    )
    return [
        DeviceFacts(
            site,
            device,
            last_batch_at_ns,
            status,
            status_at_ns,
            heard_at_ns,
            since_ns,
            _newest_epoch(status, status_at_ns, sealed.get(number)),
            tuple(streams.get(number, ())),
            _held.decode(held) if held else None,
            held_at_ns,
        )
        for number, site, device, last_batch_at_ns, body, status_at_ns, heard_at_ns, since_ns, held, held_at_ns in rows
        for status in (_statuses.decode(body) if body else None,)
    ]


def _newest_epoch(status: Status | None, status_at_ns: int | None, sealed: tuple[int, int] | None) -> int | None:
    """Of the status, unless a batch was sealed after it came: epochs may count from 1 again."""
    if status is None or status_at_ns is None:
        return sealed[1] if sealed else None
    return sealed[1] if sealed and sealed[0] > status_at_ns else status.epoch


def models(connection: sqlite3.Connection) -> list[ModelFacts]:
    """Every model that a device told of."""
    rows = connection.execute("SELECT sha256, model, version, task, family, names FROM models ORDER BY sha256")
    return [
        ModelFacts(sha256, model, version, task, family, _names.decode(names))
        for sha256, model, version, task, family, names in rows
    ]


def observations(connection: sqlite3.Connection, wanted: Wanted, before: Place | None, limit: int) -> list[Seen]:
    """Observations, newest first: one cursor per stream, merged, so that no more is read than is answered."""
    names = _streams(connection, wanted.scope)
    makers = _makers_by_number(connection)
    epochs: dict[int, tuple[int, str]] = {}
    cursors = [_stream_rows(connection, wanted, number, name, before) for number, name in names.items()]
    answers = (
        seen
        for row in heapq.merge(*cursors, key=lambda row: row[:4], reverse=True)
        if _matches(seen := _seen(connection, row, makers, epochs), wanted)
    )
    return list(islice(answers, limit))


def windows(
    connection: sqlite3.Connection, scope: Scope, from_ns: int, to_ns: int, every_ns: int | None, *, hours: bool
) -> list[WindowSum]:
    """Sums of windows per stream, maker and bucket, in that order; SQL adds the integers, exactly."""
    names = _streams(connection, scope)
    makers = _makers_by_number(connection)
    bucket = f"w.started_at_ns / {every_ns:d} * {every_ns:d}" if every_ns else "NULL"
    source = f"FROM windows w {{join}} WHERE {_WINDOWS_WHERE}"
    values = (*_scope_values(scope), hours, from_ns, to_ns, scope.model, scope.model, scope.version, scope.version)
    sums: dict[tuple[int, int, int | None], WindowSum] = {}
    outcomes = ", ".join(f"sum(w.{name})" for name in OUTCOMES)
    for stream, maker, start, duration, none, planned, met, asleep, *counts in connection.execute(
        f"SELECT w.stream, w.maker, {bucket} AS bucket, sum(w.duration), sum(w.none), {PLAN_SUMS}, {outcomes} "
        f"{source.format(join='')} GROUP BY 1, 2, 3 ORDER BY 3, 1, 2",
        values,
    ):
        sums[stream, maker, start] = WindowSum(
            *names[stream],
            makers[maker],
            start,
            duration,
            dict(zip(OUTCOMES, counts, strict=True)),
            none,
            planned,
            met,
            asleep,
        )
    bins = ", ".join(f"sum(h.{name})" for name in BIN_COLUMNS)
    for stream, maker, start, name, n, total, *counts in connection.execute(
        f"SELECT w.stream, w.maker, {bucket} AS bucket, h.property, sum(h.n), sum(h.sum), {bins} "
        f"{source.format(join='JOIN histograms h ON h.window = w.id')} GROUP BY 1, 2, 3, 4",
        values,
    ):
        present = tuple((index, count) for index, count in enumerate(counts) if count)
        sums[stream, maker, start].histograms[name] = HistogramData(n, total, present)
    for stream, maker, start, class_id, *class_counts in connection.execute(
        f"SELECT w.stream, w.maker, {bucket} AS bucket, c.class_id, sum(c.frames), sum(c.detections), sum(c.top) "
        f"{source.format(join='JOIN class_counts c ON c.window = w.id')} GROUP BY 1, 2, 3, 4",
        values,
    ):
        frames, detections, top = class_counts
        sums[stream, maker, start].classes[class_id] = (frames, detections, top)
    for stream, maker, start, status, count in connection.execute(
        f"SELECT w.stream, w.maker, {bucket} AS bucket, r.status, sum(r.requests) "
        f"{source.format(join='JOIN request_counts r ON r.window = w.id')} GROUP BY 1, 2, 3, 4",
        values,
    ):
        sums[stream, maker, start].http_requests[status] = count
    return list(sums.values())


def events(connection: sqlite3.Connection, scope: Scope, from_ns: int, to_ns: int, limit: int) -> list[EventSeen]:
    """Events, newest first."""
    rows = connection.execute(
        "SELECT d.site, d.device, e.stream, e.at_ns, e.name, e.detail FROM events e "  # noqa: S608  # names from the code, never values
        "JOIN devices d ON d.id = e.device JOIN epochs p ON p.id = e.epoch "  # names from the code, never values
        f"WHERE {_DEVICE_WHERE} AND coalesce(e.stream = ?, ? IS NULL) AND e.at_ns >= ? AND e.at_ns < ? "
        "ORDER BY e.at_ns DESC, p.epoch DESC, p.nonce DESC, e.batch DESC, e.position DESC LIMIT ?",
        (scope.site, scope.site, scope.device, scope.device, scope.stream, scope.stream, from_ns, to_ns, limit),
    )
    return [EventSeen(*row) for row in rows]


def vitals(connection: sqlite3.Connection, scope: Scope, from_ns: int, to_ns: int, limit: int) -> list[VitalsSeen]:
    """Vitals, newest first: one cursor per device, merged."""
    devices = connection.execute(
        f"SELECT d.id, d.site, d.device FROM devices d WHERE {_DEVICE_WHERE} ORDER BY d.site, d.device",  # noqa: S608
        (scope.site, scope.site, scope.device, scope.device),
    ).fetchall()
    cursors = [
        _device_rows(connection, number, (site, device), (from_ns, to_ns, limit)) for number, site, device in devices
    ]
    newest_first = heapq.merge(*cursors, key=lambda row: row[0], reverse=True)
    return [VitalsSeen(*name, at_ns, _vitals_values(values)) for at_ns, name, values in islice(newest_first, limit)]


def paces(connection: sqlite3.Connection, since_ns: int) -> list[Pace]:
    """Frames per stream between the oldest and the newest batch sealed since then."""
    names = _streams(connection, Scope())
    live = connection.execute(
        "SELECT t.epoch, t.stream FROM totals t JOIN epochs e ON e.id = t.epoch "
        "WHERE e.last_sealed_ns >= ? ORDER BY e.last_sealed_ns",
        (since_ns,),
    ).fetchall()
    newest: dict[int, Pace] = {}
    for epoch, stream in live:
        rows = connection.execute(
            "SELECT sealed_at_ns, last - first + 1 FROM spans WHERE epoch = ? AND stream = ? "
            "ORDER BY first DESC LIMIT ?",
            (epoch, stream, PACE_BATCHES_MAX),
        ).fetchall()
        lately = [row for row in rows if row[0] >= since_ns]
        if lately:
            seconds = (lately[0][0] - lately[-1][0]) / 1e9
            newest[stream] = Pace(*names[stream], sum(row[1] for row in lately[:-1]), seconds, lately[0][0])
    return list(newest.values())


_DEVICE_WHERE = "(d.site = ? OR ? IS NULL) AND (d.device = ? OR ? IS NULL)"
_STREAM_WHERE = f"{_DEVICE_WHERE} AND (s.name = ? OR ? IS NULL)"
_WINDOWS_WHERE = (
    f"w.stream IN (SELECT s.id FROM streams s JOIN devices d ON d.id = s.device WHERE {_STREAM_WHERE}) "  # noqa: S608  # names from the code, never values
    "AND w.hour = ? AND w.started_at_ns >= ? AND w.started_at_ns < ? "
    "AND w.maker IN (SELECT m.id FROM makers m WHERE (m.model = ? OR ? IS NULL) AND (m.version = ? OR ? IS NULL))"
)
_COLUMNS = "captured_at_ns, epoch, frame, maker, width, height, capture, wait, prepare, infer, decode, body, error"


def _scope_values(scope: Scope) -> tuple[str | None, ...]:
    return (scope.site, scope.site, scope.device, scope.device, scope.stream, scope.stream)


def _streams(connection: sqlite3.Connection, scope: Scope) -> dict[int, tuple[str, str, str]]:
    """Number -> site, device and stream, of those in `scope`."""
    rows = connection.execute(
        "SELECT s.id, d.site, d.device, s.name FROM streams s JOIN devices d ON d.id = s.device "  # noqa: S608  # names from the code, never values
        f"WHERE {_STREAM_WHERE} ORDER BY d.site, d.device, s.name",
        _scope_values(scope),
    )
    return {number: (site, device, name) for number, site, device, name in rows}


def _makers_by_number(connection: sqlite3.Connection) -> dict[int, Maker]:
    return {number: _makers.decode(key) for number, key in connection.execute("SELECT id, key FROM makers")}


def _stream_rows(
    connection: sqlite3.Connection, wanted: Wanted, stream: int, name: tuple[str, str, str], before: Place | None
) -> Iterator[tuple[object, ...]]:
    where, values = ["stream = ?", "captured_at_ns >= ?", "captured_at_ns < ?"], [stream, wanted.from_ns, wanted.to_ns]
    if before is not None:
        condition, place = _after(connection, name, before)
        where.append(condition)
        values += place
    if wanted.classes is not None:
        mask = 0
        for _, class_id in wanted.classes:
            mask |= 1 << class_id % MASK_BITS
        where.append("classes & ? != 0")
        values.append(mask)
    if wanted.min_score:
        where.append("top >= ?")
        values.append(wanted.min_score)
    if wanted.scope.model is not None or wanted.scope.version is not None:
        where.append(_in_makers(connection, wanted.scope))
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM observations WHERE {' AND '.join(where)} "  # noqa: S608  # names from the code, never values
        "ORDER BY captured_at_ns DESC, epoch DESC, frame DESC",
        values,
    )
    for captured_at_ns, *rest in rows:
        yield (captured_at_ns, name, *rest)


def _device_rows(
    connection: sqlite3.Connection, device: int, name: tuple[str, str], bounds: tuple[int, int, int]
) -> Iterator[tuple[int, tuple[str, str], tuple[float | None, ...]]]:
    rows = connection.execute(
        f"SELECT at_ns, {', '.join(VITALS_COLUMNS)} FROM vitals WHERE device = ? AND at_ns >= ? AND at_ns < ? "  # noqa: S608  # names from the code, never values
        "ORDER BY at_ns DESC, epoch DESC, batch DESC, position DESC LIMIT ?",
        (device, *bounds),
    )
    for at_ns, *values in rows:
        yield at_ns, name, tuple(values)


def _after(connection: sqlite3.Connection, name: tuple[str, str, str], before: Place) -> tuple[str, list[int]]:
    """What comes after `before` in one stream: at the same instant, streams come in descending order of their names."""
    captured_at_ns, site, device, stream, epoch, nonce, frame = before
    if name != (site, device, stream):
        return ("captured_at_ns < ?" if name > (site, device, stream) else "captured_at_ns <= ?"), [captured_at_ns]
    found = connection.execute(
        "SELECT e.id FROM epochs e JOIN devices d ON d.id = e.device "
        "WHERE d.site = ? AND d.device = ? AND e.epoch = ? AND e.nonce = ?",
        (site, device, epoch, nonce),
    ).fetchone()
    number = found[0] if found else 0
    return "(captured_at_ns, epoch, frame) < (?, ?, ?)", [captured_at_ns, number, frame]


def _in_makers(connection: sqlite3.Connection, scope: Scope) -> str:
    rows = connection.execute(
        "SELECT id FROM makers m WHERE (m.model = ? OR ? IS NULL) AND (m.version = ? OR ? IS NULL)",
        (scope.model, scope.model, scope.version, scope.version),
    )
    return f"maker IN ({', '.join(str(row[0]) for row in rows)})"


def _seen(
    connection: sqlite3.Connection,
    row: tuple,  # type: ignore[type-arg]  # a row of SQLite, whose types the schema says
    makers: dict[int, Maker],
    epochs: dict[int, tuple[int, str]],
) -> Seen:
    captured_at_ns, name, epoch, frame, maker, width, height, *ticks, body, error = row
    capture, wait, prepare, infer, decode = ticks
    site, device, stream = name
    if epoch not in epochs:
        epochs[epoch] = connection.execute("SELECT epoch, nonce FROM epochs WHERE id = ?", (epoch,)).fetchone()
    detections, classes = _found.decode(body) if body else ((), ())
    return Seen(
        site,
        device,
        stream,
        *epochs[epoch],
        frame,
        captured_at_ns,
        makers[maker],
        width,
        height,
        capture,
        wait,
        prepare,
        infer,
        decode,
        detections,
        classes,
        error or "",
    )


def _matches(seen: Seen, wanted: Wanted) -> bool:
    """Whether what SQL let through by mask and best score really holds what is wanted."""
    if wanted.classes is None:
        return True
    return any(
        found.score >= wanted.min_score
        and ((seen.maker.sha256, found.class_id) in wanted.classes or (None, found.class_id) in wanted.classes)
        for found in seen.detections or seen.classes
    )


def _vitals_values(values: tuple[float | None, ...]) -> dict[str, float | bool | None]:
    return {
        name: bool(value) if name in _BOOLS and value is not None else value
        for name, value in zip(VITALS_COLUMNS, values, strict=True)
    }
