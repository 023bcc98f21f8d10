"""The tables of the SQLite store.

Names that come again and again (devices, streams, epochs, makers) are interned in small tables; everything else
refers to them by integer. The big tables are clustered by the order in which they are read, without a second index:
an observation costs one insertion into one tree. `totals` and `lanes` are kept in step by the same transaction, so
that the ledger of a device is a handful of rows however long it has been running; so is `plans`, the sums of what the
windows below an hour say of the plan (`captured` of those that say what was planned), and so is `holes`, what lies
below `lanes.told`, the highest number that must exist, and has not arrived.

Ledger rows (`batches`, `spans`) live as long as the detail; `totals` remembers up to where spans were forgotten.
"""

from shared.histogram import BINS_MAX
from shared.records import Fate, Lane, Outcome
from shared.schema import VITALS

VERSION = 4
"""Stored in the file as `user_version`."""

OUTCOMES: tuple[Outcome, ...] = ("ok", "skipped", "gated", "unreadable", "failed")
FATES: tuple[Fate, ...] = ("stored", "thinned", "expired")
LANES: tuple[Lane, ...] = ("summary", "detail")
"""A lane's number is its place here."""

BIN_COLUMNS = tuple(f"b{i}" for i in range(BINS_MAX))
VITALS_COLUMNS = tuple(field.name for field in VITALS)

_TYPES = {"int": "INTEGER", "float": "REAL", "bool": "INTEGER"}
_counts = ", ".join(f"{name} INTEGER NOT NULL" for name in OUTCOMES)
_bins = ", ".join(f"{name} INTEGER NOT NULL" for name in BIN_COLUMNS)
_vitals = ", ".join(f"{field.name} {_TYPES[field.kind]}" for field in VITALS)

_PLANS = """CREATE TABLE plans (
        epoch INTEGER NOT NULL, stream INTEGER NOT NULL, planned INTEGER, captured INTEGER NOT NULL,
        asleep INTEGER NOT NULL, PRIMARY KEY (epoch, stream)) STRICT, WITHOUT ROWID"""

_REQUESTS = """CREATE TABLE request_counts (
        window INTEGER NOT NULL, status TEXT NOT NULL, requests INTEGER NOT NULL,
        PRIMARY KEY (window, status)) STRICT, WITHOUT ROWID"""

_HOLES = """CREATE TABLE holes (
        epoch INTEGER NOT NULL, lane INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        since_ns INTEGER NOT NULL, PRIMARY KEY (epoch, lane, first)) STRICT, WITHOUT ROWID"""

