"""Outbox to broker, acks to outbox; birth and last will.

A broker's PUBACK only says that it took the batch; a batch is done when the collector says that the store has it.
Until then it is sent again: after each connection, after a collector's answer to a birth, and when its patience is
over. While no collector answers one batch at a time asks whether there is one; the others wait on disk.
All of it happens in one thread, which the link's callbacks only wake.
"""

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from agent.clock import Clock
from agent.outbox import Key, Outbox
from agent.snapshots import Name, Snapshots
from shared import failpoints, topics, wire
from shared.mqtt import CONNECTED, BrokerSettings, Link, Publication
from shared.records import WIRE_VERSION, Ack, Lane, Status

log = logging.getLogger(__name__)

WINDOW_BATCHES = 32
WINDOW_BYTES = 1024 * 1024
WINDOW_SNAPSHOTS = 2
"""What may be on its way without the collector's word."""

_PATIENCE_S = 5.0
_PATIENCE_S_MAX = 60.0
_SILENT_S = 15.0
"""Unanswered batches for this long mean that there is no collector."""

_BIRTH_PATIENCE_S = 5.0
_BIRTH_PATIENCE_S_MAX = 60.0
"""A birth that nobody answers is told again after so long, doubling: it, or its answer, may have been lost."""

_BACKLOG_S = 5.0
"""What waited longer than this when the connection came is a backlog."""

_ANSWER_S = 2.0
"""An answer to our birth that comes later is to one that somebody else read."""

_TICK_S = 1.0
_FAREWELL_S = 3.0
_ACKS_MAX = 1000


@dataclass(slots=True)
class _Sent:
    """On its way: `taken` once the broker confirmed it."""

    size: int
    at: float
    deadline: float
    taken: bool = False


