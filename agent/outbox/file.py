"""The outbox's database file: opened, checked, set aside when damaged."""

import contextlib
import fcntl
import sqlite3
import time
from pathlib import Path
from typing import IO

SCHEMA = 1
_CHECK_S = 2.0
"""How long a start may look for damage."""

_SET_ASIDE_MAX = 2
_COMPANIONS = ("", "-wal", "-shm")


class InUse(Exception):
    """Another process has the file open. The text says what to do."""


class Damaged(Exception):
    """The file is no outbox; the text says why."""


def lock(path: Path) -> IO[bytes] | None:
    """Keep other agents out until the returned file is closed; None in a folder that cannot be written.

    Raises:
        InUse: Another agent was first.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = Path(f"{path}.lock").open("ab")  # noqa: SIM115  # open for as long as the outbox is
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise InUse(f"another agent uses {path}: stop it, or give this one its own 'state_dir'") from error
    return file


def in_use(path: Path) -> bool:
    """Whether an agent has the outbox at `path` open; nothing is created."""
    try:
        with Path(f"{path}.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or it cannot be read: then the camera will tell
        return False
    return False


def connect(path: Path | None) -> sqlite3.Connection:
    """Open the database, or make it; None makes one in memory.

    Raises:
        sqlite3.Error: It is damaged, or cannot be opened or written.
    """
    # Without `psow` each commit begins in a sector of its own: a card that spoils the sector that it is writing when
    # the power fails spoils none with a batch that was committed before. It costs 45 % more bytes on the disk; with it
    # one in a hundred modelled power cuts took the last committed batch (tests/faults/powercuts).
    name = f"{path.absolute().as_uri()}?psow=0" if path else ":memory:"
    db = sqlite3.connect(name, timeout=5.0, isolation_level=None, check_same_thread=False, uri=True)
    try:
        # Small pages: a batch of a second dirties as few bytes as SQLite can.
        for pragma in ("page_size=1024", "auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=FULL"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        db.execute("PRAGMA journal_size_limit=4194304").fetchall()
        # A batch is written once and read once: more pages in memory would only fill up, over hours.
        db.execute("PRAGMA cache_size=-512").fetchall()
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _create(db)
    except BaseException:
        db.close()
        raise
    return db


def _create(db: sqlite3.Connection) -> None:
    columns = "id INTEGER PRIMARY KEY, boot_ns INTEGER, offset_ns INTEGER, quality TEXT, streams BLOB, body BLOB"
    db.execute("BEGIN IMMEDIATE")
    for lane in ("summary", "detail"):
        db.execute(f"CREATE TABLE {lane} ({columns})")
    db.execute("CREATE TABLE epoch (epoch INTEGER PRIMARY KEY, state BLOB)")
    db.execute(f"PRAGMA user_version={SCHEMA}")
    db.execute("COMMIT")


def check(db: sqlite3.Connection) -> None:
    """Look for damage, for as long as a start may take.

    Raises:
        Damaged: Found some, or another program's database.
        sqlite3.Error: It could not be read.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA:
        raise Damaged(f"its schema is version {version}, not {SCHEMA}")
    deadline = time.monotonic() + _CHECK_S
    db.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return  # what is damaged further on shows when it is read
        raise
    finally:
        db.set_progress_handler(None, 0)
    if verdict != "ok":
        raise Damaged(str(verdict))


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether the file itself is bad, and trying again would not help."""
    return any(sign in str(error) for sign in ("malformed", "not a database"))


def set_aside(path: Path) -> Path:
    """Move a damaged file away, keeping the last few of its kind; its new name.

    Raises:
        OSError: It cannot be moved.
    """
    taken = sorted(
        int(n) for p in path.parent.glob(f"{path.name}.corrupt-*") if (n := p.name.rpartition("-")[2]).isdigit()
    )
    aside = Path(f"{path}.corrupt-{taken[-1] + 1 if taken else 1}")
    path.rename(aside)
    for ending in _COMPANIONS[1:]:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{ending}").rename(f"{aside}{ending}")
    for number in taken[: max(0, len(taken) + 1 - _SET_ASIDE_MAX)]:
        for ending in _COMPANIONS:
            with contextlib.suppress(OSError):  # a folder stays: nobody asked us to empty it
                Path(f"{path}.corrupt-{number}{ending}").unlink()
    return aside


def size(path: Path) -> int:
    """Bytes of the file and its journal."""
    total = 0
    for ending in _COMPANIONS[:2]:
        with contextlib.suppress(OSError):
            total += Path(f"{path}{ending}").stat().st_size
    return total
