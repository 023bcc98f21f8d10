"""Broker to store to acks, with real bytes over real brokers."""

import pytest
from brokers import Broker, until

from collector.admit import Message
from collector.queries import Queries
from shared import topics, wire
from shared.records import Ack
from tests.collector.field import device, jpeg
from tests.collector.making import NONCE, T0, detail, model, status, summary
from tests.collector.rig import BATCH, Rig


def test_batches_are_stored_and_then_acked(rig: Rig, live: Broker) -> None:
    with device(live) as one:
        one.deliver({batch: detail(batch, 5 * batch - 4) for batch in range(1, 41)})
        one.send_batch(summary(1, model()))
        until(lambda: one.stored("summary") == {1})
    assert rig.frames() == list(range(1, 201))
    assert rig.count("batches_stored", lane="detail") == 40


def test_a_batch_that_comes_again_is_acked_again(rig: Rig, live: Broker) -> None:
    with device(live) as one:
        one.deliver({1: detail(1, 1)})
        one.acks.clear()
        one.deliver({1: detail(1, 1)})
    assert rig.frames() == [1, 2, 3, 4, 5]
    assert rig.count("batches_duplicate") >= 1


def test_a_birth_is_answered_with_the_time(rig: Rig, live: Broker) -> None:
    with device(live) as one:
        one.send_status()
        until(lambda: one.acks)
        ack = one.acks[0]
    assert (ack.nonce, ack.epoch, ack.lane, ack.stored, ack.refused) == (NONCE, 1, "summary", (), ())
    assert ack.now_ns > T0 - 10**18
    assert rig.store.devices()[0].status == status()


def test_a_bad_batch_is_refused_and_its_neighbours_are_stored(rig: Rig, live: Broker) -> None:
    damaged = detail(2, 6)[:-1] + b"!"
    with device(live) as one:
        one.send_batch(detail(1, 1))
        one.send_batch(damaged)
        one.send_batch(b"\x00garbage")
        one.send_batch(detail(3, 11))
        until(lambda: one.stored() == {1, 3} and 2 in one.refused())
        assert one.refused() == {2: "the body's sha256 is not the one in the header"}
    assert [held.batch for held in rig.quarantine.newest()] == [None, 2]


def test_a_batch_that_is_too_large_is_refused_after_its_header_is_in_quarantine(rig: Rig, live: Broker) -> None:
    """Else its device would send it for ever."""
    payload = detail(2, 6) + bytes(wire.PAYLOAD_BYTES_MAX)
    with device(live) as one:
        one.send_batch(payload)
        one.deliver({1: detail(1, 1)})
        until(lambda: 2 in one.refused())
        assert one.refused()[2].startswith(f"the message has {len(payload)} bytes, at most 4194304 are allowed")
    (held,) = rig.quarantine.newest()
    assert (held.batch, held.size, held.cause) == (2, payload.index(b"\n") + 1, "too_large")
    ledger = Queries(rig.store, quarantine=rig.quarantine).ledger("greenhouse", "pi-roof")
    assert (ledger["captured"], ledger["fates"]["quarantined"], ledger["missing"]) == (10, 5, 0)


def test_a_picture_is_kept_and_acked_in_its_own_lane(rig: Rig, live: Broker) -> None:
    with device(live) as one:
        one.send_status()
        one.send_snapshot(T0, jpeg())
        until(lambda: one.stored("snapshot/cam0") == {T0})
    assert rig.pictures.read("greenhouse", "pi-roof", "cam0", T0) == jpeg()


def test_the_collector_finds_back_after_the_broker_was_gone(rig: Rig, live: Broker) -> None:
    with device(live) as one:
        one.deliver({1: detail(1, 1)})
        live.kill()
        live.start()
        one.deliver({2: detail(2, 6)})
    assert rig.frames() == list(range(1, 11))


