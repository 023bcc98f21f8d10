"""Histograms add up exactly, and say their error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.histogram import BINS, BINS_MAX, Histogram, merged, restore
from shared.records import HistogramData

values = st.lists(st.integers(0, 2_000_000), max_size=60)


def filled(name: str, numbers: list[int]) -> Histogram:
    histogram = Histogram(BINS[name])
    for number in numbers:
        histogram.add(number)
    return histogram


def test_the_bins_of_wire_version_1_never_change() -> None:
    assert BINS["response"].edges[:4] == (100, 148, 219, 325)
    assert BINS["response"].edges[-2:] == (4_050_447, 6_000_000)
    assert BINS["prepare"].edges[:4] == (5, 8, 11, 17)
    assert BINS["wait"].edges == BINS["infer"].edges == BINS["capture"].edges == BINS["response"].edges
    assert BINS["score"].edges == tuple(range(500, 10_000, 500))
    assert BINS["detections"].edges[-3:] == (150, 200, 300)
    counts = {name: bins.count for name, bins in BINS.items()}
    assert counts.pop("score") == 20
    assert counts.pop("detections") == 26
    assert counts == dict.fromkeys(("response", "capture", "wait", "prepare", "infer", "decode"), 30)


@pytest.mark.parametrize("name", BINS)
def test_bins_ascend_and_fit_into_a_store(name: str) -> None:
    bins = BINS[name]
    assert list(bins.edges) == sorted(set(bins.edges))
    assert bins.count <= BINS_MAX
    assert bins.low <= bins.edges[0]
    assert bins.high is None or bins.edges[-1] < bins.high


@given(values, values, values)
def test_merging_is_adding_in_any_order(a: list[int], b: list[int], c: list[int]) -> None:
    parts = [filled("response", numbers) for numbers in (a, b, c)]
    whole = filled("response", a + b + c)
    assert merged("response", parts) == merged("response", reversed(parts)) == whole
    assert whole.sum == sum(a + b + c)
    assert whole.n == len(a + b + c)


@given(values)
def test_what_is_sent_reads_back(numbers: list[int]) -> None:
    histogram = filled("infer", numbers)
    assert restore("infer", histogram.data()) == histogram


@given(st.lists(st.integers(0, 1_500_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_lies_in_the_bin_of_the_true_one(numbers: list[int], q: float) -> None:
    estimate = filled("response", numbers).quantile(q)
    assert estimate is not None
    rank = max(1, -(-len(numbers) * q // 1))
    true = sorted(numbers)[int(rank) - 1]
    low, high = BINS["response"].bounds(BINS["response"].index(true))
    assert low <= estimate <= high


def test_beyond_the_last_edge_a_quantile_is_at_least_that() -> None:
    histogram = filled("response", [7_000_000] * 10)
    assert histogram.quantile(0.5) == 6_000_000
    assert histogram.mean == 7_000_000


def test_nothing_has_no_mean_and_no_quantile() -> None:
    assert filled("response", []).mean is None
    assert filled("response", []).quantile(0.5) is None


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("dance", HistogramData(0, 0, ()), "there is no histogram 'dance'"),
        ("score", HistogramData(1, 5, ((20, 1),)), "bin 20 does not exist"),
        ("score", HistogramData(2, 5, ((3, 1), (3, 1))), "comes twice"),
        ("score", HistogramData(3, 5, ((3, 1),)), "hold 1 values, n says 3"),
    ],
)
def test_a_histogram_that_does_not_add_up_is_refused(name: str, data: HistogramData, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        restore(name, data)
