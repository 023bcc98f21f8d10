"""Named questions, answered once over any store: JSON-ready, in the shapes of the REST API.

Times are RFC 3339 in UTC, durations ms, boxes pixels, scores 0 to 1.
"""

import base64
import binascii
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypeAlias, cast

import msgspec

from collector import books
from collector.books import FOREVER_NS, Quarantined
from collector.figures import total
from collector.stores import Store
from collector.stores.answers import (
    DeviceFacts,
    ModelFacts,
    Pace,
    Place,
    Scope,
    Seen,
    VitalsSeen,
    Wanted,
    WindowSum,
)
from collector.timestamps import SECOND_NS, rfc3339, rfc3339_or_none
from shared.records import SCALE, TICKS_PER_MS, Detection, Guess, Maker, StreamStatus

Json: TypeAlias = dict[str, Any]
"""An answer, ready for JSON."""

DIMENSIONS = ("site", "device", "stream", "model", "version")
"""What `summary` can be split by."""

LIMIT_MAX = 1000
ROWS_MAX = 20_000
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS

_Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=FOREVER_NS)]
_places = msgspec.json.Decoder(tuple[_Integer, str, str, str, _Integer, str, _Integer])
"""Decodes a `Place` with integers that a store can compare with."""
_PACE_NS = 60 * SECOND_NS
_SLOW_S = 15.0
"""From this period on a minute is too short to say how fast a stream is."""
_PERIODS = 3
_ASLEEP_SHARE = 0.9
_PLAN_EVENTS = frozenset({"stream_asleep", "stream_awake"})
_LATELY_NS = 300 * SECOND_NS
_EVENTS_PER_DEVICE = 5
_DIGITS_MAX = 10


class BadQuery(ValueError):
    """Raised for a question that cannot be answered as it is asked.

    Attributes:
        parameter: The part of it that is wrong.
    """

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(reason)
        self.parameter = parameter


class NotFound(LookupError):
    """Raised for a question about something that was never heard of."""


class Pictures(Protocol):
    """Where snapshots are."""

    def latest(self, site: str, device: str, stream: str) -> int | None:
        """Capture time in ns of the newest one, or None."""


class Quarantine(Protocol):
    """Where batches are that could not be stored."""

    def of_device(self, site: str, device: str) -> list[Quarantined]:
        """Those of a device whose header could be read."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are meant; None means all.

    Attributes:
        site: Slug.
        device: Slug.
        stream: Slug.
        model: Name of the model.
        version: Version of the model.
        class_: Name of a class, or its id as digits: predictions that hold it.
        min_score: In [0, 1]: predictions with a detection (of `class_`, where given) of at least this score.
        from_ns: Captured at or after.
        to_ns: Captured before.
    """

    site: str | None = None
    device: str | None = None
    stream: str | None = None
    model: str | None = None
    version: str | None = None
    class_: str | None = None
    min_score: float | None = None
    from_ns: int | None = None
    to_ns: int | None = None

    @property
    def scope(self) -> Scope:
        """The streams and models that are meant."""
        return Scope(self.site, self.device, self.stream, self.model, self.version)


EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class _Names:
    """Class names by model."""

    models: dict[str, ModelFacts]

    def name(self, maker: Maker, class_id: int) -> str:
        known = self.models.get(maker.sha256)
        return known.names[class_id] if known and class_id < len(known.names) else f"class_{class_id}"

    def ids(self, wanted: str) -> frozenset[tuple[str | None, int]]:
        """The (model sha256, class id) that a class's name or id may mean."""
        found: set[tuple[str | None, int]] = {
            (sha256, class_id)
            for sha256, model in self.models.items()
            for class_id, name in enumerate(model.names)
            if name == wanted
        }
        digits = wanted.removeprefix("class_")
        if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX:
            found.add((None, int(digits)))
        return frozenset(found)


@dataclass(slots=True)
class _Lately:
    """What the fleet's page shows beside a device's own words."""

    paces: dict[tuple[str, str, str], Pace]
    windows: dict[tuple[str, str, str], list[WindowSum]] = field(default_factory=dict)
    vitals: dict[tuple[str, str], VitalsSeen] = field(default_factory=dict)
    events: dict[tuple[str, str], list[Json]] = field(default_factory=dict)
    plans: dict[tuple[str, str, str], Json] = field(default_factory=dict)


