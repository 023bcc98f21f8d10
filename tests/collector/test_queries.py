"""Named questions with figures computed by hand."""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.books import Quarantined
from collector.queries import BadQuery, Filter, NotFound, Queries
from collector.stores.sqlite import SQLite
from shared.records import TICK_NS, Block, Detail, Event, Held, Maker, Previous, Tail, Vitals
from tests.collector.making import (
    MAKER,
    NONCE,
    SECOND,
    T0,
    born,
    detail,
    detection,
    encoded,
    model,
    observation,
    received,
    runs,
    summary,
    window,
)

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Shelf:
    """A clock and a quarantine that a test sets."""

    def __init__(self) -> None:
        self.now_ns = T0 + 10 * SECOND
        self.held: list[Quarantined] = []

    def clock(self) -> int:
        return self.now_ns

    def devices(self) -> set[tuple[str, str]]:
        return {("greenhouse", "pi-roof")} if self.held else set()

    def of_device(self, site: str, device: str) -> list[Quarantined]:
        return self.held if (site, device) == ("greenhouse", "pi-roof") else []

    def latest(self, site: str, device: str, stream: str) -> int | None:
        return T0 if (site, device, stream) == ("greenhouse", "pi-roof", "cam0") else None


WITHOUT_A_PLAN = {"planned": None, "coverage": None, "asleep_s": 0.0}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLite]:
    with SQLite(tmp_path / "vigie.db") as made:
        yield made


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def queries(store: SQLite, shelf: Shelf) -> Queries:
    return Queries(store, shelf, shelf.clock, quarantine=shelf)


def test_a_device_is_shown_as_its_birth_describes_it(store: SQLite, queries: Queries) -> None:
    store.write_statuses([born(at_ns=T0)])
    assert queries.devices() == {
        "devices": [
            {
                "site": "greenhouse",
                "device": "pi-roof",
                "name": "pi-roof",
                "online": True,
                "state": "online",
                "last_seen": "2026-11-23T18:00:00.000Z",
                "epoch": 1,
                "agent_version": "0.1.0",
                "hardware": "Pi 5",
                "platform": "Linux",
                "maintenance": False,
                "streams": [
                    {
                        "stream": "cam0",
                        "model": "stages",
                        "model_version": "1.2.0",
                        "model_sha256": "a" * 64,
                        "provider": "CPUExecutionProvider",
                        "requested_provider": "",
                        "task": "detect",
                        "source": "files:clip.mp4",
                        "fps": 10.0,
                        "plan": None,
                        "error": None,
                    }
                ],
            }
        ]
    }


def test_a_device_is_online_while_it_was_heard_lately(store: SQLite, queries: Queries, shelf: Shelf) -> None:
    def online() -> bool:
        return bool(queries.devices()["devices"][0]["online"])

    store.write_statuses([born(at_ns=T0)])
    assert online()
    shelf.now_ns = T0 + 91 * SECOND
    assert not online(), "silent for longer than 90 s"
    store.write([received(summary(1, Vitals(0, 1.0)), T0 + 60 * SECOND)])
    assert online(), "any batch is a sign of life"
    store.write_statuses([born("offline", T0 + 61 * SECOND)])
    assert not online(), "its last will says so"
    store.write_statuses([born(at_ns=T0 + 62 * SECOND)])
    assert online()


def test_a_retained_birth_after_a_restart_makes_nobody_online(store: SQLite, queries: Queries) -> None:
    store.write_statuses([born(at_ns=T0, retained=True)])
    (device,) = queries.devices()["devices"]
    assert (device["online"], device["last_seen"]) == (False, None), "it was never heard live"


def test_a_device_that_crashed_is_shown_with_what_its_birth_said(store: SQLite, queries: Queries) -> None:
    store.write_statuses([born(at_ns=T0)])
    (before,) = queries.devices()["devices"]
    store.write_statuses([born("offline", T0 + 5 * SECOND)])
    assert queries.devices()["devices"] == [before | {"online": False, "state": "offline"}]


def test_a_prediction_has_boxes_in_pixels_and_times_in_ms(store: SQLite, queries: Queries) -> None:
    store.write([received(summary(1, model())), received(detail(1, 1, 1, found=(detection(2, 8765),)))])
    (prediction,) = queries.predictions()["predictions"]
    assert prediction == {
        "site": "greenhouse",
        "device": "pi-roof",
        "stream": "cam0",
        "epoch": 1,
        "nonce": NONCE,
        "frame": 1,
        "captured_at": "2026-11-23T18:00:00.900Z",
        "captured_at_ns": T0 + 900_000_000,
        "model": "stages",
        "model_version": "1.2.0",
        "model_sha256": "a" * 64,
        "width": 640,
        "height": 480,
        "outcome": "ok",
        # wait 1 + prepare 3 + infer 20 + decode 0.5
        "timings_ms": {"capture": 5.0, "wait": 1.0, "prepare": 3.0, "infer": 20.0, "decode": 0.5, "response": 24.5},
        "detections": [{"class": "ripe", "class_id": 2, "score": 0.8765, "box": [160.0, 120.0, 320.0, 360.0]}],
    }


