"""A device cannot make the store grow by making up names: it is stopped, and that is said."""

from typing import Any

import msgspec
import pytest

from collector.admit import Admitted, GoodBatch, GoodSnapshot, Ignored, Message, admit
from collector.ingest import Ingest
from collector.queries import Queries
from collector.series import DAY_NS, Series, SeriesLimits
from collector.state.quarantine import Bad
from collector.stores.answers import ReceivedStatus
from collector.stores.sqlite import SQLite
from shared import topics, wire
from shared.records import Previous, StreamStatus, Summarised, Tail, Tombstone
from tests.collector.field import jpeg
from tests.collector.making import MAKER, NONCE, SECOND, T0, detail, detection, model, runs, status, summary, window
from tests.collector.rig import BATCH, Rig

FEW = SeriesLimits(
    sites=2, devices_per_site=2, streams_per_device=3, makers_per_day=2, starts_per_day=2, classes_per_model=80
)


def judged(series: Series, payload: bytes, topic: str = BATCH, at_ns: int = T0 + SECOND) -> Admitted:
    message = Message(topic, payload, retained=False, received_at_ns=at_ns)
    return series.judged(message, admit(message, DAY_NS))


def reason(answer: Admitted) -> str:
    assert isinstance(answer, Bad), answer
    assert answer.cause == "too_many_series"
    return answer.reason


def maker(number: int) -> Any:
    return msgspec.structs.replace(MAKER, config=f"{number:012x}")


def test_a_device_that_makes_up_a_stream_with_each_batch_is_stopped() -> None:
    series = Series(FEW)
    answers = [judged(series, detail(n, 1, stream=f"cam{n}")) for n in range(1, 11)]
    assert [isinstance(one, GoodBatch) for one in answers] == [True] * 3 + [False] * 7
    assert reason(answers[3]) == "with it its device has 4 streams, limits.streams_per_device allows 3"
    assert isinstance(judged(series, detail(11, 6, stream="cam2")), GoodBatch), "its own streams go on"
    assert isinstance(judged(series, detail(1, 1, device="pi-door"), BATCH.replace("roof", "door")), GoodBatch)


@pytest.mark.parametrize(
    "record",
    [
        window(0, {"ok": 1}, stream="cam9"),
        model("cam9"),
        Previous(0, 1, NONCE, {}, True, True, {"cam9": Tail(1, 1)}),  # noqa: FBT003  # the record's own fields
        Tombstone(0, 1, NONCE, 1, "0" * 64, {"cam9": runs(("ok", 1, 1))}),
    ],
    ids=lambda record: type(record).__name__,
)
def test_every_record_that_names_a_stream_counts(record: Summarised) -> None:
    series = Series(SeriesLimits(streams_per_device=1))
    judged(series, detail(1, 1))
    assert "has 2 streams" in reason(judged(series, summary(1, record)))


def test_births_and_pictures_count_too() -> None:
    series = Series(SeriesLimits(streams_per_device=1))
    assert isinstance(judged(series, wire.encode(status()), topics.status("greenhouse", "pi-roof")), ReceivedStatus)
    assert isinstance(
        judged(series, jpeg(), topics.snapshot("greenhouse", "pi-roof", "cam0", T0)),
        GoodSnapshot,
    )
    many = msgspec.structs.replace(status(), streams={f"cam{n}": StreamStatus("", None, 60) for n in range(9)})
    assert "has 9 streams" in reason(judged(series, wire.encode(many), topics.status("greenhouse", "pi-roof")))
    assert "has 2 streams" in reason(judged(series, jpeg(), topics.snapshot("greenhouse", "pi-roof", "cam1", T0)))