class Queries:
    """Answers over a store.

    Attributes:
        store: Where records are.
        pictures: Where snapshots are, or None.
        clock: Wall time in ns.
        quarantine: Where batches are that could not be stored, or None.
        online_s: Silence in seconds after which a device no longer counts as online.
        minutes_days: For how long the store keeps windows below an hour.
    """

    def __init__(
        self,
        store: Store,
        pictures: Pictures | None = None,
        clock: Callable[[], int] = time.time_ns,
        *,
        quarantine: Quarantine | None = None,
        online_s: float = 90.0,
        minutes_days: float = 90.0,
    ) -> None:
        self.store = store
        self.pictures = pictures
        self.clock = clock
        self.quarantine = quarantine
        self._online_ns = int(online_s * SECOND_NS)
        self._minutes_ns = int(minutes_days * DAY_NS)

    def devices(self) -> Json:
        """Every device with its streams.

        Raises:
            Unavailable: The store cannot be read.
        """
        now_ns = self.clock()
        return {"devices": [self._device(facts, now_ns) for facts in self.store.devices()]}

    def ledger(self, site: str, device: str, from_ns: int | None = None, to_ns: int | None = None) -> Json:
        """What became of every frame of a device; with a range, of the batches sealed in it.

        Raises:
            NotFound: The device was never heard of.
            Unavailable: The store cannot be read.
        """
        start, end = _bounds(from_ns, to_ns)
        epochs = self.store.ledger(site, device, from_ns and start, None if to_ns is None else end)
        quarantined = self.quarantine.of_device(site, device) if self.quarantine else []
        known = epochs or quarantined
        if not known and not any((f.site, f.device) == (site, device) for f in self.store.devices()):
            raise NotFound(f"there is no device {site}/{device}")
        return books.ledger(epochs, quarantined, start, end)

    def predictions(self, where: Filter = EVERYTHING, cursor: str | None = None, limit: int = 100) -> Json:
        """What the models saw, newest first, `limit` at most; `next_cursor` goes on where it ends.

        Raises:
            BadQuery: The cursor or the limit is none.
            Unavailable: The store cannot be read.
        """
        if not 1 <= limit <= LIMIT_MAX:
            raise BadQuery("limit", f"'limit' must be 1 to {LIMIT_MAX}, got {limit}")
        if where.min_score is not None and not 0 <= where.min_score <= 1:
            raise BadQuery("min_score", f"'min_score' must be 0 to 1, got {where.min_score}")
        names = self._names()
        wanted = Wanted(
            where.scope,
            *_bounds(where.from_ns, where.to_ns),
            None if where.class_ is None else names.ids(where.class_),
            round((where.min_score or 0) * SCALE),
        )
        seen = self.store.observations(wanted, _place(cursor) if cursor else None, limit + 1)
        return {
            "predictions": [_prediction(one, names) for one in seen[:limit]],
            "next_cursor": _cursor(seen[limit - 1].place) if len(seen) > limit else None,
        }

    def summary(
        self,
        by: Sequence[str] = (),
        where: Filter = EVERYTHING,
        from_ns: int | None = None,
        to_ns: int | None = None,
        every_ns: int | None = None,
        *,
        histograms: bool = False,
    ) -> Json:
        """Figures of windows that start in the range (the last 24 hours by default), split by `by` and time.

        Buckets begin at multiples of `every_ns` since 1970 in UTC. Windows of a minute are summed; windows of an
        hour where `every_ns` is a multiple of one and the range begins before the minutes that are kept.

        Raises:
            BadQuery: An unknown dimension, an empty range, or too many rows.
            Unavailable: The store cannot be read.
        """
        start, end = _bounds(from_ns, self.clock() if to_ns is None else to_ns)
        start = max(0, end - DAY_NS) if from_ns is None else start
        _check_summary(by, start, end, every_ns)
        hours = every_ns is not None and every_ns % HOUR_NS == 0 and start < self.clock() - self._minutes_ns
        parts = self.store.windows(where.scope, start, end, every_ns, hours=hours)
        names = self._names()
        groups: dict[tuple[object, ...], list[WindowSum]] = {}
        for part in parts:
            groups.setdefault((part.bucket_ns, *(_dimension(part, name) for name in by)), []).append(part)
        if len(groups) > ROWS_MAX:
            raise BadQuery("every", f"that would be {len(groups)} rows, at most {ROWS_MAX} are given; ask for less")
        rows = [
            self._row(key, by, total(group, names.name).figures(histograms=histograms))
            for key, group in sorted(groups.items(), key=_row_order)
        ]
        return {
            "from": rfc3339(start),
            "to": rfc3339(end),
            "every_s": None if every_ns is None else every_ns / SECOND_NS,
            "windows": "hours" if hours else "minutes",
            "rows": rows,
        }

    def fleet(self) -> Json:
        """Every device at a glance: how it is and what its streams did in the last minutes.

        Raises:
            Unavailable: The store cannot be read.
        """
        now_ns = self.clock()
        facts = self.store.devices()
        names, lately = self._names(), self._lately(facts, now_ns)
        return {"now": rfc3339(now_ns), "devices": [self._glance(one, lately, names, now_ns) for one in facts]}

    def events(
        self, where: Filter = EVERYTHING, from_ns: int | None = None, to_ns: int | None = None, limit: int = 100
    ) -> Json:
        """What the devices told, newest first.

        Raises:
            BadQuery: The limit is none.
            Unavailable: The store cannot be read.
        """
        start, end = self._range(from_ns, to_ns, limit)
        return {
            "events": [
                {
                    "site": event.site,
                    "device": event.device,
                    "stream": event.stream,
                    "at": rfc3339(event.at_ns),
                    "name": event.name,
                    "detail": event.detail,
                }
                for event in self.store.events(where.scope, start, end, limit)
            ]
        }

    def vitals(
        self, where: Filter = EVERYTHING, from_ns: int | None = None, to_ns: int | None = None, limit: int = 100
    ) -> Json:
        """How the devices were, newest first; the names are those of `shared.schema.VITALS`.

        Raises:
            BadQuery: The limit is none.
            Unavailable: The store cannot be read.
        """
        start, end = self._range(from_ns, to_ns, limit)
        return {
            "vitals": [
                {"site": one.site, "device": one.device, "at": rfc3339(one.at_ns), **one.values}
                for one in self.store.vitals(where.scope, start, end, limit)
            ]
        }

    def classes(self, sha256: str) -> Json:
        """A model's name, version, task and classes by class id.

        Raises:
            NotFound: No device told of such a model.
            Unavailable: The store cannot be read.
        """
        found = self._names().models.get(sha256)
        if found is None:
            raise NotFound(f"no device told of a model with sha256 {sha256}")
        return {
            "model": found.model,
            "version": found.version,
            "sha256": found.sha256,
            "task": found.task,
            "family": found.family,
            "classes": list(found.names),
        }

    def _names(self) -> _Names:
        return _Names({model.sha256: model for model in self.store.models()})

    def _range(self, from_ns: int | None, to_ns: int | None, limit: int) -> tuple[int, int]:
        if not 1 <= limit <= LIMIT_MAX:
            raise BadQuery("limit", f"'limit' must be 1 to {LIMIT_MAX}, got {limit}")
        return _bounds(from_ns, to_ns)

    def _row(self, key: tuple[object, ...], by: Sequence[str], figures: Json) -> Json:
        start, *dimensions = key
        row: Json = {} if start is None else {"time": rfc3339(cast("int", start))}
        return row | dict(zip(by, dimensions, strict=True)) | figures

    def _seen_ns(self, facts: DeviceFacts) -> int | None:
        """When a sign of life was last received."""
        return max((at for at in (facts.heard_at_ns, facts.last_batch_at_ns) if at is not None), default=None)

    def _online(self, facts: DeviceFacts, now_ns: int) -> bool:
        seen_ns = self._seen_ns(facts)
        says_so = facts.status is not None and facts.status.state == "online"
        return says_so and seen_ns is not None and now_ns - seen_ns <= self._online_ns

    def _device(self, facts: DeviceFacts, now_ns: int) -> Json:
        status = facts.status
        told = status.streams if status else {}
        return {
            "site": facts.site,
            "device": facts.device,
            "name": facts.device,
            "online": self._online(facts, now_ns),
            "state": status.state if status else None,
            "last_seen": rfc3339_or_none(self._seen_ns(facts)),
            "epoch": facts.epoch,
            "agent_version": status.agent_version if status else None,
            "hardware": status.hardware if status else None,
            "platform": status.platform if status else None,
            "streams": [_stream(name, told.get(name)) for name in sorted({*facts.streams, *told})],
        }

    def _lately(self, facts: Sequence[DeviceFacts], now_ns: int) -> _Lately:
        """What the streams did in the last minutes, and what the devices told; one question each for all of them."""
        lengths_s = [stream.window_s for one in facts if one.status for stream in one.status.streams.values()]
        since_ns = now_ns - max(_LATELY_NS, 2 * max(lengths_s, default=0) * SECOND_NS)
        lately = _Lately(self._paces(facts, now_ns))
        for part in self.store.windows(Scope(), since_ns, now_ns + DAY_NS, None):
            lately.windows.setdefault((part.site, part.device, part.stream), []).append(part)
        for one in self.store.vitals(Scope(), now_ns - _LATELY_NS, now_ns + DAY_NS, 25 * (len(facts) + 1)):
            lately.vitals.setdefault((one.site, one.device), one)
        started = set()
        for event in self.store.events(Scope(), now_ns - DAY_NS, now_ns + DAY_NS, LIMIT_MAX):
            told = lately.events.setdefault((event.site, event.device), [])
            shown = {
                "at": rfc3339(event.at_ns),
                "stream": event.stream,
                "name": event.name,
                "detail": event.detail,
            }
            if event.name == "agent_started":
                started.add((event.site, event.device))  # what was told before says nothing of this start
            if event.name in _PLAN_EVENTS and event.stream is not None and (event.site, event.device) not in started:
                lately.plans.setdefault((event.site, event.device, event.stream), shown)
            if len(told) < _EVENTS_PER_DEVICE:
                told.append(shown)
        return lately

    def _paces(self, facts: Sequence[DeviceFacts], now_ns: int) -> dict[tuple[str, str, str], Pace]:
        """How fast the streams have been: in the last minute, or in the last periods of a slow plan."""
        paces = {(p.site, p.device, p.stream): p for p in self.store.paces(now_ns - _PACE_NS)}
        slow = {
            (one.site, one.device, name): 1 / stream.fps
            for one in facts
            if one.status
            for name, stream in one.status.streams.items()
            if stream.fps and 1 / stream.fps > _SLOW_S
        }
        if slow:
            since_ns = now_ns - round((_PERIODS * max(slow.values()) + _PACE_NS / SECOND_NS) * SECOND_NS)
            for pace in self.store.paces(since_ns):
                if (pace.site, pace.device, pace.stream) in slow:
                    paces[pace.site, pace.device, pace.stream] = pace
        return paces

    def _glance(self, facts: DeviceFacts, lately: _Lately, names: _Names, now_ns: int) -> Json:
        key = (facts.site, facts.device)
        device = self._device(facts, now_ns)
        account = self.ledger(*key)
        vitals = lately.vitals.get(key)
        since_ns = facts.state_since_ns if device["online"] else self._seen_ns(facts)
        if facts.status is not None and facts.status.state != "online":
            since_ns = facts.state_since_ns
        return device | {
            "since": rfc3339_or_none(since_ns),
            "ledger": {name: account[name] for name in ("captured", "sealed", "missing")},
            "vitals": {"at": rfc3339(vitals.at_ns), **vitals.values} if vitals else None,
            "events": lately.events.get(key, []),
            "streams": [
                stream | self._stream_glance((*key, stream["stream"]), lately, names) for stream in device["streams"]
            ],
        }

    def _stream_glance(self, key: tuple[str, str, str], lately: _Lately, names: _Names) -> Json:
        figures = total(lately.windows.get(key, ()), names.name).figures()
        pace = lately.paces.get(key)
        captured_at_ns = self.pictures.latest(*key) if self.pictures else None
        return {
            "frames_per_s": _pace(pace) if pace and pace.seconds else None,
            "last_sealed": rfc3339(pace.last_sealed_ns) if pace else None,
            **_plan(lately.plans.get(key), lately.windows.get(key, ())),
            **{
                name: figures[name]
                for name in (
                    *("frames", "response_ms", "infer_ms", "without_detection", "error_rate", "classes"),
                    *("planned", "coverage", "asleep_s"),
                )
            },
            "snapshot": None
            if captured_at_ns is None
            else {"captured_at": rfc3339(captured_at_ns), "captured_at_ns": captured_at_ns},
        }


