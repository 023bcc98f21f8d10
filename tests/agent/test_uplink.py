"""What is in the outbox reaches the collector once the network lets it, and only the collector's word ends it."""

import functools
import random
import string
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import Broker, free_port, until
from relay import Relay

from agent import pacing
from agent import uplink as module
from agent.clock import Clock
from agent.config import OutboxSettings
from agent.outbox import Key, Outbox
from agent.snapshots import Snapshots
from agent.uplink import Uplink
from shared import topics, wire
from shared.mqtt import BrokerSettings, Link
from shared.records import WIRE_VERSION, Ack, Detail, Event, Lane, Run, Status, StreamRuns, Summary, TimeQuality

SITE, DEVICE = "site-1", "pi-1"
ACK = topics.ack(SITE, DEVICE)
JPEG = b"\xff\xd8 a picture \xff\xd9"


def noise(length: int) -> str:
    return "".join(random.choices(string.printable, k=length))  # noqa: S311  # no secret


class SyncedClock(Clock):
    """A device whose kernel is synchronised."""

    def kernel_synchronised(self) -> bool:
        return True


class LostClock(Clock):
    """A device whose kernel never knows the time."""

    def kernel_synchronised(self) -> bool:
        return False


class Collector:
    """Receives, checks and acks, as long as `acking` says so."""

    def __init__(self, broker: Broker) -> None:
        self.batches: dict[Key, set[bytes]] = {}
        self.order: list[tuple[str, int]] = []
        self.received: Counter[Key] = Counter()
        self.pictures: dict[tuple[str, int], bytes] = {}
        self.states: list[Status] = []
        self.acking = True
        self.drop_acks = 0
        self.disorder: list[Ack] | None = None
        self.now_ns = time.time_ns
        self.lock = threading.Lock()
        filters = [(topics.every(kind), 1) for kind in ("status", "batch", "snapshot")]
        self.link = Link(broker.settings(), client_id="collector", subscriptions=filters, on_message=self.on_message)
        self.link.start()

    def on_message(self, topic: str, payload: bytes, _retained: bool) -> None:  # noqa: FBT001  # as Link calls it
        address = topics.parse(topic)
        with self.lock:
            if address.kind == "status":
                self.on_status(wire.decode_status(payload))
            elif address.kind == "batch":
                self.on_batch(payload, address)
            elif address.stream and address.captured_at_ns:
                self.pictures[address.stream, address.captured_at_ns] = payload
                status = self.states[-1]
                self.ack(status.epoch, status.nonce, f"snapshot/{address.stream}", address.captured_at_ns)

    def on_status(self, status: Status) -> None:
        self.states.append(status)
        if status.state == "online" and self.acking:
            self.say(Ack(status.nonce, status.epoch, "detail", self.now_ns()))

    def on_batch(self, payload: bytes, address: topics.Address) -> None:
        header = wire.decode_batch(payload, address).header
        key = Key(header.epoch, header.nonce, header.lane, header.batch)
        self.batches.setdefault(key, set()).add(payload)
        self.received[key] += 1
        self.order.append((header.lane, header.batch))
        self.ack(header.epoch, header.nonce, header.lane, header.batch)

    def ack(self, epoch: int, nonce: str, lane: str, number: int) -> None:
        ack = Ack(nonce, epoch, lane, self.now_ns(), stored=((number, number),))
        if self.drop_acks:
            self.drop_acks -= 1
        elif self.disorder is not None:
            self.disorder.append(ack)
        elif self.acking:
            self.say(ack)

    def say_in_disorder(self, seed: int) -> None:
        """What was held back: some twice, some never, in any order."""
        dice = random.Random(seed)  # noqa: S311  # no secret
        with self.lock:
            held, self.disorder = self.disorder or [], []
        acks = [ack for ack in held for _ in range(dice.choice((0, 1, 1, 2)))]
        dice.shuffle(acks)
        for ack in acks:
            self.say(ack)

    def say(self, ack: Ack) -> None:
        self.link.publish(ACK, wire.encode(ack), qos=0)


