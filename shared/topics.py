"""The one place that spells MQTT topics.

`vigie/v1/<site>/<device>/status|batch|ack|desired` and
`vigie/v1/<site>/<device>/snapshot/<stream>/<captured_at_ns>`.
Some brokers deliver messages that a subscription does not match (amqtt does with retained ones),
so every received topic goes through `parse`.
"""

import re
from dataclasses import dataclass
from typing import Literal, cast

PREFIX = "vigie/v1"

Kind = Literal["status", "batch", "ack", "desired", "snapshot"]

SLUG_PATTERN = "[a-z0-9][a-z0-9-]{1,31}"
SLUG_RULE = "2 to 32 characters of a-z, 0-9 and '-', not starting with '-'"

_SLUG = re.compile(SLUG_PATTERN)
_TOPIC = re.compile(
    rf"{PREFIX}/(?P<site>{SLUG_PATTERN})/(?P<device>{SLUG_PATTERN})/"
    rf"(?:(?P<kind>status|batch|ack|desired)"
    rf"|snapshot/(?P<stream>{SLUG_PATTERN})/(?P<captured_at_ns>[1-9][0-9]{{0,18}}))"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a message comes from or goes to.

    Attributes:
        site: Slug of the site.
        device: Slug of the device, unique within its site.
        kind: What the message is.
        stream: The stream of a snapshot, else None.
        captured_at_ns: Wall time of a snapshot's frame in ns since 1970, else None.
    """

    site: str
    device: str
    kind: Kind
    stream: str | None = None
    captured_at_ns: int | None = None


class NotOurs(ValueError):
    """Raised for a topic that is none of Vigie's."""


def is_slug(name: str) -> bool:
    """Whether `name` may name a site, a device or a stream (`SLUG_RULE`)."""
    return _SLUG.fullmatch(name) is not None


def prefix(site: str, device: str) -> str:
    """What all topics of a device begin with."""
    return f"{PREFIX}/{site}/{device}/"


def status(site: str, device: str) -> str:
    """Topic of the retained birth, and of the last will."""
    return f"{PREFIX}/{site}/{device}/status"


def batch(site: str, device: str) -> str:
    """Topic of sealed batches."""
    return f"{PREFIX}/{site}/{device}/batch"


def ack(site: str, device: str) -> str:
    """Topic on which the collector answers a device."""
    return f"{PREFIX}/{site}/{device}/ack"


def desired(site: str, device: str) -> str:
    """Topic of what a device should run; reserved for fleet management."""
    return f"{PREFIX}/{site}/{device}/desired"


def snapshot(site: str, device: str, stream: str, captured_at_ns: int) -> str:
    """Topic of one JPEG; stream and capture time name the frame."""
    return f"{PREFIX}/{site}/{device}/snapshot/{stream}/{captured_at_ns}"


def every(kind: Literal["status", "batch", "snapshot"]) -> str:
    """Filter that matches `kind` of every device."""
    return f"{PREFIX}/+/+/snapshot/+/+" if kind == "snapshot" else f"{PREFIX}/+/+/{kind}"


def shared_subscription(group: str, topic_filter: str) -> str:
    """`topic_filter` as a subscription whose messages the members of `group` divide among themselves."""
    return f"$share/{group}/{topic_filter}"


def parse(topic: str) -> Address:
    """Read a topic.

    Raises:
        NotOurs: It is no topic of Vigie, or a part of it breaks its rule.
    """
    found = _TOPIC.fullmatch(topic)
    if found is None:
        raise NotOurs(
            f"{topic!r} is no topic of Vigie: {PREFIX}/<site>/<device>/<kind>, where site, device and stream are "
            f"{SLUG_RULE}, and a capture time is a count of ns"
        )
    captured_at = found["captured_at_ns"]
    return Address(
        site=found["site"],
        device=found["device"],
        kind=cast("Kind", found["kind"] or "snapshot"),
        stream=found["stream"],
        captured_at_ns=int(captured_at) if captured_at else None,
    )
