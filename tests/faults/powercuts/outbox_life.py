"""What is recorded of a device: `python -m tests.faults.powercuts.outbox_life FOLDER SEED`.

A few starts of an agent's disk side, each a process: batches of both lanes, acks, a quota that thins and purges, pages
given back, times learnt late, windows in the making, frames counted, restarts counted. Some starts end as they should,
some are killed and leave a journal to the next.
"""

import os
import random
import sqlite3
import sys
from pathlib import Path

from setclock import NOW, SetClock

from agent.config import OutboxSettings
from agent.openwindows import Open, OpenWindows
from agent.outbox import Key, Message, Outbox, file, rows
from agent.progress import Progress
from agent.restarts import Restarts
from shared import wire
from shared.records import Block, Detail, Event, Lane, Maker, Observation, Run, StreamRuns, Summary, Tombstone, Window
from shared.topics import Address
from tests.faults.powercuts.commits import CARELESS, mark_all
from tests.faults.powercuts.recording import Marks

SITE, DEVICE, STREAM = "site-1", "pi-1", "cam0"
MAKER = Maker("ripeness", "1", "0" * 64, "0" * 12, 0.25)
FRAMES = 10
CHECKPOINT_PAGES = 150
QUOTA_BYTES = 250_000
STARTS = (
    # boot, knows the time from which step on, keeps acked batches for hours, ends clean
    ("boot-1", 12, 24.0, False),
    ("boot-1", 0, 24.0, True),
    ("boot-2", 1000, 24.0, False),
    ("boot-3", 25, 0.0, False),
    ("boot-4", 5, 0.0, True),
)
STEPS = 60


def clock_of(start: int) -> SetClock:
    """The device's clock at a start: `STARTS` and, at the end, one more that knows the time."""
    boot = STARTS[start][0] if start < len(STARTS) else "boot-9"
    return SetClock(boot, 100.0 + 1000 * start)


class Life:
    """One start."""

    def __init__(self, folder: Path, start: int, chance: random.Random, marks: Marks) -> None:
        self._folder, self._start, self._chance, self._marks = folder, start, chance, marks
        self._boot, self._knows_at, self._keep_h, self._clean = STARTS[start]
        self._clock = clock_of(start)
        self._frame = 0
        self._sent: list[Message] = []

    def live(self) -> None:
        """From begin to end."""
        settings = OutboxSettings(quota_mb=1, keep_acked_h=self._keep_h)
        with Outbox(self._folder / "outbox.db", self._clock, settings, SITE, DEVICE, self._told) as self._outbox:
            captured = Progress.read(self._folder / "progress")
            self._outbox._quota._quota_bytes = QUOTA_BYTES  # the least that can be configured is 1 MB
            start = self._outbox.begin(after=captured.epoch if captured else 0)
            self._marks.say("begun", start.epoch, start.nonce)
            Progress.create(self._folder / "progress", start.epoch, start.nonce, [STREAM], boot_id=self._boot)
            self._windows = OpenWindows(self._folder / "windows", start.nonce, self._boot)
            self._restarts = Restarts(self._folder / "restarts", 1000, self._clock)
            for step in range(STEPS):
                self._step(step)
            if not self._clean:
                os._exit(0)  # its connection is left as `kill -9` leaves it
            self._outbox.end_clean()

    def _told(self, name: str, detail: str) -> None:
        self._marks.say("told", name, detail)

    def _step(self, step: int) -> None:
        if step == self._knows_at:
            self._clock.learn(NOW + self._clock.boot_ns())
        self._outbox.sending = self._chance.random() < 0.5
        self._put_detail()
        if self._chance.random() < 0.3:
            self._put_summary()
        if self._chance.random() < 0.5:
            self._send()
        if self._chance.random() < 0.6:
            self._ack()
        if self._chance.random() < 0.2:
            self._restarts.take()
        window = Window(STREAM, MAKER, 60, 0, step, 1, self._frame, {"ok": self._frame}, 0, {}, ())
        self._windows.keep([Open(100, 100 + step, window)])
        self._marks.say("kept", self._outbox.nonce, step)
        self._clock.forward(1)

    def _put_detail(self) -> None:
        heavy = self._chance.random() < 0.6
        first, last = self._frame + 1, self._frame + FRAMES
        observations = tuple(
            Observation(n, last - n, 0, 0, 0, 0, 0, error=self._chance.randbytes(500).hex() if heavy else "")
            for n in range(first, last + 1)
        )
        body = wire.pack(Detail((Block(STREAM, MAKER, 640, 480, observations),)))
        runs = StreamRuns(first, last, (Run("failed" if heavy else "ok", first, last),))
        self._frame = last
        self._put("detail", {STREAM: runs}, body)

    def _put_summary(self) -> None:
        self._put("summary", {}, wire.pack(Summary((Event(0, "agent_started", self._chance.randbytes(50).hex()),))))

    def _put(self, lane: Lane, streams: dict[str, StreamRuns], body: bytes) -> None:
        number = self._outbox.put(lane, streams, body, self._clock.boot_ns())
        self._marks.say("put", *self._key(lane), number, wire.digest(body))

    def _key(self, lane: str) -> tuple[int, str, str]:
        return (self._outbox.started.epoch, self._outbox.nonce, lane)

    def _send(self) -> None:
        on_its_way = {message.key for message in self._sent}
        for message in self._outbox.due(12, on_its_way):
            self._marks.say("sent", *message.key, wire.digest(message.payload), thinned_by(message))
            self._sent.append(message)

    def _ack(self) -> None:
        for message in self._sent[: self._chance.randint(0, 12)]:
            key = message.key
            self._outbox.acked(key.epoch, key.nonce, key.lane, [(key.batch, key.batch)])
            self._marks.say("acked", *key)
            self._sent.remove(message)


def thinned_by(message: Message) -> list[Key]:
    """Keys of the batches that a summary batch says were thinned."""
    body = wire.decode_batch(message.payload, Address(SITE, DEVICE, "batch")).body
    records = body.records if isinstance(body, Summary) else ()
    return [Key(one.epoch, one.nonce, "detail", one.batch) for one in records if isinstance(one, Tombstone)]


def main() -> None:
    """Live through all starts."""
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    marks = Marks(folder)
    mark_all(marks)
    _hasten(careless=sys.argv[3:] == [CARELESS])
    for start in range(len(STARTS)):
        if (child := os.fork()) == 0:
            Life(folder, start, random.Random(seed * 100 + start), marks).live()
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"start {start} failed")


def _hasten(*, careless: bool) -> None:
    """What takes hours comes within a minute: checkpoints, pages given back. A careless device syncs no commit."""
    rows._SHRINK_PAGES, rows._SHRINK_STEP = 50, 40
    connect = file.connect

    def connected(path: Path | None) -> sqlite3.Connection:
        db = connect(path)
        db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}").fetchall()
        if careless:
            db.execute("PRAGMA synchronous = NORMAL").fetchall()
        return db

    file.connect = connected


if __name__ == "__main__":
    main()
