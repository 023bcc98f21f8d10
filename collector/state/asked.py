"""What devices were asked to send again: it outlives the collector, so that what was in vain is told once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from collector.state import events
from collector.state.database import Database
from collector.state.tables import asked as table
from collector.stores.answers import EventSeen, LaneKey

Ranges = tuple[tuple[int, int], ...]

_ranges = msgspec.json.Decoder(Ranges)
_KEY = ("site", "device", "epoch", "nonce", "lane")


@dataclass(frozen=True, slots=True)
class Asking:
    """What a device was asked for, of one lane of one of its starts.

    Attributes:
        lane: Which.
        since_ns: When it was asked first.
        at_ns: When it was asked last.
        tries: How often.
        ranges: Batches that it was asked for last.
        remains: Batches that asking did not bring; that was told.
    """

    lane: LaneKey
    since_ns: int
    at_ns: int
    tries: int
    ranges: Ranges
    remains: Ranges = ()


class Asked:
    """The requests that are open; may be used from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[LaneKey, Asking]:
        """All of them.

        Raises:
            Unavailable: They cannot be read now.
        """
        return self._select(sa.select(table))

    def of_device(self, site: str, device: str) -> dict[LaneKey, Asking]:
        """Those of a device.

        Raises:
            Unavailable: They cannot be read now.
        """
        return self._select(sa.select(table).where(table.c.site == site, table.c.device == device))

    def change(self, keep: Sequence[Asking], forget: Sequence[LaneKey], told: Sequence[EventSeen] = ()) -> None:
        """Keep some, forget others, and tell events: all or nothing.

        Raises:
            Unavailable: It cannot be written now.
        """
        gone = [*forget, *(one.lane for one in keep)]
        with self._database.connected() as connection:
            for lane in gone:
                connection.execute(table.delete().where(*(table.c[name] == getattr(lane, name) for name in _KEY)))
            for one in keep:
                connection.execute(table.insert().values(_row(one)))
            events.insert(connection, told)

    def _select(self, wanted: sa.Select[Any]) -> dict[LaneKey, Asking]:
        with self._database.connected() as connection:
            rows = connection.execute(wanted).all()
        found: dict[LaneKey, Asking] = {}
        for site, device, epoch, nonce, name, since_ns, at_ns, tries, ranges, remains in rows:
            lane = LaneKey(site, device, epoch, nonce, name)
            found[lane] = Asking(lane, since_ns, at_ns, tries, _ranges.decode(ranges), _ranges.decode(remains))
        return found


def _row(one: Asking) -> dict[str, object]:
    return {name: getattr(one.lane, name) for name in _KEY} | {
        "since_ns": one.since_ns,
        "at_ns": one.at_ns,
        "tries": one.tries,
        "ranges": msgspec.json.encode(one.ranges).decode(),
        "remains": msgspec.json.encode(one.remains).decode(),
    }
