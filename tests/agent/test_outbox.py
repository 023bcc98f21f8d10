"""Nothing that was sealed is lost before the collector has it, whatever happens to process, clock and disk."""

import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from setclock import NOW, SECOND, SetClock

from agent.clock import Clock
from agent.config import OutboxSettings
from agent.outbox import NO_NONCE, Ended, Key, Message, Outbox, OutboxInUse, OutboxUnwritable, Start
from agent.outbox import ranges as r
from shared import topics, wire
from shared.records import (
    HELD_MAX,
    TICK_NS,
    Batch,
    Block,
    Detail,
    Event,
    Header,
    Held,
    Lane,
    Maker,
    Observation,
    Run,
    StreamRuns,
    Summary,
    Tombstone,
)


def noise_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311  # no secret


MAKER = Maker("ripeness", "1", "0" * 64, "0" * 12, 0.25)
FRAMES = 10
ADDRESS = topics.parse(topics.batch("site-1", "pi-1"))


def sealed_at(header: Header) -> int:
    """When a batch was sealed, in ns: whole ticks, without the digits that are the batch's own."""
    return header.sealed_at_ns // TICK_NS * TICK_NS


class Device:
    """A device's outbox over its starts; `with` ends the last one."""

    def __init__(self, folder: Path, **settings: float) -> None:
        self.path = folder / "outbox.db"
        self.clock = SetClock()
        self.settings = OutboxSettings(**settings)  # type: ignore[arg-type]
        self.events: list[tuple[str, str]] = []
        self.frame = itertools.count()
        self._stack = ExitStack()

    def __enter__(self) -> "Device":  # noqa: PYI034  # Python 3.10 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self) -> Outbox:
        """Start the agent, once more."""
        self._stack.close()
        self.outbox = self._stack.enter_context(
            Outbox(self.path, self.clock, self.settings, "site-1", "pi-1", lambda *event: self.events.append(event))
        )
        self.outbox.begin()
        return self.outbox

    def end(self) -> None:
        """Close, without a word."""
        self._stack.close()

    def boot(self, boot: str, boot_s: float = 10.0) -> Outbox:
        """Switch it off and on again; the time is forgotten."""
        self._stack.close()
        self.clock = SetClock(boot, boot_s)
        return self.begin()

    def detail(self, *, heavy: bool = False) -> int:
        """Seal a second of frames; a heavy one has 5 KB that do not compress."""
        index = next(self.frame)
        first = index * FRAMES + 1
        noise = noise_of(index, 512 * FRAMES).hex() if heavy else ""
        observations = tuple(
            Observation(first + n, 100 * (FRAMES - n), 0, 0, 0, 0, 0, error=noise[n * 1024 : (n + 1) * 1024])
            for n in range(FRAMES)
        )
        body = wire.pack(Detail((Block("cam0", MAKER, 640, 480, observations),)))
        run = Run("failed" if heavy else "ok", first, first + FRAMES - 1)
        return self.outbox.put("detail", {"cam0": StreamRuns(run.first, run.last, (run,))}, body, self.clock.boot_ns())

    def summary(self, name: str = "agent_started") -> int:
        """Seal an event."""
        return self.outbox.put("summary", {}, wire.pack(Summary((Event(0, name),))), self.clock.boot_ns())

    def ack(self, *messages: Message) -> int:
        """The collector stored them."""
        return sum(
            self.outbox.acked(m.key.epoch, m.key.nonce, m.key.lane, [(m.key.batch, m.key.batch)]) for m in messages
        )


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with Device(tmp_path) as device:
        device.clock.learn()
        yield device


def read(message: Message) -> Batch:
    """As the collector reads it: with every check."""
    batch = wire.decode_batch(message.payload, ADDRESS)
    key = Key(batch.header.epoch, batch.header.nonce, batch.header.lane, batch.header.batch)
    assert key == message.key
    return batch


def names(messages: list[Message]) -> list[tuple[int, str, int]]:
    return [(m.key.epoch, m.key.lane, m.key.batch) for m in messages]


def frames_of(streams: dict[str, StreamRuns]) -> set[int]:
    return {frame for runs in streams.values() for frame in range(runs.first, runs.last + 1)}


# Starts


