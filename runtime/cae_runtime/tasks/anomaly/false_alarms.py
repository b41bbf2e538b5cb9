"""How often good pictures exceed a threshold: the tail of their scores, and what a measured share is worth."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean, stdev
from typing import Final

from cae_runtime.errors import UsageError
from cae_runtime.inference.model_spec import ModelSpec

LEAST_PICTURES: Final = 3
RATE_MAX: Final = 0.5
_RATE_TIMES_PICTURES: Final = 0.2  # the tail reaches to so many of the good pictures
_COUNTED: Final = 10  # so many good pictures above a threshold say where it lies without a model of the tail
_LEAST: Final = 1e-9  # score whose logarithm is taken in place of that of 0
_CONFIDENCE: Final = 0.95
_REACH, _LEAST_REACH = 12, 40  # deviations, and numbers, on both sides of the mean, beyond which nothing is drawn


def rates_of(images: int) -> tuple[float, float]:
    """Return the least and the largest rate of false alarms for which this many good pictures can set a threshold."""
    return min(RATE_MAX, _RATE_TIMES_PICTURES / images), RATE_MAX


def threshold_at(rate: float, good_scores: Sequence[float], images: int) -> float:
    """Return the score that new good pictures are to exceed in a share of `rate`, or less.

    Where ten or more of the n good pictures are to exceed it, it is their score number (1 - `rate`) (n + 1) from below,
    interpolated. On average over sets of n pictures, a share of `rate` of new ones exceeds that, whatever the
    distribution of scores. With one set it is more or less: see `share_interval`.

    Where fewer are to exceed it, the logarithms of good scores are taken to follow a normal distribution. As its mean
    and deviation are estimated, the threshold is the upper limit of a prediction interval, by Student's t, with the
    deviation one standard error larger, and not below the quantile of the good scores: the fewer pictures, the higher.
    Simulated scores of such a distribution exceed it less often than wanted: with 20 to 100 pictures, half to four
    fifths of `rate`. Where the tail is heavier, new pictures may exceed it more often.

    Args:
        rate: see `rates_of`.
        good_scores: scores of good pictures, or quantiles of them, ascending.
        images: how many pictures they stand for, 3 or more.
    """
    least_counted = min(RATE_MAX, _COUNTED / images)
    place = (1 - max(rate, least_counted)) * (images + 1) - 1
    counted = _quantile(good_scores, max(place, 0) / (images - 1))
    if rate >= least_counted:
        return counted
    logs = [math.log(max(score, _LEAST)) for score in good_scores]
    deviation = stdev(logs) * (1 + 1 / math.sqrt(2 * images)) * math.sqrt(1 + 1 / images)
    return max(
        counted, _quantile(good_scores, 1 - rate), math.exp(fmean(logs) + _student(rate, images - 1) * deviation)
    )


def threshold_of(spec: ModelSpec, rate: float) -> float:
    """Return the threshold of a detector for another rate of false alarms.

    Raises:
        UsageError: its file has no scores of good pictures, or too few for this rate.
    """
    if spec.good_scores is None or spec.threshold_images is None:
        raise UsageError("this detector has no scores of good pictures in its file: export it anew with cae-export")
    low, high = rates_of(spec.threshold_images)
    if not low <= rate <= high:
        raise UsageError(
            f"false_alarms is {rate:g}: the {spec.threshold_images} good pictures of this detector allow {low:.2g} to "
            f"{high:g}; more of them allow less"
        )
    return threshold_at(rate, spec.good_scores, spec.threshold_images)


def above(threshold: float, good_scores: Sequence[float], images: int) -> int:
    """Return how many of the good pictures score higher; if `good_scores` are quantiles, interpolated between them."""
    kept, place = len(good_scores), bisect_right(good_scores, threshold)
    if place in (0, kept):
        return images if place == 0 else 0
    below, beyond = good_scores[place - 1], good_scores[place]
    rank = (place - 1 + (threshold - below) / (beyond - below)) * ((images - 1) / (kept - 1))
    return images - 1 - int(rank)


def share_interval(count: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of the share of new good pictures above a threshold that `count` of `images` exceeded.

    Source: the exact interval of Clopper and Pearson (Biometrika 1934).
    """
    beyond = (1 - _CONFIDENCE) / 2
    low = 0.0 if count == 0 else _solved(lambda share: 1 - _at_most(count - 1, images, share), beyond)
    high = 1.0 if count == images else 1 - _solved(lambda rest: _at_most(count, images, 1 - rest), beyond)
    return low, high


def measured_share(threshold: float, good_scores: Sequence[float], images: int) -> str:
    """Say how many good pictures score higher, their share and its interval, for the user."""
    count = above(threshold, good_scores, images)
    low, high = share_interval(count, images)
    scores, interval = "scores" if count == 1 else "score", f"95% interval {low:.1%} to {high:.1%}"
    about = "about " if len(good_scores) < images else ""
    return f"{about}{count} of {images} good pictures {scores} higher ({count / images:.1%}; {interval})"


def _at_most(count: int, images: int, share: float) -> float:
    """The probability that at most `count` of `images` are drawn, each with the probability `share`."""
    if not 0 < share < 1:
        return float(share <= 0 or count >= images)
    whole, usual = math.lgamma(images + 1), images * share
    reach = int(_REACH * math.sqrt(usual * (1 - share))) + _LEAST_REACH
    logs = (
        whole
        - math.lgamma(i + 1)
        - math.lgamma(images - i + 1)
        + i * math.log(share)
        + (images - i) * math.log1p(-share)
        for i in range(max(0, int(usual) - reach), min(count, int(usual) + reach) + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def _solved(rising: Callable[[float], float], wanted: float) -> float:
    """Where a function that rises over 0..1 has a value."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return low


def _quantile(ascending: Sequence[float], share: float) -> float:
    place = share * (len(ascending) - 1)
    first = min(int(place), len(ascending) - 2)
    return ascending[first] + (place - first) * (ascending[first + 1] - ascending[first])


def _student(rate: float, freedom: int) -> float:
    """The value that Student's t exceeds with a probability of `rate`; from 2 degrees of freedom on to some percent.

    Source: Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), 26.7.5.
    """
    z = NormalDist().inv_cdf(1 - rate)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / float(freedom) ** (power + 1) for power, term in enumerate(terms))