def _pace(pace: Pace) -> float:
    """Frames per second, with two digits that count."""
    rate = pace.frames / pace.seconds
    return round(rate, 2) if rate >= 1 else float(f"{rate:.2g}")


def _plan(told: Json | None, windows: Sequence[WindowSum]) -> Json:
    """Whether a stream is asleep by its plan: the device says so when it changes, and in each window."""
    if told is not None:
        asleep = told["name"] == "stream_asleep"
        return {"asleep": asleep, "plan_at": told["at"], "plan_detail": told["detail"]}
    lasted = sum(part.duration for part in windows)
    asleep = lasted > 0 and sum(part.asleep for part in windows) > _ASLEEP_SHARE * lasted
    return {"asleep": asleep, "plan_at": None, "plan_detail": ""}


def _stream(name: str, told: StreamStatus | None) -> Json:
    """A stream as its device describes it."""
    return {
        "stream": name,
        "model": told.model if told else None,
        "model_version": told.version if told else None,
        "model_sha256": told.sha256 if told else None,
        "provider": told.provider if told else None,
        "requested_provider": told.requested_provider if told else None,
        "task": told.task if told else None,
        "source": told.source if told else None,
        "fps": told.fps if told else None,
        "plan": (told.plan or None) if told else None,
        "error": (told.error or None) if told else None,
    }


