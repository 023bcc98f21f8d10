"""Where observations, windows and the ledger are kept: a protocol, and one package or file per kind of store.

A store's `write` is idempotent: the keys were made at the device, so writing twice is writing once. It says what to
do next when it cannot write: `Rejected` for records that no retry would help, `Unavailable` for trying again later.
Constructors touch nothing; `open` opens.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from collector.stores.answers import (
    Balance,
    DeviceFacts,
    Entry,
    EpochBooks,
    EventSeen,
    Hole,
    LaneKey,
    ModelFacts,
    Pace,
    Place,
    Received,
    ReceivedStatus,
    Scope,
    Seen,
    VitalsSeen,
    Wanted,
    WindowSum,
    Written,
)

STORES = {"sqlite": "collector.stores.sqlite:SQLite"}
"""Kind -> module:class, imported when it is chosen."""


class Rejected(Exception):
    """Raised for batches that the store will never take; nothing of the call was written.

    Attributes:
        records: Indexes of the culprits in what was to be written, each with why; empty when the store cannot tell:
            then bisect.
        reason: Why, in one sentence.
    """

    def __init__(self, records: Mapping[int, str], reason: str) -> None:
        super().__init__(reason)
        self.records = dict(records)
        self.reason = reason


class Unavailable(Exception):
    """Raised when the store cannot be used now; nothing of the call was written, or it can be written again.

    Attributes:
        reason: Why, and what to do, in one sentence.
        retry_after_s: Seconds that the store asks to wait, or None.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Store(Protocol):
    """What every store can do. All methods may be called from several threads; each raises Unavailable."""

    def open(self) -> None:
        """Open it, creating what is missing. An open store stays as it is."""

    def close(self) -> None:
        """Close it; a closed store stays as it is."""

    def probe(self) -> None:
        """Raise Unavailable, with what to do, unless it can be written."""

    def write(self, batches: Sequence[Received]) -> list[Written]:
        """Write batches durably, all or none; the answer says what became of each, in their order.

        Raises:
            Rejected: Some of them can never be written.
        """

    def write_statuses(self, statuses: Sequence[ReceivedStatus]) -> None:
        """Write births and last wills, oldest first."""

    def expire(self, now_ns: int) -> int:
        """Delete what is older than the retention, in steps that never lock for long; the count of rows."""

    def devices(self) -> list[DeviceFacts]:
        """Every device that ever wrote, by site and device."""

    def models(self) -> list[ModelFacts]:
        """Every model that a device told of."""

    def observations(self, wanted: Wanted, before: Place | None, limit: int) -> list[Seen]:
        """Observations, newest first, from the first one after `before` in that order."""

    def windows(
        self, scope: Scope, from_ns: int, to_ns: int, every_ns: int | None, *, hours: bool = False
    ) -> list[WindowSum]:
        """Sums of the windows that start in the range, per stream, maker and bucket; `hours` takes those of an hour."""

    def ledger(self, site: str, device: str, from_ns: int | None = None, to_ns: int | None = None) -> list[EpochBooks]:
        """The books of every start of a device, oldest first; with a range only of batches sealed in it."""

    def balances(self) -> list[Balance]:
        """The sums of every device's ledger, cheaply: the fleet's page asks each second."""

    def holes(self) -> list[Hole]:
        """Batches of all devices that must exist and did not arrive, by lane and number; the first of each lane."""

    def entries(self, lane: LaneKey, after: int, limit: int) -> list[Entry]:
        """The ledger's entries of a lane in the order of their numbers, from the first one above `after`."""

    def frames(self, site: str, device: str, from_ns: int, to_ns: int) -> dict[tuple[int, str, str], list[int]]:
        """Numbers of the frames captured in the range that have an observation, by epoch, nonce and stream."""

    def events(self, scope: Scope, from_ns: int, to_ns: int, limit: int) -> list[EventSeen]:
        """Events, newest first."""

    def vitals(self, scope: Scope, from_ns: int, to_ns: int, limit: int) -> list[VitalsSeen]:
        """Vitals, newest first."""

    def paces(self, since_ns: int) -> list[Pace]:
        """How fast each stream has been, from its batches sealed since then."""


def create(kind: str, **options: object) -> Store:
    """A store of `kind`, not yet open.

    Raises:
        ValueError: There is no such kind; the message lists those that there are.
    """
    if kind not in STORES:
        raise ValueError(f"there is no store {kind!r}; known are {', '.join(STORES)}")
    module, _, name = STORES[kind].partition(":")
    return cast("Store", getattr(importlib.import_module(module), name)(**options))