def test_the_first_start_has_nothing_before_it(device: Device):
    start = device.begin().started
    assert start.epoch == 1
    assert start.previous == Ended(0, NO_NONCE, {"summary": 0, "detail": 0}, clean=True, streams={})


def test_each_start_counts_and_draws_a_nonce(device: Device):
    starts = [device.begin().started for _ in range(5)]
    assert [start.epoch for start in starts] == [1, 2, 3, 4, 5]
    assert len({start.nonce for start in starts}) == 5


def test_a_start_says_how_the_one_before_ended(device: Device):
    device.begin()
    device.summary()
    for _ in range(3):
        device.detail()
    nonce = device.outbox.nonce
    expected = Ended(1, nonce, {"summary": 1, "detail": 3}, clean=False, streams={"cam0": 30})
    assert device.begin().started.previous == expected
    device.outbox.end_clean()
    previous = device.begin().started.previous
    assert (previous.epoch, previous.clean, previous.streams) == (2, True, {})


def test_a_start_knows_the_last_numbers_of_batches_that_are_long_gone(tmp_path: Path):
    with Device(tmp_path, keep_acked_h=0) as device:
        device.clock.learn()
        device.begin()
        for _ in range(40):
            device.detail()
            device.ack(*device.outbox.due(9))
        device.outbox.end_clean()
        expected = Ended(1, device.outbox.nonce, {"summary": 0, "detail": 40}, clean=True, streams={"cam0": 400})
        assert device.begin().started.previous == expected


def test_a_start_counts_on_from_what_another_file_remembers(device: Device):
    with Outbox(device.path, device.clock, OutboxSettings(), "site-1", "pi-1") as outbox:
        assert outbox.begin(after=41).epoch == 42


def test_two_agents_cannot_share_an_outbox(device: Device):
    device.begin()
    second = Outbox(device.path, device.clock, OutboxSettings(), "site-1", "pi-1")
    with pytest.raises(OutboxInUse) as refused, second:
        pass
    assert str(refused.value) == f"another agent uses {device.path}: stop it, or give this one its own 'state_dir'"


# Sending


def test_summaries_go_first_and_older_starts_go_first(device: Device):
    device.begin()
    device.detail()
    device.summary()
    device.begin()
    device.detail()
    device.summary()
    device.detail()
    assert names(device.outbox.due(10)) == [
        (1, "summary", 1),
        (2, "summary", 1),
        (1, "detail", 1),
        (2, "detail", 1),
        (2, "detail", 2),
    ]


def test_a_moment_parts_what_is_live_from_what_an_outage_left(device: Device):
    outbox = device.begin()
    device.detail()
    device.summary()
    outbox = device.begin()
    device.detail()
    device.summary()
    mark = outbox.mark()
    assert names(outbox.due(10, after=mark)) == []
    device.detail()
    device.summary()
    assert names(outbox.due(10, after=mark)) == [(2, "summary", 2), (2, "detail", 2)]
    left = [(1, "summary", 1), (2, "summary", 1), (1, "detail", 1), (2, "detail", 1)]
    assert names(outbox.due(10, before=mark)) == left
    assert names(outbox.due(2, before=mark)) == left[:2]
    assert names(outbox.due(10, {message.key for message in outbox.due(2)}, before=mark)) == left[2:]
    assert sorted(names(outbox.due(10))) == sorted([*left, (2, "summary", 2), (2, "detail", 2)])


def test_what_is_due_can_be_read_by_the_collector(device: Device):
    device.begin()
    device.detail()
    device.summary()
    summary, detail = (read(message) for message in device.outbox.due(10))
    assert isinstance(summary.body, Summary)
    assert frames_of(detail.header.streams) == set(range(1, 11))
    assert sealed_at(detail.header) == NOW
    assert detail.header.time_quality == "synced"


def test_what_is_on_its_way_is_skipped(device: Device):
    device.begin()
    for _ in range(6):
        device.detail()
    under_way = {message.key for message in device.outbox.due(2)}
    assert names(device.outbox.due(2, under_way)) == [(1, "detail", 3), (1, "detail", 4)]


def test_what_the_collector_has_is_not_sent_again(device: Device):
    outbox = device.begin()
    for _ in range(5):
        device.detail()
    assert outbox.acked(1, outbox.nonce, "detail", [(1, 2), (4, 4)]) == 3
    assert names(outbox.due(10)) == [(1, "detail", 3), (1, "detail", 5)]
    device.begin()
    assert names(device.outbox.due(10)) == [(1, "detail", 3), (1, "detail", 5)]


