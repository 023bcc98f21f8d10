"""What the collector itself has to tell of a device, beside what devices tell."""

from collections.abc import Sequence

import sqlalchemy as sa

from collector.state.database import Database
from collector.state.tables import events as table
from collector.stores.answers import EventSeen, Scope

DETAIL_LENGTH_MAX = 1024

SAME_NS = 60 * 10**9
"""Two collectors see the same within this time."""


class Events:
    """The collector's own events; may be used from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def events(self, scope: Scope, from_ns: int, to_ns: int, limit: int) -> list[EventSeen]:
        """Events, newest first.

        Raises:
            Unavailable: They cannot be read now.
        """
        columns = (table.c[name] for name in ("site", "device", "stream", "at_ns", "name", "detail"))
        wanted = sa.select(*columns).where(table.c.at_ns >= from_ns, table.c.at_ns < to_ns)
        for name in ("site", "device", "stream"):
            value = getattr(scope, name)
            if value is not None:
                wanted = wanted.where(table.c[name] == value)
        with self._database.connected() as connection:
            rows = connection.execute(wanted.order_by(table.c.at_ns.desc(), table.c.id.desc()).limit(limit)).all()
        return [EventSeen(*row) for row in rows]

    def tell(self, event: EventSeen) -> bool:
        """Keep an event; False when another collector told the same of the device just before.

        Raises:
            Unavailable: It cannot be kept now.
        """
        same = (table.c.site == event.site, table.c.device == event.device, table.c.name == event.name)
        known = sa.select(table.c.id).where(*same, table.c.at_ns > event.at_ns - SAME_NS).limit(1)
        with self._database.connected() as connection:
            if connection.execute(known).first() is not None:
                return False
            insert(connection, [event])
        return True

    def expire(self, before_ns: int) -> int:
        """Delete what was told before then; how many.

        Raises:
            Unavailable: They cannot be written now.
        """
        with self._database.connected() as connection:
            return connection.execute(table.delete().where(table.c.at_ns < before_ns)).rowcount


def insert(connection: sa.Connection, events: Sequence[EventSeen]) -> None:
    """Add events, in the caller's transaction."""
    if events:
        connection.execute(
            table.insert(),
            [
                {
                    "at_ns": one.at_ns,
                    "site": one.site,
                    "device": one.device,
                    "stream": one.stream,
                    "name": one.name,
                    "detail": one.detail[:DETAIL_LENGTH_MAX],
                }
                for one in events
            ],
        )