class Agent:
    """An outbox with an uplink."""

    def __init__(self, settings: BrokerSettings, folder: Path, clock: Clock, backlog_rate: float = 1000.0) -> None:
        self.clock = clock
        self.outbox = Outbox(folder / "outbox.db", clock, OutboxSettings(), SITE, DEVICE)
        self.snapshots = Snapshots(folder / "snapshots", self.outbox, 10)
        self.frame = 0
        with self.outbox, self.snapshots:  # only a start: it opens again for the test
            pass
        self.outbox.__enter__()
        self.snapshots.__enter__()
        self.outbox.begin()
        self.backlogs = 0
        self.events: list[tuple[str, str]] = []
        self.uplink = Uplink(
            settings,
            SITE,
            DEVICE,
            self.outbox,
            self.snapshots,
            clock,
            self.birth,
            backlog_rate=backlog_rate,
            on_backlog=self.on_backlog,
            tell=lambda *event: self.events.append(event),
        )

    def on_backlog(self) -> None:
        self.backlogs += 1

    def birth(self) -> Status:
        start = self.outbox.started
        return Status(WIRE_VERSION, "online", start.epoch, start.nonce, agent_version="0.1")

    def put(self, count: int = 1, lane: Lane = "summary", detail: str = "") -> None:
        for _ in range(count):
            body = wire.pack(Summary((Event(0, "agent_started", detail),)) if lane == "summary" else Detail(()))
            self.outbox.put(lane, {}, body, self.clock.boot_ns() // 10_000 * 10_000)
            self.uplink.cue()

    def skip(self) -> None:
        """A detail batch of one frame that nobody looked at, with its picture."""
        self.frame += 1
        boot_ns = self.clock.boot_ns() // 10_000 * 10_000
        self.snapshots.put("cam0", self.frame, boot_ns, JPEG)
        runs = {"cam0": StreamRuns(self.frame, self.frame, (Run("skipped", self.frame, self.frame),))}
        self.outbox.put("detail", runs, wire.pack(Detail(())), boot_ns)
        self.uplink.cue()

    @property
    def waiting(self) -> int:
        return self.outbox.waiting().batches

    def close(self) -> None:
        self.uplink.stop(0)
        self.snapshots.__exit__(None, None, None)
        self.outbox.__exit__(None, None, None)


class Field:
    """A broker with agents and collectors that end with the test."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.agents: list[Agent] = []
        self.collectors: list[Collector] = []

    def agent(self, clock: Clock | None = None, *, backlog: int = 0, **options: Any) -> Agent:
        """One that starts with a backlog of so many batches. `settings` and `backlog_rate` are options."""
        settings = options.pop("settings", self.broker.settings())
        agent = Agent(settings, self.folder, clock or SyncedClock(), **options)
        self.agents.append(agent)
        agent.put(backlog, "detail")
        agent.uplink.start()
        return agent

    def collector(self) -> Collector:
        collector = Collector(self.broker)
        self.collectors.append(collector)
        until(lambda: collector.link.connected)
        return collector

    def close(self) -> None:
        for agent in self.agents:
            agent.close()
        for collector in self.collectors:
            collector.link.stop()


@pytest.fixture
def field(broker: Broker, tmp_path: Path) -> Iterator[Field]:
    field = Field(broker, tmp_path)
    yield field
    field.close()


@pytest.fixture
def quick(mosquitto: Broker, tmp_path: Path, monkeypatch) -> Iterator[Field]:
    """A field over mosquitto only, whose agents lose patience soon."""
    for name, value in (("_SILENT_S", 0.5), ("_TICK_S", 0.05)):
        monkeypatch.setattr(module, name, value)
    for name, value in (("PATIENCE_S", 0.2), ("PATIENCE_S_MAX", 0.8)):
        monkeypatch.setattr(pacing, name, value)
    mosquitto.start()
    field = Field(mosquitto, tmp_path)
    yield field
    field.close()


def test_what_is_put_arrives_and_is_done_when_the_collector_says_so(field: Field):
    field.broker.start()
    collector = field.collector()
    agent = field.agent()
    agent.put(100)
    until(lambda: agent.waiting == 0)
    assert sorted(key.batch for key in collector.batches) == list(range(1, 101))
    until(lambda: agent.uplink.state == "connected")


def test_an_agent_introduces_itself_and_says_goodbye(field: Field):
    field.broker.start()
    agent = field.agent()
    until(lambda: agent.uplink.state == "connected")
    collector = field.collector()  # later: the birth is retained
    until(lambda: collector.states)
    assert collector.states[-1] == agent.birth()
    assert agent.uplink.stop(drain_s=3)
    until(lambda: collector.states[-1].state == "stopped")
    start = agent.outbox.started
    assert {(state.epoch, state.nonce) for state in collector.states} == {(start.epoch, start.nonce)}
    assert "offline" not in {state.state for state in collector.states}


def test_a_broker_that_dies_and_forgets_everything_loses_nothing(field: Field):
    field.broker.start()
    collector = field.collector()
    agent = field.agent()
    for life in (1, 2, 3):
        until(functools.partial(lambda life: agent.uplink._link.connections == life, life))
        agent.put(20)
        field.broker.kill()
        agent.put(20)
        until(lambda: agent.uplink.state.startswith("no broker: "))
        field.broker.start()
        agent.put(20)
    until(lambda: agent.waiting == 0)
    assert sorted(key.batch for key in collector.batches) == list(range(1, 181))
    assert all(len(payloads) == 1 for payloads in collector.batches.values())
    assert agent.uplink.reconnects == 3


def test_the_birth_is_told_again_at_each_connection(field: Field):
    field.broker.start()
    collector = field.collector()
    agent = field.agent()
    until(lambda: collector.states)
    field.broker.kill()
    collector.states.clear()
    field.broker.start()
    until(lambda: any(state == agent.birth() for state in collector.states))


def test_the_birth_is_told_again_when_it_has_changed(quick: Field):
    collector = quick.collector()
    agent = quick.agent()
    until(lambda: collector.states)
    agent.birth = lambda: Status(WIRE_VERSION, "online", 1, agent.outbox.nonce, agent_version="0.2")  # type: ignore[method-assign]
    agent.uplink._birth = agent.birth
    agent.uplink.announce()
    until(lambda: collector.states[-1].agent_version == "0.2")


def test_a_connection_that_finds_a_backlog_says_so(quick: Field, monkeypatch):
    """The ledger learns at once that what is missing is on its way."""
    collector = quick.collector()
    agent = quick.agent()
    until(lambda: collector.states)
    assert agent.backlogs == 0, "nothing waited"
    quick.broker.kill()
    agent.put()
    quick.broker.start()
    until(lambda: agent.waiting == 0)
    assert agent.backlogs == 0, "a second is no outage"
    quick.broker.kill()
    monkeypatch.setattr(module, "_BACKLOG_S", 0.0)
    agent.put()
    quick.broker.start()
    until(lambda: agent.waiting == 0)
    assert agent.backlogs == 1


def test_pictures_arrive_with_the_time_of_their_frame(field: Field):
    field.broker.start()
    collector = field.collector()
    agent = field.agent()
    for _ in range(5):
        agent.skip()
    until(lambda: agent.waiting == 0 and agent.snapshots.waiting == 0)
    headers = [wire.split(payload)[0] for payloads in collector.batches.values() for payload in payloads]
    assert sorted(time for _, time in collector.pictures) == sorted(header.sealed_at_ns for header in headers)
    assert set(collector.pictures.values()) == {JPEG}


def test_summaries_overtake_what_an_outage_left(quick: Field, monkeypatch):
    # What was sent before the collector subscribed is sent again at once, in order, when it answers the birth.
    monkeypatch.setattr(pacing, "PATIENCE_S", 30.0)
    monkeypatch.setattr(pacing, "PATIENCE_S_MAX", 30.0)
    monkeypatch.setattr(module, "_ANSWER_S", 0.0)
    agent = quick.agent()
    quick.broker.kill()
    for _ in range(40):
        agent.skip()
    agent.put(3)
    quick.broker.start()
    collector = quick.collector()
    until(lambda: agent.waiting == 0)
    first = [collector.order.index(("summary", number)) for number in (1, 2, 3)]
    assert max(first) < collector.order.index(("detail", 40))


def test_lost_acks_cost_a_resend_of_the_same_bytes(quick: Field):
    collector = quick.collector()
    collector.drop_acks = 10
    agent = quick.agent()
    agent.put(30)
    until(lambda: agent.waiting == 0)
    assert len(collector.batches) == 30
    assert sum(collector.received.values()) >= 40
    assert all(len(payloads) == 1 for payloads in collector.batches.values())


def test_without_a_collector_it_says_so_and_asks_quietly(quick: Field, caplog):
    collector = quick.collector()
    collector.acking = False
    agent = quick.agent()
    agent.put(200)
    until(lambda: agent.uplink.state.startswith("no collector"))
    assert agent.uplink.state.startswith("no collector: the broker takes batches but no collector confirms them for ")
    until(lambda: collector.received[Key(1, agent.outbox.nonce, "summary", 1)] >= 4)
    assert len(collector.batches) <= module.WINDOW_BATCHES
    assert len([record for record in caplog.records if "no collector" in record.message]) == 1
    with collector.lock:
        collector.acking = True
    until(lambda: agent.waiting == 0)
    until(lambda: agent.uplink.state == "connected")
    assert len(collector.batches) == 200


def test_a_collector_that_begins_later_is_noticed_at_once(quick: Field, monkeypatch):
    monkeypatch.setattr(pacing, "PATIENCE_S", 30.0)
    monkeypatch.setattr(pacing, "PATIENCE_S_MAX", 30.0)
    monkeypatch.setattr(module, "_ANSWER_S", 0.0)
    agent = quick.agent()
    agent.put(5)
    until(lambda: len(agent.uplink._batches) == 5)
    quick.collector()
    until(lambda: agent.waiting == 0, timeout_s=10)


def test_a_refused_batch_does_not_hold_up_the_others(quick: Field):
    collector = quick.collector()
    collector.acking = False
    agent = quick.agent()
    agent.put(3)
    until(lambda: len(collector.batches) == 3)
    nonce = agent.outbox.nonce
    collector.say(Ack(nonce, 1, "summary", time.time_ns(), stored=((1, 1), (3, 3)), refused=((2, "odd"),)))
    until(lambda: agent.waiting == 0)


def test_a_collector_may_ask_for_what_it_had(quick: Field):
    collector = quick.collector()
    agent = quick.agent()
    agent.put(5)
    until(lambda: agent.waiting == 0)
    collector.say(Ack(agent.outbox.nonce, 1, "summary", time.time_ns(), resend=((2, 2), (4, 4), (6, 2**53))))
    until(lambda: collector.received[Key(1, agent.outbox.nonce, "summary", 4)] == 2)
    until(lambda: agent.waiting == 0)
    assert sum(collector.received.values()) == 7


def test_acks_that_are_none_or_for_another_change_nothing(quick: Field):
    collector = quick.collector()
    collector.acking = False
    clock = LostClock()
    clock.hear(time.time_ns())
    known = clock.offset()
    agent = quick.agent(clock)
    agent.put(2)
    until(lambda: len(collector.batches) == 2)
    wrong = time.time_ns() + 10**18
    ours = Ack(agent.outbox.nonce, 1, "summary", wrong, stored=((1, 1),))
    collector.link.publish(ACK, b"\xff{", qos=0)
    collector.link.publish(ACK, b"[" * 5000, qos=0)
    collector.say(Ack("f" * 16, 1, "summary", wrong, stored=((1, 2),)))
    collector.say(Ack(agent.outbox.nonce, 9, "summary", wrong, stored=((1, 2),)))
    collector.link.publish(topics.ack(SITE, "pi-2"), wire.encode(ours), qos=0)
    collector.say(Ack(agent.outbox.nonce, 1, "summary", time.time_ns(), stored=((2, 2),)))
    until(lambda: agent.waiting == 1)
    assert [message.key.batch for message in agent.outbox.due(9)] == [1]
    assert clock.offset() == known


def test_the_collector_tells_the_time_to_a_device_that_has_none(quick: Field):
    collector = quick.collector()
    now_ns = 1_900_000_000_000_000_000
    collector.now_ns = lambda: now_ns
    clock = LostClock()
    agent = quick.agent(clock)
    agent.put()
    until(lambda: agent.waiting == 0)
    assert clock.offset() is not None
    (payload,) = next(iter(collector.batches.values()))
    header = wire.split(payload)[0]
    quality: TimeQuality = "collector"
    assert header.time_quality == quality
    assert abs(header.sealed_at_ns - now_ns) < 30 * 10**9


def test_a_birth_that_nobody_answers_is_told_again(quick: Field, monkeypatch):
    """A device that does not know the time sends nothing before: a lost answer must not silence it for good."""
    monkeypatch.setattr(module, "_BIRTH_PATIENCE_S", 0.1)
    collector = quick.collector()
    collector.acking = False
    agent = quick.agent(LostClock())
    agent.put()
    until(lambda: len(collector.states) >= 3)
    until(lambda: agent.uplink.state.startswith("no collector"))
    assert not collector.batches
    with collector.lock:
        collector.acking = True
    until(lambda: agent.waiting == 0)
    told = len(collector.states)
    until(lambda: agent.uplink._birth_due is None)
    agent.put()
    until(lambda: agent.waiting == 0)
    assert len(collector.states) == told, "an answered birth is not told again"


def test_a_birth_that_cannot_be_made_is_tried_again(quick: Field, monkeypatch):
    collector = quick.collector()
    fails = iter([RuntimeError("once")])
    agent = quick.agent()
    until(lambda: len(collector.states) == 1)
    birth = agent.uplink._birth

    def sometimes() -> Status:
        for failure in fails:
            raise failure
        return birth()

    monkeypatch.setattr(agent.uplink, "_birth", sometimes)
    agent.uplink.announce()
    until(lambda: len(collector.states) == 2)


def test_losing_the_broker_is_no_sign_of_a_collector(quick: Field, caplog):
    caplog.set_level("INFO")
    agent = quick.agent()
    agent.put()
    until(lambda: agent.uplink.state.startswith("no collector"))
    quick.broker.kill()
    until(lambda: agent.uplink.state.startswith("no broker"))
    assert "a collector confirms batches again" not in caplog.text


def test_a_time_before_vigie_is_not_believed(quick: Field):
    collector = quick.collector()
    collector.now_ns = lambda: 5 * 10**9
    clock = LostClock()
    agent = quick.agent(clock)
    agent.put()
    until(lambda: agent.uplink._heard_at)
    assert clock.offset() is None
    assert agent.waiting == 1


def test_without_a_broker_it_says_why(tmp_path: Path):
    port = free_port()
    agent = Agent(BrokerSettings(url=f"mqtt://127.0.0.1:{port}"), tmp_path, SyncedClock())
    agent.uplink.start()
    try:
        expected = f"no broker: mqtt://127.0.0.1:{port}: connection refused: is the broker running there?"
        until(lambda: agent.uplink.state == expected)
        agent.put()
        began = time.monotonic()
        assert not agent.uplink.stop(drain_s=0.3)
        assert time.monotonic() - began < 5
        assert agent.waiting == 1
    finally:
        agent.close()


def test_stopping_waits_for_the_collectors_word(quick: Field):
    collector = quick.collector()
    agent = quick.agent()
    agent.put(150)
    assert agent.uplink.stop(drain_s=20)
    assert len(collector.batches) == 150
    assert agent.waiting == 0


def test_stopping_does_not_wait_for_ever(quick: Field):
    agent = quick.agent()
    agent.put()
    until(lambda: agent.uplink.state == "connected")
    began = time.monotonic()
    assert not agent.uplink.stop(drain_s=0.5)
    assert time.monotonic() - began < 5


def test_a_turn_that_fails_is_not_the_last(quick: Field, monkeypatch, caplog):
    collector = quick.collector()
    agent = quick.agent()
    until(lambda: collector.states)

    def fail(*_: object, **__: object) -> None:
        monkeypatch.delattr(agent.outbox, "due")
        raise ZeroDivisionError

    monkeypatch.setattr(agent.outbox, "due", fail, raising=False)
    agent.put(3)
    until(lambda: agent.waiting == 0)
    assert "a turn of the uplink failed" in caplog.text


# What an outage left


def test_live_batches_overtake_what_an_outage_left(quick: Field, monkeypatch):
    """Each goes at once; those of the outage follow in their order, no faster than they may."""
    monkeypatch.setattr(module, "_LIVE_BEFORE_S", 0.0)
    collector = quick.collector()
    began = time.monotonic()
    agent = quick.agent(backlog=150, backlog_rate=30.0)
    until(lambda: agent.uplink.state == "connected")
    left_when_live_was_done = []
    for number in range(151, 161):
        agent.put(1, "detail")
        key = Key(1, agent.outbox.nonce, "detail", number)
        until(lambda key=key: key in collector.received)  # type: ignore[misc]  # mypy cannot infer a lambda's default
        left_when_live_was_done.append(len(collector.batches))
    until(lambda: agent.waiting == 0)
    took_s = time.monotonic() - began
    assert left_when_live_was_done[-1] < 160, "the backlog was not through when the last live batch was"
    numbers = [number for _, number in collector.order]
    assert [n for n in numbers if n <= 150] == list(range(1, 151))
    assert [n for n in numbers if n > 150] == list(range(151, 161))
    assert 30.0 * (took_s + 1.5) >= 150, "at most at its rate"


def test_what_is_sealed_is_live_for_a_while_only(quick: Field, monkeypatch):
    """A collector that is away for long leaves a backlog too, although the broker was there all the time."""
    monkeypatch.setattr(module, "_LIVE_S", 0.3)
    collector = quick.collector()
    collector.acking = False
    agent = quick.agent(backlog_rate=10.0)
    agent.put(100)
    until(lambda: agent.uplink._mark().summary == 100)
    with collector.lock:
        collector.acking = True
    until(lambda: agent.waiting < 100)
    agent.put(1, "detail")
    until(lambda: Key(1, agent.outbox.nonce, "detail", 1) in collector.received)
    assert agent.waiting > 0
    until(lambda: agent.waiting == 0)


def test_what_the_collector_asks_for_again_is_a_backlog(quick: Field, monkeypatch):
    monkeypatch.setattr(module, "_LIVE_S", 0.3)
    collector = quick.collector()
    agent = quick.agent(backlog_rate=10.0)
    agent.put(60)
    until(lambda: agent.waiting == 0)
    until(lambda: agent.uplink._mark().summary == 60)
    began = time.monotonic()
    collector.say(Ack(agent.outbox.nonce, 1, "summary", time.time_ns(), resend=((1, 60),)))
    until(lambda: agent.waiting > 0)
    agent.put(1, "detail")
    until(lambda: Key(1, agent.outbox.nonce, "detail", 1) in collector.received)
    assert agent.waiting > 0
    until(lambda: agent.waiting == 0)
    assert 10.0 * (time.monotonic() - began) + 10 + 1 >= 60, "a bucket that was full, then the rate"
    assert sum(collector.received.values()) == 121


def test_the_backlog_leaves_the_window_to_live_batches(quick: Field, monkeypatch):
    monkeypatch.setattr(module, "_LIVE_BEFORE_S", 0.0)
    monkeypatch.setattr(pacing, "PATIENCE_S", 30.0)
    monkeypatch.setattr(pacing, "PATIENCE_S_MAX", 30.0)
    collector = quick.collector()
    collector.acking = False
    agent = quick.agent(backlog=300)
    until(lambda: len(agent.uplink._batches) == 2)
    agent.put(100)
    until(lambda: len(agent.uplink._batches) == 2 + module.WINDOW_BATCHES)
    until(lambda: len(collector.batches) == 2 + module.WINDOW_BATCHES)
    live = [number for lane, number in collector.order if lane == "summary"]
    assert live == list(range(1, module.WINDOW_BATCHES + 1))


def test_stopping_does_not_wait_for_a_backlog_that_takes_longer(quick: Field, monkeypatch):
    """Live batches are confirmed; the next start goes on with the rest."""
    monkeypatch.setattr(module, "_LIVE_BEFORE_S", 0.0)
    collector = quick.collector()
    agent = quick.agent(backlog=2000, backlog_rate=20.0)
    until(lambda: agent.uplink.state == "connected")
    agent.put(3)
    began = time.monotonic()
    assert not agent.uplink.stop(drain_s=60)
    assert time.monotonic() - began < 30
    live = {(1, agent.outbox.nonce, "summary", number) for number in (1, 2, 3)}
    assert live <= set(collector.received)
    until(lambda: collector.states[-1].state == "stopped")


# Links and collectors that are slow, silent or confused


def test_a_slow_link_is_not_flooded_with_what_is_only_late(quick: Field, relays: list[Relay], monkeypatch):
    """As 64 kbit/s with batches of 1 kB, eight times as fast. What the link has not carried yet is not sent again."""
    monkeypatch.setattr(module, "_LIVE_BEFORE_S", 0.0)
    monkeypatch.setattr(pacing, "_DELAY_S", 0.2)
    relay = Relay(quick.broker.port, rate=64_000)
    relays.append(relay)
    collector = quick.collector()
    agent = quick.agent(backlog=1, settings=quick.broker.settings(url=relay.url))
    until(lambda: agent.waiting == 0)
    quick.broker.kill()
    until(lambda: agent.uplink.state.startswith("no broker"))
    for _ in range(200):
        agent.put(detail=noise(1000))
    quick.broker.start()
    until(lambda: agent.uplink.state == "connected")
    for number in range(201, 221):
        agent.put(detail=noise(1000))
        key = Key(1, agent.outbox.nonce, "summary", number)
        until(lambda key=key: key in collector.received)  # type: ignore[misc]  # mypy cannot infer a lambda's default
    assert len(collector.batches) < 200, "live batches did not wait for the backlog"
    until(lambda: agent.waiting == 0, 60)
    assert sum(collector.received.values()) <= 221 + 2, "but for what was on its way when the broker was killed"
    sizes = sum(len(payload) for payloads in collector.batches.values() for payload in payloads)
    assert relay.up < 1.2 * sizes + 20_000, "and births, PINGs, the MQTT headers"


def test_a_connection_that_carries_nothing_any_more_is_replaced(quick: Field, relays: list[Relay]):
    """Half-open: no FIN, no RST, and the kernel takes what is written. The keepalive finds it out."""
    relay = Relay(quick.broker.port)
    relays.append(relay)
    collector = quick.collector()
    agent = quick.agent(settings=quick.broker.settings(url=relay.url, keepalive_s=5))
    agent.put(10)
    until(lambda: agent.waiting == 0)
    relay.freeze()
    agent.put(40)
    until(lambda: agent.waiting == 0, 60)
    assert relay.accepted >= 2
    assert len(collector.batches) == 50
    assert all(len(payloads) == 1 for payloads in collector.batches.values())


def settled(collector: Collector, agent: Agent) -> bool:
    collector.say_in_disorder(time.monotonic_ns())
    return agent.waiting == 0


def test_acks_may_come_twice_late_never_and_in_any_order(quick: Field):
    collector = quick.collector()
    collector.disorder = []
    agent = quick.agent()
    for seed in range(200):
        agent.put(1 + seed % 3, "detail" if seed % 2 else "summary")
        time.sleep(0.001)
        if seed % 7 == 0:
            collector.say_in_disorder(seed)
    until(functools.partial(settled, collector, agent))
    assert len(collector.batches) == sum(1 + seed % 3 for seed in range(200))
    assert all(len(payloads) == 1 for payloads in collector.batches.values())


def test_an_ack_of_an_earlier_start_settles_its_batches_and_no_others(quick: Field):
    collector = quick.collector()
    collector.acking = False
    first = quick.agent()
    nonce = first.outbox.nonce
    first.put(3)
    until(lambda: len(collector.batches) == 3)
    first.close()
    quick.agents.clear()
    second = quick.agent()
    second.put(3)
    until(lambda: second.waiting == 6)
    collector.say(Ack(nonce, 1, "summary", time.time_ns(), stored=((1, 2), (2, 2), (1, 1))))
    until(lambda: second.waiting == 4)
    assert [(m.key.epoch, m.key.batch) for m in second.outbox.due(9)] == [(1, 3), (2, 1), (2, 2), (2, 3)]


def test_two_devices_of_one_name_are_told(quick: Field):
    agent = quick.agent()
    until(lambda: agent.uplink.state == "connected")
    other = Link(quick.broker.settings(), client_id=f"vigie-{SITE}-{DEVICE}")
    other.start()
    try:
        until(lambda: agent.events)
    finally:
        other.stop()
    (event,) = agent.events
    assert event[0] == "client_id_taken"
    assert "another client uses the id 'vigie-site-1-pi-1'" in event[1]