def test_an_ack_for_somebody_else_settles_nothing(device: Device):
    outbox = device.begin()
    device.detail()
    assert outbox.acked(1, "f" * 16, "detail", [(1, 1)]) == 0
    assert outbox.acked(7, outbox.nonce, "detail", [(1, 1)]) == 0
    assert outbox.acked(1, outbox.nonce, "summary", [(1, 1)]) == 0
    assert outbox.acked(1, outbox.nonce, "detail", [(5, 2), (-3, 0), (2, 2**53)]) == 0
    assert names(outbox.due(10)) == [(1, "detail", 1)]


def test_an_ack_of_the_future_settles_nothing_to_come(device: Device):
    outbox = device.begin()
    device.detail()
    outbox.acked(1, outbox.nonce, "detail", [(1, 2**53)])
    device.detail()
    assert names(outbox.due(10)) == [(1, "detail", 2)]


def test_a_refused_batch_is_not_sent_again(device: Device, caplog):
    outbox = device.begin()
    device.detail()
    device.detail()
    assert outbox.refused(1, outbox.nonce, "detail", [(1, "the body is cut short")]) == 1
    assert names(outbox.due(10)) == [(1, "detail", 2)]
    assert "the collector refused detail batch 1 of epoch 1: the body is cut short" in caplog.text


def test_a_collector_that_lost_its_store_gets_kept_batches_again(device: Device):
    outbox = device.begin()
    for _ in range(4):
        device.detail()
    before = {message.key: message.payload for message in outbox.due(10)}
    outbox.acked(1, outbox.nonce, "detail", [(1, 4)])
    assert outbox.resend(1, outbox.nonce, "detail", [(2, 3), (90, 99)]) == 2
    again = outbox.due(10)
    assert names(again) == [(1, "detail", 2), (1, "detail", 3)]
    assert all(before[message.key] == message.payload for message in again)
    assert outbox.waiting().batches == 2


def test_waiting_counts_what_is_not_settled(device: Device):
    outbox = device.begin()
    assert outbox.waiting()[::2] == (0, None)
    device.detail()
    device.clock.forward(30)
    device.summary()
    waiting = outbox.waiting()
    assert (waiting.batches, waiting.oldest_s) == (2, 30.0)
    assert waiting.bytes >= device.path.stat().st_size
    device.boot("boot-2")
    device.clock.learn(NOW + 90 * SECOND)
    assert (device.outbox.waiting().batches, device.outbox.waiting().oldest_s) == (2, 90.0)


def test_what_is_held_is_told_by_range(device: Device):
    outbox = device.begin()
    assert outbox.held() == ()
    device.summary()
    for _ in range(6):
        device.detail()
    outbox.acked(1, outbox.nonce, "detail", [(1, 2), (4, 4)])
    outbox.refused(1, outbox.nonce, "detail", [(6, "odd")])
    nonce = outbox.nonce
    outbox = device.begin()
    device.detail()
    assert outbox.held() == (
        Held(1, nonce, "summary", 1, 1),
        Held(1, nonce, "detail", 3, 3),
        Held(1, nonce, "detail", 5, 5),
        Held(2, outbox.nonce, "detail", 1, 1),
    )
    outbox.resend(1, nonce, "detail", [(4, 4)])
    assert Held(1, nonce, "detail", 3, 5) in (outbox.held() or ())


def test_what_is_held_in_too_many_pieces_is_told_as_one(device: Device):
    outbox = device.begin()
    for _ in range(2 * HELD_MAX + 3):
        device.detail()
    outbox.acked(1, outbox.nonce, "detail", [(n, n) for n in range(2, 2 * HELD_MAX + 3, 2)])
    assert outbox.held() == (Held(1, outbox.nonce, "detail", 1, 2 * HELD_MAX + 3),)


def test_several_threads_may_use_it(device: Device):
    outbox = device.begin()
    done = threading.Event()
    stored: set[Key] = set()

    def deliver() -> None:
        while not done.is_set() or outbox.waiting().batches:
            messages = outbox.due(8)
            device.ack(*messages)
            stored.update(message.key for message in messages)

    thread = threading.Thread(target=deliver)
    thread.start()
    for _ in range(100):
        device.detail()
    done.set()
    thread.join(30)
    assert {key.batch for key in stored} == set(range(1, 101))


