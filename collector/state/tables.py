"""The tables of the state database, in SQLAlchemy Core so that another database than SQLite can hold them."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event

metadata = sa.MetaData()

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("cause", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("received_at_ns", sa.BigInteger, nullable=False),
    sa.Column("site", sa.String),
    sa.Column("device", sa.String),
    sa.Column("epoch", sa.BigInteger),
    sa.Column("nonce", sa.String),
    sa.Column("lane", sa.String),
    sa.Column("batch", sa.BigInteger),
    sa.Column("sealed_at_ns", sa.BigInteger),
    sa.Column("streams", sa.String),
    sa.UniqueConstraint("topic", "sha256"),
    sa.Index("quarantine_device", "site", "device"),
    sqlite_autoincrement=True,
)
"""`site` to `streams` come from the header and are set only where its device is the topic's own."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("site", sa.String, nullable=False),
    sa.Column("device", sa.String, nullable=False),
    sa.Column("stream", sa.String),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("detail", sa.String, nullable=False),
    sa.Index("events_device", "site", "device", "at_ns"),
    sa.Index("events_time", "at_ns"),
)
"""What the collector itself has to tell of a device."""

asked = sa.Table(
    "asked",
    metadata,
    sa.Column("site", sa.String, primary_key=True),
    sa.Column("device", sa.String, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("nonce", sa.String, primary_key=True),
    sa.Column("lane", sa.String, primary_key=True),
    sa.Column("since_ns", sa.BigInteger, nullable=False),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("ranges", sa.String, nullable=False),
    sa.Column("remains", sa.String, nullable=False),
)
"""What devices were asked to send again, per lane of a start: `ranges` when last asked, `remains` was in vain."""


def engine(path: Path) -> sa.Engine:
    """The database in a SQLite file; nothing is opened yet."""
    name = path.absolute().as_uri()
    # `psow=0`: see `stores/sqlite`.
    made = sa.create_engine(sa.URL.create("sqlite", database=name, query={"uri": "true", "psow": "0"}))
    event.listen(made, "connect", _on_connect)
    return made


def _on_connect(connection: object, _record: object) -> None:
    """Each commit is on the disk when it returns, and readers never wait for writers."""
    cursor = connection.cursor()  # type: ignore[attr-defined]  # a DB-API connection, which has no type of its own
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 1000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