def test_a_failed_frame_says_why(store: SQLite, queries: Queries) -> None:
    body = Detail((Block("cam0", MAKER, 640, 480, (observation(1, error="out of memory"),)),))
    store.write([received(encoded(body, {"cam0": runs(("failed", 1, 1))}, batch=1, sealed_at_ns=T0))])
    (prediction,) = queries.predictions()["predictions"]
    assert (prediction["outcome"], prediction["error"], prediction["detections"]) == ("failed", "out of memory", [])


def test_predictions_are_found_by_the_name_of_a_class(store: SQLite, queries: Queries) -> None:
    other = Maker("other", "1", "b" * 64, "0123456789ab", 0.25)
    store.write(
        [
            received(summary(1, model())),
            received(detail(1, 1, found=(detection(2, 9000),))),
            received(detail(2, 6, found=(detection(1, 9000), detection(2, 3000)))),
            received(detail(3, 11, found=(detection(2, 9000),), maker=other)),
        ]
    )

    def frames(**wanted: Any) -> list[int]:
        found = queries.predictions(Filter(**wanted))["predictions"]
        return [one["frame"] for one in found]

    assert frames(class_="ripe") == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1], "not of the model that never told its names"
    assert frames(class_="ripe", min_score=0.5) == [5, 4, 3, 2, 1]
    assert frames(class_="2", min_score=0.5) == [15, 14, 13, 12, 11, 5, 4, 3, 2, 1]
    assert frames(class_="class_2", min_score=0.5) == [15, 14, 13, 12, 11, 5, 4, 3, 2, 1]
    assert frames(class_="unicorn") == []
    assert frames(model="other") == [15, 14, 13, 12, 11]


