"""Names and their integers: each device, stream, epoch and maker is written once and referred to by number."""

import sqlite3

import msgspec

from shared.records import Maker


class Keys:
    """The interned names, cached. `forget` after a rollback: what was interned in it is gone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[tuple[object, ...], int] = {}

    def forget(self) -> None:
        """Read them again from the file."""
        self._known.clear()

    def device(self, site: str, device: str) -> int:
        """The number of a device."""
        return self._number("devices", ("site", "device"), (site, device))

    def stream(self, device: int, name: str) -> int:
        """The number of a stream of a device."""
        return self._number("streams", ("device", "name"), (device, name))

    def epoch(self, device: int, epoch: int, nonce: str) -> int:
        """The number of a start of a device."""
        return self._number("epochs", ("device", "epoch", "nonce"), (device, epoch, nonce))

    def maker(self, maker: Maker) -> int:
        """The number of a maker."""
        key = ("makers", maker)
        if key not in self._known:
            text = msgspec.json.encode(maker).decode()
            self._connection.execute(
                "INSERT INTO makers (key, model, version, sha256) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (text, maker.model, maker.version, maker.sha256),
            )
            found = self._connection.execute("SELECT id FROM makers WHERE key = ?", (text,)).fetchone()
            self._known[key] = found[0]
        return self._known[key]

    def _number(self, table: str, columns: tuple[str, ...], values: tuple[object, ...]) -> int:
        key = (table, *values)
        if key not in self._known:
            marks = ", ".join("?" * len(values))
            where = " AND ".join(f"{column} = ?" for column in columns)
            self._connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT DO NOTHING",  # noqa: S608  # names from the code above
                values,
            )
            found = self._connection.execute(
                f"SELECT id FROM {table} WHERE {where}",  # noqa: S608  # names from the code above
                values,
            ).fetchone()
            self._known[key] = found[0]
        return self._known[key]
