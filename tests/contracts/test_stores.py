"""One suite over every store: what `collector.stores.Store` promises."""

import contextlib
import multiprocessing
import random
import sqlite3
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from collector import stores
from collector.stores import Rejected, Store, Unavailable, sqlite
from collector.stores.answers import LaneKey, Scope, Wanted
from collector.stores.sqlite import SQLite
from shared.records import Event, Held, Previous, Tail, Tombstone, Vitals
from tests.collector.making import (
    NAMES,
    NONCE,
    SECOND,
    T0,
    born,
    detail,
    detection,
    histogram,
    model,
    received,
    runs,
    summary,
    window,
)

FOREVER = 2**63 - 1
DAY = 86_400 * SECOND
EVERYTHING = Wanted(Scope(), 0, FOREVER)


@pytest.fixture(params=list(stores.STORES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Iterator[Store]:
    made = stores.create(kind, path=tmp_path / "vigie.db")
    made.open()
    yield made
    made.close()


def frames(store: Store, wanted: Wanted = EVERYTHING) -> list[int]:
    return [seen.frame for seen in store.observations(wanted, None, 10_000)]


def known(store: Store) -> object:
    """Everything that a store answers, to compare two stores by."""
    return (
        store.observations(EVERYTHING, None, 10_000),
        store.windows(Scope(), 0, FOREVER, None),
        store.windows(Scope(), 0, FOREVER, 60 * SECOND),
        store.ledger("greenhouse", "pi-roof"),
        store.ledger("greenhouse", "pi-roof", 0, FOREVER),
        store.events(Scope(), 0, FOREVER, 1000),
        store.vitals(Scope(), 0, FOREVER, 1000),
        store.models(),
    )


def journey() -> list[bytes]:
    """Two starts of a device, with everything that a batch can hold."""
    second: dict[str, Any] = {"epoch": 2, "nonce": "f" * 16}
    end = Previous(
        SECOND, 1, NONCE, {"summary": 2, "detail": 4}, clean=False, exact=True, streams={"cam0": Tail(20, 23)}
    )
    stone = Tombstone(0, 1, NONCE, 3, "c" * 64, {"cam0": runs(("ok", 11, 15))})
    return [
        detail(1, 1),
        detail(2, 6, found=(detection(1), detection(2, 4000))),
        detail(4, 16),
        summary(1, model(), Event(0, "agent_started"), Vitals(0, 12.5, cpu_percent=7.5, throttled=True)),
        summary(
            2,
            window(
                60 * SECOND,
                {"ok": 20, "skipped": 3},
                none=2,
                histograms={"response": [2450] * 20, "score": [9000, 4000]},
                classes=[(0, 15, 15, 15), (1, 5, 5, 5)],
            ),
            window(60 * SECOND, {"ok": 7}, seconds=3600),
        ),
        summary(1, end, stone, Event(0, "outbox_thinned", "1 batch", "cam0"), **second),
        detail(1, 1, stream="cam1", **second),
    ]


def test_what_is_written_is_read(store: Store) -> None:
    assert store.write([received(detail(1, 1, 3, found=(detection(2, 8000), detection(0, 100))))]) == ["stored"]
    newest = store.observations(EVERYTHING, None, 10)[0]
    assert (newest.site, newest.device, newest.stream) == ("greenhouse", "pi-roof", "cam0")
    assert (newest.epoch, newest.nonce, newest.frame) == (1, NONCE, 3)
    assert newest.captured_at_ns == T0 + SECOND - SECOND // 10
    assert newest.detections == (detection(2, 8000), detection(0, 100))
    assert (newest.width, newest.height, newest.infer, newest.error) == (640, 480, 2000, "")


def test_writing_twice_is_writing_once(store: Store, kind: str, tmp_path: Path) -> None:
    """In any order, in any grouping: the same answers as from each batch once."""
    batches = [received(payload) for payload in journey()]
    store.write(batches)
    expected = known(store)
    for seed in range(5):
        order = random.Random(seed)  # noqa: S311  # the same order in each run
        again = stores.create(kind, path=tmp_path / f"{seed}.db")
        again.open()
        jumbled = batches * 3
        order.shuffle(jumbled)
        while jumbled:
            count = order.randint(1, 5)
            again.write(jumbled[:count])
            del jumbled[:count]
        assert known(again) == expected
        again.close()


def test_a_batch_written_again_is_called_a_duplicate(store: Store) -> None:
    batch = received(detail(1, 1))
    assert store.write([batch, batch]) == ["stored", "duplicate"]
    assert store.write([batch]) == ["duplicate"]


def test_a_batch_with_other_content_under_the_same_number_is_rejected(store: Store) -> None:
    store.write([received(detail(1, 1))])
    with pytest.raises(Rejected, match="detail batch 1 of this start is already stored with other content") as caught:
        store.write([received(detail(2, 6)), received(detail(1, 1, found=()))])
    assert list(caught.value.records) == [1]
    assert frames(store) == [5, 4, 3, 2, 1], "nothing of a rejected call is written"


def test_frames_of_two_batches_never_overlap(store: Store) -> None:
    store.write([received(detail(1, 1))])
    with pytest.raises(Rejected, match="frames 5 to 9 are in another batch of this start too"):
        store.write([received(detail(2, 5))])


def test_every_culprit_of_a_call_is_named(store: Store) -> None:
    store.write([received(detail(1, 1)), received(detail(2, 6))])
    with pytest.raises(Rejected) as caught:
        store.write([received(detail(1, 1, found=())), received(detail(3, 11)), received(detail(4, 7))])
    assert list(caught.value.records) == [0, 2]


def test_starts_with_the_same_number_are_told_apart_by_their_nonce(store: Store) -> None:
    store.write([received(detail(1, 1)), received(detail(1, 1, nonce="e" * 16))])
    assert len(store.observations(EVERYTHING, None, 100)) == 10
    assert [(books.epoch, books.nonce) for books in store.ledger("greenhouse", "pi-roof")] == [
        (1, NONCE),
        (1, "e" * 16),
    ]


def test_observations_come_newest_first_and_go_on_where_they_ended(store: Store) -> None:
    """Over streams that interleave and tie in time, page by page, each once."""
    store.write(
        [
            received(detail(1 + index, 1 + 5 * index, stream=stream, device=device, sealed_at_ns=T0 + index * SECOND))
            for device, stream in (("pi-roof", "cam0"), ("pi-door", "cam0"), ("pi-wall", "cam1"))
            for index in range(4)
        ]
    )
    whole = store.observations(EVERYTHING, None, 1000)
    places = [seen.place for seen in whole]
    assert len(whole) == 60
    assert places == sorted(places, reverse=True)
    paged, before = [], None
    while page := store.observations(EVERYTHING, before, 7):
        paged += page
        before = page[-1].place
    assert paged == whole


def test_observations_are_found_by_class_and_score(store: Store) -> None:
    store.write(
        [
            received(detail(1, 1, found=(detection(0, 9000),))),
            received(detail(2, 6, found=(detection(2, 3000), detection(0, 5000)))),
            received(detail(3, 11, found=())),
            received(detail(4, 16, found=(detection(63, 9000),))),
        ]
    )

    def found(class_id: int | None, min_score: int = 0, sha256: str | None = None) -> set[int]:
        classes = None if class_id is None else frozenset({(sha256, class_id)})
        return {(frame - 1) // 5 + 1 for frame in frames(store, Wanted(Scope(), 0, FOREVER, classes, min_score))}

    assert found(None) == {1, 2, 3, 4}
    assert found(None, 1) == {1, 2, 4}
    assert found(0) == {1, 2}, "class 63 shares its bit with class 0, but is another"
    assert found(0, 6000) == {1}
    assert found(2, 4000) == set(), "the score counts for the class that is asked for"
    assert found(63) == {4}
    assert found(0, sha256="b" * 64) == set()
    assert frames(store, Wanted(Scope(), 0, FOREVER, frozenset())) == []


def test_observations_are_found_by_stream_model_and_time(store: Store) -> None:
    store.write([received(detail(1, 1)), received(detail(1, 1, stream="cam1", device="pi-door"))])
    assert len(frames(store, Wanted(Scope(device="pi-door"), 0, FOREVER))) == 5
    assert len(frames(store, Wanted(Scope(site="elsewhere"), 0, FOREVER))) == 0
    assert len(frames(store, Wanted(Scope(version="1.2.0"), 0, FOREVER))) == 10
    assert len(frames(store, Wanted(Scope(version="9"), 0, FOREVER))) == 0
    start = T0 + SECOND - 2 * SECOND // 10
    assert frames(store, Wanted(Scope(stream="cam0"), start, FOREVER)) == [5, 4]
    assert frames(store, Wanted(Scope(stream="cam0"), 0, start)) == [3, 2, 1]


def test_windows_add_up_exactly(store: Store) -> None:
    values = [[2000 + index, 7 * index, 10**6] for index in range(50)]
    store.write(
        [
            received(
                summary(
                    1 + index,
                    window(
                        60 * SECOND,
                        {"ok": index, "failed": 1},
                        none=2,
                        histograms={"response": values[index]},
                        classes=[(1, index, 2 * index, 3)],
                    ),
                    sealed_at_ns=T0 + 60 * SECOND * (1 + index),
                )
            )
            for index in range(50)
        ]
    )
    (total,) = store.windows(Scope(), T0, T0 + DAY, None)
    assert total.outcomes == {"ok": sum(range(50)), "skipped": 0, "gated": 0, "unreadable": 0, "failed": 50}
    assert (total.none, total.duration) == (100, 50 * 60 * 100_000)
    assert total.histograms["response"] == histogram("response", *chain.from_iterable(values)).data()
    assert total.classes == {1: (sum(range(50)), 2 * sum(range(50)), 150)}
    by_hour = store.windows(Scope(), T0, T0 + DAY, 600 * SECOND)
    assert [part.bucket_ns for part in by_hour] == [T0 + 600 * SECOND * step for step in range(5)]
    assert sum(part.none for part in by_hour) == 100


def test_windows_count_http_requests_by_status(store: Store) -> None:
    sent = [
        received(summary(1, window(SECOND, {"ok": 9}, requests={"200": 9, "415": 2}))),
        received(summary(2, window(SECOND, {}, requests={"415": 1}))),
        received(summary(3, window(SECOND, {"ok": 5}, stream="cam1"))),
    ]
    store.write(sent)
    store.write(sent)
    pushed, other = store.windows(Scope(), 0, FOREVER, None)
    assert pushed.http_requests == {"200": 9, "415": 3}
    assert other.http_requests == {}


def test_windows_say_what_was_planned_where_it_is_known(store: Store) -> None:
    store.write(
        [
            received(summary(1, window(SECOND, {"ok": 9}, planned=10, asleep_s=20))),
            received(summary(2, window(SECOND, {"ok": 5, "failed": 1}, planned=6))),
            received(summary(3, window(SECOND, {"ok": 60}))),
            received(summary(4, window(SECOND, {"ok": 60}, stream="cam1"))),
        ]
    )
    planned, unknown = store.windows(Scope(), 0, FOREVER, None)
    assert (planned.planned, planned.planned_captured, planned.asleep) == (16, 15, 20 * 100_000)
    assert (unknown.planned, unknown.planned_captured, unknown.asleep) == (None, 0, 0)
    (books,) = store.ledger("greenhouse", "pi-roof")
    assert (books.streams["cam0"].planned, books.streams["cam0"].planned_captured) == (16, 15)
    assert "cam1" not in books.streams


def test_windows_of_an_hour_and_of_a_minute_are_never_mixed(store: Store) -> None:
    store.write([received(summary(1, window(SECOND, {"ok": 1}), window(SECOND, {"ok": 60}, seconds=3600)))])
    assert [part.outcomes["ok"] for part in store.windows(Scope(), 0, FOREVER, None)] == [1]
    assert [part.outcomes["ok"] for part in store.windows(Scope(), 0, FOREVER, None, hours=True)] == [60]


def test_the_ledger_knows_gaps_tails_and_tombstones(store: Store) -> None:
    store.write([received(payload) for payload in journey()])
    first, second = store.ledger("greenhouse", "pi-roof")
    books = first.streams["cam0"]
    assert (books.first, books.last, books.missing) == (1, 20, 0)
    assert (books.fates["stored"], books.fates["thinned"]) == (15, 5)
    assert (books.tail_sealed, books.tail_captured) == (20, 23)
    assert (first.clean, first.exact, second.clean) == (False, True, None)
    assert first.lanes["detail"].missing == []
    assert second.streams["cam1"].outcomes["ok"] == 5


def test_a_gap_is_missing_until_it_is_filled(store: Store) -> None:
    store.write([received(detail(1, 1)), received(detail(5, 21))])
    for account in (store.ledger("greenhouse", "pi-roof"), store.ledger("greenhouse", "pi-roof", T0, T0 + DAY)):
        assert account[0].streams["cam0"].missing == 15
        assert account[0].lanes["detail"].missing == [(2, 4)]
    store.write([received(detail(batch, 5 * batch - 4)) for batch in (4, 2, 3)])
    (books,) = store.ledger("greenhouse", "pi-roof")
    assert (books.streams["cam0"].missing, books.lanes["detail"].missing) == (0, [])


def test_a_start_of_which_nothing_arrived_is_known_by_the_next_one(store: Store) -> None:
    end = Previous(0, 1, NONCE, {"summary": 3, "detail": 2}, clean=True, exact=True, streams={"cam0": Tail(10, 10)})
    store.write([received(summary(1, end, epoch=2, nonce="f" * 16))])
    first = store.ledger("greenhouse", "pi-roof")[0]
    assert (first.epoch, first.streams["cam0"].missing) == (1, 10)
    assert first.lanes["detail"].missing == [(1, 2)]


def test_holes_are_told_since_when_and_go_as_they_are_filled(store: Store) -> None:
    def told() -> list[tuple[str, int, int, int]]:
        assert {hole.lane[:4] for hole in store.holes()} <= {("greenhouse", "pi-roof", 1, NONCE)}
        return [(hole.lane.lane, hole.first, hole.last, hole.since_ns) for hole in store.holes()]

    store.write([received(detail(1, 1)), received(detail(9, 41), T0 + 20 * SECOND)])
    assert told() == [("detail", 2, 8, T0 + 20 * SECOND)]
    store.write([received(detail(5, 21), T0 + 30 * SECOND), received(detail(2, 6)), received(detail(8, 36))])
    assert told() == [("detail", 3, 4, T0 + 20 * SECOND), ("detail", 6, 7, T0 + 20 * SECOND)]
    end = Previous(0, 1, NONCE, {"summary": 1, "detail": 11}, clean=True, exact=True, streams={"cam0": Tail(55, 55)})
    store.write([received(summary(1, end, epoch=2, nonce="f" * 16), T0 + 40 * SECOND)])
    assert told()[0] == ("summary", 1, 1, T0 + 40 * SECOND)
    assert told()[-1] == ("detail", 10, 11, T0 + 40 * SECOND)
    store.write([received(detail(batch, 5 * batch - 4)) for batch in (11, 6, 4, 3, 10, 7)])
    store.write([received(summary(1))])
    assert told() == []


def test_vitals_tell_how_far_the_detail_has_got_and_what_waits(store: Store) -> None:
    waits = (Held(1, NONCE, "detail", 2, 6),)
    store.write([received(detail(1, 1)), received(summary(2, Vitals(0, 1.0, held=waits, detail_sealed=7)))])
    store.write([received(summary(1, Vitals(0, 0.5, held=(), detail_sealed=3)))])
    assert [(hole.lane.lane, hole.first, hole.last) for hole in store.holes()] == [("detail", 2, 7)]
    (facts,) = store.devices()
    assert (facts.held, facts.held_at_ns) == (waits, T0 + 2 * SECOND), "the newest counts, whatever came last"


def test_what_a_device_holds_is_what_it_told_last_whatever_its_clock_said(store: Store) -> None:
    ahead = T0 + 86_400 * SECOND
    store.write([received(summary(1, Vitals(0, 1.0, held=(Held(1, NONCE, "detail", 2, 6),)), sealed_at_ns=ahead))])
    store.write([received(summary(2, Vitals(0, 2.0, held=())))])
    assert store.devices()[0].held == (), "the clock jumped back"
    store.write([received(summary(1, Vitals(0, 1.0, held=(Held(1, NONCE, "detail", 7, 9),)), epoch=2, nonce="f" * 16))])
    store.write([received(summary(3, Vitals(0, 3.0, held=())))])
    assert store.devices()[0].held == (Held(1, NONCE, "detail", 7, 9),), "a later start told more"


def test_the_frames_of_a_gap_lie_between_two_batches(store: Store) -> None:
    store.write([received(detail(batch, first)) for batch, first in ((2, 6), (3, 11), (6, 26), (9, 41))])
    store.write([received(detail(5, 1, stream="cam1"))])
    ends = Previous(0, 1, NONCE, {"summary": 0, "detail": 11}, clean=True, exact=True, streams={"cam0": Tail(50, 50)})
    store.write([received(summary(1, ends, epoch=2, nonce="f" * 16))])
    for account in (store.ledger("greenhouse", "pi-roof"), store.ledger("greenhouse", "pi-roof", 0, FOREVER)):
        books = account[0].streams["cam0"]
        assert books.gaps == [(1, 5, 0, 2), (16, 25, 3, 6), (31, 40, 6, 9), (46, 50, 9, 12)]
        assert books.missing == sum(gap.last - gap.first + 1 for gap in books.gaps) == 30


def test_balances_are_the_sums_of_the_ledgers(store: Store) -> None:
    store.write([received(payload) for payload in journey()])
    store.write([received(detail(2, 8, device="pi-door")), received(detail(4, 20, stream="cam1", device="pi-door"))])
    store.write([received(detail(1, 1), T0 + 31 * DAY)])
    books = {device: store.ledger("greenhouse", device) for device in ("pi-door", "pi-roof")}
    for balance in store.balances():
        streams = [stream for epoch in books[balance.device] for stream in epoch.streams.values()]
        lost = sum((s.tail_captured or 0) - max(s.last, s.tail_sealed or 0) for s in streams if s.tail_captured)
        assert balance.sealed == sum(sum(s.fates.values()) for s in streams) + lost
        assert balance.captured == sum(sum(s.outcomes.values()) + s.missing for s in streams) + lost
        assert balance.missing == sum(s.missing for s in streams)
    assert [(balance.device, balance.missing) for balance in store.balances()] == [("pi-door", 26), ("pi-roof", 0)]


def test_entries_come_by_number_with_digest_fate_and_frames(store: Store) -> None:
    written = [received(payload) for payload in journey()]
    store.write(written)
    lane = LaneKey("greenhouse", "pi-roof", 1, NONCE, "detail")
    found = store.entries(lane, 0, 10)
    assert [(entry.batch, entry.fate) for entry in found] == [
        (1, "stored"),
        (2, "stored"),
        (3, "thinned"),
        (4, "stored"),
    ]
    assert found[0].sha256 == written[0].batch.header.sha256
    assert found[2].streams == {"cam0": runs(("ok", 11, 15))}
    assert [entry.batch for entry in store.entries(lane, 1, 2)] == [2, 3]
    assert [dict(entry.streams) for entry in store.entries(lane._replace(lane="summary"), 0, 10)] == [{}, {}]
    assert store.entries(lane, 4, 10) == store.entries(lane._replace(nonce="e" * 16), 0, 10) == []


def test_frames_with_an_observation_are_told_by_start_and_stream(store: Store) -> None:
    store.write([received(payload) for payload in journey()])
    every = store.frames("greenhouse", "pi-roof", 0, FOREVER)
    assert every == {
        (1, NONCE, "cam0"): [*range(1, 11), *range(16, 21)],
        (2, "f" * 16, "cam1"): [1, 2, 3, 4, 5],
    }
    assert store.frames("greenhouse", "pi-roof", T0 + SECOND - SECOND // 10, T0 + SECOND) == {
        (1, NONCE, "cam0"): [5],
        (2, "f" * 16, "cam1"): [5],
    }
    assert store.frames("greenhouse", "pi-door", 0, FOREVER) == {}


def test_a_thinned_batch_that_arrives_after_all_is_stored(store: Store) -> None:
    payload = detail(1, 1)
    batch = received(payload)
    stone = Tombstone(0, 1, NONCE, 1, batch.batch.header.sha256, batch.batch.header.streams)
    store.write([received(summary(1, stone))])
    assert store.ledger("greenhouse", "pi-roof")[0].streams["cam0"].fates["thinned"] == 5
    assert store.write([batch]) == ["stored"]
    (books,) = store.ledger("greenhouse", "pi-roof")
    assert (books.streams["cam0"].fates["thinned"], books.streams["cam0"].fates["stored"]) == (0, 5)
    assert books.streams["cam0"].outcomes["ok"] == 5


def test_a_batch_older_than_the_retention_is_expired_but_accounted_for(store: Store) -> None:
    assert store.write([received(detail(1, 1), T0 + 31 * DAY)]) == ["expired"]
    assert frames(store) == []
    (books,) = store.ledger("greenhouse", "pi-roof")
    assert books.streams["cam0"].fates == {"stored": 0, "thinned": 0, "expired": 5}


def test_what_is_too_old_goes_and_the_account_stays(store: Store) -> None:
    store.write([received(payload) for payload in journey()])
    store.write([received(detail(1, 1, device="pi-door", sealed_at_ns=T0 + 40 * DAY))])
    account = [books.streams for books in store.ledger("greenhouse", "pi-roof")]
    assert store.expire(T0 + 41 * DAY) > 0
    assert {seen.device for seen in store.observations(EVERYTHING, None, 100)} == {"pi-door"}
    assert [books.streams for books in store.ledger("greenhouse", "pi-roof")] == account
    assert len(store.windows(Scope(), 0, FOREVER, None)) == 1
    store.expire(T0 + 100 * DAY)
    assert store.windows(Scope(), 0, FOREVER, None) == []
    assert store.vitals(Scope(), 0, FOREVER, 10) == []
    assert len(store.windows(Scope(), 0, FOREVER, None, hours=True)) == 1
    assert store.expire(T0 + 2000 * DAY) > 0
    assert store.windows(Scope(), 0, FOREVER, None, hours=True) == []
    assert store.expire(T0 + 2000 * DAY) == 0


def test_a_batch_that_comes_again_after_its_entry_expired_is_not_counted_twice(store: Store) -> None:
    store.write([received(detail(1, 1))])
    store.expire(T0 + 31 * DAY)
    assert store.write([received(detail(1, 1), T0 + 31 * DAY)]) == ["duplicate"]
    assert store.ledger("greenhouse", "pi-roof")[0].streams["cam0"].outcomes["ok"] == 5


def test_a_retained_status_is_no_sign_of_life(store: Store) -> None:
    store.write_statuses([born(at_ns=T0)])
    store.write_statuses([born(at_ns=T0 + 60 * SECOND, retained=True)])
    (device,) = store.devices()
    assert (device.heard_at_ns, device.status_at_ns, device.state_since_ns) == (T0, T0, T0)
    store.write_statuses([born("offline", T0 + 90 * SECOND, retained=True)])
    (device,) = store.devices()
    assert device.status is not None
    assert (device.status.state, device.heard_at_ns) == ("offline", T0)
    assert device.state_since_ns == T0 + 90 * SECOND
    assert device.streams == ("cam0",), "a stream that was told once stays known"


def test_a_last_will_changes_only_the_state(store: Store) -> None:
    """It is written at the start and says nothing of streams; nor is it a sign of life."""
    store.write_statuses([born(at_ns=T0)])
    store.write_statuses([born("offline", T0 + 90 * SECOND)])
    (device,) = store.devices()
    assert device.status is not None
    assert device.status.streams == born().status.streams
    assert (device.status.state, device.status.agent_version) == ("offline", "0.1.0")
    assert (device.heard_at_ns, device.state_since_ns) == (T0, T0 + 90 * SECOND)
    store.write_statuses([born("offline", T0 + 99 * SECOND, retained=True)])
    assert store.devices() == [device], "the broker repeats what is known"


def test_the_will_of_an_earlier_start_does_not_end_the_newest_one(store: Store) -> None:
    """A broker may miss the old connection long after the device began a new one."""
    store.write_statuses([born(at_ns=T0), born(at_ns=T0 + SECOND, epoch=2, nonce="f" * 16)])
    before = store.devices()
    store.write_statuses([born("offline", T0 + 90 * SECOND)])
    assert store.devices() == before
    store.write_statuses([born("offline", T0 + 99 * SECOND, epoch=3, nonce="e" * 16, retained=True)])
    (device,) = store.devices()
    assert device.status is not None
    assert (device.status.state, device.epoch) == ("offline", 3), "a start that came and went while nobody listened"


def test_the_epoch_is_that_of_the_newest_word_even_when_it_counts_from_1_again(store: Store) -> None:
    def epoch() -> int | None:
        (device,) = store.devices()
        return device.epoch

    store.write([received(detail(1, 1, epoch=7))])
    assert epoch() == 7
    store.write_statuses([born(at_ns=T0 + 10 * SECOND, nonce="e" * 16)])
    assert epoch() == 1, "the card was flashed anew"
    store.write([received(detail(2, 6, epoch=7), T0 + 20 * SECOND)])
    assert epoch() == 1, "a late batch of the old start"
    store.write([received(detail(30, 1, epoch=2, nonce="f" * 16))])
    assert epoch() == 2, "a start whose birth nobody heard"


def test_models_are_told_by_their_devices(store: Store) -> None:
    store.write([received(summary(1, model()))])
    (known_model,) = store.models()
    assert (known_model.sha256, known_model.names, known_model.task) == ("a" * 64, NAMES, "detect")


def test_events_and_vitals_come_newest_first(store: Store) -> None:
    store.write(
        [
            received(summary(batch, Event(0, f"event_{batch}", stream="cam0"), Vitals(0, float(batch)), device=device))
            for device in ("pi-roof", "pi-door")
            for batch in (1, 2, 3)
        ]
    )
    assert [event.name for event in store.events(Scope(device="pi-door"), 0, FOREVER, 2)] == ["event_3", "event_2"]
    assert len(store.events(Scope(stream="cam1"), 0, FOREVER, 10)) == 0
    assert [one.values["uptime_s"] for one in store.vitals(Scope(), 0, FOREVER, 3)] == [3.0, 3.0, 2.0]
    assert store.vitals(Scope(), 0, FOREVER, 1)[0].values["throttled"] is None


def test_the_pace_is_what_came_between_two_sealings(store: Store) -> None:
    store.write([received(detail(batch, 5 * batch - 4)) for batch in (1, 2, 3)])
    (pace,) = store.paces(T0)
    assert (pace.frames, pace.seconds, pace.last_sealed_ns) == (10, 2.0, T0 + 3 * SECOND)
    assert store.paces(T0 + 4 * SECOND) == []


def test_what_was_written_is_there_after_opening_again(store: Store, kind: str, tmp_path: Path) -> None:
    store.write([received(payload) for payload in journey()])
    before = known(store)
    store.close()
    again = stores.create(kind, path=tmp_path / "vigie.db")
    again.open()
    assert known(again) == before
    again.close()


def test_a_closed_store_is_unavailable(store: Store) -> None:
    store.close()
    with pytest.raises(Unavailable):
        store.write([received(detail(1, 1))])
    with pytest.raises(Unavailable):
        store.devices()


def test_a_place_that_cannot_be_written_is_said_with_the_way_out(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file"):
        stores.create(kind, path=tmp_path / "file" / "vigie.db").open()


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_nothing_goes_into_a_file_that_is_no_longer_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """A file that was deleted takes writes as before, and loses them when it is closed."""
    path = tmp_path / "vigie.db"
    with SQLite(tmp_path / "other.db") as other:
        other.write([received(detail(9, 41))])
    with SQLite(path) as store:
        store.write([received(detail(1, 1))])
        store.devices()  # leaves a reader in the pool
        if how == "deleted":
            path.unlink()
        else:
            (tmp_path / "other.db").rename(path)
        for use in (store.devices, store.probe):
            with pytest.raises(Unavailable, match=r"vigie\.db was deleted or replaced"):
                use()
        assert store.write([received(detail(2, 6))]) == ["stored"], "the next try opens the path anew"
        assert caplog.text.count("had been deleted or replaced") == 1
        expected = [10, 9, 8, 7, 6] if how == "deleted" else [10, 9, 8, 7, 6, 45, 44, 43, 42, 41]
        assert sorted(frames(store)) == sorted(expected)
    with SQLite(path) as again:
        assert sorted(frames(again)) == sorted(expected), "it is on the disk"


def test_a_write_during_which_the_file_goes_is_no_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vigie.db"
    with SQLite(path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(sqlite.write, "write", lambda *_: path.unlink())
            with pytest.raises(Unavailable, match="was deleted or replaced"):
                store.write([received(detail(1, 1))])
        assert store.write([received(detail(1, 1))]) == ["stored"]
        path.unlink()
        store.close()
        with pytest.raises(Unavailable, match="is not open"):
            store.write([received(detail(1, 1))])


def _write_all(kind: str, path: Path, seed: int) -> None:
    store = stores.create(kind, path=path)
    store.open()
    batches = [received(detail(batch, 5 * batch - 4)) for batch in range(1, 101)]
    random.Random(seed).shuffle(batches)  # noqa: S311  # the same order in each run
    for start in range(0, 100, 10):
        store.write(batches[start : start + 10])
    store.close()


def test_two_processes_share_a_store(kind: str, tmp_path: Path) -> None:
    """Both write everything, in different orders, into a file that neither has made before."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_all, args=(kind, tmp_path / "both.db", seed)) for seed in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    store = stores.create(kind, path=tmp_path / "both.db")
    store.open()
    assert frames(store) == list(range(500, 0, -1))
    (books,) = store.ledger("greenhouse", "pi-roof")
    assert (books.streams["cam0"].outcomes["ok"], books.streams["cam0"].missing) == (500, 0)
    assert books.lanes["detail"].missing == []
    store.close()


def test_an_unknown_kind_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="there is no store 'duckdb'; known are sqlite"):
        stores.create("duckdb")


ADDED = {
    2: (("planned INTEGER, asleep INTEGER NOT NULL DEFAULT 0,", ""), ("TABLE plans", None)),
    3: (("TABLE request_counts", None),),
    4: (
        (", held BLOB, held_at_ns INTEGER, held_epoch INTEGER, held_nonce TEXT,\n        held_batch INTEGER", ""),
        (", told INTEGER NOT NULL DEFAULT 0", ""),
        ("TABLE holes", None),
    ),
}
"""What each version of the tables added: text to take out again, or a whole table."""


def tables(version: int) -> Iterator[str]:
    """The statements that made a file of an earlier version."""
    changes = [change for added, changed in ADDED.items() if added > version for change in changed]
    for statement in sqlite.schema.TABLES:
        made = statement
        if any(text in made for text, instead in changes if instead is None):
            continue
        for text, instead in changes:
            made = made if instead is None else made.replace(text, instead)
        yield made


def old_file(path: Path, version: int, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as old:
        for statement in (*tables(version), *statements):
            old.execute(statement)
        old.execute(f"PRAGMA user_version = {version}")
        old.commit()


def test_a_file_of_the_first_release_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "vigie.db"
    old_file(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as old:
        assert "planned" not in str(old.execute("SELECT sql FROM sqlite_master").fetchall())
    with SQLite(path) as store:
        store.write([received(summary(1, window(SECOND, {"ok": 9}, planned=10, requests={"200": 9})))])
        (one,) = store.windows(Scope(), 0, FOREVER, None)
        assert (one.planned, one.http_requests) == (10, {"200": 9})
    with SQLite(path) as store:
        assert store.ledger("greenhouse", "pi-roof")[0].streams["cam0"].planned == 10


def test_the_holes_of_an_older_file_are_found_when_it_is_brought_up_to_date(tmp_path: Path) -> None:
    """Between batches, below what was forgotten not, and beyond the last one what a later start told."""
    batch = "INSERT INTO batches VALUES ({0}, 1, 1, {0}, {0}0, {0}1, 'synced', x'00', 5, 0)"
    old_file(
        tmp_path / "vigie.db",
        3,
        "INSERT INTO devices (id, site, device) VALUES (1, 'greenhouse', 'pi-roof')",
        "INSERT INTO epochs VALUES (1, 1, 1, '0123456789abcdef', 10, 90)",
        *(batch.format(number) for number in (5, 6, 9)),
        "INSERT INTO lanes VALUES (1, 1, 9, 5, 3)",
        "INSERT INTO endings VALUES (1, 77, 2, 12, 1, 1)",
    )
    with SQLite(tmp_path / "vigie.db") as store:
        held = [(hole.lane.lane, hole.first, hole.last, hole.since_ns) for hole in store.holes()]
        assert held == [("summary", 1, 2, 77), ("detail", 4, 4, 51), ("detail", 7, 8, 91), ("detail", 10, 12, 77)]
        (books,) = store.ledger("greenhouse", "pi-roof")
        assert books.lanes["detail"].missing == [(4, 4), (7, 8), (10, 12)]
        assert (books.lanes["summary"].last, books.lanes["detail"].last) == (2, 12)