def test_pages_follow_each_other_without_a_gap(store: SQLite, queries: Queries) -> None:
    store.write([received(detail(batch, 5 * batch - 4)) for batch in range(1, 5)])
    seen, cursor = [], None
    while True:
        page = queries.predictions(cursor=cursor, limit=7)
        seen += [one["frame"] for one in page["predictions"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == list(range(20, 0, -1))


@pytest.mark.parametrize("cursor", ["x", "====", "bm9uc2Vuc2U", "WzFd", "\u00e9"])
def test_a_cursor_that_is_none_is_refused(queries: Queries, cursor: str) -> None:
    with pytest.raises(BadQuery, match="'cursor' must be a 'next_cursor' of an earlier answer"):
        queries.predictions(cursor=cursor)


@pytest.mark.parametrize("position", [0, 4, 6])
@pytest.mark.parametrize("number", [2**63, -1, 10**30])
def test_a_cursor_with_a_number_that_no_store_holds_is_refused(
    store: SQLite, queries: Queries, position: int, number: int
) -> None:
    store.write([received(detail(1, 1))])
    place = [T0 + SECOND, "greenhouse", "pi-roof", "cam0", 1, NONCE, 3]
    place[position] = number
    with pytest.raises(BadQuery, match="'cursor' must be a 'next_cursor'") as caught:
        queries.predictions(cursor=base64.urlsafe_b64encode(json.dumps(place).encode()).decode())
    assert caught.value.parameter == "cursor"


@pytest.mark.parametrize("at_ns", [-(10**30), 10**30])
def test_times_that_no_store_holds_are_the_ends_of_time(store: SQLite, queries: Queries, at_ns: int) -> None:
    store.write([received(detail(1, 1)), received(summary(1, Vitals(0, 1.0), Event(0, "agent_started")))])
    seen = 5 if at_ns < 0 else 0
    assert len(queries.predictions(Filter(from_ns=at_ns))["predictions"]) == seen
    assert len(queries.predictions(Filter(to_ns=at_ns))["predictions"]) == 5 - seen
    assert queries.ledger("greenhouse", "pi-roof", from_ns=at_ns)["captured"] == seen
    assert len(queries.events(from_ns=at_ns)["events"]) == bool(seen)
    assert len(queries.vitals(to_ns=at_ns)["vitals"]) == (not seen)
    with pytest.raises(BadQuery, match="'from' must be before 'to'"):
        queries.summary(from_ns=at_ns, to_ns=at_ns)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_score_out_of_range_is_refused(queries: Queries, score: float) -> None:
    with pytest.raises(BadQuery, match="'min_score' must be 0 to 1"):
        queries.predictions(Filter(min_score=score))


def test_a_limit_out_of_range_is_refused(queries: Queries) -> None:
    with pytest.raises(BadQuery, match="'limit' must be 1 to 1000, got 0"):
        queries.predictions(limit=0)


def test_the_figures_of_a_summary(store: SQLite, queries: Queries) -> None:
    """One stream, one minute of which all is known."""
    store.write(
        [
            received(
                summary(
                    1,
                    model(),
                    window(
                        MINUTE,
                        {"ok": 80, "failed": 6, "unreadable": 4, "skipped": 10},
                        none=20,
                        histograms={
                            "response": [1000, 2000, 3000, 4000],
                            "infer": [2000],
                            "score": [9000, 5000],
                            "detections": [0, 3],
                        },
                        classes=[(2, 40, 75, 30), (0, 25, 25, 20)],
                    ),
                    sealed_at_ns=T0,
                )
            )
        ]
    )
    answer = queries.summary(["stream", "version"], from_ns=T0 - HOUR, to_ns=T0)
    (row,) = answer["rows"]
    assert (row["stream"], row["version"]) == ("cam0", "1.2.0")
    assert "time" not in row
    assert row["frames"] == 100
    assert row["outcomes"] == {"ok": 80, "skipped": 10, "gated": 0, "unreadable": 4, "failed": 6}
    assert row["requests"] == 86
    assert row["requests_per_day"] == 86 * 1440
    assert row["fps"] == round(100 / 60, 3)
    assert row["without_detection"] == {"frames": 20, "share": 0.25}
    assert row["error_rate"] == 0.1
    assert row["response_ms"]["mean"] == 25.0
    assert row["infer_ms"]["mean"] == 20.0
    assert row["score"]["mean"] == 0.7
    assert row["detections_per_frame"]["mean"] == 1.5
    assert row["classes"] == [
        {"class": "ripe", "class_id": 2, "frames": 40, "detections": 75, "top": 30, "share": 0.75},
        {"class": "green", "class_id": 0, "frames": 25, "detections": 25, "top": 20, "share": 0.25},
    ]
    assert "histograms" not in row
    assert answer["windows"] == "minutes"


def test_percentiles_are_within_their_bin(store: SQLite, queries: Queries) -> None:
    values = list(range(1000, 11_000, 10))  # 10 to 110 ms, evenly
    store.write([received(summary(1, window(MINUTE, {"ok": 1000}, histograms={"response": values}), sealed_at_ns=T0))])
    (row,) = queries.summary(to_ns=T0)["rows"]
    for quantile, exact in (("p50", 60.0), ("p95", 105.0), ("p99", 109.0)):
        assert row["response_ms"][quantile] == pytest.approx(exact, rel=0.4)


def test_percentiles_of_counts_are_whole_numbers(store: SQLite, queries: Queries) -> None:
    counts = [0] * 10 + [2] * 60 + [11] * 30
    store.write([received(summary(1, window(MINUTE, {"ok": 100}, histograms={"detections": counts}), sealed_at_ns=T0))])
    (row,) = queries.summary(to_ns=T0)["rows"]
    assert row["detections_per_frame"] == {"mean": 4.5, "p50": 2, "p95": 11, "p99": 11}


def test_percentiles_in_an_open_last_bin_are_its_lower_end(store: SQLite, queries: Queries) -> None:
    """It has no upper end to interpolate to: the true percentile is at least that."""
    shown = window(
        MINUTE,
        {"ok": 100},
        histograms={"response": [120] * 50 + [90_000_000] * 50, "detections": [250] * 50 + [999] * 50},
    )
    store.write([received(summary(1, shown, sealed_at_ns=T0))])
    (row,) = queries.summary(to_ns=T0)["rows"]
    mean = (50 * 1.2 + 50 * 900_000) / 100
    assert row["response_ms"] == {"mean": mean, "p50": 1.48, "p95": 60_000.0, "p99": 60_000.0}
    assert row["detections_per_frame"] == {"mean": 624.5, "p50": 299, "p95": 300, "p99": 300}


def test_percentiles_are_linear_within_their_bin(store: SQLite, queries: Queries) -> None:
    """100 values in the bin of 1.00 to 1.48 ms, and none elsewhere."""
    store.write([received(summary(1, window(MINUTE, {"ok": 100}, histograms={"infer": [120] * 100}), sealed_at_ns=T0))])
    (row,) = queries.summary(to_ns=T0)["rows"]
    assert row["infer_ms"] == {"mean": 1.2, "p50": 1.24, "p95": 1.456, "p99": 1.4752}


def test_rates_of_several_streams_add_up(store: SQLite, queries: Queries) -> None:
    """Two streams with 10 frames a second each give 20, however long each was covered."""
    store.write(
        [
            received(summary(1, window(MINUTE, {"ok": 600}), sealed_at_ns=T0)),
            received(summary(2, window(MINUTE, {"ok": 600}), sealed_at_ns=T0 - MINUTE)),
            received(summary(1, window(MINUTE, {"ok": 600}, stream="cam1"), sealed_at_ns=T0, device="pi-door")),
        ]
    )
    (row,) = queries.summary(to_ns=T0)["rows"]
    assert (row["fps"], row["requests_per_day"], row["covered_s"]) == (20.0, 20.0 * 86_400, 180.0)
    rows = queries.summary(["device"], to_ns=T0)["rows"]
    assert [(row["device"], row["fps"]) for row in rows] == [("pi-door", 10.0), ("pi-roof", 10.0)]


def test_a_summary_over_time_has_a_row_per_step(store: SQLite, queries: Queries) -> None:
    store.write(
        [
            received(summary(step, window(MINUTE, {"ok": step}), sealed_at_ns=T0 + (step + 1) * MINUTE))
            for step in range(1, 11)
        ]
    )
    rows = queries.summary(every_ns=5 * MINUTE, from_ns=T0, to_ns=T0 + HOUR)["rows"]
    assert [(row["time"], row["frames"]) for row in rows] == [
        ("2026-11-23T18:00:00.000Z", 1 + 2 + 3 + 4),
        ("2026-11-23T18:05:00.000Z", 5 + 6 + 7 + 8 + 9),
        ("2026-11-23T18:10:00.000Z", 10),
    ]


def test_a_class_of_several_models_is_summed_by_its_name(store: SQLite, queries: Queries) -> None:
    other = Maker("stages", "2.0.0", "b" * 64, "0123456789ab", 0.25)
    store.write(
        [
            received(
                summary(
                    1,
                    model(),
                    model(maker=other),
                    window(MINUTE, {"ok": 1}, classes=[(0, 1, 1, 1)]),
                    window(MINUTE, {"ok": 1}, classes=[(0, 1, 2, 1)], maker=other),
                    sealed_at_ns=T0,
                )
            )
        ]
    )
    (row,) = queries.summary(to_ns=T0)["rows"]
    assert [(one["class"], one["detections"]) for one in row["classes"]] == [("green", 3)]
    rows = queries.summary(["version"], to_ns=T0)["rows"]
    assert [row["version"] for row in rows] == ["1.2.0", "2.0.0"]


def test_hours_are_read_only_beyond_the_minutes_that_are_kept(store: SQLite, queries: Queries, shelf: Shelf) -> None:
    store.write([received(summary(1, window(0, {"ok": 60}, seconds=3600), window(0, {"ok": 1}), sealed_at_ns=T0))])
    around: dict[str, Any] = {"from_ns": T0 - DAY, "to_ns": T0 + DAY}

    def frames(every_ns: int | None) -> list[int]:
        return [row["frames"] for row in queries.summary(every_ns=every_ns, **around)["rows"]]

    assert frames(HOUR) == [1]
    shelf.now_ns = T0 + 100 * DAY
    assert frames(HOUR) == [60]
    assert frames(DAY) == [60]
    assert frames(MINUTE) == [1]


def test_histograms_come_for_charts(store: SQLite, queries: Queries) -> None:
    store.write([received(summary(1, window(0, {"ok": 2}, histograms={"score": [300, 9900]}), sealed_at_ns=T0))])
    (row,) = queries.summary(from_ns=T0, to_ns=T0 + 1, histograms=True)["rows"]
    found = row["histograms"]["score"]
    assert len(found["edges"]) == len(found["counts"]) + 1
    assert (found["edges"][0], found["edges"][1], found["edges"][-1]) == (0, 0.05, 1)
    assert (found["counts"][0], found["counts"][-1], sum(found["counts"]), found["n"]) == (1, 1, 2, 2)


def test_an_open_last_bin_ends_nowhere(store: SQLite, queries: Queries) -> None:
    shown = window(0, {"ok": 1}, histograms={"response": [90_000_000], "detections": [999]})
    store.write([received(summary(1, shown, sealed_at_ns=T0))])
    (row,) = queries.summary(from_ns=T0, to_ns=T0 + 1, histograms=True)["rows"]
    for name, last_edge in (("response", 60_000.0), ("detections", 300)):
        found = row["histograms"][name]
        assert (found["edges"][-2:], found["counts"][-1]) == ([last_edge, None], 1)
        assert len(found["edges"]) == len(found["counts"]) + 1


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"by": ["colour"]}, "'by' takes site, device, stream, model, version, got 'colour'"),
        ({"from_ns": T0, "to_ns": T0}, "'from' must be before 'to'"),
        ({"every_ns": 1}, "'every' must be at least a second"),
        ({"from_ns": 0, "to_ns": T0, "every_ns": MINUTE}, "at most 20000 steps"),
    ],
)
def test_a_summary_that_makes_no_sense_is_refused(queries: Queries, question, message: str) -> None:
    with pytest.raises(BadQuery, match=message):
        queries.summary(**question)


