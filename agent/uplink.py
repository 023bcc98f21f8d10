"""Outbox to broker, acks to outbox; birth and last will.

A broker's PUBACK only says that it took the batch; a batch is done when the collector says that the store has it.
Until then it is sent again: after each connection, after a collector's answer to a birth, and when patience with it is
over. Live batches go at once; those that an outage left follow at their own pace beside them, oldest first.
While no collector answers one batch at a time asks whether there is one; the others wait on disk.
All of it happens in one thread, which the link's callbacks only wake.
"""

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from agent import pacing
from agent.clock import Clock
from agent.outbox import Key, Mark, Outbox
from agent.pacing import Pace, Patience
from agent.snapshots import Name, Snapshots
from shared import failpoints, topics, wire
from shared.mqtt import CONNECTED, BrokerSettings, Link, Publication
from shared.records import WIRE_VERSION, Ack, Lane, Status

log = logging.getLogger(__name__)

WINDOW_BATCHES = 32
WINDOW_BYTES = 512 * 1024
WINDOW_SNAPSHOTS = 2
"""What may be on its way without the collector's word; the bytes for live batches and for the backlog each."""

_LIVE_S = 30.0
_LIVE_BEFORE_S = 3.0
"""Live is what was sealed in the last so many seconds, but not longer than so long before the connection came."""

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
_PACE_S = 0.05
"""Between two looks at a backlog that waits for its pace."""

_FAREWELL_S = 3.0
_ACKS_MAX = 1000


