"""How many names a device may make up: what a store indexes by must not grow with each message.

Sites, devices and streams are counted over all time, from the store at the start of the collector. Makers and starts
come and go over the years, so new ones are counted by the day, by this process alone. A class is a number below a
limit.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from collector.admit import Admitted, GoodBatch, GoodSnapshot, Ignored, Message, bad
from collector.stores.answers import DeviceFacts, ReceivedStatus
from shared import topics
from shared.records import Batch, Detail, Maker, ModelInfo, Previous, Tombstone, Window

DAY_NS = 86_400 * 10**9

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeriesLimits:
    """As in the configuration's `limits`."""

    sites: int = 1000
    devices_per_site: int = 1000
    streams_per_device: int = 256
    makers_per_day: int = 1000
    starts_per_day: int = 5000
    classes_per_model: int = 100_000


class _Daily:
    """Names that are new within a day, as hashes; forgotten when the day is over."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._since_ns = 0

    def take(self, names: Iterable[object], most: int, now_ns: int) -> bool:
        """Take note of names; False, and none of them is noted, when that would be more than `most` in a day."""
        if not 0 <= now_ns - self._since_ns < DAY_NS:
            self._known, self._since_ns = set(), now_ns
        new = {hash(name) for name in names} - self._known
        if new and len(self._known) + len(new) > most:
            return False
        self._known |= new
        return True


class _Device:
    def __init__(self, streams: Iterable[str] = ()) -> None:
        self.streams = set(streams)
        self.makers, self.starts = _Daily(), _Daily()


class Series:
    """What is known of the devices' names, and whether a message may add to it."""

    def __init__(self, limits: SeriesLimits) -> None:
        self._limits = limits
        self._sites: dict[str, dict[str, _Device]] = {}
        self._told: set[str] = set()

    def recall(self, devices: Iterable[DeviceFacts]) -> None:
        """Take note of what a store holds already, whatever the limits."""
        for facts in devices:
            self._sites.setdefault(facts.site, {}).setdefault(facts.device, _Device()).streams.update(facts.streams)

    def judged(self, message: Message, one: Admitted) -> Admitted:
        """The same, where its names fit; else why not.

        A device for which there is no room keeps what it has: it is neither acked nor refused. A known device that
        makes up too many names has the message quarantined and refused.
        """
        if not isinstance(one, GoodBatch | ReceivedStatus | GoodSnapshot):
            return one
        address = topics.parse(message.topic)
        problem = self._no_room(address.site, address.device)
        if problem:
            self._tell(problem)
            return Ignored("too_many_devices")
        device = self._sites.setdefault(address.site, {}).setdefault(address.device, _Device())
        problem = self._names_problem(device, one, message.received_at_ns)
        if problem:
            header = one.received.batch.header if isinstance(one, GoodBatch) else None
            return bad(message, address, "too_many_series", problem, header)
        return one

    def _no_room(self, site: str, device: str) -> str | None:
        devices = self._sites.get(site)
        if devices is None and len(self._sites) >= self._limits.sites:
            return f"there are {len(self._sites)} sites, as many as limits.sites allows: others keep their data"
        if devices is not None and device not in devices and len(devices) >= self._limits.devices_per_site:
            return (
                f"site {site} has {len(devices)} devices, as many as limits.devices_per_site allows: "
                "others keep their data"
            )
        return None

    def _tell(self, problem: str) -> None:
        """Once each; there are no more of them than sites."""
        if problem not in self._told:
            self._told.add(problem)
            _log.error("%s", problem)

    def _names_problem(
        self, device: _Device, one: GoodBatch | ReceivedStatus | GoodSnapshot, now_ns: int
    ) -> str | None:
        limits = self._limits
        new = set(_streams(one)) - device.streams
        if new and len(device.streams) + len(new) > limits.streams_per_device:
            return (
                f"with it its device has {len(device.streams) + len(new)} streams, limits.streams_per_device allows "
                f"{limits.streams_per_device}"
            )
        if isinstance(one, GoodBatch):
            batch = one.received.batch
            highest = max(_classes(batch), default=0)
            if highest >= limits.classes_per_model:
                return f"it holds class {highest}, limits.classes_per_model allows {limits.classes_per_model} classes"
            if not device.makers.take(_makers(batch), limits.makers_per_day, now_ns):
                return (
                    f"its device named more makers in a day than the {limits.makers_per_day} of limits.makers_per_day"
                )
        if not device.starts.take(_starts(one), limits.starts_per_day, now_ns):
            return f"its device told of more starts in a day than the {limits.starts_per_day} of limits.starts_per_day"
        device.streams |= new
        return None


def _streams(one: GoodBatch | ReceivedStatus | GoodSnapshot) -> Iterator[str]:
    if isinstance(one, GoodSnapshot):
        yield one.stream
    elif isinstance(one, ReceivedStatus):
        yield from one.status.streams
    elif isinstance(one.received.batch.body, Detail):
        yield from one.received.batch.header.streams
    else:
        for record in one.received.batch.body.records:
            if isinstance(record, Window | ModelInfo):
                yield record.stream
            elif isinstance(record, Previous | Tombstone):
                yield from record.streams


def _makers(batch: Batch) -> Iterator[Maker]:
    if isinstance(batch.body, Detail):
        yield from (block.maker for block in batch.body.blocks)
    else:
        yield from (record.maker for record in batch.body.records if isinstance(record, Window | ModelInfo))


def _starts(one: GoodBatch | ReceivedStatus | GoodSnapshot) -> Iterator[tuple[int, str]]:
    if isinstance(one, ReceivedStatus):
        yield one.status.epoch, one.status.nonce
    elif isinstance(one, GoodBatch):
        batch = one.received.batch
        yield batch.header.epoch, batch.header.nonce
        if not isinstance(batch.body, Detail):
            yield from (
                (record.epoch, record.nonce)
                for record in batch.body.records
                if isinstance(record, Previous | Tombstone)
            )


def _classes(batch: Batch) -> Iterator[int]:
    if isinstance(batch.body, Detail):
        for block in batch.body.blocks:
            for seen in block.observations:
                yield from (found.class_id for found in seen.detections)
                yield from (guess.class_id for guess in seen.classes)
    else:
        for record in batch.body.records:
            if isinstance(record, Window):
                yield from (count.class_id for count in record.classes)
            elif isinstance(record, ModelInfo):
                yield len(record.names) - 1
