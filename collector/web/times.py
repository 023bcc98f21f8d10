"""Times and durations as the API writes and reads them."""

import re
from datetime import datetime, timedelta, timezone

SECOND_NS = 1_000_000_000

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

_RELATIVE = re.compile(r"-([0-9]{1,6})([smhdw])")
_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
# A '+' that was not written %2B arrives as a space: it can only have meant the offset's sign.
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+\- ])([0-9]{2}):([0-9]{2}))"
)

TIME_RULE = (
    "a time such as 2026-05-01T06:00:00Z or 2026-05-01T08:00:00%2B02:00 (RFC 3339), "
    "or one back from now such as -15m, -24h or -7d, or now"
)
DURATION_RULE = "a duration such as 10s, 1m, 1h or 1d"


def parse_time(text: str, now_ns: int) -> int:
    """Read a time in ns since 1970.

    Raises:
        ValueError: It does not follow `TIME_RULE`.
    """
    if text == "now":
        return now_ns
    if back := _RELATIVE.fullmatch(text):
        return max(0, now_ns - int(back[1]) * UNITS_S[back[2]] * SECOND_NS)
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    offset = timedelta(hours=int(found[9] or 0), minutes=int(found[10] or 0)) * (-1 if found[8] == "-" else 1)
    try:
        at = datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset))
        nanoseconds = int((found[7] or "").ljust(9, "0"))
        since = at - datetime(1970, 1, 1, tzinfo=timezone.utc)
    except OverflowError as error:
        raise ValueError(text) from error
    at_ns = (since.days * 86_400 + since.seconds) * SECOND_NS + nanoseconds
    if at_ns < 0 or at_ns >= 2**63:
        raise ValueError(text)
    return at_ns


def parse_duration(text: str) -> int:
    """Read a duration in ns.

    Raises:
        ValueError: It does not follow `DURATION_RULE`.
    """
    found = _DURATION.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise ValueError(text)
    return int(found[1]) * UNITS_S[found[2]] * SECOND_NS


def duration_words(seconds: float) -> str:
    """A duration as people say it: one unit, rounded down."""
    for size, word in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {'day' if word == 'days' and count == 1 else word}"
    return f"{max(0, int(seconds))} s"