@dataclass(slots=True)
class _Sent:
    """On its way.

    Attributes:
        size: In bytes.
        at: When it was handed to the link.
        live: Whether it is no part of a backlog.
        tries: Waits for its answer that were in vain.
        patience_s: How long its answer may take once the broker has it.
        taken_at: When the broker confirmed it.
    """

    size: int
    at: float
    live: bool = True
    tries: int = 0
    patience_s: float = 0.0
    taken_at: float | None = None


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
        backlog_rate: Batches a second at most of those that an outage left.
        beat: Called each time round: the sign of life of the uplink's thread.
        link_beat: The same of the link's thread.
        on_backlog: Called, from the uplink's thread, at a connection that finds what an outage left.
        tell: Called, from the uplink's thread, with name and detail of an event of `shared.schema.EVENTS`.

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
        backlog_rate: float = 20.0,
        on_backlog: Callable[[], None] | None = None,
        tell: Callable[[str, str], None] | None = None,
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
        self._tell = tell or (lambda _name, _detail: None)
        self._taken_over = False
        self._status_topic = topics.status(site, device)
        self._ack_topic = topics.ack(site, device)
        self._batches: dict[Key, _Sent] = {}
        self._pictures: dict[Name, _Sent] = {}
        self._tokens: dict[int, _Sent] = {}
        self._tries: dict[Key, int] = {}
        self._patience = Patience()
        self._pace = Pace(backlog_rate)
        self._marks = deque([(clock.monotonic(), outbox.mark())])
        self._silent = False
        self._silences = 0
        self._heard_at = self._answered_at = self._moved_at = self._born_at = 0.0
        self._births = 0
        self._birth_due: float | None = None
        self._unanswered_since: float | None = None
        self._state = "no broker: not connected yet"
        self._kind = ""
        self._pause_s = _TICK_S
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
            max_inflight=2 * (WINDOW_BATCHES + self._pace.window_max),
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
            self._wake.wait(self._pause_s)
            self._wake.clear()
            try:
                self._turn()
            except Exception:  # the one thread that delivers must not die of one turn
                log.exception("a turn of the uplink failed; the next one goes on")

    def _over(self) -> bool:
        if self._drain_until is None:
            return False
        waiting = self._outbox.unsettled
        if not waiting and not self._pictures:
            self._drained.set()
            return True
        left_s = self._drain_until - self._clock.monotonic()
        return left_s <= 0 or (waiting > self._pace.rate * left_s and self._live_is_done())

    def _live_is_done(self) -> bool:
        """Whether only a backlog is left: it is safe on disk, and the next start goes on with it."""
        if not self._link.connected or any(sent.live for sent in self._batches.values()):
            return False
        return not self._outbox.due(1, after=self._mark())

    def _turn(self) -> None:
        self._pause_s = _TICK_S
        now = self._clock.monotonic()
        if self._connected.is_set():
            self._connected.clear()
            self._begin_again()
            self._births = 0
            self._announce.set()
            self._marks.append((now, self._outbox.mark()))
            self._forget_marks(now - _LIVE_BEFORE_S)
            self._tell_backlog()
        while self._taken:
            self._take(self._taken.popleft(), now)
        while self._acks:
            self._hear(self._acks.popleft())
        self._note_mark(now)
        if self._link.connected:
            self._tell_birth()
            self._expire()
            self._send_batches()
            self._send_pictures()
        self._outbox.sending = self._link.connected and not self._silent and self._room_for_live() > 0
        self._judge()

    # What is live, and what an outage left

    def _mark(self) -> Mark:
        """What comes after it is live."""
        return self._marks[0][1]

    def _note_mark(self, now: float) -> None:
        if now - self._marks[-1][0] >= _TICK_S:
            self._marks.append((now, self._outbox.mark()))
        self._forget_marks(now - _LIVE_S)

    def _forget_marks(self, before: float) -> None:
        while len(self._marks) > 1 and self._marks[1][0] <= before:
            self._marks.popleft()

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
        self._silent, self._silences = False, 0
        self._unanswered_since = None
        self._moved_at = self._clock.monotonic()
        self._pace.begin(self._moved_at)

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

    def _room_for_live(self) -> int:
        return WINDOW_BATCHES - sum(sent.live for sent in self._batches.values())

    def _send_batches(self) -> None:
        if self._silent:
            if not self._batches and not self._send(1, live=True):
                self._send(1, live=False)
            return
        self._send(self._room_for_live(), live=True)
        on_their_way = sum(not sent.live for sent in self._batches.values())
        room = self._pace.room(self._clock.monotonic(), on_their_way)
        went = self._send(room, live=False)
        self._pace.spend(went)
        if went == room and self._outbox.unsettled > len(self._batches):
            self._pause_s = min(_TICK_S, max(_PACE_S, self._pace.next_s(on_their_way + went)))

    def _send(self, room: int, *, live: bool) -> int:
        """Send up to so many live batches, or of the backlog; how many went."""
        if room <= 0:
            return 0
        on_its_way = sum(sent.size for sent in self._batches.values() if sent.live is live)
        mark = self._mark()
        due = self._outbox.due(room, self._batches.keys(), after=mark if live else None, before=None if live else mark)
        for went, message in enumerate(due):
            size = len(message.payload)
            if on_its_way and on_its_way + size > WINDOW_BYTES:
                return went
            failpoints.reached("before_publish")
            token = self._link.publish(topics.batch(self._site, self._device), message.payload)
            failpoints.reached("after_publish")
            if token is None:
                return went
            on_its_way += size
            tries = self._tries.get(message.key, 0)
            self._batches[message.key] = self._sent(token, size, live=live, tries=tries)
        return len(due)

    def _send_pictures(self) -> None:
        """Only while no live batch waits for the link: on a slow one a picture takes seconds."""
        room = (1 if self._silent else WINDOW_SNAPSHOTS) - len(self._pictures)
        if room <= 0 or not self._snapshots.waiting:
            return
        if any(sent.live and sent.taken_at is None for sent in self._batches.values()):
            return
        for name, jpeg in self._snapshots.due(room, self._pictures.keys()):
            token = self._link.publish(topics.snapshot(self._site, self._device, *name), jpeg)
            if token is None:
                return
            self._pictures[name] = self._sent(token, len(jpeg), live=False, tries=0)

    def _sent(self, token: int, size: int, *, live: bool, tries: int) -> _Sent:
        patience_s = self._patience.s(max(tries, self._silences)) * random.uniform(0.8, 1.2)  # noqa: S311  # no secret
        sent = self._tokens[token] = _Sent(size, self._clock.monotonic(), live, tries, patience_s)
        return sent

    # Answers, and their absence

    def _take(self, token: int, now: float) -> None:
        self._moved_at = now
        if sent := self._tokens.pop(token, None):
            sent.taken_at = now

    def _expire(self) -> None:
        """Send again what got no answer; when nothing at all did, ask with one batch at a time."""
        now = self._clock.monotonic()
        late = [key for key, sent in self._batches.items() if now >= self._deadline(sent)]
        if any(self._batches[key].at > self._heard_at for key in late):
            self._silent = True
            self._silences += 1
            late = list(self._batches)
        elif late:
            self._patience.missed()
        for key in late:
            sent = self._batches.pop(key)
            self._tries[key] = sent.tries + 1
            if not sent.live:
                self._pace.lost(now)
        for name in [name for name, sent in self._pictures.items() if now >= self._deadline(sent)]:
            del self._pictures[name]

    def _deadline(self, sent: _Sent) -> float:
        """When it counts as lost.

        What the broker has not confirmed is still in a queue of ours, or the connection is dead, which the link finds
        out: sending it again would only make the queue longer. As long as answers come in their order, its own comes.
        """
        if sent.taken_at is None:
            return max(sent.at, self._moved_at) + pacing.PATIENCE_S_MAX
        overtaken = self._answered_at >= sent.at
        begin = sent.taken_at if overtaken else max(sent.taken_at, self._heard_at)
        return begin + sent.patience_s

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
        self._heard_at = self._moved_at = self._clock.monotonic()
        self._unanswered_since = None
        if ours:
            self._births, self._birth_due = 0, None
        if self._silent:  # a collector is back, for many devices at the same time
            self._silent, self._silences = False, 0
            self._pace.begin(self._heard_at)
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
            self._learn(self._batches.pop(key))
        for key in [key for key in self._tries if _answered(key, ack, [*ack.stored, *refused])]:
            del self._tries[key]
        return settled > 0

    def _learn(self, sent: _Sent) -> None:
        """From an answer: how long such a one takes."""
        now = self._clock.monotonic()
        self._answered_at = max(self._answered_at, sent.at)
        if self._silent or sent.tries:
            return
        self._patience.heard(now - (sent.taken_at or sent.at))
        if not sent.live:
            self._pace.heard((sent.taken_at or now) - sent.at, now)

    def _judge(self) -> None:
        """Say how things stand, once per change."""
        now = self._clock.monotonic()
        if self._link.taken_over and not self._taken_over:
            self._tell("client_id_taken", self._link.problem or "it happened again")
        self._taken_over = self._link.taken_over
        if self._unanswered_since is None and any(sent.taken_at for sent in self._batches.values()):
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
