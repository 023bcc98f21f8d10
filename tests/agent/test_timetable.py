"""When a stream is to be awake: the plan's arithmetic, against the clock on the wall."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.sun import Place
from agent.timetable import SECOND_NS, Timetable, period_s, zone

BERLIN = ZoneInfo("Europe/Berlin")
BERLIN_AT, TROMSO_AT = Place(52.52, 13.405), Place(69.65, 18.96)
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Auckland", "UTC"]


def ns(text: str, local=BERLIN, fold: int = 0) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=local, fold=fold).timestamp()) * SECOND_NS


def awake_times(table: Timetable, begin: str, end: str) -> list[tuple[str, str]]:
    """The stretches of being awake that begin in a range, as the clock shows them."""
    found, now, until = [], ns(begin, table.zone), ns(end, table.zone)
    while (start := table.next_awake_ns(now)) is not None and start < until:
        now = start
        while table.at(now).awake:
            now = table.at(now).until_ns
        found.append((table.local(start), table.local(now)))
    return found


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [(0.5, 0.5), (600, 600), ("10 min", 600), ("10min", 600), ("40 ms", 0.04), ("1.5 h", 5400), ("1 d", 86_400)],
)
def test_a_period_is_seconds_or_a_length_in_words(given_: float | str, seconds: float) -> None:
    assert period_s(given_) == pytest.approx(seconds)


@pytest.mark.parametrize("wrong", [0, -1, 90_000, "10", "ten min", "5 weeks", "", "2 d", float("nan")])
def test_a_period_that_is_none_is_refused(wrong: float | str) -> None:
    with pytest.raises(ValueError, match="got "):
        period_s(wrong)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("6-20", "must be two times of the day"),
        ("06:00", "must be two times of the day"),
        ("06:60-20:00", "must have times from 00:00 to 24:00"),
        ("06:00-24:01", "must have times from 00:00 to 24:00"),
        ("24:00-06:00", "must begin before 24:00"),
        ("06:00-06:00", "must end at another time than it begins"),
        ("06:00+30min-20:00", "may add to sunrise and sunset only"),
        ("sunrise-13h-sunset", "must stay within 12 h"),
        ("sunrise+8h-sunset-8h", "must leave some time of some day"),
        ("sunrise-02:00", "must leave some time of some day"),
    ],
)
def test_a_range_that_is_none_names_its_rule(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as raised:
        Timetable(["06:00-20:00", text], BERLIN, Place(0, 13))
    assert repr(text) in str(raised.value)


def test_the_sun_needs_a_place() -> None:
    with pytest.raises(ValueError, match="needs 'location'"):
        Timetable(["sunrise-sunset"], BERLIN)


def test_a_zone_that_is_none_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"such as Europe/Berlin, got 'Mars/Olympus'.*apt install tzdata"):
        zone("Mars/Olympus")


def test_the_devices_own_zone_is_the_default(monkeypatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    assert datetime(2026, 1, 1, tzinfo=zone("")).utcoffset() == timedelta(hours=5.5)
    monkeypatch.setenv("TZ", "no such zone")
    assert zone("") is timezone.utc
    monkeypatch.delenv("TZ")
    assert zone("").utcoffset(datetime(2026, 1, 1)) is not None  # noqa: DTZ001  # the zone is what is asked


def test_days_and_nights_alternate() -> None:
    table = Timetable(["06:00-20:30"], BERLIN)
    assert awake_times(table, "2026-01-10T12:00", "2026-01-12T12:00") == [
        ("2026-01-10 12:00 CET", "2026-01-10 20:30 CET"),
        ("2026-01-11 06:00 CET", "2026-01-11 20:30 CET"),
        ("2026-01-12 06:00 CET", "2026-01-12 20:30 CET"),
    ]


def test_a_range_over_midnight_is_one_stretch() -> None:
    table = Timetable(["22:00-02:00"], BERLIN)
    assert table.at(ns("2026-01-10T01:59")).awake
    assert not table.at(ns("2026-01-10T02:00")).awake
    assert awake_times(table, "2026-01-10T12:00", "2026-01-11T12:00") == [
        ("2026-01-10 22:00 CET", "2026-01-11 02:00 CET")
    ]


def test_ranges_that_touch_or_overlap_are_one() -> None:
    table = Timetable(["12:00-24:00", "00:00-05:00", "04:00-06:00"], BERLIN)
    assert awake_times(table, "2026-01-10T07:00", "2026-01-11T07:00") == [
        ("2026-01-10 12:00 CET", "2026-01-11 06:00 CET")
    ]


def test_a_clock_put_forward_leaves_a_time_out() -> None:
    """On 29 March 2026 there is no 02:30 in Berlin: it stands for 03:00, the moment of the change."""
    until, begin = Timetable(["01:00-02:30"], BERLIN), Timetable(["02:30-06:00"], BERLIN)
    day = ("2026-03-29T00:00", "2026-03-29T12:00")
    assert awake_times(until, *day) == [("2026-03-29 01:00 CET", "2026-03-29 03:00 CEST")]
    assert awake_times(begin, *day) == [("2026-03-29 03:00 CEST", "2026-03-29 06:00 CEST")]


def test_a_clock_put_back_brings_a_time_twice() -> None:
    """On 25 October 2026 Berlin has 02:30 twice: a range begins at the first, and ends at the last."""
    until, begin = Timetable(["01:00-02:30"], BERLIN), Timetable(["02:30-06:00"], BERLIN)
    day = ("2026-10-25T00:00", "2026-10-25T12:00")
    assert awake_times(until, *day) == [("2026-10-25 01:00 CEST", "2026-10-25 02:30 CET")]
    assert awake_times(begin, *day) == [("2026-10-25 02:30 CEST", "2026-10-25 06:00 CET")]


def test_the_sun_moves_a_range_through_the_year() -> None:
    table = Timetable(["sunrise-30min-sunset+30min"], BERLIN, BERLIN_AT)
    assert awake_times(table, "2026-06-21T00:00", "2026-06-21T23:59") == [
        ("2026-06-21 04:13 CEST", "2026-06-21 22:03 CEST")
    ]
    ((rise, sets),) = awake_times(table, "2026-12-21T00:00", "2026-12-21T23:59")
    assert (rise[:13], sets[:13]) == ("2026-12-21 07", "2026-12-21 16")


def test_the_night_is_what_is_not_the_day() -> None:
    day, night = (Timetable([text], BERLIN, BERLIN_AT) for text in ("sunrise-sunset", "sunset-sunrise"))
    for minute in range(0, 2 * 1440, 7):
        now = ns("2026-03-28T12:00") + minute * 60 * SECOND_NS
        assert day.at(now).awake != night.at(now).awake


def test_a_polar_day_never_ends_and_a_polar_night_never_wakes() -> None:
    day, night = (
        Timetable([text], ZoneInfo("Europe/Oslo"), TROMSO_AT) for text in ("sunrise-sunset", "sunset-sunrise")
    )
    june, december = (ns(f"2026-{month}-15T00:00", day.zone) for month in ("06", "12"))
    for minute in range(0, 5 * 1440, 5):
        step = minute * 60 * SECOND_NS
        assert day.at(june + step).awake
        assert not night.at(june + step).awake
        assert not day.at(december + step).awake
        assert night.at(december + step).awake
    wakes = day.next_awake_ns(december)
    assert wakes is not None
    assert day.local(wakes)[:7] == "2027-01", "it wakes when the sun is back"


@settings(deadline=None)
@given(
    minutes=st.tuples(st.integers(0, 1439), st.integers(0, 1440)).filter(lambda two: two[0] != two[1]),
    name=st.sampled_from(ZONES),
    at_s=st.integers(1_735_689_600, 1_861_920_000),
)
@example(minutes=(150, 360), name="Europe/Berlin", at_s=1_792_890_000)  # the second 02:20 of the night in October
def test_awake_is_what_the_clock_on_the_wall_says(minutes, name, at_s) -> None:
    """Whenever the clock shows a time of the range, the stream is awake; and else only in an hour that comes twice."""
    local = ZoneInfo(name)
    begin, end = minutes
    table = Timetable([f"{begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}"], local)
    moment = datetime.fromtimestamp(at_s, local)
    shown = moment.hour * 60 + moment.minute
    within = begin <= shown < end if begin < end else shown >= begin or shown < end
    awake = table.at(at_s * SECOND_NS).awake
    turned_back = any(
        (moment + timedelta(hours=hours)).replace(fold=0).utcoffset()
        != (moment + timedelta(hours=hours)).replace(fold=1).utcoffset()
        for hours in range(-2, 3)
    )
    assert awake == within or (turned_back and awake)


@settings(deadline=None)
@given(
    texts=st.lists(st.sampled_from(["06:00-20:30", "22:00-02:00", "sunrise-1h-sunset", "23:30-00:15"]), min_size=1),
    name=st.sampled_from(ZONES),
    at_s=st.integers(1_735_689_600, 1_861_920_000),
)
def test_stretches_follow_each_other_and_alternate(texts, name, at_s) -> None:
    table = Timetable(texts, ZoneInfo(name), Place(48.0, 11.0))
    now = at_s * SECOND_NS
    for _ in range(12):
        here = table.at(now)
        assert here.from_ns <= now < here.until_ns
        assert table.at(here.until_ns - 1) == here, "one stretch, wherever it is asked for"
        fresh = Timetable(texts, ZoneInfo(name), Place(48.0, 11.0))
        assert fresh.at(here.until_ns - 1).awake == here.awake, "and by whomever"
        now = here.until_ns
