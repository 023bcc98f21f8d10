"""Every wrong parameter is refused with its name, its rule, its value and the way out."""

import pytest
from werkzeug.datastructures import MultiDict

from collector.web.parameters import Parameters
from collector.web.problems import Problem

NOW = 1_777_615_200_000_000_000
KNOWN = ("site", "class", "min_score", "from", "to", "limit", "by", "every")


def _read(*pairs: tuple[str, str]) -> Parameters:
    return Parameters(MultiDict(pairs), KNOWN, NOW)


def _read_all(pairs):
    given = _read(*pairs)
    given.slug("site")
    given.text("class")
    given.number("min_score", 0, 1)
    given.count("limit", 100, 1000)
    given.choices("by", ("site", "device"))
    given.period(3600)
    given.duration("every")


@pytest.mark.parametrize(
    ("pairs", "parameter", "detail"),
    [
        (
            [("sight", "x")],
            "sight",
            (
                "'sight' is not a parameter here. Did you mean 'site'? "
                "Known are site, class, min_score, from, to, limit, by, every."
            ),
        ),
        ([("site", "a"), ("site", "b")], "site", "'site' comes 2 times; give it once."),
        (
            [("site", "<script>")],
            "site",
            "'site' must be 2 to 32 characters of a-z, 0-9 and '-', not starting with '-', got '<script>'.",
        ),
        ([("class", "")], "class", "'class' must be 1 to 128 characters, got ''."),
        ([("min_score", "1.5")], "min_score", "'min_score' must be a number from 0 to 1, got '1.5'."),
        ([("min_score", "nan")], "min_score", "'min_score' must be a number from 0 to 1, got 'nan'."),
        ([("min_score", "inf")], "min_score", "'min_score' must be a number from 0 to 1, got 'inf'."),
        ([("limit", "0")], "limit", "'limit' must be a whole number from 1 to 1000, got '0'."),
        ([("limit", "1001")], "limit", "'limit' must be a whole number from 1 to 1000, got '1001'."),
        ([("limit", "٣")], "limit", "'limit' must be a whole number from 1 to 1000, got '٣'."),
        ([("limit", "9" * 5000)], "limit", f"'limit' must be a whole number from 1 to 1000, got '{'9' * 76}...."),
        (
            [("by", "site,shoe")],
            "by",
            "'by' must be one or more of site, device, each once, with commas between, got 'site,shoe'.",
        ),
        (
            [("from", "yesterday")],
            "from",
            (
                "'from' must be a time such as 2026-05-01T06:00:00Z or 2026-05-01T08:00:00%2B02:00 (RFC 3339), "
                "or one back from now such as -15m, -24h or -7d, or now, got 'yesterday'."
            ),
        ),
        (
            [("from", "now"), ("to", "-1h")],
            "from",
            "'from' must be before 'to', got 2026-05-01T06:00:00.000Z and 2026-05-01T05:00:00.000Z.",
        ),
        (
            [("from", "-1101d")],
            "from",
            (
                "'from' and 'to' may be at most 1100 days apart, got 2023-04-26T06:00:00.000Z and "
                "2026-05-01T06:00:00.000Z; ask for shorter ranges, one after the other."
            ),
        ),
        ([("every", "0s")], "every", "'every' must be a duration such as 10s, 1m, 1h or 1d, got '0s'."),
    ],
)
def test_a_wrong_parameter_is_named_with_rule_and_value(pairs, parameter, detail):
    with pytest.raises(Problem) as caught:
        _read_all(pairs)
    assert (caught.value.status, caught.value.parameter, caught.value.detail) == (400, parameter, detail)


def test_good_parameters_are_read():
    given = _read(("site", "greenhouse"), ("min_score", "0.25"), ("by", "device,site"), ("from", "-2h"), ("to", "-1h"))
    assert given.slug("site") == "greenhouse"
    assert given.number("min_score", 0, 1) == 0.25
    assert given.choices("by", ("site", "device")) == ("device", "site")
    assert given.period(60) == (NOW - 7200 * 10**9, NOW - 3600 * 10**9)


def test_what_is_not_given_has_its_default():
    given = _read()
    assert given.slug("site") is None
    assert given.count("limit", 100, 1000) == 100
    assert given.choices("by", ("site",)) == ()
    assert given.period(3600) == (NOW - 3600 * 10**9, NOW)
    assert given.period(None) == (None, NOW)
