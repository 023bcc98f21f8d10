"""Sunrise and sunset at a place, to about a minute.

The equations are those of NOAA's Global Monitoring Laboratory ("Solar Calculation Details", after Jean Meeus,
"Astronomical Algorithms"): a fixed horizon of 0.833 degrees below level, for refraction and the sun's radius. Mountains
and weather move the light by more than the minute that the equations may be wrong.
"""

from math import acos, asin, cos, degrees, radians, sin, tan
from typing import NamedTuple

DAY_S = 86_400.0
_HORIZON = -0.833
"""The height of the sun's centre at sunrise and sunset, in degrees."""
_SECONDS_PER_DEGREE = 240.0
_ROUNDS = 3
_J2000_S = 946_728_000.0
"""1 January 2000, 12:00 UTC, in seconds since 1970."""


class Place(NamedTuple):
    """Where a device stands, in degrees: north and east are positive."""

    latitude: float
    longitude: float


class Daylight(NamedTuple):
    """A day's sunrise and sunset, in seconds since 1970.

    Where the sun does not set, they are the midnights around the sun's noon, so that day follows upon day. Where it
    does not rise, both are the sun's noon: the day is empty, and night follows upon night.
    """

    sunrise_s: float
    sunset_s: float


def daylight(place: Place, noon_s: float) -> Daylight:
    """The daylight around the sun's noon that is nearest to `noon_s`, noon by the clock in seconds since 1970."""
    mean_s = _mean_noon(place, noon_s)
    middle_s = _noon(mean_s)
    height = _cos_hour_angle(place, middle_s)
    if height < -1:
        return Daylight((_noon(mean_s - DAY_S) + middle_s) / 2, (middle_s + _noon(mean_s + DAY_S)) / 2)
    if height > 1:
        return Daylight(middle_s, middle_s)
    return Daylight(_crossing(place, mean_s, -1), _crossing(place, mean_s, 1))


def elevation(place: Place, at_s: float) -> float:
    """Height of the sun's centre above the horizon in degrees, without refraction."""
    declination, equation_s = _sun(at_s)
    hour_angle = ((at_s + equation_s) / _SECONDS_PER_DEGREE + place.longitude) % 360 - 180
    latitude = radians(place.latitude)
    return degrees(asin(sin(latitude) * sin(declination) + cos(latitude) * cos(declination) * cos(radians(hour_angle))))


def _crossing(place: Place, mean_s: float, side: int) -> float:
    """When the sun crosses the horizon before (-1) or after (1) the noon of a day."""
    at_s = _noon(mean_s)
    for _ in range(_ROUNDS):
        hour_angle = degrees(acos(min(1.0, max(-1.0, _cos_hour_angle(place, at_s)))))
        at_s = mean_s - _sun(at_s)[1] + side * hour_angle * _SECONDS_PER_DEGREE
    return at_s


def _mean_noon(place: Place, near_s: float) -> float:
    """Noon of an even sun, whose days are all equally long: the one nearest to `near_s`."""
    ahead_s = (near_s + place.longitude * _SECONDS_PER_DEGREE) % DAY_S - DAY_S / 2
    return near_s - ahead_s


def _noon(mean_s: float) -> float:
    """When the real sun stands highest on the day of an even sun's noon."""
    return mean_s - _sun(mean_s)[1]


def _cos_hour_angle(place: Place, at_s: float) -> float:
    """Cosine of the angle from noon to the horizon; below -1 the sun does not set, above 1 it does not rise."""
    declination = _sun(at_s)[0]
    latitude = radians(min(89.99, max(-89.99, place.latitude)))
    level = sin(radians(_HORIZON)) - sin(latitude) * sin(declination)
    return level / (cos(latitude) * cos(declination))


def _sun(at_s: float) -> tuple[float, float]:
    """The sun's declination in radians, and how far it is ahead of an even sun, in seconds."""
    t = (at_s - _J2000_S) / DAY_S / 36_525
    mean = radians((280.46646 + t * (36_000.76983 + t * 0.0003032)) % 360)
    anomaly = radians(357.52911 + t * (35_999.05029 - t * 0.0001537))
    eccentricity = 0.016708634 - t * (0.000042037 + t * 0.0000001267)
    centre = (
        sin(anomaly) * (1.914602 - t * (0.004817 + t * 0.000014))
        + sin(2 * anomaly) * (0.019993 - t * 0.000101)
        + sin(3 * anomaly) * 0.000289
    )
    node = radians(125.04 - 1_934.136 * t)
    longitude = mean + radians(centre - 0.00569 - 0.00478 * sin(node))
    seconds = 21.448 - t * (46.8150 + t * (0.00059 - t * 0.001813))
    obliquity = radians(23 + (26 + seconds / 60) / 60 + 0.00256 * cos(node))
    y = tan(obliquity / 2) ** 2
    equation = (
        y * sin(2 * mean)
        - 2 * eccentricity * sin(anomaly)
        + 4 * eccentricity * y * sin(anomaly) * cos(2 * mean)
        - 0.5 * y * y * sin(4 * mean)
        - 1.25 * eccentricity**2 * sin(2 * anomaly)
    )
    return asin(sin(obliquity) * sin(longitude)), degrees(equation) * _SECONDS_PER_DEGREE
