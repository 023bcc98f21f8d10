"""Sunrise and sunset against an almanac, and against the sun's own height."""

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sun import DAY_S, Place, daylight, elevation

BERLIN, NAIROBI = Place(52.52, 13.405), Place(-1.286, 36.817)
SYDNEY, ANCHORAGE, TROMSO = Place(-33.868, 151.209), Place(61.217, -149.9), Place(69.65, 18.96)


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("place", "noon", "sunrise", "sunset"),
    [
        # By the library astral 3.2, which uses other code for the same definition of a sunrise.
        (BERLIN, "2026-06-21T11:00", "2026-06-21T02:43", "2026-06-21T19:33"),
        (BERLIN, "2026-12-21T11:00", "2026-12-21T07:15", "2026-12-21T14:54"),
        (NAIROBI, "2026-03-20T09:00", "2026-03-20T03:37", "2026-03-20T15:43"),
        (SYDNEY, "2026-12-21T02:00", "2026-12-20T18:41", "2026-12-21T09:05"),
        (ANCHORAGE, "2026-06-21T21:00", "2026-06-21T12:21", "2026-06-22T07:42"),
    ],
)
def test_sunrise_and_sunset_are_those_of_the_almanac(place, noon, sunrise, sunset) -> None:
    found = daylight(place, utc(noon))
    assert found.sunrise_s == pytest.approx(utc(sunrise), abs=60)
    assert found.sunset_s == pytest.approx(utc(sunset), abs=60)


@settings(deadline=None)
@given(
    latitude=st.floats(-64, 64),
    longitude=st.floats(-180, 180),
    noon_s=st.floats(utc("2020-01-01"), utc("2060-01-01")),
)
def test_the_sun_stands_at_the_horizon_then(latitude, longitude, noon_s) -> None:
    place = Place(latitude, longitude)
    found = daylight(place, noon_s)
    assert elevation(place, found.sunrise_s) == pytest.approx(-0.833, abs=0.02)
    assert elevation(place, found.sunset_s) == pytest.approx(-0.833, abs=0.02)
    assert found.sunrise_s < found.sunset_s < found.sunrise_s + DAY_S


def test_a_polar_day_follows_upon_the_day_before() -> None:
    one, two = (daylight(TROMSO, utc(f"2026-06-{day}T12:00")) for day in (20, 21))
    assert one.sunset_s == two.sunrise_s, "the sun does not set: there is no night between them"
    assert one.sunset_s - one.sunrise_s == pytest.approx(DAY_S, abs=60)


def test_a_polar_night_has_an_empty_day() -> None:
    found = daylight(TROMSO, utc("2026-12-21T11:00"))
    assert found.sunrise_s == found.sunset_s == pytest.approx(utc("2026-12-21T10:42"), abs=90), "at the sun's noon"


@settings(deadline=None)
@given(st.floats(-89.9, 89.9), st.floats(-180, 180), st.integers(0, 730))
def test_no_place_and_day_is_too_odd(latitude, longitude, day) -> None:
    found = daylight(Place(latitude, longitude), utc("2026-01-01T12:00") + day * DAY_S)
    assert 0 <= found.sunset_s - found.sunrise_s <= DAY_S + 60
