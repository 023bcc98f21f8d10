"""What was observed becomes batches once a second; a disk that refuses costs nothing but memory, up to a limit."""

import threading
from pathlib import Path

import pytest

from agent.books import FRAMES_IN_A_BATCH_MAX, PENDING_MAX, Book, Look
from agent.clock import Clock
from agent.config import OutboxSettings
from agent.outbox import Outbox, OutboxUnwritable
from agent.seal import RECORDS_IN_A_BATCH_MAX, RECORDS_WAITING_MAX, Journal, Sealer, aged
from shared import wire
from shared.records import Batch, Detail, Event, Maker, Run, Summary
from shared.topics import Address

MAKER = Maker("ripeness", "1.0.0", "a" * 64, "b" * 12, 0.25, 0.45)
SECOND = 1_000_000_000


class Fixed(Clock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 100 * SECOND

    def boot_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return self.now_ns / SECOND

    def boot_id(self) -> str:
        return "this-boot"

    def offset(self):
        return 1_795_000_000 * SECOND, "synced"


class Site:
    """A sealer with a real outbox."""

    def __init__(self, folder: Path) -> None:
        self.clock = Fixed()
        self.outbox = Outbox(folder / "outbox.db", self.clock, OutboxSettings(), "greenhouse", "pi-roof")
        self.book = Book("cam0", MAKER, "detect", 60, self.clock.now_ns)
        self.journal = Journal(self.clock)
        self.cues = 0
        self.sealer = Sealer(self.outbox, [self.book], self.journal, self.clock, seal_s=0.01, on_sealed=self._cue)

    def _cue(self) -> None:
        self.cues += 1

    def batches(self) -> list[Batch]:
        here = Address("greenhouse", "pi-roof", "batch")
        return [wire.decode_batch(message.payload, here) for message in self.outbox.due(1000)]


@pytest.fixture
def site(tmp_path: Path):
    made = Site(tmp_path)
    with made.outbox:
        made.outbox.begin()
        yield made


def test_what_was_told_and_seen_goes_out_in_one_batch_for_each_lane(site: Site) -> None:
    site.book.settle(1, 3, "skipped")
    site.journal.event("camera_lost", "gone", "cam0")
    site.clock.now_ns += SECOND // 2
    site.sealer.seal()
    summary, detail = site.batches()
    assert (summary.header.lane, detail.header.lane) == ("summary", "detail")
    assert isinstance(summary.body, Summary)
    assert summary.body.records == (Event(50_000, "camera_lost", "gone", "cam0"),)
    assert detail.header.streams["cam0"].outcomes == (Run("skipped", 1, 3),)
    assert site.cues == 2


def test_nothing_seen_makes_no_batch(site: Site) -> None:
    site.sealer.seal()
    assert site.batches() == []
    assert site.cues == 0


def test_more_than_a_batch_takes_goes_into_several(site: Site) -> None:
    for frame in range(1, 2 * FRAMES_IN_A_BATCH_MAX + 2):
        site.book.look(Look(frame, site.clock.now_ns, 64, 48, 1, 1, 1, 1, 1, None, "boom"))
    for number in range(RECORDS_IN_A_BATCH_MAX + 1):
        site.journal.event("camera_lost", str(number))
    site.sealer.seal(end=True)
    batches = site.batches()
    detail = [batch.header.streams["cam0"] for batch in batches if isinstance(batch.body, Detail)]
    assert [runs.first for runs in detail] == [1, FRAMES_IN_A_BATCH_MAX + 1, 2 * FRAMES_IN_A_BATCH_MAX + 1]
    records = [record for batch in batches if isinstance(batch.body, Summary) for record in batch.body.records]
    events = [record for record in records if isinstance(record, Event)]
    assert [event.detail for event in events] == [str(n) for n in range(RECORDS_IN_A_BATCH_MAX + 1)]


def test_a_disk_that_refuses_loses_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    put = site.outbox.put
    refuse = threading.Event()
    refuse.set()

    def reluctant(*args, **kwargs) -> int:
        if refuse.is_set():
            raise OutboxUnwritable("the disk is full")
        return put(*args, **kwargs)

    monkeypatch.setattr(site.outbox, "put", reluctant)
    site.book.settle(1, 1, "skipped")
    site.sealer.seal()
    site.book.settle(2, 2, "unreadable")
    site.sealer.seal()
    assert site.batches() == []
    refuse.clear()
    site.sealer.seal()
    site.sealer.seal()
    batches = site.batches()
    runs = [run for batch in batches for stream in batch.header.streams.values() for run in stream.outcomes]
    assert runs == [Run("skipped", 1, 1), Run("unreadable", 2, 2)]
    told = [record for batch in batches if isinstance(batch.body, Summary) for record in batch.body.records]
    assert [(event.name, event.detail) for event in told if isinstance(event, Event)] == [
        ("outbox_unwritable", "the disk is full")
    ]


def test_records_that_nobody_takes_have_a_limit(site: Site) -> None:
    for number in range(RECORDS_WAITING_MAX + 5):
        site.journal.event("camera_lost", str(number))
    first = site.journal.cut(site.clock.now_ns)[0]
    assert isinstance(first, Event)
    assert first.detail == "5", "the newest are kept"
    assert PENDING_MAX < RECORDS_WAITING_MAX


def test_the_end_seals_windows_that_are_not_over(site: Site) -> None:
    site.sealer.start()
    site.book.settle(1, 1, "skipped")
    site.sealer.stop()
    assert not site.sealer.alive
    kinds = [type(record).__name__ for b in site.batches() if isinstance(b.body, Summary) for record in b.body.records]
    assert kinds == ["Window", "Window"], "the minute's and the hour's"


def test_what_the_disk_refuses_at_the_end_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OutboxUnwritable("the disk is full")

    site.sealer.start()
    assert site.sealer.stop()
    monkeypatch.setattr(site.outbox, "put", refuse)
    site.book.settle(1, 1, "skipped")
    site.sealer.seal()
    assert not site.sealer.stop(), "then the epoch did not end cleanly"


def test_an_age_is_never_negative() -> None:
    assert aged(Event(0, "x"), 20 * SECOND, 10 * SECOND).age == 0
    assert aged(Event(0, "x"), 9 * SECOND, 10 * SECOND).age == 100_000
