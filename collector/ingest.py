"""Queue to store, store to acks: what came within a moment goes into one write, and is acked after it.

The order is what the promise rests on: nothing is acked before the store has it, nothing is refused before the
quarantine has it. While the store cannot be used nothing is acked; the messages at hand wait, later ones stay with
the devices.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from collector.acks import Acks, To
from collector.admit import Admitted, GoodBatch, GoodSnapshot, Ignored, Message, Newer, admit, bad
from collector.metrics import Metrics
from collector.receive import Inbox
from collector.series import Series, SeriesLimits
from collector.state.pictures import Pictures
from collector.state.quarantine import Bad, Quarantine
from collector.stores import Rejected, Store, Unavailable
from collector.stores.answers import EventSeen, Received, ReceivedStatus, Written
from collector.twins import Twins
from shared import failpoints, topics
from shared.records import Detail, Header

RETRY_S_MAX = 30.0
PARTS_MAX = 200_000
"""Objects of decoded batches in memory at once, of about 100 bytes each; one batch may be larger."""
ERRORS_MAX = 10
"""Errors of our own in a row, after which the process is begun anew."""
STATE_PAUSES_S = (0.1, 0.3)
STATE_RETRY_S = 5.0
"""How long a state that cannot be written is left alone before it is tried again."""
TOLD_MAX = 10_000
"""Devices of whose newer wire version is told."""
IDLE_S = 1.0
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
        state_problem: Why quarantine or pictures cannot be written now; None while they can, as far as it is known.
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
        series: SeriesLimits | None = None,
        ack_every_s: float = 0.0,
        tell: Callable[[EventSeen], object] = lambda _event: None,
        clock: Callable[[], int] = time.time_ns,
        synced: Callable[[], bool] = lambda: False,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.problem: str | None = None
        self.state_problem: str | None = None
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
        self._synced = synced
        self._beat = beat
        self._acks = Acks(ack_every_s)
        self._starts: dict[tuple[str, str], tuple[int, str]] = {}
        self._series = Series(series or SeriesLimits())
        self._twins = Twins()
        self._tell = tell
        self._told_too_new: set[tuple[str, str]] = set()
        self._errors = 0
        self._state_retry_at = 0.0
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
            self._recall()
            while not self._stopping.is_set():
                self._beat()
                idle_s = self._acks.due_in_s(IDLE_S)
                messages = self._inbox.take(self._write_messages, self._write_wait_s, idle_s)
                if messages:
                    self.survive(messages)
                else:
                    self._send_acks()
            self._send_acks(last=True)
        except Stopped:
            pass
        except Exception as error:  # noqa: BLE001  # the process ends by it, and says so
            self.crashed = error
            _log.exception("the ingest thread ended by an error; what it had not acked stays with the devices")

    def _recall(self) -> None:
        """From the store: the names of each device, and which start is its newest (acks of pictures name it)."""
        devices = self._persist(self._store.devices)
        self._series.recall(devices)
        for facts in devices:
            if facts.status is not None:
                self._starts.setdefault((facts.site, facts.device), (facts.status.epoch, facts.status.nonce))

    def survive(self, messages: Sequence[Message]) -> None:
        """Process messages; one that meets an error of ours is set aside, so that it does not end us again and again.

        Its device keeps it: it is in quarantine to be looked at, but not refused.

        Raises:
            Stopped: As `process`.
            Exception: Error upon error: it is not the messages.
        """
        try:
            self.process(messages)
        except Stopped:
            raise
        except Exception:  # noqa: BLE001  # whatever it is, the other messages are not to suffer by it
            _log.exception("an error of the collector's own; each message is tried alone")
        else:
            self._errors = 0
            return
        for message in messages:
            try:
                self.process([message])
            except Stopped:  # noqa: PERF203  # each message has its own fate
                raise
            except Exception as error:
                self._errors += 1
                if self._errors > ERRORS_MAX:
                    raise
                self._set_aside(message, error)
            else:
                self._errors = 0

    def _set_aside(self, message: Message, error: Exception) -> None:
        reason = f"the collector failed on it: {error!r}; please report it, with this message"
        self._take_bad([Bad(message.topic, message.payload, "internal_error", reason, message.received_at_ns)])

    def process(self, messages: Sequence[Message]) -> None:
        """Check, store or quarantine, then ack some messages.

        Raises:
            Stopped: The collector is to end, and the store still cannot be used.
        """
        for portion in self._portions(messages):
            self._take(portion)

    def _portions(self, messages: Iterable[Message]) -> Iterator[list[tuple[Message, Admitted]]]:
        """Messages read and checked, so many at a time as memory is meant for: a small message may hold very much."""
        portion: list[tuple[Message, Admitted]] = []
        parts = 0
        for message in messages:
            one = self._series.judged(message, admit(message, self._clock_ahead_ns))
            portion.append((message, one))
            parts += one.parts if isinstance(one, GoodBatch) else 1
            if parts >= PARTS_MAX:
                yield portion
                portion, parts = [], 0
        if portion:
            yield portion

    def _take(self, portion: Sequence[tuple[Message, Admitted]]) -> None:
        bad_ones = [one for _, one in portion if isinstance(one, Bad)]
        bad_ones += self._take_statuses([(message, one) for message, one in portion if isinstance(one, ReceivedStatus)])
        bad_ones += self._take_batches([one for _, one in portion if isinstance(one, GoodBatch)])
        self._send_acks()  # what is stored does not wait for the rest
        for _, one in portion:
            if isinstance(one, GoodSnapshot):
                self._take_snapshot(one)
            elif isinstance(one, Ignored):
                self._metrics.dropped.labels(one.cause).inc()
            elif isinstance(one, Newer):
                self._take_newer(one)
        self._take_bad(bad_ones)
        self._send_acks()

    def replay(self, message: Message) -> str | None:
        """Try a message from quarantine again; None when it is stored now, else why not. Sends no ack.

        Raises:
            Unavailable: The store cannot be used now.
        """
        one = admit(message, self._clock_ahead_ns + max(0, self._clock() - message.received_at_ns))
        if isinstance(one, Bad):
            return one.reason
        if isinstance(one, Ignored):
            return f"it is not taken: {one.cause}"
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

    def _take_statuses(self, statuses: Sequence[tuple[Message, ReceivedStatus]]) -> list[Bad]:
        """Store births and wills, and note the answers; those that the store will never take."""
        if not statuses:
            return []
        written = [received for _, received in statuses]
        try:
            self._persist(lambda: self._store.write_statuses(written))
        except Rejected as error:
            if len(statuses) > 1:
                return [wrong for one in statuses for wrong in self._take_statuses([one])]
            message = statuses[0][0]
            return [bad(message, topics.parse(message.topic), "rejected", error.reason, None)]
        failpoints.reached("after_statuses")
        for received in written:
            status = received.status
            self._metrics.statuses.labels(status.state).inc()
            self._note_start(received)
            if status.state == "online":
                self._acks.greet(To(received.site, received.device, status.nonce, status.epoch, "summary"))
        return []

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
        """Quarantine messages, then note their refusals. Where that cannot be done now, their devices keep them."""
        if not messages:
            return
        dropped = self._quarantine.dropped
        if not self._quarantined(messages):
            self._metrics.dropped.labels("quarantine_unavailable").inc(len(messages))
            return
        failpoints.reached("after_quarantine")
        self._metrics.quarantine_dropped.inc(self._quarantine.dropped - dropped)
        for one in messages:
            self._metrics.quarantined.labels(one.cause).inc()
            _log.warning("quarantined a message on %s: %s", one.topic, one.reason)
            self._refuse(one)

    def _quarantined(self, messages: Sequence[Bad]) -> bool:
        """Whether the quarantine has them. It is not waited for long: the good ones must not wait for the bad."""
        if time.monotonic() < self._state_retry_at:
            return False
        for pause_s in STATE_PAUSES_S:
            try:
                self._quarantine.put(messages)
            except Unavailable as error:  # noqa: PERF203  # trying again is what the loop is for
                problem = error.reason
                self._stopping.wait(pause_s)
            else:
                self._state_is(None)
                return True
        self._state_is(problem)
        self._state_retry_at = time.monotonic() + STATE_RETRY_S
        return False

    def _state_is(self, problem: str | None) -> None:
        if problem is not None and self.state_problem is None:
            _log.error("%s; until then the devices keep what has to go there", problem)
        elif problem is None and self.state_problem is not None:
            _log.info("quarantine and pictures can be written again")
        self.state_problem = problem

    def _refuse(self, one: Bad) -> None:
        """Note for its device that sending it again would not help; a picture is known by its topic."""
        if one.cause == "internal_error":
            return
        address = topics.parse(one.topic)
        start = self._starts.get((address.site, address.device))
        if one.header is not None:
            self._acks.refused(_to(one.header), one.header.batch, one.reason)
        elif address.stream is not None and address.captured_at_ns is not None and start is not None:
            to = _to_pictures(address.site, address.device, address.stream, start)
            self._acks.refused(to, address.captured_at_ns, one.reason)
        else:
            return
        self._metrics.refused.inc()

    def _take_snapshot(self, one: GoodSnapshot) -> None:
        try:
            if self._pictures.add(one.site, one.device, one.stream, one.captured_at_ns, one.message.payload):
                self._metrics.snapshots.inc()
        except OSError as error:
            self._metrics.dropped.labels("picture_unwritable").inc()
            self._state_is(f"a picture cannot be written: {error}; see that the disk has space")
            return
        start = self._starts.get((one.site, one.device))
        if start is not None:  # else its birth is still to come, and the picture comes again
            self._acks.stored(_to_pictures(one.site, one.device, one.stream, start), one.captured_at_ns)

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

    def _take_newer(self, one: Newer) -> None:
        self._metrics.too_new.inc()
        key = (one.site, one.device)
        if key not in self._told_too_new and len(self._told_too_new) < TOLD_MAX:
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
            return
        self._starts[device] = start
        if received.status.state == "online" and not received.retained and self._twins.born(*device, start[1]):
            self._tell_twins(received)

    def _tell_twins(self, received: ReceivedStatus) -> None:
        self._metrics.twins.inc()
        detail = f"the start {received.status.nonce} is heard again after a later one: give one of the two another name"
        _log.error("%s/%s is two devices: %s", received.site, received.device, detail)
        event = EventSeen(received.site, received.device, None, received.received_at_ns, "device_twice", detail)
        try:
            self._tell(event)
        except Unavailable as error:
            self._state_is(error.reason)

    def _send_acks(self, *, last: bool = False) -> None:
        if not self._acks.waiting:
            return
        failpoints.reached("before_ack")
        for topic, payload in self._acks.messages(self._clock(), last=last, synced=self._synced()):
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
            self._beat()
            try:
                answer = work()
            except Unavailable as error:  # trying again is what the loop is for
                self._unavailable(error)
                pause_s = error.retry_after_s or min(RETRY_S_MAX, 0.25 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1)  # noqa: S311  # no secret hangs on it
                attempt += 1
                if self._stopping.wait(pause_s):
                    raise Stopped from error
            else:
                self._available(attempt, time.monotonic() - since)
                return answer

    def _unavailable(self, error: Unavailable) -> None:
        self._send_acks(last=True)  # of what is stored: those that were to wait a moment must not wait for this
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


def _to_pictures(site: str, device: str, stream: str, start: tuple[int, str]) -> To:
    epoch, nonce = start
    return To(site, device, nonce, epoch, f"snapshot/{stream}")
