"""Queue to store, store to acks: what came within a moment goes into one write, and is acked after it.

The order is what the promise rests on: nothing is acked before the store has it, nothing is refused before the
quarantine has it. While the store cannot be used nothing is acked; the messages at hand wait, later ones stay with
the devices.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from collector.acks import Acks, To
from collector.admit import Admitted, GoodBatch, GoodSnapshot, Ignored, Message, Newer, admit, bad
from collector.metrics import Metrics
from collector.receive import Inbox
from collector.state.pictures import Pictures
from collector.state.quarantine import Bad, Quarantine
from collector.stores import Rejected, Store, Unavailable
from collector.stores.answers import Received, ReceivedStatus, Written
from shared import failpoints, topics
from shared.records import Detail, Header

RETRY_S_MAX = 30.0
SECOND_NS = 10**9

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Publish(Protocol):
    """Sends an ack."""

    def __call__(self, topic: str, payload: bytes) -> bool:
        """False when it could not be sent."""


class Stopped(Exception):
    """Raised when the collector is to end while it waits for the store."""


class Ingest:
    """The thread that empties the inbox.

    Attributes:
        problem: Why the store cannot be used now; None while it can.
        crashed: What ended the thread, or None.
    """

    def __init__(  # noqa: PLR0913  # the parts it joins, and their settings by name
        self,
        inbox: Inbox,
        store: Store,
        quarantine: Quarantine,
        pictures: Pictures,
        metrics: Metrics,
        publish: Publish,
        *,
        write_messages: int = 500,
        write_wait_s: float = 0.05,
        clock_ahead_s: float = 86_400.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.problem: str | None = None
        self.crashed: BaseException | None = None
        self._inbox = inbox
        self._store = store
        self._quarantine = quarantine
        self._pictures = pictures
        self._metrics = metrics
        self._publish = publish
        self._write_messages = write_messages
        self._write_wait_s = write_wait_s
        self._clock_ahead_ns = int(clock_ahead_s * SECOND_NS)
        self._clock = clock
        self._acks = Acks()
        self._starts: dict[tuple[str, str], tuple[int, str]] = {}
        self._told_too_new: set[tuple[str, str]] = set()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._metrics.store_available.set(1)
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Finish the write under way and its acks; whether the thread ended in time."""
        self._stopping.set()
        self._inbox.close()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._recall_starts()
            while not self._stopping.is_set():
                messages = self._inbox.take(self._write_messages, self._write_wait_s)
                if messages:
                    self.process(messages)
        except Stopped:
            pass
        except Exception as error:  # noqa: BLE001  # the process ends by it, and says so
            self.crashed = error
            _log.exception("the ingest thread ended by an error; what it had not acked stays with the devices")

    def _recall_starts(self) -> None:
        """Which start of each device is its newest, from the store: acks of pictures name it."""
        for facts in self._persist(self._store.devices):
            if facts.status is not None:
                self._starts.setdefault((facts.site, facts.device), (facts.status.epoch, facts.status.nonce))

    def process(self, messages: Sequence[Message]) -> None:
        """Check, store or quarantine, then ack some messages.

        Raises:
            Stopped: The collector is to end, and the store still cannot be used.
        """
        admitted = [admit(message, self._clock_ahead_ns) for message in messages]
        self._take_statuses([one for one in admitted if isinstance(one, ReceivedStatus)])
        rejected = self._take_batches([one for one in admitted if isinstance(one, GoodBatch)])
        self._take_bad([one for one in admitted if isinstance(one, Bad)] + rejected)
        for one in admitted:
            if isinstance(one, GoodSnapshot):
                self._take_snapshot(one)
            else:
                self._count_rest(one)
        self._send_acks()

    def replay(self, message: Message) -> str | None:
        """Try a message from quarantine again; None when it is stored now, else why not. Sends no ack.

        Raises:
            Unavailable: The store cannot be used now.
        """
        one = admit(message, self._clock_ahead_ns)
        if isinstance(one, Bad):
            return one.reason
        if isinstance(one, Newer):
            return f"wire version {one.version} is newer than this release: upgrade the collector"
        try:
            if isinstance(one, GoodBatch):
                self._store.write([one.received])
            elif isinstance(one, ReceivedStatus):
                self._store.write_statuses([one])
            elif isinstance(one, GoodSnapshot):
                self._pictures.add(one.site, one.device, one.stream, one.captured_at_ns, message.payload)
        except Rejected as error:
            return error.reason
        return None

    def _take_statuses(self, statuses: Sequence[ReceivedStatus]) -> None:
        if not statuses:
            return
        self._persist(lambda: self._store.write_statuses(statuses))
        failpoints.reached("after_statuses")
        for received in statuses:
            status = received.status
            self._metrics.statuses.labels(status.state).inc()
            self._note_start(received)
            if status.state == "online":
                self._acks.greet(To(received.site, received.device, status.nonce, status.epoch, "summary"))

    def _take_batches(self, batches: Sequence[GoodBatch]) -> list[Bad]:
        """Store batches and note their acks; those that the store will never take."""
        if not batches:
            return []
        failpoints.reached("before_write")
        written, rejected = self._write(batches)
        failpoints.reached("after_write")
        for one, answer in written:
            header = one.received.batch.header
            self._acks.stored(_to(header), header.batch)
            self._starts.setdefault((header.site, header.device), (header.epoch, header.nonce))
            self._count_batch(one.received, answer)
        return [
            bad(one.message, topics.parse(one.message.topic), "rejected", reason, one.received.batch.header)
            for one, reason in rejected
        ]

    def _write(
        self, batches: Sequence[GoodBatch]
    ) -> tuple[list[tuple[GoodBatch, Written]], list[tuple[GoodBatch, str]]]:
        """Write all that the store takes; without knowing the culprit of a refusal, halve until it is found."""
        written: list[tuple[GoodBatch, Written]] = []
        rejected: list[tuple[GoodBatch, str]] = []
        parts = [list(batches)]
        while parts:
            part = parts.pop()
            try:
                written += zip(part, self._write_once(part), strict=True)
            except Rejected as error:
                culprits = {0: error.reason} if len(part) == 1 else error.records
                rejected += [(part[index], reason) for index, reason in culprits.items()]
                rest = [one for index, one in enumerate(part) if index not in culprits]
                middle = len(rest) if culprits else len(rest) // 2
                parts += [half for half in (rest[middle:], rest[:middle]) if half]
        return written, rejected

    def _write_once(self, part: Sequence[GoodBatch]) -> list[Written]:
        received = [one.received for one in part]
        with self._metrics.write_s.time():
            answers = self._persist(lambda: self._store.write(received))
        self._metrics.write_batches.observe(len(part))
        return answers

    def _take_bad(self, messages: Sequence[Bad]) -> None:
        if not messages:
            return
        dropped = self._quarantine.dropped
        self._persist(lambda: self._quarantine.put(messages))
        failpoints.reached("after_quarantine")
        self._metrics.quarantine_dropped.inc(self._quarantine.dropped - dropped)
        for one in messages:
            self._metrics.quarantined.labels(one.cause).inc()
            _log.warning("quarantined a message on %s: %s", one.topic, one.reason)
            if one.header is not None:
                self._metrics.refused.inc()
                self._acks.refused(_to(one.header), one.header.batch, one.reason)

    def _take_snapshot(self, one: GoodSnapshot) -> None:
        try:
            if self._pictures.add(one.site, one.device, one.stream, one.captured_at_ns, one.message.payload):
                self._metrics.snapshots.inc()
        except OSError as error:
            self._metrics.dropped.labels("picture_unwritable").inc()
            _log.warning("a picture of %s/%s could not be written: %s", one.site, one.device, error)
            return
        start = self._starts.get((one.site, one.device))
        if start is not None:  # else its birth is still to come, and the picture comes again
            epoch, nonce = start
            to = To(one.site, one.device, nonce, epoch, f"snapshot/{one.stream}")
            self._acks.stored(to, one.captured_at_ns)

    def _count_batch(self, received: Received, answer: Written) -> None:
        """Count what became of a batch."""
        if answer == "duplicate":
            self._metrics.duplicates.inc()
        elif answer == "expired":
            self._metrics.expired.inc()
        else:
            batch = received.batch
            self._metrics.stored.labels(batch.header.lane).inc()
            if isinstance(batch.body, Detail):
                self._metrics.frames.inc(sum(len(block.observations) for block in batch.body.blocks))

    def _count_rest(self, one: Admitted) -> None:
        if isinstance(one, Ignored):
            self._metrics.dropped.labels(one.cause).inc()
        elif isinstance(one, Newer):
            self._metrics.too_new.inc()
            key = (one.site, one.device)
            if key not in self._told_too_new:
                self._told_too_new.add(key)
                _log.error(
                    "%s/%s speaks wire version %d, which this release does not know: upgrade the collector; "
                    "the device keeps its data until then",
                    *key,
                    one.version,
                )

    def _note_start(self, received: ReceivedStatus) -> None:
        """Only a birth tells of the newest start: late batches and wills are of older ones, and epochs may restart."""
        device, start = (received.site, received.device), (received.status.epoch, received.status.nonce)
        if received.status.state == "offline":
            self._starts.setdefault(device, start)
        else:
            self._starts[device] = start

    def _send_acks(self) -> None:
        failpoints.reached("before_ack")
        for topic, payload in self._acks.messages(self._clock()):
            failpoints.reached("during_acks")
            if self._publish(topic, payload):
                self._metrics.acks.inc()
            else:
                self._metrics.acks_dropped.inc()

    def _persist(self, work: Callable[[], T]) -> T:
        """Do `work`, again and again while it cannot be done, with a growing pause.

        Raises:
            Stopped: The collector is to end.
        """
        attempt, since = 0, time.monotonic()
        while True:
            try:
                answer = work()
            except Unavailable as error:  # noqa: PERF203  # trying again is what the loop is for
                self._unavailable(error)
                pause_s = error.retry_after_s or min(RETRY_S_MAX, 0.25 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1)  # noqa: S311  # no secret hangs on it
                attempt += 1
                if self._stopping.wait(pause_s):
                    raise Stopped from error
            else:
                self._available(attempt, time.monotonic() - since)
                return answer

    def _unavailable(self, error: Unavailable) -> None:
        self._metrics.store_failures.inc()
        self._metrics.store_available.set(0)
        if self.problem is None:
            _log.error("the store cannot be used: %s; nothing is acked until it can", error.reason)
        self.problem = error.reason

    def _available(self, attempts: int, waited_s: float) -> None:
        if attempts:
            self._metrics.store_available.set(1)
            _log.info("the store can be used again after %.0f s", waited_s)
        self.problem = None


def _to(header: Header) -> To:
    return To(header.site, header.device, header.nonce, header.epoch, header.lane)
