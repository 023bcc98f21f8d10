"""A picture bears the time of its frame's stored observation, and goes when the collector has it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from setclock import NOW, SECOND, SetClock

from agent.config import OutboxSettings
from agent.outbox import Outbox
from agent.snapshots import Name, Snapshots
from shared import topics, wire
from shared.records import TICK_NS, Block, Detail, Maker, Observation, Run, StreamRuns

MAKER = Maker("ripeness", "1", "0" * 64, "0" * 12, 0.25)
ADDRESS = topics.parse(topics.batch("site-1", "pi-1"))


def jpeg(size: int = 100, fill: bytes = b"\0") -> bytes:
    return b"\xff\xd8" + fill * (size - 4) + b"\xff\xd9"


class Site:
    """An outbox and a spool over their starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SetClock()
        self.frame = 0
        self.quota_mb = 1
        self._stack = ExitStack()

    def begin(self) -> None:
        self._stack.close()
        outbox = Outbox(self.folder / "outbox.db", self.clock, OutboxSettings(), "site-1", "pi-1")
        self.outbox = self._stack.enter_context(outbox)
        self.outbox.begin()
        self.spool = self._stack.enter_context(Snapshots(self.folder / "pictures", self.outbox, self.quota_mb))

    def end(self) -> None:
        self._stack.close()

    def capture(self, picture: bytes | None = None) -> int:
        """A frame with a picture; its boot time in ns."""
        self.clock.forward(0.1)
        self.frame += 1
        captured = self.clock.boot_ns() // TICK_NS * TICK_NS
        self.spool.put("cam0", self.frame, captured, picture or jpeg())
        return captured

    def seal(self, *captured: int) -> None:
        """A batch of the last frames, which were captured then."""
        self.clock.forward(0.07)
        sealed = self.clock.boot_ns() // TICK_NS * TICK_NS
        first = self.frame - len(captured) + 1
        observations = tuple(
            Observation(first + n, (sealed - boot_ns) // TICK_NS, 0, 0, 0, 0, 0) for n, boot_ns in enumerate(captured)
        )
        runs = {"cam0": StreamRuns(first, self.frame, (Run("ok", first, self.frame),))}
        body = wire.pack(Detail((Block("cam0", MAKER, 640, 480, observations),)))
        self.outbox.put("detail", runs, body, sealed)

    def stored_times(self) -> list[int]:
        """When the collector says that the frames were captured."""
        times = []
        for message in self.outbox.due(100):
            batch = wire.decode_batch(message.payload, ADDRESS)
            assert isinstance(batch.body, Detail)
            times += [
                batch.header.sealed_at_ns - observation.age * TICK_NS
                for block in batch.body.blocks
                for observation in block.observations
            ]
        return times

    def due_times(self) -> list[int]:
        return [snapshot.name.captured_at_ns for snapshot in self.spool.due(100)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.clock.learn()
    site.begin()
    yield site
    site.end()


def test_a_picture_bears_the_time_of_its_stored_observation(site: Site):
    for _ in range(3):
        site.seal(site.capture(), site.capture())
    assert site.due_times() == sorted(site.stored_times(), reverse=True)
    assert len(site.due_times()) == 6


def test_a_picture_waits_for_the_batch_of_its_frame(site: Site):
    first = site.capture()
    assert site.due_times() == []
    site.seal(first)
    later = site.capture()
    assert site.due_times() == site.stored_times()
    site.seal(later)
    assert len(site.due_times()) == 2


def test_a_frame_that_was_still_looked_at_when_the_batch_was_sealed_belongs_to_the_next(site: Site):
    first, second = site.capture(), site.capture()
    site.frame -= 1
    site.seal(first)
    site.clock.known = (site.clock.known or (0, "synced"))[0] + SECOND, "synced"
    site.frame += 1
    site.seal(second)
    assert site.due_times() == sorted(site.stored_times(), reverse=True)


def test_a_picture_waits_for_the_time_as_its_batch_does(site: Site):
    site.clock.known = None
    site.seal(site.capture())
    assert site.due_times() == []
    site.clock.learn(NOW)
    assert site.due_times() == site.stored_times()
    first = site.due_times()
    site.clock.learn(NOW + 3600 * SECOND)
    assert site.due_times() == first


def test_pictures_of_an_earlier_start_keep_their_frames_time(site: Site):
    site.clock.known = None
    site.seal(site.capture())
    site.begin()
    site.clock.learn()
    assert site.due_times() == site.stored_times()
    site.begin()
    assert site.due_times() == site.stored_times()
    assert len(site.due_times()) == 1


def test_a_picture_of_a_frame_that_was_never_sealed_is_dropped(site: Site):
    site.capture()
    site.begin()
    site.frame = 0
    assert site.due_times() == []
    assert (site.spool.waiting, site.spool.dropped) == (0, 1)


def test_a_picture_of_an_outbox_that_is_no_more_is_dropped(site: Site):
    site.seal(site.capture())
    site.end()
    (site.folder / "outbox.db").write_bytes(b"garbage")
    site.begin()
    assert site.due_times() == []
    assert site.spool.dropped == 1


def test_the_collectors_word_deletes(site: Site):
    site.seal(*(site.capture() for _ in range(4)))
    fourth, third, second, first = site.due_times()
    assert site.spool.acked("cam1", [(first, fourth)]) == 0
    assert site.spool.acked("cam0", [(first, second), (fourth, fourth)]) == 3
    assert site.due_times() == [third]
    assert [path.name for path in (site.folder / "pictures").glob("*/*")] == [f"{third}.jpg"]


def test_what_is_on_its_way_is_skipped(site: Site):
    site.seal(*(site.capture() for _ in range(3)))
    newest, *others = site.due_times()
    assert [s.name.captured_at_ns for s in site.spool.due(1, {Name("cam0", newest)})] == [others[0]]


def test_the_bytes_are_those_that_were_kept(site: Site):
    picture = jpeg(5000, b"\7")
    site.seal(site.capture(picture))
    assert site.spool.due(1)[0].jpeg == picture


def test_beyond_the_quota_the_oldest_go(site: Site):
    site.seal(*(site.capture(jpeg(300_000)) for _ in range(5)))
    assert (site.spool.waiting, site.spool.dropped) == (3, 2)
    assert site.due_times() == sorted(site.stored_times(), reverse=True)[:3]


def test_the_quota_holds_for_what_an_earlier_start_left(site: Site):
    site.seal(*(site.capture(jpeg(300_000)) for _ in range(3)))
    site.begin()
    site.frame = 0
    site.capture(jpeg(300_000))
    assert (site.spool.waiting, site.spool.dropped) == (3, 1)


def test_a_picture_that_the_collector_would_refuse_is_not_kept(site: Site):
    assert not site.spool.put("cam0", 1, 0, jpeg(wire.SNAPSHOT_BYTES_MAX + 1))
    assert (site.spool.waiting, site.spool.dropped) == (0, 1)


@pytest.mark.parametrize("left", [b"", b"\xff\xd8 cut short", b"\0" * 100])
def test_what_a_power_cut_left_of_a_picture_is_dropped(site: Site, left: bytes):
    site.seal(site.capture())
    for path in (site.folder / "pictures").glob("*/*"):
        path.write_bytes(left)
    assert site.due_times() == []
    assert (site.spool.waiting, site.spool.dropped) == (0, 1)


def test_strange_files_are_left_alone_and_half_written_ones_go(site: Site):
    folder = site.folder / "pictures" / "cam0"
    folder.mkdir(parents=True)
    for name in ("notes.txt", "1-1-0123456789abcdef.tmp"):
        (folder / name).write_bytes(b"x")
    site.begin()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert site.spool.waiting == 0


def test_a_folder_that_cannot_be_written_costs_pictures_only(site: Site, caplog):
    (site.folder / "pictures").write_text("a file where a folder should be")
    assert not site.spool.put("cam0", 1, 0, jpeg())
    assert not site.spool.put("cam0", 2, 0, jpeg())
    assert site.spool.dropped == 2
    assert len(caplog.records) == 1


def test_a_thinned_frame_gets_the_place_of_the_next_batch(site: Site):
    captured = site.capture()
    site.seal(captured)
    site.seal(site.capture())
    for row in site.outbox._rows.select(site.outbox._current, "detail", 1, 1, 1):
        with site.outbox._rows.transaction():
            site.outbox._rows.delete(site.outbox._current, "detail", [row.number])
    assert min(site.due_times()) // TICK_NS * TICK_NS == captured + (site.clock.known or (0, ""))[0]