def test_nothing_has_figures_too(queries: Queries) -> None:
    assert queries.summary()["rows"] == []
    assert queries.devices() == {"devices": []}
    assert queries.fleet()["devices"] == []
    assert queries.predictions() == {"predictions": [], "next_cursor": None}


def test_the_ledger_adds_up(store: SQLite, queries: Queries) -> None:
    """20 frames: 15 stored in three batches, 3 lost with the power, the batch between them under way no more."""
    end = Previous(0, 1, NONCE, {"summary": 0, "detail": 4}, clean=False, exact=True, streams={"cam0": Tail(20, 23)})
    store.write([received(detail(batch, 5 * batch - 4)) for batch in (1, 2, 4)])
    store.write([received(summary(1, end, epoch=2, nonce="f" * 16))])
    ledger = queries.ledger("greenhouse", "pi-roof")
    assert ledger["captured"] == 23
    assert ledger["outcomes"] == {"ok": 15, "skipped": 0, "gated": 0, "unreadable": 0, "failed": 0, "unknown": 3}
    assert ledger["sealed"] == 18
    assert ledger["fates"] == {"stored": 15, "thinned": 0, "unsealed": 3, "quarantined": 0, "expired": 0}
    assert ledger["missing"] == 5
    first, second = ledger["epochs"]
    assert first == {
        "epoch": 1,
        "nonce": NONCE,
        "first": 1,
        "last": 20,
        "first_at": "2026-11-23T18:00:01.000Z",
        "last_at": "2026-11-23T18:00:04.000Z",
        "tail_lost": 3,
        "clean": False,
        "exact": True,
        "streams": {
            "cam0": {
                "first": 1,
                "last": 20,
                "captured": 23,
                "outcomes": {"ok": 15, "unknown": 3},
                "fates": {"stored": 15, "unsealed": 3},
                "waiting": 0,
                "missing": 5,
                "tail_lost": 3,
            }
            | WITHOUT_A_PLAN,
        },
        "batches": {"detail": {"last": 4, "waiting": [], "missing": [[3, 3]], "asked": None}},
    }
    assert (second["epoch"], second["clean"], second["streams"]) == (2, None, {})


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_frames_of_a_lost_outbox_are_a_tail(
    store: SQLite, queries: Queries, order: tuple[int, ...], *, exact: bool
) -> None:
    """Its device knows of 23 frames and of no sealed one; 10 have arrived, whatever came first."""
    end = Previous(0, 1, NONCE, {}, clean=False, exact=exact, streams={"cam0": Tail(0, 23)})
    sent = [detail(1, 1), detail(2, 6), summary(1, end, epoch=2, nonce="f" * 16, sealed_at_ns=T0 + HOUR)]
    for index in order:
        store.write([received(sent[index])])
    ledger = queries.ledger("greenhouse", "pi-roof")
    assert (ledger["captured"], ledger["sealed"], ledger["missing"]) == (23, 23, 0)
    assert (ledger["outcomes"]["ok"], ledger["outcomes"]["unknown"]) == (10, 13)
    assert (ledger["fates"]["stored"], ledger["fates"]["unsealed"]) == (10, 13)
    epoch = ledger["epochs"][0]
    assert (epoch["tail_lost"], epoch["exact"]) == (13, exact)
    assert epoch["batches"]["detail"]["missing"] == []
    store.write([received(detail(3, 11))])
    ledger = queries.ledger("greenhouse", "pi-roof")
    assert (ledger["captured"], ledger["fates"]["unsealed"], ledger["missing"]) == (23, 8, 0), "a late batch"
    assert queries.ledger("greenhouse", "pi-roof", T0 + HOUR)["captured"] == 8, "told in the range, arrived before it"
    store.write([received(detail(4, 16, 10))])
    ledger = queries.ledger("greenhouse", "pi-roof")
    assert (ledger["captured"], ledger["fates"]["unsealed"], ledger["missing"]) == (25, 0, 0), "more than it knew of"


