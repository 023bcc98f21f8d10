"""What goes wrong for one message, or in the collector itself, costs the others nothing."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest
from brokers import until

from collector import admit, ingest
from collector.acks import Acks
from collector.admit import Message
from collector.ingest import ERRORS_MAX
from collector.state.pictures import PIXELS_MAX
from collector.stores import Rejected
from collector.stores.answers import ReceivedStatus
from shared import topics, wire
from tests.collector.field import jpeg
from tests.collector.making import NONCE, SECOND, T0, detail, detection, status
from tests.collector.rig import BATCH, Rig

STATUS = topics.status("greenhouse", "pi-roof")
PICTURE = topics.snapshot("greenhouse", "pi-roof", "cam0", T0)


def message(payload: bytes, topic: str = BATCH) -> Message:
    return Message(topic, payload, retained=False, received_at_ns=T0 + SECOND)


def test_a_bad_picture_is_refused_in_its_own_lane(rig: Rig) -> None:
    """Else its device sends it again and again."""
    rig.process(wire.encode(status()), topic=STATUS)
    rig.process(jpeg(65_500, 65_500), b"<script>", topic=PICTURE)
    ack = rig.sent[-1][1]
    assert (ack.nonce, ack.epoch, ack.lane, ack.stored) == (NONCE, 1, "snapshot/cam0", ())
    assert ack.refused == ((T0, "the bytes are no JPEG, or one that is cut short"),)
    assert f"the JPEG has 65500 x 65500 pixels, at most {PIXELS_MAX} are allowed" in {
        held.reason for held in rig.quarantine.newest()
    }
    assert rig.count("batches_refused") == 2


def test_a_bad_picture_of_an_unknown_device_is_refused_to_nobody(rig: Rig) -> None:
    rig.process(b"<script>", topic=PICTURE)
    assert rig.sent == []
    assert len(rig.quarantine.newest()) == 1


def test_good_ones_do_not_wait_for_a_quarantine_that_cannot_be_written(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is refused that the quarantine has not; the device keeps it until then."""
    monkeypatch.setattr(ingest, "STATE_RETRY_S", 0.0)
    path, aside = rig.quarantine.path, rig.quarantine.path.with_name("aside")
    rig.quarantine.close()
    path.rename(aside)
    path.mkdir()
    rig.process(detail(1, 1), b"garbage", detail(2, 6)[:-1] + b"!", detail(3, 11))
    assert [(ack.stored, ack.refused) for _, ack in rig.sent] == [(((1, 1), (3, 3)), ())]
    assert rig.count("messages_dropped", cause="quarantine_unavailable") == 2
    assert "is not open" in (rig.ingest.state_problem or "")
    rig.process(b"garbage")
    assert caplog.text.count("until then the devices keep") == 1, "said once"
    path.rmdir()
    aside.rename(path)
    rig.quarantine.open()
    rig.process(detail(2, 6)[:-1] + b"!")
    assert [number for number, _ in rig.sent[-1][1].refused] == [2]
    assert rig.ingest.state_problem is None