def test_acks_are_ranges_per_start_and_lane(rig: Rig) -> None:
    rig.process(
        *(detail(batch, 5 * batch - 4) for batch in (1, 2, 3, 7)),
        summary(1),
        detail(4, 1, nonce="f" * 16, epoch=2),
        b"garbage",
    )
    said = {(ack.nonce, ack.lane): ack.stored for _, ack in rig.sent}
    assert said == {(NONCE, "detail"): ((1, 3), (7, 7)), (NONCE, "summary"): ((1, 1),), ("f" * 16, "detail"): ((4, 4),)}
    assert {topic for topic, _ in rig.sent} == {topics.ack("greenhouse", "pi-roof")}


def test_all_messages_of_a_moment_are_one_write(rig: Rig) -> None:
    for batch in range(1, 101):
        rig.inbox.put(Message(BATCH, detail(batch, 5 * batch - 4), retained=False, received_at_ns=T0))
    rig.ingest.start()
    until(lambda: len(rig.frames()) == 500)
    assert rig.metrics.registry.get_sample_value("vigie_collector_write_batches_count") == 1


def test_a_store_that_does_not_say_which_record_it_refuses_is_asked_by_halves(rig: Rig) -> None:
    rig.store.hates = frozenset({3, 8})
    rig.process(*(detail(batch, 5 * batch - 4) for batch in range(1, 11)))
    (_, first), (_, second) = rig.sent
    assert first.stored == ((1, 2), (4, 7), (9, 10))
    assert second.refused == ((3, "one of them is bad"), (8, "one of them is bad"))
    assert rig.count("messages_quarantined", cause="rejected") == 2
    ledger = Queries(rig.store, quarantine=rig.quarantine).ledger("greenhouse", "pi-roof")
    assert (ledger["missing"], ledger["fates"]["quarantined"], ledger["captured"]) == (0, 10, 50)


def test_a_batch_that_contradicts_the_store_is_quarantined(rig: Rig) -> None:
    rig.process(detail(1, 1))
    rig.process(detail(1, 1, found=()), detail(2, 6))
    (_, first), (_, second), (_, third) = rig.sent
    assert first.stored == ((1, 1),)
    assert second.stored == ((2, 2),)
    assert third.refused == ((1, "detail batch 1 of this start is already stored with other content"),)


def test_nothing_is_acked_while_the_store_is_away(rig: Rig) -> None:
    rig.store.down.set()
    rig.ingest.start()
    rig.inbox.put(Message(BATCH, detail(1, 1), retained=False, received_at_ns=T0))
    until(lambda: rig.ingest.problem == "the test took it away" and rig.count("store_failures") > 2)
    assert rig.sent == []
    rig.store.down.clear()
    until(lambda: rig.sent)
    assert rig.sent[0][1].stored == ((1, 1),)
    assert rig.ingest.problem is None


def test_the_collector_stops_while_the_store_is_away(rig: Rig) -> None:
    rig.store.down.set()
    rig.ingest.start()
    rig.inbox.put(Message(BATCH, detail(1, 1), retained=False, received_at_ns=T0))
    until(lambda: rig.ingest.problem)
    assert rig.ingest.stop(timeout_s=5)
    assert rig.sent == []
    assert rig.ingest.crashed is None