def test_the_tail_of_a_lost_outbox_begins_after_what_is_in_quarantine(
    store: SQLite, queries: Queries, shelf: Shelf
) -> None:
    end = Previous(0, 1, NONCE, {}, clean=False, exact=True, streams={"cam0": Tail(0, 23)})
    store.write([received(detail(1, 1))])
    store.write([received(summary(1, end, epoch=2, nonce="f" * 16, sealed_at_ns=T0 + HOUR))])
    shelf.held = [Quarantined(1, NONCE, "detail", 2, T0, {"cam0": runs(("ok", 6, 10))})]
    ledger = queries.ledger("greenhouse", "pi-roof")
    assert (ledger["captured"], ledger["fates"]["quarantined"], ledger["fates"]["unsealed"]) == (23, 5, 13)
    ledger = queries.ledger("greenhouse", "pi-roof", T0 + HOUR)
    assert (ledger["captured"], ledger["fates"]["quarantined"], ledger["fates"]["unsealed"]) == (13, 0, 13)


def test_what_the_device_still_has_is_waiting_not_missing(store: SQLite, queries: Queries, shelf: Shelf) -> None:
    """Of 60 frames in 12 batches 2 to 4 and 8 to 10 did not arrive; the device says that it has 3 to 10."""
    store.write([received(detail(batch, 5 * batch - 4)) for batch in (1, 5, 6, 7, 11, 12)])
    held = (Held(1, NONCE, "detail", 3, 10), Held(1, "f" * 16, "detail", 1, 99))
    store.write([received(summary(1, Vitals(0, 1.0, held=held)))])
    for ledger in (queries.ledger("greenhouse", "pi-roof"), queries.ledger("greenhouse", "pi-roof", T0, T0 + DAY)):
        assert (ledger["captured"], ledger["sealed"]) == (60, 30)
        assert (ledger["waiting"], ledger["missing"]) == (15, 15), "batch 2 is not held: its gap may be lost"
        assert ledger["epochs"][0]["batches"]["detail"] == {
            "last": 12,
            "waiting": [[3, 4], [8, 10]],
            "missing": [[2, 2]],
            "asked": None,
        }
    (device,) = queries.fleet()["devices"]
    assert device["ledger"] == {"captured": 60, "sealed": 30, "missing": 15, "waiting": 15}
    shelf.held = [Quarantined(1, NONCE, "detail", 2, T0, {"cam0": runs(("ok", 6, 10))})]
    ledger = queries.ledger("greenhouse", "pi-roof")
    assert (ledger["captured"], ledger["waiting"], ledger["missing"]) == (60, 25, 0)