# Time


def test_batches_wait_until_the_time_is_known_and_it_is_fixed_once(device: Device):
    device.clock.known = None
    device.begin()
    device.detail()
    device.clock.forward(60)
    assert device.outbox.due(10) == []
    device.clock.learn(NOW, "collector")
    first = device.outbox.due(10)
    assert sealed_at(read(first[0]).header) == NOW - 60 * SECOND
    assert read(first[0]).header.time_quality == "collector"
    device.clock.learn(NOW + 3600 * SECOND)
    assert device.outbox.due(10) == first
    device.begin()
    assert device.outbox.due(10) == first


def test_the_time_is_on_disk_before_the_first_sending(device: Device, tmp_path: Path):
    device.clock.known = None
    device.begin()
    device.detail()
    device.clock.learn()
    sent = device.outbox.due(10)
    with after_a_power_cut(device, tmp_path / "later") as later:
        later.clock.learn(NOW + 999 * SECOND)
        later.begin()
        assert later.outbox.due(10) == sent


def after_a_power_cut(device: Device, folder: Path) -> Device:
    """A device that has on disk what `device` has now."""
    folder.mkdir()
    for file in device.path.parent.glob(f"{device.path.name}*"):
        if not file.name.endswith((".lock", "-shm")):
            shutil.copy(file, folder)
    return Device(folder)


def test_a_restart_within_one_boot_keeps_what_was_known(device: Device):
    device.clock.known = None
    device.begin()
    device.detail()
    device.begin()
    device.clock.learn()
    header = read(device.outbox.due(10)[0]).header
    assert (header.epoch, sealed_at(header), header.time_quality) == (1, NOW, "synced")


def test_a_boot_that_learnt_the_time_too_late_keeps_it(device: Device):
    device.clock.known = None
    device.begin()
    device.detail()
    device.clock.forward(60)
    device.clock.learn()
    device.detail()
    device.boot("boot-2")
    device.clock.learn(NOW + 7200 * SECOND)
    first, second = (read(message).header for message in device.outbox.due(10))
    assert (sealed_at(first), first.time_quality) == (NOW - 60 * SECOND, "synced")
    assert (sealed_at(second), second.time_quality) == (NOW, "synced")


def test_boots_that_never_knew_the_time_lie_between_their_neighbours(device: Device):
    device.begin()
    device.detail()
    for boot in ("boot-2", "boot-3", "boot-4"):
        device.boot(boot)
        device.detail()
        device.clock.forward(500)
        device.detail()
        assert names(device.outbox.due(10)) == [(1, "detail", 1)]
    device.boot("boot-5", boot_s=20)
    device.clock.learn(NOW + 9000 * SECOND)
    headers = [read(message).header for message in device.outbox.due(10)]
    times = [sealed_at(header) for header in headers]
    assert times == sorted(times)
    assert times[0] == NOW
    assert times[1] > NOW
    assert times[-1] <= NOW + (9000 - 20) * SECOND
    assert [header.time_quality for header in headers] == ["synced"] + ["estimated"] * 6
    assert [b - a for a, b in itertools.pairwise(times[1:])][::2] == [500 * SECOND] * 3
    device.clock.learn(NOW + 99_000 * SECOND)
    assert [read(message).header for message in device.outbox.due(10)] == headers


def test_whole_ticks_stay_whole_whatever_is_added_to_them(device: Device):
    """What is below the tick is the batch's own, the same whenever its time came to be known."""
    device.clock.known = None
    device.boot("boot-1", boot_s=1.23456)
    device.detail()
    device.boot("boot-2")
    device.detail()
    device.clock.learn(NOW)
    device.detail()
    for header in (read(message).header for message in device.outbox.due(3)):
        assert header.sealed_at_ns % TICK_NS == (int(header.nonce, 16) + header.batch) % TICK_NS


@pytest.mark.parametrize("back_s", [1, 60, 3600])
def test_a_clock_that_is_set_back_gives_no_two_batches_the_same_instant(device: Device, back_s: int):
    """Sealed at the same time of the day to the tick, and yet told apart to the nanosecond."""
    device.clock.learn(NOW)
    device.begin()
    device.detail()
    device.clock.forward(back_s)
    device.clock.learn(NOW)
    device.detail()
    first, second = (read(message).header for message in device.outbox.due(2))
    assert sealed_at(first) == sealed_at(second) == NOW
    assert first.sealed_at_ns != second.sealed_at_ns


