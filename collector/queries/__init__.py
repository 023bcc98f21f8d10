"""Named questions, answered once over any store: JSON-ready, in the shapes of the REST API.

===========  ======================================================
asking       what a question may say
predictions  observations as the API tells them
accounts     the ledgers of devices, and their sums
fleet        how each device is, and what its streams did lately
===========  ======================================================

Times are RFC 3339 in UTC, durations ms, boxes pixels, scores 0 to 1.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from collector.figures import total
from collector.queries.accounts import Accounts, Asked, Quarantine
from collector.queries.asking import (
    DAY_NS,
    DIMENSIONS,
    EVERYTHING,
    HOUR_NS,
    LIMIT_MAX,
    ROWS_MAX,
    BadQuery,
    Filter,
    Json,
    NotFound,
    bounds,
    check_summary,
)
from collector.queries.fleet import Fleet, Pictures
from collector.queries.predictions import Names, cursor_of, place_of, prediction
from collector.stores import Store
from collector.stores.answers import EventSeen, Scope, Wanted, WindowSum
from collector.timestamps import SECOND_NS, rfc3339
from shared.records import SCALE

__all__ = ["DIMENSIONS", "LIMIT_MAX", "BadQuery", "Filter", "Json", "NotFound", "Queries"]


class Told(Protocol):
    """Where the collector's own events are."""

    def events(self, scope: Scope, from_ns: int, to_ns: int, limit: int) -> list[EventSeen]:
        """Events, newest first."""


class Queries:
    """Answers over a store.

    Attributes:
        store: Where records are.
        pictures: Where snapshots are, or None.
        clock: Wall time in ns.
        quarantine: Where batches are that could not be stored, or None.
        asked: What devices were asked to send again, or None.
        told: What the collector itself has to tell, or None.
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
        asked: Asked | None = None,
        told: Told | None = None,
        online_s: float = 90.0,
        minutes_days: float = 90.0,
    ) -> None:
        self.store = store
        self.pictures = pictures
        self.clock = clock
        self._told = told
        self._accounts = Accounts(store, quarantine, asked)
        self._fleet = Fleet(store, pictures, int(online_s * SECOND_NS), self._events, self._accounts.balances)
        self._minutes_ns = int(minutes_days * DAY_NS)

    def devices(self) -> Json:
        """Every device with its streams.

        Raises:
            Unavailable: The store cannot be read.
        """
        now_ns = self.clock()
        return {"devices": [self._fleet.device(facts, now_ns) for facts in self.store.devices()]}

    def ledger(
        self,
        site: str,
        device: str,
        from_ns: int | None = None,
        to_ns: int | None = None,
        *,
        digests: bool = False,
    ) -> Json:
        """What became of every frame of a device; with a range, of the batches sealed in it.

        `digests` adds one over each lane's batches: it reads every entry, which takes a while.

        Raises:
            NotFound: The device was never heard of.
            Unavailable: The store cannot be read.
        """
        start, end = bounds(from_ns, to_ns)
        return self._accounts.of(site, device, from_ns and start, None if to_ns is None else end, digests=digests)

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
            *bounds(where.from_ns, where.to_ns),
            None if where.class_ is None else names.ids(where.class_),
            round((where.min_score or 0) * SCALE),
        )
        seen = self.store.observations(wanted, place_of(cursor) if cursor else None, limit + 1)
        return {
            "predictions": [prediction(one, names) for one in seen[:limit]],
            "next_cursor": cursor_of(seen[limit - 1].place) if len(seen) > limit else None,
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
        start, end = bounds(from_ns, self.clock() if to_ns is None else to_ns)
        start = max(0, end - DAY_NS) if from_ns is None else start
        check_summary(by, start, end, every_ns)
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
        return {"now": rfc3339(now_ns), "devices": self._fleet.glances(facts, self._names(), now_ns)}

    def events(
        self, where: Filter = EVERYTHING, from_ns: int | None = None, to_ns: int | None = None, limit: int = 100
    ) -> Json:
        """What the devices told, and the collector of them, newest first.

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
                for event in self._events(where.scope, start, end, limit)
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

    def _events(self, scope: Scope, from_ns: int, to_ns: int, limit: int) -> list[EventSeen]:
        """Those of the devices and those of the collector."""
        events = self.store.events(scope, from_ns, to_ns, limit)
        if self._told is None:
            return events
        own = self._told.events(scope, from_ns, to_ns, limit)
        return sorted([*events, *own], key=lambda event: event.at_ns, reverse=True)[:limit]

    def _names(self) -> Names:
        return Names({model.sha256: model for model in self.store.models()})

    def _range(self, from_ns: int | None, to_ns: int | None, limit: int) -> tuple[int, int]:
        if not 1 <= limit <= LIMIT_MAX:
            raise BadQuery("limit", f"'limit' must be 1 to {LIMIT_MAX}, got {limit}")
        return bounds(from_ns, to_ns)

    def _row(self, key: tuple[object, ...], by: Sequence[str], figures: Json) -> Json:
        start, *dimensions = key
        row: Json = {} if start is None else {"time": rfc3339(cast("int", start))}
        return row | dict(zip(by, dimensions, strict=True)) | figures


def _dimension(part: WindowSum, name: str) -> str:
    if name == "model":
        return part.maker.model
    if name == "version":
        return part.maker.version
    return cast("str", getattr(part, name))


def _row_order(item: tuple[tuple[object, ...], object]) -> tuple[object, ...]:
    start, *dimensions = item[0]
    return (start or 0, *dimensions)