def test_a_digest_is_over_number_and_sha256_of_each_batch(store: SQLite, queries: Queries) -> None:
    batches = [received(detail(batch, 5 * batch - 4)) for batch in (3, 1, 2)]
    store.write(batches)
    lines = sorted(f"{one.batch.header.batch} {one.batch.header.sha256}\n" for one in batches)
    lane = queries.ledger("greenhouse", "pi-roof", digests=True)["epochs"][0]["batches"]["detail"]
    whole = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert lane["digest"] == {"first": 1, "last": 3, "batches": 3, "sha256": whole}


def test_two_words_about_the_same_start_mean_the_same_in_any_order(tmp_path: Path) -> None:
    """A cloned card tells of the start that its origin tells of."""
    told = [
        summary(
            1,
            Previous(0, 1, NONCE, {"detail": batch}, clean=clean, exact=True, streams={"cam0": Tail(sealed, captured)}),
            epoch=2,
            nonce=nonce * 16,
        )
        for batch, clean, sealed, captured, nonce in ((4, True, 20, 20, "e"), (2, False, 10, 23, "f"))
    ]
    answers = []
    for name, order in (("a", told), ("b", told[::-1])):
        with SQLite(tmp_path / name) as store:
            for one in order:
                store.write([received(one)])
            answers.append(Queries(store).ledger("greenhouse", "pi-roof")["epochs"][0])
    assert answers[0] == answers[1]
    assert (answers[0]["clean"], answers[0]["tail_lost"]) == (False, 3)


def test_a_quarantined_batch_is_not_missing(store: SQLite, queries: Queries, shelf: Shelf) -> None:
    store.write([received(detail(batch, 5 * batch - 4)) for batch in (1, 3)])
    shelf.held = [Quarantined(1, NONCE, "detail", 2, T0, {"cam0": runs(("ok", 6, 8), ("failed", 9, 10))})]
    ledger = queries.ledger("greenhouse", "pi-roof")
    assert (ledger["missing"], ledger["captured"]) == (0, 15)
    assert ledger["fates"]["quarantined"] == 5
    assert ledger["outcomes"]["failed"] == 2
    assert ledger["epochs"][0]["batches"]["detail"]["missing"] == []
    store.write([received(detail(2, 6))])
    ledger = queries.ledger("greenhouse", "pi-roof")
    assert (ledger["captured"], ledger["fates"]["quarantined"]) == (15, 0), "it arrived whole after all"


