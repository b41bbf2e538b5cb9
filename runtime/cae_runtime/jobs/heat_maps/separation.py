"""How well scores separate pictures that are known to be bad from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Separation:
    """The figures.

    Attributes:
        auroc: the probability that a bad picture has a higher score than another; 0.5 is chance.
        found: share of the bad pictures above the threshold.
        best_threshold: the threshold with the largest difference between the shares of both above it.
        best_found: share of the bad pictures above it.
        best_false_alarms: share of the others above it.
    """

    auroc: float
    found: float
    best_threshold: float
    best_found: float
    best_false_alarms: float


def separation(good: Sequence[float], bad: Sequence[float], threshold: float) -> Separation | None:
    """Compare the scores of good and of bad pictures; None if there are none of one kind."""
    if not good or not bad:
        return None
    usual, unusual = np.sort(np.asarray(good)), np.sort(np.asarray(bad))
    below = np.searchsorted(usual, unusual, "left") + np.searchsorted(usual, unusual, "right")
    values = np.unique(np.concatenate([usual, unusual]))
    between = np.concatenate([[values[0] / 2], (values[:-1] + values[1:]) / 2])
    alarms, found = (1 - np.searchsorted(scores, between, "right") / len(scores) for scores in (usual, unusual))
    best = int(np.argmax(found - alarms))
    return Separation(
        float(below.sum() / (2 * len(usual) * len(unusual))), float(np.mean(unusual > threshold)),
        float(between[best]), float(found[best]), float(alarms[best]),
    )  # fmt: skip