TABLES = (
    """CREATE TABLE devices (
        id INTEGER PRIMARY KEY, site TEXT NOT NULL, device TEXT NOT NULL,
        last_batch_at_ns INTEGER, status BLOB, status_at_ns INTEGER, heard_at_ns INTEGER,
        state TEXT, state_since_ns INTEGER, held BLOB, held_at_ns INTEGER, held_epoch INTEGER, held_nonce TEXT,
        held_batch INTEGER, UNIQUE (site, device)) STRICT""",
    """CREATE TABLE streams (
        id INTEGER PRIMARY KEY, device INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (device, name)) STRICT""",
    """CREATE TABLE epochs (
        id INTEGER PRIMARY KEY, device INTEGER NOT NULL, epoch INTEGER NOT NULL, nonce TEXT NOT NULL,
        first_sealed_ns INTEGER, last_sealed_ns INTEGER, UNIQUE (device, epoch, nonce)) STRICT""",
    """CREATE TABLE makers (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, model TEXT NOT NULL, version TEXT NOT NULL,
        sha256 TEXT NOT NULL) STRICT""",
    """CREATE TABLE models (
        sha256 TEXT PRIMARY KEY, model TEXT NOT NULL, version TEXT NOT NULL, task TEXT NOT NULL,
        family TEXT NOT NULL, names TEXT NOT NULL, at_ns INTEGER NOT NULL) STRICT""",
    """CREATE TABLE batches (
        id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, lane INTEGER NOT NULL, batch INTEGER NOT NULL,
        sealed_at_ns INTEGER NOT NULL, received_at_ns INTEGER NOT NULL, time_quality TEXT NOT NULL,
        sha256 BLOB NOT NULL, frames INTEGER NOT NULL, fate INTEGER NOT NULL, UNIQUE (epoch, lane, batch)) STRICT""",
    f"""CREATE TABLE spans (
        epoch INTEGER NOT NULL, stream INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        batch INTEGER NOT NULL, sealed_at_ns INTEGER NOT NULL, fate INTEGER NOT NULL, {_counts}, runs BLOB NOT NULL,
        PRIMARY KEY (epoch, stream, first)) STRICT, WITHOUT ROWID""",
    f"""CREATE TABLE totals (
        epoch INTEGER NOT NULL, stream INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, {_counts},
        stored INTEGER NOT NULL, thinned INTEGER NOT NULL, expired INTEGER NOT NULL,
        forgotten_to INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (epoch, stream)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE lanes (
        epoch INTEGER NOT NULL, lane INTEGER NOT NULL, last INTEGER NOT NULL, batches INTEGER NOT NULL,
        forgotten_to INTEGER NOT NULL DEFAULT 0, told INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (epoch, lane)) STRICT, WITHOUT ROWID""",
    _HOLES,
    """CREATE TABLE endings (
        epoch INTEGER PRIMARY KEY, told_at_ns INTEGER NOT NULL, summary INTEGER NOT NULL, detail INTEGER NOT NULL,
        clean INTEGER NOT NULL, exact INTEGER NOT NULL) STRICT""",
    """CREATE TABLE tails (
        epoch INTEGER NOT NULL, stream INTEGER NOT NULL, sealed INTEGER NOT NULL, captured INTEGER NOT NULL,
        PRIMARY KEY (epoch, stream)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE observations (
        stream INTEGER NOT NULL, captured_at_ns INTEGER NOT NULL, epoch INTEGER NOT NULL, frame INTEGER NOT NULL,
        maker INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, capture INTEGER NOT NULL,
        wait INTEGER NOT NULL, prepare INTEGER NOT NULL, infer INTEGER NOT NULL, decode INTEGER NOT NULL,
        classes INTEGER NOT NULL, top INTEGER NOT NULL, body BLOB, error TEXT,
        PRIMARY KEY (stream, captured_at_ns, epoch, frame)) STRICT, WITHOUT ROWID""",
    f"""CREATE TABLE windows (
        id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, hour INTEGER NOT NULL, started_at_ns INTEGER NOT NULL,
        epoch INTEGER NOT NULL, maker INTEGER NOT NULL, seconds INTEGER NOT NULL, duration INTEGER NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL, {_counts}, none INTEGER NOT NULL,
        planned INTEGER, asleep INTEGER NOT NULL DEFAULT 0,
        UNIQUE (stream, hour, started_at_ns, epoch, maker)) STRICT""",
    _PLANS,
    f"""CREATE TABLE histograms (
        window INTEGER NOT NULL, property TEXT NOT NULL, n INTEGER NOT NULL, sum INTEGER NOT NULL, {_bins},
        PRIMARY KEY (window, property)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE class_counts (
        window INTEGER NOT NULL, class_id INTEGER NOT NULL, frames INTEGER NOT NULL, detections INTEGER NOT NULL,
        top INTEGER NOT NULL, PRIMARY KEY (window, class_id)) STRICT, WITHOUT ROWID""",
    _REQUESTS,
    f"""CREATE TABLE vitals (
        device INTEGER NOT NULL, at_ns INTEGER NOT NULL, epoch INTEGER NOT NULL, batch INTEGER NOT NULL,
        position INTEGER NOT NULL, {_vitals},
        PRIMARY KEY (device, at_ns, epoch, batch, position)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE events (
        device INTEGER NOT NULL, at_ns INTEGER NOT NULL, epoch INTEGER NOT NULL, batch INTEGER NOT NULL,
        position INTEGER NOT NULL, stream TEXT, name TEXT NOT NULL, detail TEXT NOT NULL,
        PRIMARY KEY (device, at_ns, epoch, batch, position)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE statuses (
        id INTEGER PRIMARY KEY, device INTEGER NOT NULL, received_at_ns INTEGER NOT NULL, retained INTEGER NOT NULL,
        state TEXT NOT NULL, epoch INTEGER NOT NULL, body BLOB NOT NULL) STRICT""",
)

_TOLD = (
    "UPDATE lanes SET told = max(last, coalesce((SELECT iif(lane, n.detail, n.summary) FROM endings n "
    "WHERE n.epoch = lanes.epoch), 0))"
)
_BETWEEN = (
    "INSERT INTO holes SELECT epoch, lane, before + 1, batch - 1, received_at_ns FROM (SELECT b.*, "
    "lag(b.batch, 1, l.forgotten_to) OVER (PARTITION BY b.epoch, b.lane ORDER BY b.batch) AS before "
    "FROM batches b JOIN lanes l ON l.epoch = b.epoch AND l.lane = b.lane) WHERE batch > before + 1"
)
_BEYOND = (
    "INSERT INTO holes SELECT l.epoch, l.lane, l.last + 1, l.told, n.told_at_ns FROM lanes l "
    "JOIN endings n ON n.epoch = l.epoch WHERE l.told > l.last"
)

UPGRADES = {
    1: (
        "ALTER TABLE windows ADD COLUMN planned INTEGER",
        "ALTER TABLE windows ADD COLUMN asleep INTEGER NOT NULL DEFAULT 0",
        _PLANS,
    ),
    2: (_REQUESTS,),
    3: (
        "ALTER TABLE devices ADD COLUMN held BLOB",
        "ALTER TABLE devices ADD COLUMN held_at_ns INTEGER",
        "ALTER TABLE devices ADD COLUMN held_epoch INTEGER",
        "ALTER TABLE devices ADD COLUMN held_nonce TEXT",
        "ALTER TABLE devices ADD COLUMN held_batch INTEGER",
        "ALTER TABLE lanes ADD COLUMN told INTEGER NOT NULL DEFAULT 0",
        "INSERT OR IGNORE INTO lanes (epoch, lane, last, batches) SELECT epoch, 0, 0, 0 FROM endings WHERE summary",
        "INSERT OR IGNORE INTO lanes (epoch, lane, last, batches) SELECT epoch, 1, 0, 0 FROM endings WHERE detail",
        _TOLD,
        _HOLES,
        _BETWEEN,
        _BEYOND,
    ),
}
"""What turns a file of a version into one of the next."""