def test_a_quarantined_batch_beyond_the_last_known_one_leaves_the_gap_before_it(
    store: SQLite, queries: Queries, shelf: Shelf
) -> None:
    store.write([received(detail(1, 1))])
    shelf.held = [Quarantined(1, NONCE, "detail", 3, T0, {"cam0": runs(("ok", 11, 15))})]
    ledger = queries.ledger("greenhouse", "pi-roof")
    assert (ledger["missing"], ledger["captured"], ledger["sealed"]) == (5, 15, 10)


def test_the_ledger_of_a_range_counts_what_was_sealed_in_it(store: SQLite, queries: Queries) -> None:
    store.write([received(detail(batch, 5 * batch - 4)) for batch in (1, 2, 4, 5)])
    ledger = queries.ledger("greenhouse", "pi-roof", T0 + 2 * SECOND, T0 + 5 * SECOND)
    assert (ledger["captured"], ledger["missing"]) == (15, 5)
    assert queries.ledger("greenhouse", "pi-roof", T0 + DAY)["captured"] == 0


def test_the_ledger_of_a_stranger_is_not_found(queries: Queries) -> None:
    with pytest.raises(NotFound, match="there is no device greenhouse/nobody"):
        queries.ledger("greenhouse", "nobody")


def test_the_fleet_at_a_glance(store: SQLite, queries: Queries, shelf: Shelf) -> None:
    store.write_statuses([born(at_ns=T0)])
    store.write([received(detail(batch, 5 * batch - 4)) for batch in (1, 2, 3, 5)])
    store.write(
        [
            received(
                summary(
                    1,
                    model(),
                    window(
                        30 * SECOND, {"ok": 9, "unreadable": 1}, none=3, histograms={"response": [2000]}, seconds=10
                    ),
                    Vitals(0, 60.0, temperature_c=51.5),
                    Event(0, "agent_started", "after a clean end"),
                    sealed_at_ns=T0 + 6 * SECOND,
                )
            )
        ]
    )
    (device,) = queries.fleet()["devices"]
    assert (device["online"], device["since"]) == (True, "2026-11-23T18:00:00.000Z")
    assert device["ledger"] == {"captured": 25, "sealed": 20, "missing": 5, "waiting": 0}
    assert device["vitals"]["temperature_c"] == 51.5
    assert [event["name"] for event in device["events"]] == ["agent_started"]
    (stream,) = device["streams"]
    assert stream["frames_per_s"] == 3.75, "15 frames after the first batch, within 4 s"
    assert stream["response_ms"]["mean"] == 20.0
    assert stream["without_detection"] == {"frames": 3, "share": round(3 / 9, 6)}
    assert stream["error_rate"] == 0.1
    assert stream["snapshot"] == {"captured_at": "2026-11-23T18:00:00.000Z", "captured_at_ns": T0}
    shelf.now_ns = T0 + HOUR
    (device,) = queries.fleet()["devices"]
    assert (device["online"], device["since"]) == (False, "2026-11-23T18:00:06.500Z")
    assert device["streams"][0]["frames_per_s"] is None


def test_events_and_vitals_in_the_shape_of_the_api(store: SQLite, queries: Queries) -> None:
    store.write([received(summary(1, Event(0, "camera_lost", "no such device", "cam0"), Vitals(0, 5.0)))])
    assert queries.events() == {
        "events": [
            {
                "site": "greenhouse",
                "device": "pi-roof",
                "stream": "cam0",
                "at": "2026-11-23T18:00:01.000Z",
                "name": "camera_lost",
                "detail": "no such device",
            }
        ]
    }
    (vitals,) = queries.vitals()["vitals"]
    assert (vitals["at"], vitals["uptime_s"], vitals["cpu_percent"]) == ("2026-11-23T18:00:01.000Z", 5.0, None)


def test_the_classes_of_a_model(store: SQLite, queries: Queries) -> None:
    store.write([received(summary(1, model()))])
    answer = queries.classes("a" * 64)
    assert answer["classes"] == ["green", "turning", "ripe"]
    with pytest.raises(NotFound):
        queries.classes("b" * 64)