def _bounds(from_ns: int | None, to_ns: int | None) -> tuple[int, int]:
    """A range within what a store can compare with; None has no end."""
    start, end = from_ns or 0, FOREVER_NS if to_ns is None else to_ns
    return min(max(0, start), FOREVER_NS), min(max(0, end), FOREVER_NS)


def _check_summary(by: Iterable[str], start: int, end: int, every_ns: int | None) -> None:
    for name in by:
        if name not in DIMENSIONS:
            raise BadQuery("by", f"'by' takes {', '.join(DIMENSIONS)}, got {name!r}")
    if start >= end:
        raise BadQuery("from", f"'from' must be before 'to', got {rfc3339(start)} and {rfc3339(end)}")
    if every_ns is not None and (not SECOND_NS <= every_ns <= FOREVER_NS or (end - start) / every_ns > ROWS_MAX):
        raise BadQuery(
            "every", f"'every' must be at least a second and give at most {ROWS_MAX} steps; take longer ones"
        )


def _dimension(part: WindowSum, name: str) -> str:
    if name == "model":
        return part.maker.model
    if name == "version":
        return part.maker.version
    return cast("str", getattr(part, name))


def _row_order(item: tuple[tuple[object, ...], object]) -> tuple[object, ...]:
    start, *dimensions = item[0]
    return (start or 0, *dimensions)