def test_makers_and_starts_are_counted_by_the_day() -> None:
    series = Series(FEW)
    made = [judged(series, detail(n, 5 * n, maker=maker(n))) for n in range(1, 5)]
    assert [isinstance(one, GoodBatch) for one in made] == [True, True, False, False]
    assert reason(made[2]) == "its device named more makers in a day than the 2 of limits.makers_per_day"
    later = T0 + SECOND + DAY_NS
    assert isinstance(judged(series, detail(3, 15, maker=maker(3)), at_ns=later), GoodBatch), "the next day"

    series = Series(FEW)
    told = [judged(series, detail(1, 1, nonce=f"{n:016x}")) for n in range(1, 4)]
    assert reason(told[2]) == "its device told of more starts in a day than the 2 of limits.starts_per_day"
    gone = [Tombstone(0, n, f"{n:016x}", 1, "0" * 64, {}) for n in range(1, 9)]
    assert "more starts in a day" in reason(judged(Series(FEW), summary(1, *gone)))


def test_a_clock_that_is_set_back_frees_no_device() -> None:
    """A day that begins again is a day: what counts is that it cannot happen with each message."""
    series = Series(FEW)
    for n in range(1, 3):
        judged(series, detail(n, 5 * n, maker=maker(n)))
    assert isinstance(judged(series, detail(3, 15, maker=maker(3)), at_ns=T0 + SECOND + 1), Bad)


@pytest.mark.parametrize(
    "payload",
    [
        detail(1, 1, found=(detection(80),)),
        summary(1, window(0, {"ok": 1}, classes=[(80, 1, 1, 1)])),
        summary(1, msgspec.structs.replace(model(), names=("x",) * 81)),
    ],
)
def test_a_class_is_a_number_below_the_limit(payload: bytes) -> None:
    assert reason(judged(Series(FEW), payload)) == "it holds class 80, limits.classes_per_model allows 80 classes"
    assert isinstance(judged(Series(SeriesLimits(classes_per_model=81)), payload), GoodBatch)


def test_a_device_without_room_keeps_its_data(caplog: pytest.LogCaptureFixture) -> None:
    series = Series(FEW)
    for name in ("pi-roof", "pi-door", "pi-gate", "pi-wall"):
        last = judged(series, detail(1, 1, device=name), topics.batch("greenhouse", name))
    assert last == Ignored("too_many_devices")
    assert isinstance(judged(series, detail(2, 6)), GoodBatch), "those that are known go on"
    judged(series, detail(1, 1, site="orchard"), topics.batch("orchard", "pi-roof"))
    assert judged(series, detail(1, 1, site="field"), topics.batch("field", "pi-roof")) == Ignored("too_many_devices")
    assert caplog.text.count("as many as limits.devices_per_site allows") == 1, "said once"
    assert caplog.text.count("as many as limits.sites allows") == 1


def test_what_is_bad_makes_no_device_known() -> None:
    series = Series(SeriesLimits(devices_per_site=1))
    for number in range(100):
        judged(series, b"garbage", topics.batch("greenhouse", f"pi-{number}"))
    assert isinstance(judged(series, detail(1, 1)), GoodBatch)


def test_the_names_of_the_store_are_recalled(rig: Rig) -> None:
    """Else each restart of the collector would give a device new room."""
    rig.process(*(detail(n, 1, stream=f"cam{n}") for n in range(1, 4)))
    series = Series(FEW)
    series.recall(SQLite.devices(rig.store))
    assert "has 4 streams" in reason(judged(series, detail(9, 1, stream="cam9")))


def test_its_batch_is_refused_and_accounted_for_and_its_neighbours_are_stored(rig: Rig) -> None:
    ingest = Ingest(
        rig.inbox,
        rig.store,
        rig.quarantine,
        rig.pictures,
        rig.metrics,
        rig.publish,
        series=SeriesLimits(streams_per_device=1),
    )
    payloads = [detail(1, 1), detail(2, 1, stream="made-up"), detail(3, 6)]
    ingest.process([Message(BATCH, one, retained=False, received_at_ns=T0 + SECOND) for one in payloads])
    (_, first), (_, second) = rig.sent
    assert first.stored == ((1, 1), (3, 3))
    assert second.refused == ((2, "with it its device has 2 streams, limits.streams_per_device allows 1"),)
    ledger = Queries(rig.store, quarantine=rig.quarantine).ledger("greenhouse", "pi-roof")
    assert (ledger["captured"], ledger["missing"], ledger["fates"]["quarantined"]) == (15, 0, 5)
    assert rig.count("messages_quarantined", cause="too_many_series") == 1