def test_coverage_is_what_was_captured_of_what_was_planned(store: SQLite, queries: Queries) -> None:
    """Windows that say nothing of a plan (an older agent, a plan without a rate) do not count for or against it."""
    store.write(
        [
            received(
                summary(
                    1,
                    window(3 * MINUTE, {"ok": 45, "skipped": 9, "unreadable": 3}, planned=60),
                    window(2 * MINUTE, {"ok": 30}, planned=30, asleep_s=30),
                    window(MINUTE, {"ok": 500}),
                    window(3 * MINUTE, {}, planned=60, stream="cam1"),
                    window(3 * MINUTE, {"ok": 87}, planned=90, asleep_s=30, seconds=3600),
                    sealed_at_ns=T0,
                )
            )
        ]
    )
    rows = queries.summary(("stream",))["rows"]
    shown = {row["stream"]: (row["planned"], row["coverage"], row["asleep_s"]) for row in rows}
    assert shown == {"cam0": (90, round(87 / 90, 6), 30.0), "cam1": (60, 0.0, 0.0)}
    (whole,) = queries.summary()["rows"]
    assert (whole["planned"], whole["coverage"]) == (150, round(87 / 150, 6))


def test_the_ledger_says_how_well_each_stream_kept_its_plan(store: SQLite, queries: Queries) -> None:
    batches = [
        received(summary(1, window(3 * MINUTE, {"ok": 57}, planned=60), sealed_at_ns=T0)),
        received(summary(2, window(MINUTE, {"ok": 10}, planned=30, asleep_s=30), sealed_at_ns=T0)),
        received(summary(3, window(2 * MINUTE, {"ok": 99}), sealed_at_ns=T0)),
        received(summary(4, window(2 * MINUTE, {}, planned=5, stream="cam1"), sealed_at_ns=T0)),
    ]
    store.write(batches)
    store.write(batches)
    (epoch,) = queries.ledger("greenhouse", "pi-roof")["epochs"]
    kept = {name: (one["planned"], one["coverage"], one["asleep_s"]) for name, one in epoch["streams"].items()}
    assert kept == {"cam0": (90, round(67 / 90, 6), 30.0), "cam1": (5, 0.0, 0.0)}
    (epoch,) = queries.ledger("greenhouse", "pi-roof", T0 - 90 * SECOND, T0 + 1)["epochs"]
    kept = {name: (one["planned"], one["coverage"], one["asleep_s"]) for name, one in epoch["streams"].items()}
    assert kept == {"cam0": (30, round(10 / 30, 6), 30.0)}


def told_of_a_plan(name: str, age_ns: int, detail: str = "") -> Event:
    return Event(age_ns // TICK_NS, name, detail, "cam0")


def asleep(queries: Queries) -> tuple[object, ...]:
    (device,) = queries.fleet()["devices"]
    (stream,) = device["streams"]
    return stream["asleep"], stream["plan_at"], stream["plan_detail"]


def test_a_stream_that_fell_asleep_is_asleep_until_it_wakes(store: SQLite, queries: Queries) -> None:
    store.write_statuses([born(at_ns=T0)])
    store.write([received(summary(1, told_of_a_plan("stream_asleep", 0, "until 06:00"), sealed_at_ns=T0 - MINUTE))])
    assert asleep(queries) == (True, "2026-11-23T17:59:00.000Z", "until 06:00")
    others = [Event(0, "time_known") for _ in range(20)]
    store.write([received(summary(2, *others, sealed_at_ns=T0 - MINUTE // 2))])
    assert asleep(queries)[0] is True, "however much else was told since"
    store.write([received(summary(3, told_of_a_plan("stream_awake", 0), sealed_at_ns=T0 - SECOND))])
    assert asleep(queries)[0] is False


def test_what_was_told_before_a_restart_says_nothing_of_now(store: SQLite, queries: Queries) -> None:
    store.write_statuses([born(at_ns=T0)])
    store.write([received(summary(1, told_of_a_plan("stream_asleep", MINUTE), Event(0, "agent_started")))])
    assert asleep(queries) == (False, None, "")


def test_windows_tell_of_a_sleep_whose_begin_is_long_ago(store: SQLite, queries: Queries) -> None:
    """A polar night is longer than events are looked back for."""
    store.write([received(summary(1, window(2 * MINUTE, {}, planned=0, asleep_s=60), sealed_at_ns=T0))])
    assert asleep(queries)[0] is True


def test_a_slow_streams_pace_is_that_of_its_last_periods(store: SQLite, queries: Queries) -> None:
    """One frame in ten minutes is no silence."""
    slow = msgspec.structs.replace(born(at_ns=T0).status.streams["cam0"], fps=1 / 600, plan="every 10 min")
    status = msgspec.structs.replace(born(at_ns=T0).status, streams={"cam0": slow})
    store.write_statuses([dataclasses.replace(born(at_ns=T0), status=status)])
    batches = [detail(n, n, 1, sealed_at_ns=T0 - minutes * MINUTE) for n, minutes in enumerate((25, 15, 5), 1)]
    store.write([received(batch) for batch in batches])
    (device,) = queries.fleet()["devices"]
    (stream,) = device["streams"]
    assert (stream["frames_per_s"], stream["plan"]) == (0.0017, "every 10 min")