def _prediction(seen: Seen, names: _Names) -> Json:
    outcome = "failed" if seen.error else "ok"
    prediction: Json = {
        "site": seen.site,
        "device": seen.device,
        "stream": seen.stream,
        "epoch": seen.epoch,
        "nonce": seen.nonce,
        "frame": seen.frame,
        "captured_at": rfc3339(seen.captured_at_ns),
        "captured_at_ns": seen.captured_at_ns,
        "model": seen.maker.model,
        "model_version": seen.maker.version,
        "model_sha256": seen.maker.sha256,
        "width": seen.width,
        "height": seen.height,
        "outcome": outcome,
        "timings_ms": _timings(seen),
        "detections": [_detection(found, seen, names) for found in seen.detections],
    }
    if seen.classes:
        prediction["classes"] = [_guess(found, seen.maker, names) for found in seen.classes]
    if seen.error:
        prediction["error"] = seen.error
    return prediction


def _timings(seen: Seen) -> dict[str, float]:
    ticks = {name: getattr(seen, name) for name in ("capture", "wait", "prepare", "infer", "decode")}
    ticks["response"] = seen.wait + seen.prepare + seen.infer + seen.decode
    return {name: value / TICKS_PER_MS for name, value in ticks.items()}


def _detection(found: Detection, seen: Seen, names: _Names) -> Json:
    corners = zip(
        (found.x1, found.y1, found.x2, found.y2), (seen.width, seen.height, seen.width, seen.height), strict=True
    )
    return _guess(found, seen.maker, names) | {"box": [round(part * side / SCALE, 2) for part, side in corners]}


def _guess(found: Detection | Guess, maker: Maker, names: _Names) -> Json:
    return {"class": names.name(maker, found.class_id), "class_id": found.class_id, "score": found.score / SCALE}


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def _place(cursor: str) -> Place:
    try:
        raw = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        return _places.decode(raw)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise BadQuery("cursor", "'cursor' must be a 'next_cursor' of an earlier answer") from error