# Quota


def test_thinning_is_even_over_time_and_accounts_for_every_frame(tmp_path: Path):
    with Device(tmp_path, quota_mb=1) as device:
        device.clock.learn()
        device.begin()
        while not device.events:
            device.detail(heavy=True)
        put = 4 * device.detail(heavy=True)
        while device.detail(heavy=True) < put:
            pass
        outbox = device.outbox
        last = device.detail()
        assert [name for name, _ in device.events] == ["outbox_thinned"]
        kept: list[int] = []
        accounted: list[int] = []
        while messages := outbox.due(100):
            for batch in map(read, messages):
                accounted += frames_of(batch.header.streams)
                kept += [batch.header.batch] if batch.header.lane == "detail" else []
                if isinstance(batch.body, Summary):
                    for tombstone in batch.body.records:
                        assert isinstance(tombstone, Tombstone)
                        accounted += frames_of(tombstone.streams)
            device.ack(*messages)
        assert sorted(accounted) == list(range(1, last * FRAMES + 1))
        distances = [b - a for a, b in itertools.pairwise(kept)]
        assert max(distances) <= 8
        # No part of the outage is more than twice as dense as another, but for the newest.
        quarter = last // 4
        density = [sum(1 for n in kept if q * quarter < n <= (q + 1) * quarter) for q in range(3)]
        assert max(density) <= 2 * min(density) + 2
        assert outbox.waiting().batches == 0


def test_what_was_sent_is_never_thinned(tmp_path: Path):
    with Device(tmp_path, quota_mb=1) as device:
        device.clock.learn()
        device.begin()
        for _ in range(20):
            device.detail(heavy=True)
        sent = names(device.outbox.due(10))
        for _ in range(500):
            device.detail(heavy=True)
        due = names(device.outbox.due(100_000))
        assert set(sent) <= set(due)


def test_what_an_outage_left_can_be_thinned_although_newer_batches_were_sent(tmp_path: Path):
    with Device(tmp_path, quota_mb=1) as device:
        device.clock.learn()
        device.begin()
        for _ in range(300):
            device.detail(heavy=True)
        mark = device.outbox.mark()
        device.detail(heavy=True)
        sent = device.outbox.due(10, after=mark)
        assert names(sent) == [(1, "detail", 301)]
        while not device.events:
            device.detail(heavy=True)
        left = names(device.outbox.due(1000, before=mark))
        assert 0 < len(left) < 300
        assert names(sent) == [name for name in names(device.outbox.due(1000, after=mark)) if name[2] == 301]


def test_a_quota_that_cannot_be_kept_refuses_instead_of_losing(tmp_path: Path):
    with Device(tmp_path, quota_mb=1) as device:
        device.clock.learn()
        device.begin().sending = True
        with pytest.raises(OutboxUnwritable, match="the quota of 1 MB is used up"):
            fill(device)
        device.summary()
        due = device.outbox.due(100_000)
        assert [key[2] for key in names(due)[1:]] == list(range(1, len(due)))
        device.ack(*due)
        device.detail()


def fill(device: Device) -> None:
    for _ in range(400):
        device.detail(heavy=True)


def test_acked_batches_go_before_any_is_thinned(tmp_path: Path):
    with Device(tmp_path, quota_mb=1) as device:
        device.clock.learn()
        device.begin()
        for _ in range(400):
            number = device.detail(heavy=True)
            if number <= 300:
                device.ack(*device.outbox.due(1))
        assert device.events == []
        assert len(device.outbox.due(100_000)) == 100
        assert device.outbox.resend(1, device.outbox.nonce, "detail", [(1, 1)]) == 0
        assert device.outbox.waiting().bytes < 5_000_000


