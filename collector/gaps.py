"""Batches that the store lacks are asked for again, until they come or it is clear that they do not.

Everything that counts stands in the store, the quarantine and the open requests of the state: a collector that is
killed goes on where it was, one whose store was restored from a backup or lost refills it, and two that ask do no
harm. Each start tells how the one before it ended, so that starts of which nothing is known are found one after the
other.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Protocol

from collector import books, ranges
from collector.books import HeldRanges, Quarantined
from collector.clock import EARLIEST_NS
from collector.metrics import Metrics
from collector.ranges import Range
from collector.state.asked import Asked, Asking
from collector.stores import Store, Unavailable
from collector.stores.answers import DeviceFacts, EventSeen, Hole, LaneKey
from shared import topics, wire
from shared.records import Ack

EVERY_S = 5.0
PAUSE_S_MAX = 3600.0
"""A device is asked again after a pause that doubles, up to this."""

HEARD_S = 90.0
"""Who was not heard for so long is not asked: nobody keeps an ack for it."""

SECOND_NS = 10**9

_log = logging.getLogger(__name__)


class Publish(Protocol):
    """Sends an ack."""

    def __call__(self, topic: str, payload: bytes) -> bool:
        """False when it could not be sent."""


class Quarantine(Protocol):
    """Where batches are that could not be stored: those are not asked for."""

    def of_device(self, site: str, device: str) -> list[Quarantined]:
        """Those of a device whose header could be read."""


class Gaps:
    """The thread that asks.

    Args:
        store: Where batches are.
        quarantine: Where they are that could not be stored.
        asked: The requests that are open.
        metrics: Counts what is asked.
        publish: Sends an ack.
        after_s: How long a batch may be missing before it is asked for; also the first pause.
        tries: How often it is asked for before that is told to be in vain.
        clock: Wall time in ns.
        synced: Whether a time service keeps it.
    """

    def __init__(  # noqa: PLR0913  # the parts it joins, and their settings by name
        self,
        store: Store,
        quarantine: Quarantine,
        asked: Asked,
        metrics: Metrics,
        publish: Publish,
        *,
        after_s: float = 120.0,
        tries: int = 5,
        clock: Callable[[], int] = time.time_ns,
        synced: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._quarantine = quarantine
        self._asked = asked
        self._metrics = metrics
        self._publish = publish
        self._after_ns = int(after_s * SECOND_NS)
        self._tries = tries
        self._clock = clock
        self._synced = synced
        self._every_s = min(EVERY_S, after_s / 2)
        self._failing = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="gaps", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def look(self) -> None:
        """Ask for what is missing for long enough, and tell what asking did not bring.

        Raises:
            Unavailable: The store or the state cannot be used now.
        """
        now_ns = self._clock()
        if now_ns < EARLIEST_NS:
            return  # our clock is in doubt: nothing would be taken in, and what is told would stand in 1970
        asked = self._asked.all()
        facts = {(one.site, one.device): one for one in self._store.devices()}
        lanes = {lane: list(holes) for lane, holes in groupby(self._store.holes(), key=lambda hole: hole.lane)}
        keep: list[Asking] = []
        forget: list[LaneKey] = []
        told: list[EventSeen] = []
        missing = 0
        for device, of_device in groupby(sorted({*lanes, *asked}), key=lambda lane: (lane.site, lane.device)):
            one = facts.get(device)
            held = books.held_ranges(one.held if one else None)
            away = self._away(device)
            for lane in of_device:
                known = asked.get(lane)
                exists, due = _due(lane, lanes.get(lane, []), away, held, now_ns - self._after_ns)
                missing += ranges.size(due)
                after = self._ask(lane, due, known, now_ns) if _heard(one, now_ns) else known
                after = self._judge(after, known, exists, due, now_ns, told)
                if after is None and known is not None:
                    forget.append(lane)
                elif after is not None and after != known:
                    keep.append(after)
        if keep or forget or told:
            self._asked.change(keep, forget, told)
        for event in told:
            _log.warning("%s/%s: %s: %s", event.site, event.device, event.name, event.detail)
        self._metrics.batches_missing.set(missing)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self._try_look()

    def _try_look(self) -> None:
        try:
            self.look()
        except Unavailable as error:
            if not self._failing:
                _log.warning("what is missing cannot be asked for now: %s", error.reason)
            self._failing = True
        except Exception:  # noqa: BLE001  # what is not asked for now is asked for later
            _log.exception("looking for gaps failed; the next look goes on")
        else:
            self._failing = False

    def _away(self, device: tuple[str, str]) -> Mapping[tuple[int, str, str], list[Range]]:
        """Numbers of a device's batches in quarantine."""
        found: dict[tuple[int, str, str], list[int]] = {}
        for one in self._quarantine.of_device(*device):
            found.setdefault((one.epoch, one.nonce, one.lane), []).append(one.batch)
        return {lane: ranges.of(numbers) for lane, numbers in found.items()}

    def _ask(self, lane: LaneKey, due: list[Range], known: Asking | None, now_ns: int) -> Asking | None:
        """Ask the device, where it is time to; the request as it is then."""
        if not due or (known is not None and now_ns < known.at_ns + self._pause_ns(known)):
            return known
        ack = Ack(lane.nonce, lane.epoch, lane.lane, now_ns, resend=tuple(due), synced=self._synced())
        if not self._publish(topics.ack(lane.site, lane.device), wire.encode(ack)):
            return known
        self._metrics.resend_requests.inc()
        # Where some came since, or others went missing, asking begins anew.
        same = known is not None and ranges.joined(known.ranges) == due
        if known is None or not same:
            if known is None:
                text = f"{lane.lane} batches {ranges.words(due)} of start {lane.epoch}"
                _log.info("%s/%s is asked to send again %s", lane.site, lane.device, text)
            since_ns = known.since_ns if known else now_ns
            return Asking(lane, since_ns, now_ns, 1, tuple(due), known.remains if known else ())
        return Asking(lane, known.since_ns, now_ns, known.tries + 1, tuple(due), known.remains)

    def _judge(  # what was, what is, and where to tell of it
        self,
        after: Asking | None,
        known: Asking | None,
        exists: list[Range],
        due: list[Range],
        now_ns: int,
        told: list[EventSeen],
    ) -> Asking | None:
        """Tell once what asking did not bring, and once that it came after all; the request, while it is open."""
        if after is None:
            return None
        lane = after.lane
        remains = ranges.both(exists, ranges.joined(after.remains))
        if after.remains and not remains and self._came(lane, after.remains[0][0]):
            text = f"{lane.lane} batches {ranges.words(after.remains)} of start {lane.epoch} came after all"
            told.append(EventSeen(lane.site, lane.device, None, now_ns, "gap_filled", text))
        in_vain = ranges.without(due, remains)
        if known is not None and after.tries > self._tries and in_vain:
            text = (
                f"{lane.lane} batches {ranges.words(in_vain)} of start {lane.epoch} ({lane.nonce}) did not come, asked "
                f"for {known.tries} times: the device does not have them any more"
            )
            told.append(EventSeen(lane.site, lane.device, None, now_ns, "gap_remains", text))
            remains = ranges.joined([*remains, *in_vain])
        if not exists:
            return None
        return Asking(lane, after.since_ns, after.at_ns, after.tries, after.ranges, tuple(remains))

    def _came(self, lane: LaneKey, number: int) -> bool:
        """Whether a batch is there; a hole may also go because the store forgot it."""
        found = self._store.entries(lane, number - 1, 1)
        return bool(found) and found[0].batch == number

    def _pause_ns(self, known: Asking) -> int:
        doubled: int = self._after_ns << min(known.tries - 1, 30)
        return min(int(PAUSE_S_MAX * SECOND_NS), doubled)


def _due(
    lane: LaneKey,
    holes: Iterable[Hole],
    away: Mapping[tuple[int, str, str], list[Range]],
    held: HeldRanges,
    before_ns: int,
) -> tuple[list[Range], list[Range]]:
    """What is missing of a lane and not in quarantine; and of that what the device does not hold, for long enough."""
    start = (lane.epoch, lane.nonce)
    quarantined = away.get((*start, lane.lane), [])
    exists, old = [], []
    for hole in holes:
        exists.append((hole.first, hole.last))
        if hole.since_ns <= before_ns:
            old.append((hole.first, hole.last))
    waiting = held.get((*start, lane.lane), [])
    return (
        ranges.without(ranges.joined(exists), quarantined),
        ranges.without(ranges.without(ranges.joined(old), quarantined), waiting),
    )


def _heard(facts: DeviceFacts | None, now_ns: int) -> bool:
    return facts is not None and facts.seen_ns is not None and now_ns - facts.seen_ns <= HEARD_S * SECOND_NS
