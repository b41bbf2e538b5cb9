"""Thresholds for a wanted share of false alarms, and confidence intervals of a measured share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_runtime.tasks.anomaly.false_alarms import above, measured_share, rates_of, share_interval, threshold_at


@pytest.mark.parametrize(
    ("images", "rate", "few"), [(20, 0.05, 0.5), (32, 0.02, 0.5), (100, 0.05, 0.7), (100, 0.1, 0.96), (500, 0.05, 0.96)]
)
def test_new_good_pictures_exceed_the_threshold_at_most_as_often_as_wanted(
    images: int, rate: float, few: float
) -> None:
    """Thresholds set again and again on so many pictures, whose scores have a tail to the right."""
    rng = np.random.default_rng(0)
    sets = np.sort(np.exp(0.4 * rng.normal(size=(600, images))), axis=1)
    found = np.array([threshold_at(rate, scores.tolist(), images) for scores in sets])
    new = np.sort(np.exp(0.4 * rng.normal(size=200_000)))
    rates = 1 - np.searchsorted(new, found) / len(new)
    assert few * rate < rates.mean() < 1.04 * rate
    assert np.quantile(rates, 0.99) < 4 * rate


@settings(max_examples=50)
@given(
    scores=st.lists(st.floats(0.01, 50), min_size=3, max_size=60),
    rates=st.tuples(st.floats(0.001, 0.5), st.floats(0.001, 0.5)),
)
def test_fewer_false_alarms_need_a_higher_threshold(scores: list[float], rates: tuple[float, float]) -> None:
    less, more = sorted(rates)
    ordered = sorted(scores)
    low, high = (threshold_at(rate, ordered, len(ordered)) for rate in (more, less))
    assert low <= high * (1 + 1e-9)


def test_the_measured_share_has_the_right_confidence_interval() -> None:
    """Against the tables of Clopper and Pearson."""
    assert share_interval(0, 20) == pytest.approx((0, 0.1684), abs=1e-4)
    assert share_interval(2, 32) == pytest.approx((0.0077, 0.2081), abs=1e-4)
    assert share_interval(10, 10) == pytest.approx((0.6915, 1), abs=1e-4)
    low, high = share_interval(100, 2000)
    assert (low, high) == pytest.approx((0.0409, 0.0605), abs=2e-4)
    assert above(1.5, (1.0, 1.4, 1.6, 2.0), 4) == 2
    assert measured_share(1.5, (1.0, 1.4, 1.6, 2.0), 4) == (
        "2 of 4 good pictures score higher (50.0%; 95% interval 6.8% to 93.2%)"
    )
    assert rates_of(20) == (0.01, 0.5)
    assert share_interval(5_000_000, 10_000_000) == pytest.approx((0.49969, 0.50031), abs=1e-5), "in little time"


def test_good_pictures_above_a_threshold_are_counted_by_quantiles_of_their_scores() -> None:
    scores = np.sort(np.exp(np.random.default_rng(0).normal(size=5000)))
    kept = np.quantile(scores, np.linspace(0, 1, 256)).tolist()
    for count in (0, 50, 250, 2500, 5000):
        threshold = float(np.append(np.insert(scores, 0, 0), 1e9)[-count - 2 :][:2].mean())
        assert int((scores > threshold).sum()) == count
        assert above(threshold, kept, 5000) == pytest.approx(count, abs=5), count
        assert above(threshold, scores.tolist(), 5000) == count
    assert measured_share(1e9, kept, 5000).startswith("about 0 of 5000 good pictures")
