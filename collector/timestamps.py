"""Instants as the API writes them: RFC 3339 in UTC, to the millisecond."""

from datetime import UTC, datetime

SECOND_NS = 1_000_000_000
MS_NS = 1_000_000


def rfc3339(at_ns: int) -> str:
    """A time in ns since 1970, e.g. `2026-11-23T18:00:00.000Z`; milliseconds are cut, not rounded."""
    seconds, rest = divmod(at_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // MS_NS:03d}Z"


def rfc3339_or_none(at_ns: int | None) -> str | None:
    """As `rfc3339`; None stays None."""
    return None if at_ns is None else rfc3339(at_ns)
