"""The ledgers of devices: the store's books, what is in quarantine, what still waits, what was asked for again."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from collector import books
from collector.books import FOREVER_NS, Quarantined
from collector.queries.asking import Json, NotFound
from collector.state.asked import Asking
from collector.stores import Store
from collector.stores.answers import DeviceFacts, LaneKey
from collector.timestamps import rfc3339

if TYPE_CHECKING:
    from shared.records import Lane

PAGE = 5000


class Quarantine(Protocol):
    """Where batches are that could not be stored."""

    def of_device(self, site: str, device: str) -> list[Quarantined]:
        """Those of a device whose header could be read."""

    def devices(self) -> set[tuple[str, str]]:
        """Site and name of each device that has one of those."""


class Asked(Protocol):
    """What devices were asked to send again."""

    def of_device(self, site: str, device: str) -> Mapping[LaneKey, Asking]:
        """The requests to a device that are open."""


class Accounts:
    """Ledgers over a store, a quarantine and the requests that are open; the last two may be None."""

    def __init__(self, store: Store, quarantine: Quarantine | None, asked: Asked | None) -> None:
        self._store = store
        self._quarantine = quarantine
        self._asked = asked

    def of(
        self, site: str, device: str, from_ns: int | None = None, to_ns: int | None = None, *, digests: bool = False
    ) -> Json:
        """The whole account of a device, or of the batches sealed in a range.

        Raises:
            NotFound: The device was never heard of.
            Unavailable: The store or the state cannot be read.
        """
        facts = next((one for one in self._store.devices() if (one.site, one.device) == (site, device)), None)
        account = self._of(site, device, facts, from_ns, to_ns)
        if facts is None and not account["epochs"]:
            raise NotFound(f"there is no device {site}/{device}")
        self._add_asked(site, device, account)
        if digests:
            self._add_digests(site, device, account)
        return account

    def balances(self, facts: Sequence[DeviceFacts]) -> dict[tuple[str, str], Json]:
        """What was captured and sealed, what waits and what is missing: from the sums alone where nothing is."""
        sums = {(one.site, one.device): one for one in self._store.balances()}
        quarantined = self._quarantine.devices() if self._quarantine else set()
        found: dict[tuple[str, str], Json] = {}
        for one in facts:
            key = (one.site, one.device)
            balance = sums.get(key)
            if key in quarantined or (balance is not None and balance.missing):
                account = self._of(*key, one, None, None)
                found[key] = {name: account[name] for name in ("captured", "sealed", "missing", "waiting")}
            else:
                captured, sealed = (balance.captured, balance.sealed) if balance else (0, 0)
                found[key] = {"captured": captured, "sealed": sealed, "missing": 0, "waiting": 0}
        return found

    def _of(self, site: str, device: str, facts: DeviceFacts | None, from_ns: int | None, to_ns: int | None) -> Json:
        epochs = self._store.ledger(site, device, from_ns, to_ns)
        quarantined = self._quarantine.of_device(site, device) if self._quarantine else []
        held = books.held_ranges(facts.held if facts else None)
        end_ns = FOREVER_NS if to_ns is None else to_ns
        return books.ledger(epochs, quarantined, held, from_ns or 0, end_ns)

    def _add_asked(self, site: str, device: str, account: Json) -> None:
        """Beside each lane of which something is missing: since when the device is asked for it, and how often."""
        asked = self._asked.of_device(site, device) if self._asked else {}
        for epoch in account["epochs"]:
            for name, lane in epoch["batches"].items():
                asking = asked.get(LaneKey(site, device, epoch["epoch"], epoch["nonce"], cast("Lane", name)))
                lane["asked"] = None if asking is None else _asked(asking)

    def _add_digests(self, site: str, device: str, account: Json) -> None:
        for epoch in account["epochs"]:
            for name, lane in epoch["batches"].items():
                key = LaneKey(site, device, epoch["epoch"], epoch["nonce"], cast("Lane", name))
                lane["digest"] = digest(self._store, key)


def _asked(asking: Asking) -> Json:
    return {
        "since": rfc3339(asking.since_ns),
        "at": rfc3339(asking.at_ns),
        "times": asking.tries,
        "in_vain": bool(asking.remains),
    }


def digest(store: Store, lane: LaneKey) -> Json:
    """One figure for two who compare what they have: sha256 over a line `number sha256` for each batch, ascending."""
    over, count, first, last = hashlib.sha256(), 0, 0, 0
    while entries := store.entries(lane, last, PAGE):
        over.update(b"".join(b"%d %s\n" % (entry.batch, entry.sha256.encode()) for entry in entries))
        first, last = first or entries[0].batch, entries[-1].batch
        count += len(entries)
    return {"first": first, "last": last, "batches": count, "sha256": over.hexdigest()}