def test_a_quarantine_locked_by_another_process_delays_nobody_for_long(rig: Rig) -> None:
    """It is tried, and then left alone for a while: the good ones go on."""
    other = sqlite3.connect(rig.quarantine.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        rig.process(b"garbage", detail(1, 1))
        assert rig.ingest.state_problem is not None
        tried = rig.count("messages_dropped", cause="quarantine_unavailable")
        rig.process(b"garbage", detail(2, 6))
        assert rig.count("messages_dropped", cause="quarantine_unavailable") == tried + 1
        assert [ack.stored for _, ack in rig.sent] == [((1, 1),), ((2, 2),)]
    finally:
        other.close()


def test_a_picture_that_cannot_be_written_is_said_and_comes_again(rig: Rig) -> None:
    rig.process(wire.encode(status()), topic=STATUS)
    rig.pictures.folder.parent.mkdir(parents=True, exist_ok=True)
    rig.pictures.folder.write_text("a file")
    rig.sent.clear()
    rig.process(jpeg(), topic=PICTURE)
    assert (rig.sent, rig.count("messages_dropped", cause="picture_unwritable")) == ([], 1)
    assert "a picture cannot be written" in (rig.ingest.state_problem or "")


def test_a_status_that_the_store_will_never_take_is_set_aside(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rig.store.write_statuses

    def write(statuses: Sequence[ReceivedStatus]) -> None:
        if any(one.device == "pi-door" for one in statuses):
            raise Rejected({}, "no doors")
        real(statuses)

    monkeypatch.setattr(rig.store, "write_statuses", write)
    names = ("pi-roof", "pi-door", "pi-gate")
    rig.ingest.process([message(wire.encode(status()), topics.status("greenhouse", name)) for name in names])
    assert {facts.device for facts in rig.store.devices()} == {"pi-roof", "pi-gate"}
    assert {topic for topic, _ in rig.sent} == {topics.ack("greenhouse", name) for name in ("pi-roof", "pi-gate")}
    assert [(held.topic, held.reason) for held in rig.quarantine.newest()] == [
        (topics.status("greenhouse", "pi-door"), "no doors")
    ]


def failing_on(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the collector's own, such as a bug, whenever that batch is read."""
    real = admit._READERS["batch"]

    def read(one: Message, *rest: Any) -> admit.Admitted:
        answer = real(one, *rest)
        if isinstance(answer, admit.GoodBatch) and answer.received.batch.header.batch >= batch:
            raise ZeroDivisionError("a bug")
        return answer

    monkeypatch.setitem(admit._READERS, "batch", read)


def test_an_error_of_our_own_costs_the_message_that_meets_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in quarantine to be looked at, and its device keeps it: it is not its fault."""
    failing_on(3, monkeypatch)
    rig.ingest.start()
    for number in (1, 3, 2):
        rig.inbox.put(message(detail(number, 5 * number - 4)))
    until(lambda: rig.quarantine.newest() and len(rig.frames()) == 10)
    (held,) = rig.quarantine.newest()
    assert held.cause == "internal_error"
    assert "ZeroDivisionError('a bug')" in held.reason
    assert held.batch is None, "the ledger does not count it as settled"
    assert {ack.refused for _, ack in rig.sent} == {()}
    assert rig.ingest.alive


def test_error_upon_error_begins_the_process_anew(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is not the messages; a new process may be better off."""
    failing_on(1, monkeypatch)
    rig.ingest.start()
    for number in range(1, ERRORS_MAX + 3):
        rig.inbox.put(message(detail(number, 5 * number - 4)))
    until(lambda: rig.ingest.crashed)
    assert isinstance(rig.ingest.crashed, ZeroDivisionError)
    assert rig.sent == []


def test_nothing_is_taken_while_our_own_clock_is_wrong(rig: Rig) -> None:
    """No time could be checked against it, and devices without a clock would take 1970 from our acks."""
    rig.ingest.process([Message(BATCH, detail(1, 1), retained=False, received_at_ns=5 * SECOND)])
    rig.ingest.process([Message(STATUS, wire.encode(status()), retained=False, received_at_ns=5 * SECOND)])
    assert (rig.sent, rig.store.devices(), rig.quarantine.newest()) == ([], [], [])
    assert rig.count("messages_dropped", cause="own_clock") == 2


def test_a_retained_batch_or_picture_is_left_alone(rig: Rig) -> None:
    """The broker sends it at each connection: it is no sign that its device lives."""
    rig.process(detail(1, 1), retained=True)
    rig.process(jpeg(), topic=PICTURE, retained=True)
    assert rig.count("messages_dropped", cause="retained") == 2
    assert (rig.sent, rig.store.devices()) == ([], [])


def test_little_messages_that_hold_very_much_are_not_in_memory_together(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "PARTS_MAX", 1000)
    boxes = tuple(detection() for _ in range(200))
    rig.process(*(detail(batch, 5 * batch - 4, found=boxes) for batch in range(1, 9)))
    assert rig.metrics.registry.get_sample_value("vigie_collector_write_batches_count") == 8
    assert len(rig.frames()) == 40


def test_acks_that_wait_to_be_coalesced_do_not_wait_for_a_store_that_went_away(rig: Rig) -> None:
    rig.ingest._acks = Acks(every_s=3600.0)
    rig.process(detail(1, 1))
    rig.process(detail(2, 6))
    assert [ack.stored for _, ack in rig.sent] == [((1, 1),)], "the second one is to wait"
    rig.store.down.set()
    rig.ingest.start()
    rig.inbox.put(message(detail(3, 11)))
    until(lambda: len(rig.sent) == 2)
    assert rig.sent[1][1].stored == ((2, 2),)


def test_acks_that_find_no_connection_cost_a_resend(rig: Rig) -> None:
    rig.offline = True
    rig.process(detail(1, 1), detail(2, 6))
    assert (rig.sent, rig.count("acks_dropped")) == ([], 1)
    rig.offline = False
    rig.process(detail(1, 1), detail(2, 6))
    assert [ack.stored for _, ack in rig.sent] == [((1, 2),)]
    assert rig.frames() == list(range(1, 11))
    assert rig.count("batches_duplicate") == 2