class Uplink:
    """Carries batches and pictures to the collector, at the network's own pace.

    Args:
        broker: How to reach it.
        site: Slug of the site.
        device: Slug of the device.
        outbox: Open and begun.
        snapshots: Open.
        clock: The agent's.
        birth: Makes the status that is told at each connection; `state` is `online`.
        beat: Called each time round: the sign of life of the uplink's thread.
        link_beat: The same of the link's thread.
        on_backlog: Called, from the uplink's thread, at a connection that finds what an outage left.

    Raises:
        ValueError: `broker` breaks a rule; see `shared.mqtt.endpoint`.
    """

    def __init__(  # noqa: PLR0913  # what it joins, and callbacks by name
        self,
        broker: BrokerSettings,
        site: str,
        device: str,
        outbox: Outbox,
        snapshots: Snapshots,
        clock: Clock,
        birth: Callable[[], Status],
        *,
        on_backlog: Callable[[], None] | None = None,
        beat: Callable[[], None] = lambda: None,
        link_beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._site, self._device = site, device
        self._outbox = outbox
        self._snapshots = snapshots
        self._clock = clock
        self._birth = birth
        self._beat = beat
        self._on_backlog = on_backlog or (lambda: None)
        self._status_topic = topics.status(site, device)
        self._ack_topic = topics.ack(site, device)
        self._batches: dict[Key, _Sent] = {}
        self._pictures: dict[Name, _Sent] = {}
        self._tokens: dict[int, _Sent] = {}
        self._tries: dict[Key, int] = {}
        self._window = WINDOW_BATCHES
        self._heard_at = self._born_at = 0.0
        self._births = 0
        self._birth_due: float | None = None
        self._unanswered_since: float | None = None
        self._state = "no broker: not connected yet"
        self._kind = ""
        self._wake = threading.Event()
        self._connected = threading.Event()
        self._announce = threading.Event()
        self._drain_until: float | None = None
        self._drained = threading.Event()
        self._acks: deque[bytes] = deque(maxlen=_ACKS_MAX)  # one that falls out costs a resend
        self._taken: deque[int] = deque()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        start = outbox.started
        will = Status(v=WIRE_VERSION, state="offline", epoch=start.epoch, nonce=start.nonce)
        self._link = Link(
            broker,
            client_id=f"vigie-{site}-{device}",
            subscriptions=[(self._ack_topic, 0)],
            will=self._status(will),
            on_connected=self._on_connected,
            on_message=self._on_message,
            on_published=self._on_published,
            on_state=lambda _: self._wake.set(),
            max_inflight=2 * WINDOW_BATCHES,
            beat=link_beat,
        )

    @property
    def state(self) -> str:
        """`connected`, or `no broker: …` or `no collector: …` with what to do."""
        return self._state

    @property
    def reconnects(self) -> int:
        """Connections to the broker since the start, less the first."""
        return max(0, self._link.connections - 1)

    @property
    def alive(self) -> bool:
        """Whether its threads are."""
        return self._thread.is_alive() and self._link.alive

    def start(self) -> None:
        """Begin to connect and to send; returns at once."""
        self._link.start()
        self._thread.start()

    def cue(self) -> None:
        """Say that something was put; callable from any thread."""
        self._wake.set()

    def announce(self) -> None:
        """Tell the birth again, because what it says has changed; callable from any thread."""
        self._announce.set()
        self._wake.set()

    def hurry(self) -> None:
        """Wait no longer for the collector, now or at the end; callable from any thread."""
        self._drain_until = self._clock.monotonic()
        self._wake.set()

    def stop(self, drain_s: float) -> bool:
        """Wait at most `drain_s` for the collector to confirm what is due, say goodbye, and end.

        Returns:
            Whether everything was confirmed.
        """
        until = self._clock.monotonic() + drain_s
        self._drain_until = until if self._drain_until is None else min(until, self._drain_until)
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(drain_s + 2 * _TICK_S)
        self._outbox.sending = False
        stopped = msgspec.structs.replace(self._birth(), state="stopped")
        self._link.stop(self._status(stopped), _FAREWELL_S)
        return self._drained.is_set()

    # The link's thread: only leaves word.

    def _on_connected(self) -> None:
        self._connected.set()
        self._wake.set()

    def _on_message(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001  # as Link calls it
        if topic == self._ack_topic and not retained:  # no ack is retained: such a one is old, or a stranger's
            self._acks.append(payload)
            self._wake.set()

    def _on_published(self, token: int) -> None:
        self._taken.append(token)
        self._wake.set()

    # The uplink's own thread.

    def _run(self) -> None:
        while not self._over():
            self._beat()
            self._wake.wait(_TICK_S)
            self._wake.clear()
            try:
                self._turn()
            except Exception:  # the one thread that delivers must not die of one turn
                log.exception("a turn of the uplink failed; the next one goes on")

    def _over(self) -> bool:
        if self._drain_until is None:
            return False
        if not self._outbox.waiting().batches and not self._pictures:
            self._drained.set()
            return True
        return self._clock.monotonic() >= self._drain_until

    def _turn(self) -> None:
        if self._connected.is_set():
            self._connected.clear()
            self._begin_again()
            self._births = 0
            self._announce.set()
            self._tell_backlog()
        while self._taken:
            if sent := self._tokens.pop(self._taken.popleft(), None):
                sent.taken = True
        while self._acks:
            self._hear(self._acks.popleft())
        if self._link.connected:
            self._tell_birth()
            self._expire()
            self._send_batches()
            self._send_pictures()
        self._outbox.sending = self._link.connected and len(self._batches) < self._window
        self._judge()

    def _tell_backlog(self) -> None:
        """What an outage left is told first, so that nobody takes it for lost."""
        waiting = self._outbox.waiting()
        if waiting.batches and (waiting.oldest_s is None or waiting.oldest_s > _BACKLOG_S):
            self._on_backlog()

    def _begin_again(self) -> None:
        """What was on its way may be lost: all of it is due again."""
        self._batches.clear()
        self._pictures.clear()
        self._tokens.clear()
        self._window = WINDOW_BATCHES
        self._unanswered_since = None

    def _tell_birth(self) -> None:
        """Tell it when asked to, and again and again until somebody answers."""
        now = self._clock.monotonic()
        late = self._birth_due is not None and now >= self._birth_due
        if not (self._announce.is_set() or late):
            return
        if self._link.publish(*self._status(self._birth())) is None:
            return
        self._announce.clear()
        patience_s = min(_BIRTH_PATIENCE_S_MAX, _BIRTH_PATIENCE_S * 2.0 ** min(self._births, 10))
        self._birth_due = now + patience_s * random.uniform(0.8, 1.2)  # noqa: S311  # no secret
        self._births += 1
        self._born_at = now
        if self._unanswered_since is None:
            # A device that does not know the time sends no batch before a collector answered its birth.
            self._unanswered_since = now

    def _status(self, status: Status) -> Publication:
        return Publication(self._status_topic, wire.encode(status), 1, retain=True)

    def _send_batches(self) -> None:
        room = self._window - len(self._batches)
        if room <= 0:
            return
        on_its_way = sum(sent.size for sent in self._batches.values())
        for message in self._outbox.due(room, self._batches.keys()):
            if self._batches and on_its_way + len(message.payload) > WINDOW_BYTES:
                return
            failpoints.reached("before_publish")
            token = self._link.publish(topics.batch(self._site, self._device), message.payload)
            failpoints.reached("after_publish")
            if token is None:
                return
            on_its_way += len(message.payload)
            self._batches[message.key] = self._sent(token, len(message.payload), self._tries.get(message.key, 0))

    def _send_pictures(self) -> None:
        room = min(WINDOW_SNAPSHOTS, self._window) - len(self._pictures)
        if room <= 0 or not self._snapshots.waiting:
            return
        for name, jpeg in self._snapshots.due(room, self._pictures.keys()):
            token = self._link.publish(topics.snapshot(self._site, self._device, *name), jpeg)
            if token is None:
                return
            self._pictures[name] = self._sent(token, len(jpeg), 0)

    def _sent(self, token: int, size: int, tries: int) -> _Sent:
        now = self._clock.monotonic()
        patience_s = min(_PATIENCE_S_MAX, _PATIENCE_S * 2.0 ** min(tries, 10))
        sent = self._tokens[token] = _Sent(size, now, now + patience_s * random.uniform(0.8, 1.2))  # noqa: S311  # no secret
        return sent

    def _expire(self) -> None:
        """Send again what got no answer; when nothing at all did, ask with one batch at a time."""
        now = self._clock.monotonic()
        late = [key for key, sent in self._batches.items() if now >= sent.deadline]
        if any(self._batches[key].at > self._heard_at for key in late):
            self._window = 1
            late = list(self._batches)
        for key in late:
            self._tries[key] = self._tries.get(key, 0) + 1
            del self._batches[key]
        for name in [name for name, sent in self._pictures.items() if now >= sent.deadline]:
            del self._pictures[name]

    def _hear(self, payload: bytes) -> None:
        try:
            ack = wire.decode_ack(payload)
        except wire.Unreadable as error:
            log.warning("the collector sent an ack that is none: %s", error.reason)
            return
        start = self._outbox.started
        ours = (ack.epoch, ack.nonce) == (start.epoch, start.nonce)
        failpoints.reached("before_settle")
        known = self._settle(ack)
        failpoints.reached("after_settle")
        if not (ours or known):
            return  # for another device of this name, or for an outbox that is no more
        self._heard_at = self._clock.monotonic()
        self._unanswered_since = None
        if ours:
            self._births, self._birth_due = 0, None
        self._window = WINDOW_BATCHES
        self._clock.hear(ack.now_ns, synced=ack.synced)
        empty = not (ack.stored or ack.refused or ack.resend)
        if empty and self._heard_at - self._born_at > _ANSWER_S:
            self._begin_again()  # a collector that began just now read our retained birth

    def _settle(self, ack: Ack) -> bool:
        """Pass the collector's word on; whether it was about something of ours."""
        refused = [(number, number) for number, _ in ack.refused]
        kind, _, stream = ack.lane.partition("/")
        if kind == "snapshot":
            settled = self._snapshots.acked(stream, [*ack.stored, *refused])
            self._pictures = {
                name: sent
                for name, sent in self._pictures.items()
                if name.stream != stream or not _within(name.captured_at_ns, [*ack.stored, *refused])
            }
            return settled > 0
        lane: Lane = "summary" if kind == "summary" else "detail"
        settled = self._outbox.acked(ack.epoch, ack.nonce, lane, ack.stored)
        settled += self._outbox.refused(ack.epoch, ack.nonce, lane, ack.refused)
        settled += self._outbox.resend(ack.epoch, ack.nonce, lane, ack.resend)
        for key in [key for key in self._batches if _answered(key, ack, [*ack.stored, *refused])]:
            del self._batches[key]
        for key in [key for key in self._tries if _answered(key, ack, [*ack.stored, *refused])]:
            del self._tries[key]
        return settled > 0

    def _judge(self) -> None:
        """Say how things stand, once per change."""
        now = self._clock.monotonic()
        if self._unanswered_since is None and any(sent.taken for sent in self._batches.values()):
            self._unanswered_since = now
        silent_s = 0.0 if self._unanswered_since is None else now - self._unanswered_since
        if not self._link.connected:
            kind, text = "no broker", f"no broker: {self._link.problem or 'not connected yet'}"
        elif silent_s >= _SILENT_S:
            why = f"the broker takes batches but no collector confirms them for {silent_s:.0f} s"
            kind, text = "no collector", f"no collector: {why}"
        else:
            kind, text = CONNECTED, CONNECTED
        self._state = text
        if kind != self._kind and (kind == "no collector" or self._kind == "no collector"):
            # The link itself says when the broker comes and goes.
            if kind == "no collector":
                log.warning("%s", text)
            elif kind == CONNECTED:
                log.info("a collector confirms batches again")
        self._kind = kind


def _within(number: int, ranges: list[tuple[int, int]]) -> bool:
    return any(first <= number <= last for first, last in ranges)


def _answered(key: Key, ack: Ack, settled: list[tuple[int, int]]) -> bool:
    return (key.epoch, key.nonce, key.lane) == (ack.epoch, ack.nonce, ack.lane) and _within(key.batch, settled)
