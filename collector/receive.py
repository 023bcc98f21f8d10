"""Broker to a bounded queue: the connection's thread only looks at the size, cuts what is too large and hands over.

When the queue is full a message is dropped and counted. It was not acked, so the device still has it and sends it
again. That does not hold for a status, which is sent once: the newest one of each device waits beside the queue.
"""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable

from collector.admit import Message, cut
from collector.metrics import Metrics
from shared import topics
from shared.mqtt import CONNECTED, BrokerSettings, Link
from shared.topics import Address, NotOurs
from shared.wire import STATUS_BYTES_MAX

TAKEN_BYTES_MAX = 16_000_000
"""Taken at once, but for one message of any size: what is taken no longer counts as waiting, but has its weight."""

STATUSES_MAX = 10_000
"""Devices whose status may wait."""

_log = logging.getLogger(__name__)


class Inbox:
    """Messages that wait, bounded in number and bytes; statuses wait beside them, one per device.

    Attributes:
        messages_max: How many may wait.
        bytes_max: How large they may be together; the statuses have as much again.
    """

    def __init__(self, messages_max: int, bytes_max: int, metrics: Metrics) -> None:
        self.messages_max = messages_max
        self.bytes_max = bytes_max
        self._metrics = metrics
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._statuses: dict[Address, Message] = {}
        self._status_bytes = 0
        self._closed = False
        self._changed = threading.Condition()
        self._full = False

    @property
    def full(self) -> bool:
        """Whether the last message that came found no room."""
        return self._full

    def put(self, message: Message) -> bool:
        """Add a message; False when there is no room for it."""
        device = _told_by(message)
        with self._changed:
            empty = not self._waiting and not self._statuses
            taken = not self._closed and (
                self._put_in_queue(message) if device is None else self._put_status(device, message)
            )
            if taken and empty:
                self._changed.notify()
        return taken

    def take(self, count_max: int, gather_s: float, idle_s: float = 1.0) -> list[Message]:
        """Up to `count_max` messages: waits `idle_s` for the first one, then `gather_s` for more to come with it."""
        with self._changed:
            if not self._waiting and not self._statuses and not self._closed:
                self._changed.wait(idle_s)
            if not self._waiting and not self._statuses:
                return []
            deadline = time.monotonic() + gather_s
            while len(self._waiting) + len(self._statuses) < count_max and not self._closed:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            statuses = [self._statuses.pop(device) for device in list(self._statuses)[:count_max]]
            self._status_bytes -= sum(len(message.payload) for message in statuses)
            taken = self._pop(count_max - len(statuses))
            self._full = self._full and not taken
            self._metrics.queue_messages.set(len(self._waiting) + len(self._statuses))
            self._metrics.queue_bytes.set(self._bytes + self._status_bytes)
        return statuses + taken

    def _pop(self, count_max: int) -> list[Message]:
        """The oldest from the queue, as many as are allowed at once."""
        taken: list[Message] = []
        room = TAKEN_BYTES_MAX
        while self._waiting and len(taken) < count_max and (not taken or len(self._waiting[0].payload) <= room):
            message = self._waiting.popleft()
            taken.append(message)
            room -= len(message.payload)
            self._bytes -= len(message.payload)
        return taken

    def _put_in_queue(self, message: Message) -> bool:
        size = len(message.payload)
        self._full = len(self._waiting) >= self.messages_max or self._bytes + size > self.bytes_max
        if not self._full:
            self._waiting.append(message)
            self._bytes += size
        return not self._full

    def _put_status(self, device: Address, message: Message) -> bool:
        """In place of the one that waits; only a device too many finds no room."""
        waiting = self._statuses.get(device)
        if waiting is not None and message.retained and waiting.payload == message.payload:
            return True  # the broker repeats what came live: that it came live is the news
        size = len(message.payload) - (len(waiting.payload) if waiting else 0)
        if (waiting is None and len(self._statuses) >= STATUSES_MAX) or self._status_bytes + size > self.bytes_max:
            return False
        self._statuses[device] = message
        self._status_bytes += size
        return True

    def close(self) -> None:
        """Wake who waits; nothing is taken in any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Receiver:
    """The connection to the broker: what comes goes into the inbox, acks go out.

    Constructing checks the settings; `start` connects and keeps trying.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        inbox: Inbox,
        metrics: Metrics,
        *,
        shared_group: str | None = None,
        clock: Callable[[], int] = time.time_ns,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._inbox = inbox
        self._metrics = metrics
        self._clock = clock
        self._url = settings.url
        self._dropping = False
        self._link = Link(
            settings,
            client_id=f"vigie-collector-{secrets.token_hex(4)}",
            subscriptions=_subscriptions(shared_group),
            on_message=self._received,
            on_state=self._changed,
            beat=beat,
        )

    @property
    def problem(self) -> str | None:
        """Why there is no connection; None while there is one."""
        if self._link.connected:
            return None
        return self._link.problem or f"not connected to {self._url} yet"

    def start(self) -> None:
        """Connect, and go on trying."""
        self._link.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Disconnect."""
        self._link.stop(timeout_s=timeout_s)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send an ack; False when there is no connection."""
        return self._link.publish(topic, payload, qos=0) is not None

    def _received(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001  # the link's signature
        self._metrics.received.labels(_kind(topic)).inc()
        now_ns = self._clock()
        self._metrics.last_message_s.set(now_ns / 1e9)
        taken = self._inbox.put(cut(Message(topic, payload, retained, now_ns)))
        if not taken:
            self._metrics.dropped.labels("queue_full").inc()
            if not self._dropping:
                _log.warning("the queue is full: messages are left to the devices until the store keeps up")
        elif self._dropping:
            _log.info("the queue has room again")
        self._dropping = not taken

    def _changed(self, state: str) -> None:
        """The link logs its own changes; here they are only counted."""
        self._metrics.connected.set(state == CONNECTED)


def _told_by(message: Message) -> Address | None:
    """Whose status it is; None of other messages, and of what is no status but stands on its topic."""
    whole = 0 < len(message.payload) <= STATUS_BYTES_MAX and not message.too_large
    if _kind(message.topic) != "status" or not whole:
        return None
    try:
        return topics.parse(message.topic)
    except NotOurs:
        return None


def _subscriptions(shared_group: str | None) -> list[tuple[str, int]]:
    """Statuses go to every collector; batches and snapshots to one of the group, where there is one."""
    work = [topics.every("batch"), topics.every("snapshot")]
    if shared_group is not None:
        work = [topics.shared_subscription(shared_group, one) for one in work]
    return [(topics.every("status"), 1), *((one, 1) for one in work)]


def _kind(topic: str) -> str:
    """The kind for a metric's label: one of four, whatever comes."""
    levels = topic.split("/")
    kind = levels[4] if len(levels) > 4 else ""  # noqa: PLR2004  # vigie/v1/<site>/<device>/<kind>
    return kind if kind in {"batch", "status", "snapshot"} else "other"