def test_a_newer_wire_version_is_neither_acked_nor_quarantined(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    newer = detail(1, 1).replace(b'"v":1', b'"v":2', 1)
    rig.process(newer, newer, detail(2, 6))
    assert [ack.stored for _, ack in rig.sent] == [((2, 2),)]
    assert rig.quarantine.newest() == []
    assert rig.count("messages_too_new") == 2
    assert caplog.text.count("upgrade the collector") == 1, "once per device"


def test_topics_that_are_not_ours_are_counted_and_forgotten(rig: Rig) -> None:
    """A broker such as amqtt delivers retained messages that no subscription matches."""
    rig.process(b"x", topic="elsewhere/topic")
    rig.process(wire.encode(Ack(NONCE, 1, "detail", T0)), topic=topics.ack("greenhouse", "pi-roof"))
    assert rig.count("messages_dropped", cause="foreign_topic") == 1
    assert rig.count("messages_dropped", cause="not_for_us") == 1
    assert (rig.sent, rig.quarantine.newest()) == ([], [])


def test_clearing_a_retained_status_is_no_bad_message(rig: Rig) -> None:
    """The usual way to make a broker forget a device."""
    rig.process(b"", topic=topics.status("greenhouse", "pi-roof"))
    assert rig.count("messages_dropped", cause="status_cleared") == 1
    assert (rig.sent, rig.quarantine.newest(), rig.store.devices()) == ([], [], [])


def test_a_birth_is_taken_while_the_queue_is_full(rig: Rig, live: Broker) -> None:
    rig.store.down.set()
    rig.inbox.messages_max = 1
    with device(live) as one:
        for batch in range(1, 6):
            one.send_batch(detail(batch, 5 * batch - 4))
        until(lambda: rig.count("messages_dropped", cause="queue_full") > 0)
        one.send_status()
        until(lambda: rig.count("messages_received", kind="status") == 1)
        rig.store.down.clear()
        until(lambda: rig.store.devices() and rig.store.devices()[0].status is not None)


def test_a_batch_of_another_device_than_its_topic_is_refused_to_nobody(rig: Rig) -> None:
    rig.process(detail(1, 1, device="pi-door"))
    assert rig.sent == []
    (held,) = rig.quarantine.newest()
    assert held.reason == "the header names greenhouse/pi-door, the topic greenhouse/pi-roof"
    assert held.batch is None, "its header is not believed"


def test_a_picture_before_any_birth_waits_for_it(rig: Rig) -> None:
    topic = topics.snapshot("greenhouse", "pi-roof", "cam0", T0)
    rig.process(jpeg(), topic=topic)
    assert rig.sent == []
    rig.process(wire.encode(status()), topic=topics.status("greenhouse", "pi-roof"))
    rig.process(jpeg(), topic=topic)
    assert rig.sent[-1][1].stored == ((T0, T0),)
    assert rig.count("snapshots_stored") == 1


def test_a_picture_is_acked_to_the_newest_start_even_when_epochs_begin_anew(rig: Rig) -> None:
    """A card that was flashed anew counts from 1; late batches and wills of its old starts do not change that."""
    rig.process(detail(1, 1, epoch=7), detail(2, 6, epoch=7))
    rig.process(wire.encode(status(nonce="f" * 16)), topic=topics.status("greenhouse", "pi-roof"))
    rig.process(detail(3, 11, epoch=7))
    rig.process(wire.encode(status("offline", epoch=7)), topic=topics.status("greenhouse", "pi-roof"))
    rig.process(jpeg(), topic=topics.snapshot("greenhouse", "pi-roof", "cam0", T0))
    ack = rig.sent[-1][1]
    assert (ack.epoch, ack.nonce, ack.stored) == (1, "f" * 16, ((T0, T0),))


def test_a_picture_that_is_none_goes_into_quarantine(rig: Rig) -> None:
    rig.process(b"<script>", topic=topics.snapshot("greenhouse", "pi-roof", "cam0", T0))
    assert rig.quarantine.newest()[0].cause == "bad_snapshot"


def test_a_replayed_message_leaves_the_quarantine_when_it_can_be_stored(rig: Rig) -> None:
    rig.store.hates = frozenset({1})
    rig.process(detail(1, 1))
    (held,) = rig.quarantine.newest()
    whole = rig.quarantine.get(held.id)
    assert whole is not None
    assert whole.payload is not None
    message = Message(whole.topic, whole.payload, retained=False, received_at_ns=whole.received_at_ns)
    assert rig.ingest.replay(message) == "one of them is bad"
    rig.store.hates = frozenset()
    assert rig.ingest.replay(message) is None
    assert rig.frames() == [1, 2, 3, 4, 5]