def test_acked_batches_go_when_their_time_is_over_and_the_file_shrinks(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("agent.outbox.rows._SHRINK_PAGES", 100)
    with Device(tmp_path, keep_acked_h=1) as device:
        device.clock.learn()
        device.begin()
        for _ in range(300):
            device.detail(heavy=True)
        outbox = device.outbox
        outbox.acked(1, outbox.nonce, "detail", [(1, 300)])
        assert outbox.resend(1, outbox.nonce, "detail", [(1, 1)]) == 1
        outbox.acked(1, outbox.nonce, "detail", [(1, 1)])
        size = device.path.stat().st_size
        device.clock.forward(3601)
        for _ in range(150):
            device.detail()
        assert outbox.resend(1, outbox.nonce, "detail", [(1, 300)]) == 0
        device.end()
        assert device.path.stat().st_size < size / 2


# Damage


def garbage(path: Path) -> None:
    path.write_bytes(noise_of(1, 50_000))


def cut_short(path: Path) -> None:
    os.truncate(path, 2500)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def scratched(path: Path) -> None:
    with path.open("r+b") as file:
        for offset in range(1024, path.stat().st_size, 1024):
            file.seek(offset)
            file.write(b"\xff" * 100)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_another_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE holiday_photos (id)")
    db.close()


def of_a_later_release(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()


@pytest.mark.parametrize(
    "damage", [garbage, cut_short, emptied, scratched, a_folder, of_another_program, of_a_later_release]
)
def test_a_start_never_fails_over_a_damaged_file(device: Device, damage: Callable[[Path], None]):
    device.begin()
    for _ in range(20):
        device.detail()
    device.end()
    damage(device.path)
    device.begin()
    assert [name for name, _ in device.events] == ["outbox_reset"]
    assert "it was moved to outbox.db.corrupt-1" in device.events[0][1]
    assert device.path.with_name("outbox.db.corrupt-1").exists()
    device.detail()
    assert names(device.outbox.due(10)) == [(1, "detail", 1)]


def test_few_damaged_files_are_kept(device: Device):
    for _ in range(5):
        garbage(device.path)
        device.begin()
        device.end()
    kept = sorted(path.name for path in device.path.parent.glob("*.corrupt-*"))
    assert kept == ["outbox.db.corrupt-4", "outbox.db.corrupt-5"]


def test_damage_while_running_begins_a_new_file_and_the_numbers_go_on(device: Device):
    device.begin()
    for _ in range(50):
        device.detail()
    with sqlite3.connect(device.path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    scratched(device.path)
    for _ in range(50):  # what SQLite has in its cache hides the damage for a while
        device.detail()
        device.outbox.due(200)
    assert [name for name, _ in device.events] == ["outbox_reset"]
    due = names(device.outbox.due(200))
    assert due[-1] == (1, "detail", 100)
    device.begin()
    assert device.outbox.started.epoch == 2
    assert device.outbox.started.previous.sealed["detail"] == 100


def test_without_a_disk_batches_wait_in_memory(tmp_path: Path):
    (tmp_path / "state").write_text("a file where a folder should be")
    with Device(tmp_path / "state") as device:
        device.clock.learn()
        device.begin()
        assert [name for name, _ in device.events] == ["outbox_unwritable"]
        device.detail()
        assert names(device.outbox.due(10)) == [(1, "detail", 1)]


_CHILD = """
import sys
from pathlib import Path
from agent.clock import Clock
from agent.config import OutboxSettings
from agent.outbox import Outbox, OutboxUnwritable
from shared import wire
from shared.records import Event, Summary

def put(outbox, text):
    return outbox.put("summary", {}, wire.pack(Summary((Event(0, "x", text),))), 1_000_000)

outbox = Outbox(Path(sys.argv[1]), Clock(), OutboxSettings(), "site-1", "pi-1")
"""

_PUT_FOR_EVER = (
    _CHILD
    + """
with outbox:
    epoch = outbox.begin().epoch
    while True:
        print(epoch, put(outbox, "x"), flush=True)
"""
)

_FULL = (
    _CHILD
    + """
import random, resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with outbox:
    outbox.begin()
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    kept = 0
    try:
        while True:
            kept = put(outbox, random.randbytes(400).hex())
    except OutboxUnwritable as error:
        print(kept, error, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(put(outbox, "after"), flush=True)
"""
)


def said(line: bytes) -> tuple[int, int]:
    epoch, number = line.split()
    return int(epoch), int(number)


def test_every_commit_survives_sigkill(tmp_path: Path):
    path = tmp_path / "outbox.db"
    committed: list[tuple[int, int]] = []
    for seed in range(20):
        with subprocess.Popen([sys.executable, "-c", _PUT_FOR_EVER, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            committed += [said(child.stdout.readline()) for _ in range(1 + seed * 7 % 40)]
            child.send_signal(signal.SIGKILL)
            committed += [said(line) for line in child.stdout if line.endswith(b"\n")]
    clock = SetClock()
    clock.learn()
    events: list[tuple[str, str]] = []
    with Outbox(path, clock, OutboxSettings(), "site-1", "pi-1", lambda *event: events.append(event)) as outbox:
        assert outbox.begin().epoch == 21
        due = outbox.due(100_000)
    found = [(message.key.epoch, message.key.batch) for message in due]
    assert set(committed) <= set(found)
    assert len(found) - len(committed) <= 20  # committed, but killed before it could say so
    assert events == []


def test_a_full_disk_refuses_and_recovers(tmp_path: Path):
    path = tmp_path / "outbox.db"
    child = subprocess.run(
        [sys.executable, "-c", _FULL, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    refused, after = child.stdout.splitlines()
    kept = int(refused.split()[0])
    assert kept > 10
    assert str(path) in refused
    assert int(after) == kept + 1
    clock = SetClock()
    clock.learn()
    with Outbox(path, clock, OutboxSettings(), "site-1", "pi-1") as outbox:
        outbox.begin()
        assert [message.key.batch for message in outbox.due(100_000)] == list(range(1, kept + 2))


# Cost


def test_a_put_costs_one_commit_of_a_few_pages(device: Device):
    outbox = device.begin()
    outbox.sending = True
    journal = Path(f"{device.path}-wal")
    before = journal.stat().st_size
    for _ in range(64):
        device.detail()
        device.ack(*outbox.due(4))
    pages = (journal.stat().st_size - before) / (1024 + 24) / 64
    assert pages <= 7  # 2 of them fill the last sector, so that the next commit begins in one of its own


# Everything in any order


class Model:
    """What the outbox must know, beside the real one."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.sealed: dict[tuple[int, str, int], bytes | None] = {}
        self.acked: set[tuple[int, str, int]] = set()
        self.maybe: set[tuple[int, str, int]] = set()

    def put(self, lane: Lane) -> None:
        number = self.device.detail() if lane == "detail" else self.device.summary()
        key = (self.device.outbox.started.epoch, lane, number)
        assert key not in self.sealed
        self.sealed[key] = None

    def due(self) -> list[Message]:
        messages = self.device.outbox.due(1000)
        found = names(messages)
        assert len(set(found)) == len(found)
        must = set(self.sealed) - self.acked
        if self.device.clock.known:
            assert must - self.maybe <= set(found) <= must
        for key, message in zip(found, messages, strict=True):
            assert self.sealed[key] in {None, message.payload}
            self.sealed[key] = message.payload
        return messages

    def ack(self, nth: int) -> None:
        messages = self.due()
        if messages:
            message = messages[nth % len(messages)]
            assert self.device.ack(message) == 1
            self.acked.add(names([message])[0])

    def resend(self, nth: int) -> None:
        known = [key for key in sorted(self.acked - self.maybe) if key[0] == self.device.outbox.started.epoch]
        if known:
            epoch, lane, number = known[nth % len(known)]
            outbox = self.device.outbox
            assert outbox.resend(epoch, outbox.nonce, cast("Lane", lane), [(number, number)]) == 1
            self.acked.discard((epoch, lane, number))

    def kill(self, folder: Path) -> None:
        """The disk as it is now; acks that were not written yet are forgotten."""
        later = after_a_power_cut(self.device, folder)
        later.clock, later.frame = self.device.clock, self.device.frame
        self.device.end()
        self.device = later
        self.device.begin()
        found = names(self.device.outbox.due(1000))
        if self.device.clock.known:
            assert set(self.sealed) - self.acked <= set(found)
            self.acked -= set(found)


_STEPS = st.lists(
    st.one_of(
        st.sampled_from(["detail", "summary", "due", "reopen", "kill", "learn", "forward"]),
        st.tuples(st.sampled_from(["ack", "resend"]), st.integers(0, 50)),
    ),
    max_size=25,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_nothing_is_lost_whatever_happens_in_whatever_order(tmp_path_factory: pytest.TempPathFactory, steps):
    folder = tmp_path_factory.mktemp("model")
    counter = itertools.count()
    model = Model(Device(folder))
    try:
        model.device.begin()
        for step in steps:
            take(model, step, folder / f"kill-{next(counter)}")
        model.device.clock.learn()
        found = set(names(model.due()))
        assert found == set(model.sealed) - model.acked
        assert model.device.outbox.waiting().batches == len(found)
        assert model.device.events == []
    finally:
        model.device.end()
        shutil.rmtree(folder)


def take(model: Model, step: str | tuple[str, int], folder: Path) -> None:
    match step:
        case "detail" | "summary":
            model.put(step)
        case "due":
            model.due()
        case "reopen":
            model.device.begin()
        case "kill":
            model.kill(folder)
        case "learn":
            model.device.clock.learn()
        case "forward":
            model.device.clock.forward(3)
        case ("ack", int(nth)):
            model.ack(nth)
        case ("resend", int(nth)):
            model.resend(nth)


_NUMBERS = st.integers(1, 40)


@given(st.lists(st.tuples(st.booleans(), _NUMBERS, _NUMBERS)))
def test_ranges_are_sets(steps):
    ranges: r.Ranges = []
    expected: set[int] = set()
    for add, first, length in steps:
        if add:
            ranges = r.added(ranges, first, first + length - 1)
            expected |= set(range(first, first + length))
        else:
            ranges = r.removed(ranges, first, first + length - 1)
            expected -= set(range(first, first + length))
    assert {n for a, b in ranges for n in range(a, b + 1)} == expected
    assert ranges == sorted(ranges)
    assert all(b + 1 < c for (_, b), (c, _) in itertools.pairwise(ranges))
    assert ranges == r.of(sorted(expected))
    assert {n for a, b in r.within(ranges, 5, 60) for n in range(a, b + 1)} == set(range(5, 61)) & expected
    assert {n for a, b in r.gaps(ranges, 5, 60) for n in range(a, b + 1)} == set(range(5, 61)) - expected
    assert all(r.contains(ranges, n) == (n in expected) for n in range(100))


def test_the_clock_seam_is_the_agents():
    """The test's clock has the methods of the real one, and no other name for them."""
    assert all(hasattr(Clock, name) for name in ("boot_ns", "monotonic", "boot_id", "hear", "offset"))


def test_a_damaged_row_holds_up_no_other(device: Device):
    device.clock.learn()
    outbox = device.begin()
    for _ in range(3):
        device.detail()
    with closing(sqlite3.connect(device.path)) as db, db:
        db.execute("UPDATE detail SET streams = 'garbage' WHERE id & 255 = 2")
    assert [message.key.batch for message in outbox.due(9)] == [1, 3]
    assert outbox.waiting().batches == 2
    assert [name for name, _ in device.events] == ["outbox_reset"]
    with pytest.raises(KeyError):
        outbox.placed(outbox.nonce, "cam0", 15, device.clock.boot_ns())


def test_how_the_epoch_before_ended_is_committed_with_the_start(device: Device):
    device.clock.learn()
    device.begin()
    device.detail()
    device.end()
    told: list[Start] = []

    def first(start: Start) -> Summary:
        told.append(start)
        return Summary((Event(0, f"after {start.previous.epoch}"),))

    for _ in range(3):  # as by kills: nothing but the start itself
        outbox = Outbox(device.path, device.clock, device.settings, "site-1", "pi-1")
        with outbox:
            outbox.begin(first=first)
    assert [(start.epoch, start.previous.epoch) for start in told] == [(2, 1), (3, 2), (4, 3)]
    bodies = [read(message).body for message in device.begin().due(9)[:3]]
    assert bodies == [Summary((Event(0, f"after {epoch}"),)) for epoch in (1, 2, 3)]


def test_an_outbox_of_an_earlier_release_is_read(device: Device):
    device.clock.learn()
    device.begin()
    device.detail()
    device.end()
    with closing(sqlite3.connect(device.path)) as db, db:
        (state,) = db.execute("SELECT state FROM epoch").fetchone()
        older = json.loads(state) | {"sent": 1}
        db.execute("UPDATE epoch SET state = ?", (json.dumps(older).encode(),))
    device.begin()
    assert [message.key[0::3] for message in device.outbox.due(9)] == [(1, 1)]
    assert device.events == []
