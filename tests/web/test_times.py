"""Times are read as RFC 3339 says, to the nanosecond, and written in UTC."""

import pytest

from collector.timestamps import rfc3339
from collector.web.times import duration_words, parse_duration, parse_time

NOW = 1_777_000_000_123_456_789


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-05-01T06:00:00Z", 1_777_615_200_000_000_000),
        ("2026-05-01T08:00:00+02:00", 1_777_615_200_000_000_000),
        ("2026-05-01T08:00:00 02:00", 1_777_615_200_000_000_000),
        ("2026-05-01T03:30:00-02:30", 1_777_615_200_000_000_000),
        ("2026-05-01t06:00:00.5z", 1_777_615_200_500_000_000),
        ("2026-05-01T06:00:00.123456789Z", 1_777_615_200_123_456_789),
        ("now", NOW),
        ("-90s", NOW - 90 * 10**9),
        ("-24h", NOW - 86_400 * 10**9),
        ("-7d", NOW - 7 * 86_400 * 10**9),
        ("-2w", NOW - 14 * 86_400 * 10**9),
        ("-999999d", 0),
    ],
)
def test_a_time_is_read_to_the_nanosecond(text, at_ns):
    assert parse_time(text, NOW) == at_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-05-01",
        "2026-05-01T06:00:00",
        "2026-02-30T06:00:00Z",
        "2026-05-01T25:00:00Z",
        "2026-05-01T06:00:00+25:00",
        "1969-12-31T23:59:59Z",
        "9999-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:00",
        "-7y",
        "7d",
        "- 7d",
        "1777615200",
        "\uff12\uff10\uff12\uff16-05-01T06:00:00Z",  # digits, but not ours
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_time(text, NOW)


def test_a_written_time_reads_back():
    assert rfc3339(NOW) == "2026-04-24T03:06:40.123Z"
    assert parse_time(rfc3339(NOW), 0) == NOW // 10**6 * 10**6


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1m", 60), ("6h", 21_600), ("1d", 86_400), ("1w", 604_800)]
)
def test_a_duration_is_read(text, seconds):
    assert parse_duration(text) == seconds * 10**9


@pytest.mark.parametrize("text", ["", "0s", "-1m", "1", "m", "1y", "1.5h", "1 h", "9999999s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (4.9, "4 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (7300, "2 h"),
        (90_000, "1 day"),
        (200_000, "2 days"),
    ],
)
def test_a_duration_in_words_has_one_unit(seconds, words):
    assert duration_words(seconds) == words
