"""The program's side: every commit of every SQLite connection is marked, with what the database holds after it."""

import hashlib
import sqlite3
from collections.abc import Iterable
from typing import Any, Protocol

from tests.faults.powercuts.recording import Marks

CARELESS = "careless"
"""Third argument of a life that syncs no commit: what comes of it must be found."""


class Readable(Protocol):
    """What `digest` needs of a connection."""

    def execute(self, sql: str, /) -> sqlite3.Cursor:
        """As `sqlite3.Connection.execute`."""


def digest(db: Readable) -> str:
    """Of everything in a database that means something."""
    whole = hashlib.sha256()
    tables = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    for name, sql in tables:
        whole.update(repr((name, sql)).encode())
        rows = db.execute(f'SELECT * FROM "{name}"').fetchall()  # noqa: S608  # the database's own names
        for row in sorted(map(repr, rows)):
            whole.update(row.encode())
    return whole.hexdigest()[:32]


def mark_all(marks: Marks) -> None:  # noqa: C901  # one class, which needs `marks`
    """From now on each commit in this process is marked as `commit`, name of the file, digest."""

    class Marked(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            before, changes = self.in_transaction, self.total_changes
            cursor = super().execute(*args)
            if not self.in_transaction and (before or self.total_changes != changes):
                self._committed()
            return cursor

        def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
            cursor = super().executemany(sql, rows)
            if not self.in_transaction:
                self._committed()
            return cursor

        def commit(self) -> None:
            before = self.in_transaction
            super().commit()
            if before:
                self._committed()

        def _committed(self) -> None:
            path = super().execute("PRAGMA database_list").fetchone()[2]
            marks.say("commit", path, digest(_Plain(self)))

    class _Plain:
        """The connection without marks."""

        def __init__(self, db: Marked) -> None:
            self._db = db

        def execute(self, sql: str) -> sqlite3.Cursor:
            return sqlite3.Connection.execute(self._db, sql)

    connect = sqlite3.connect

    def marked(*args: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **{"factory": Marked, **options})
        return db

    sqlite3.connect = marked  # type: ignore[assignment]  # in the recorded process only
