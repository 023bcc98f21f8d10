"""What is recorded of a collector: `python -m tests.faults.powercuts.collector_life FOLDER SEED`.

A few starts of its disk side, each a process: batches of two devices, in writes of one or several, statuses, bad
messages in quarantine. Some starts end as they should, some are killed and leave a journal to the next.
"""

import os
import random
import sqlite3
import sys
from pathlib import Path

from collector.state.quarantine import Bad, Quarantine
from collector.stores.sqlite import SQLite
from shared import topics
from tests.collector.making import T0, born, detail, detection, model, received, summary, window
from tests.faults.powercuts.commits import CARELESS, mark_all
from tests.faults.powercuts.recording import Marks

STARTS_CLEAN = (False, True, False)
STEPS = 40
FRAMES = 10
DEVICES = ("pi-roof", "pi-door")
CHECKPOINT_PAGES = 60


def batches(start: int, step: int) -> list[bytes]:
    """What comes in at a step: the same for whoever asks."""
    chance = random.Random(start * 1000 + step)
    number = start * STEPS + step + 1
    boxes = tuple(detection(chance.randrange(3), chance.randrange(10_000)) for _ in range(chance.randrange(4)))
    found = []
    for name in DEVICES[: chance.randint(1, 2)]:
        found.append(detail(number, (number - 1) * FRAMES + 1, FRAMES, found=boxes, device=name))
        if chance.random() < 0.3:
            found.append(summary(number, window(10**9, {"ok": FRAMES}), model(), device=name))
    return found


def bad(start: int, step: int) -> Bad:
    """A message that cannot be stored."""
    payload = random.Random(start * 1000 + step).randbytes(700)
    return Bad(topics.batch("greenhouse", "pi-roof"), payload, "unreadable", "no header", T0 + step)


def live(folder: Path, start: int, marks: Marks) -> None:
    """One start."""
    chance = random.Random(start)
    with SQLite(folder / "vigie.db") as store, Quarantine(folder / "state.db") as quarantine:
        for step in range(STEPS):
            if step % 10 == 0:
                store.write_statuses([born(at_ns=T0 + step, epoch=start + 1)])
            payloads = batches(start, step)
            store.write([received(payload) for payload in payloads])
            marks.say("stored", start, step)
            if chance.random() < 0.4:
                quarantine.put([bad(start, step)])
                marks.say("kept", start, step)
        if not STARTS_CLEAN[start]:
            os._exit(0)


def main() -> None:
    """Live through all starts."""
    folder = Path(sys.argv[1])
    marks = Marks(folder)
    mark_all(marks)
    _hasten(careless=sys.argv[3:] == [CARELESS])
    for start in range(len(STARTS_CLEAN)):
        if (child := os.fork()) == 0:
            live(folder, start, marks)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"start {start} failed")


def _hasten(*, careless: bool) -> None:
    """Checkpoints come within seconds; a careless collector syncs no commit."""
    connect = SQLite._connect

    def connected(store: SQLite) -> sqlite3.Connection:
        db = connect(store)
        db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}").fetchall()
        if careless:
            db.execute("PRAGMA synchronous = NORMAL").fetchall()
        return db

    SQLite._connect = connected  # type: ignore[method-assign, assignment]  # in the recorded process only


if __name__ == "__main__":
    main()
