"""What was observed, once a second, into the outbox: seal, commit, and only then let it be sent.

What is not sealed yet is what a power cut can cost. When the outbox cannot be written the sealed batches
wait here and the books fill up, up to their limit; then frames are skipped, and booked as such.
"""

import logging
import threading
from collections.abc import Callable, Sequence

import msgspec

from agent.books import Book
from agent.clock import Clock
from agent.openwindows import Open, OpenWindows
from agent.outbox import Outbox, OutboxUnwritable
from shared import failpoints, wire
from shared.records import TICK_NS, Detail, Event, Lane, StreamRuns, Summarised, Summary

log = logging.getLogger(__name__)

RECORDS_IN_A_BATCH_MAX = 500
RECORDS_WAITING_MAX = 10_000


class Journal:
    """Summary records on their way to the next batch. Its methods may be called from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, Summarised]] = []

    def tell(self, record: Summarised, boot_ns: int | None = None) -> None:
        """Add a record that holds for `boot_ns`, now by default; its age is set at sealing."""
        with self._lock:
            self._waiting.append((self._clock.boot_ns() if boot_ns is None else boot_ns, record))
            # Only while the disk refuses every write: the newest say most about why.
            del self._waiting[:-RECORDS_WAITING_MAX]

    def event(self, name: str, detail: str = "", stream: str | None = None) -> None:
        """Add an event: `name` is one of `shared.schema.EVENTS`."""
        self.tell(Event(age=0, name=name, detail=detail[:1024], stream=stream))

    def cut(self, sealed_boot_ns: int) -> tuple[Summarised, ...]:
        """Hand out the oldest records, for one batch."""
        with self._lock:
            taken = self._waiting[:RECORDS_IN_A_BATCH_MAX]
            del self._waiting[:RECORDS_IN_A_BATCH_MAX]
        return tuple(aged(record, boot_ns, sealed_boot_ns) for boot_ns, record in taken)


def aged(record: Summarised, boot_ns: int, sealed_boot_ns: int) -> Summarised:
    """The record with its age at sealing."""
    return msgspec.structs.replace(record, age=max(0, sealed_boot_ns - boot_ns) // TICK_NS)


class _Sealed(msgspec.Struct, frozen=True):
    lane: Lane
    streams: dict[str, StreamRuns]
    body: bytes
    boot_ns: int


class Sealer:
    """Seals every `seal_s` seconds, in a thread of its own.

    Args:
        outbox: Where batches go; open.
        books: One for each stream.
        journal: Summary records.
        clock: The agent's.
        seal_s: Seconds between batches.
        on_sealed: Called after a commit; the uplink's cue.
        kept: Where windows in the making outlive a kill.
        beat: Called each time round: the thread's sign of life.
    """

    def __init__(
        self,
        outbox: Outbox,
        books: Sequence[Book],
        journal: Journal,
        clock: Clock,
        *,
        seal_s: float,
        on_sealed: Callable[[], None],
        kept: OpenWindows | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._kept = kept
        self._beat = beat
        self._sealing = threading.Lock()
        self._outbox = outbox
        self._books = books
        self._journal = journal
        self._clock = clock
        self._seal_s = seal_s
        self._on_sealed = on_sealed
        self._unwritten: list[_Sealed] = []
        self._refused_since: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sealer", daemon=True)

    def start(self) -> None:
        """Begin to seal."""
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Seal what is left, windows included, and end; whether all of it is in the outbox.

        False as well when a seal under way does not come to its end within `timeout_s`.
        """
        self._stop.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.error("sealing hangs: what is not in the outbox is lost, and will be booked as such")
            return False
        self.seal(end=True)
        lost = sum(runs.last - runs.first + 1 for batch in self._unwritten for runs in batch.streams.values())
        if self._unwritten:
            log.error("the outbox refused the last batches: %d frames are lost, and booked as such", lost)
        return not self._unwritten

    @property
    def alive(self) -> bool:
        """Whether the thread is."""
        return self._thread.is_alive()

    def _run(self) -> None:
        self._beat()
        while not self._stop.wait(self._seal_s):
            self.seal()
            self._beat()

    def seal(self, *, end: bool = False) -> None:
        """Close windows that are over, and put everything there is into the outbox."""
        with self._sealing:
            self._seal(end=end)

    def _seal(self, *, end: bool) -> None:
        self._roll(end=end)
        self._keep_open()
        if not self._write():
            return
        while True:
            self._unwritten = self._cut()
            # One batch a turn, or frames that come during the commit would make a second, tiny one.
            if not self._unwritten or not self._write() or not (end or any(book.full for book in self._books)):
                return

    def _roll(self, *, end: bool) -> None:
        now, known = self._clock.boot_ns(), self._clock.offset()
        for book in self._books:
            for start_boot_ns, window in book.roll(now, known[0] if known else None, end=end):
                self._journal.tell(window, start_boot_ns)

    def _keep_open(self) -> None:
        if self._kept is not None:
            now = self._clock.boot_ns()
            self._kept.keep(
                [Open(start, now, window) for book in self._books for start, window in book.open_windows(now)]
            )

    def _cut(self) -> list[_Sealed]:
        """A summary and a detail batch, as far as there is something to say."""
        boot_ns = self._clock.boot_ns() // TICK_NS * TICK_NS
        sealed = []
        if records := self._journal.cut(boot_ns):
            sealed.append(_Sealed("summary", {}, wire.pack(Summary(records)), boot_ns))
        cuts = {book.stream: cut for book in self._books if (cut := book.cut(boot_ns))}
        if cuts:
            body = Detail(tuple(block for cut in cuts.values() for block in cut.blocks))
            streams = {stream: cut.runs for stream, cut in cuts.items()}
            sealed.append(_Sealed("detail", streams, wire.pack(body), boot_ns))
        return sealed

    def _write(self) -> bool:
        """Put what was sealed into the outbox; whether all of it is there."""
        try:
            while self._unwritten:
                batch = self._unwritten[0]
                failpoints.reached("before_put")
                self._outbox.put(batch.lane, batch.streams, batch.body, batch.boot_ns)
                failpoints.reached("after_put")
                self._unwritten.pop(0)
                self._on_sealed()
        except OutboxUnwritable as error:
            self._refused(error)
            return False
        self._written()
        return True

    def _refused(self, error: OutboxUnwritable) -> None:
        if self._refused_since is None:
            self._refused_since = self._clock.monotonic()
            log.error("the outbox cannot be written, frames wait in memory: %s", error)  # the reason is the message
            self._journal.event("outbox_unwritable", str(error))

    def _written(self) -> None:
        if self._refused_since is not None:
            log.info("the outbox can be written again after %.0f s", self._clock.monotonic() - self._refused_since)
            self._refused_since = None
