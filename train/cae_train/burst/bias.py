"""By how much the mean of many frames differs from the picture without noise, and targets without that.

A tone curve bends noise to one side and black cuts its lower half off: the mean of many frames is then not what one
long exposure shows. Two things tell, the noise's third moment and how its variance changes with brightness. Of light x
with variance k2(x) and third moment k3(x), seen through a curve f, to second order:

    off by    b = f'' k2 / 2
    variance  v = f'^2 k2,         and its slope against brightness  s = dv/df = 4 b + f' k2'
    third     m = f'^3 k3 + 6 b v

Photons have k3 = g k2 and k2' = g, noise of the same strength everywhere neither, and for both b = m / (2 v) - s / 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cae_train.burst.targets import Target
from cae_train.measured import COLORS, KNOTS

FEWEST = 8  # frames of a scene that a third moment is measured on
FRAMES = 24  # of a scene that are looked at
BINS, LEAST_PIXELS = 64, 400
MIXED = 2.0  # times as much where smoothing has mixed noise, which hides its third moment; chosen on simulated cameras
CORRELATED = 0.1  # from neighbour to neighbour, or from colour to colour, from which on it is mixed
LEAST, MOST = 0.2, 12.0  # of 255: below it nothing is to be corrected; never by more
WIDTH = 6.0  # levels that a curve is smoothed over

Floats = NDArray[np.float32]


def unbiased(targets: Sequence[Target]) -> tuple[list[Target], Floats]:
    """Targets without what the mean of frames is off by, and by how much a mean is off: 3 x 17, where 0 ... 1 is shown.

    Scenes that came with their mean, and those of few frames, stay as they are.
    """
    moments = third_moments(targets)
    off = 3 * moments.thirds - np.gradient(moments.variance, 255 / (KNOTS - 1), axis=1) / 2
    return without(targets, off * np.float32(MIXED if moments.mixed else 1))


def can_tell(targets: Sequence[Target]) -> bool:
    """Whether a scene has frames enough for a third moment."""
    return any(map(_many, targets))


@dataclass(frozen=True)
class Moments:
    """Moments of noise where a mean of frames is 0, 1/16 ... 1 bright; zeros where nothing can be told.

    Attributes:
        thirds: a sixth of the third moment over the variance, 3 x 17 in levels of 255.
        variance: 3 x 17 in squared levels.
        mixed: whether neighbouring pixels or colours share noise.
    """

    thirds: Floats
    variance: Floats
    mixed: bool


def third_moments(targets: Sequence[Target]) -> Moments:
    """Measure the noise's third moment."""
    count, values, second, third = np.zeros((4, COLORS, BINS))
    pairs = np.zeros(3)  # variance, covariance with the neighbour, with another colour
    for target in filter(_many, targets):
        mean = target.total / np.float32(target.count)
        usable = target.usable & ~target.defects
        which = bins(mean)
        for number in range(0, target.count, max(1, target.count // FRAMES)):
            noise = target.steady.frame(number) - mean
            green = noise[..., 1] * usable
            neighbours = (green[:, 1:] * green[:, :-1]).mean() + (green[1:] * green[:-1]).mean()
            pairs += np.square(green).mean(), neighbours / 2, (green * noise[..., 0]).mean()
            for c in range(COLORS):
                at, of = which[..., c][usable], noise[..., c][usable]
                square = np.square(of)
                count[c] += np.bincount(at, minlength=BINS)
                values[c] += np.bincount(at, mean[..., c][usable], BINS)
                second[c] += np.bincount(at, square, BINS)
                third[c] += np.bincount(at, square * of, BINS) / (1 - 2 / target.count)
    term = np.divide(third, 6 * second, out=np.zeros_like(third), where=second > 0) * count
    thirds, variance = (
        np.stack([curve(values[c], sums[c], count[c]) for c in range(COLORS)]) for sums in (term, second)
    )
    return Moments(thirds, variance, bool(max(pairs[1:]) > CORRELATED * pairs[0]))


def without(targets: Sequence[Target], curves: Floats) -> tuple[list[Target], Floats]:
    """Targets without curves, 3 x 17 in levels of 255 where a mean is 0 ... 1, and the same where the picture is."""
    curves = curves.clip(-MOST, MOST)
    if np.abs(curves).max() < LEAST:
        return list(targets), np.zeros((COLORS, KNOTS), np.float32)
    knots = np.arange(KNOTS) * 255 / (KNOTS - 1)
    table = np.stack([np.interp(np.arange(256), knots, own) for own in curves]).astype(np.float32)
    corrected = []
    for target in targets:
        mean = (target.total / np.float32(target.count)).round().clip(0, 255).astype(np.uint8)
        bias = np.stack([table[c][mean[..., c]] for c in range(COLORS)], axis=-1)
        corrected.append(replace(target, bias=bias) if _many(target) else target)
    shown = np.stack([np.interp(knots, knots - own, own) for own in curves])
    return corrected, np.asarray(shown, np.float32)


def _many(target: Target) -> bool:
    return target.steady.scene.truth is None and target.count >= FEWEST


def bins(mean: Floats) -> NDArray[np.intp]:
    """Which of 64 brightnesses values of 0..255 have."""
    return np.minimum((mean.clip(0, 255) * np.float32(BINS / 256)).astype(np.intp), BINS - 1)


def curve(levels: NDArray[np.float64], sums: NDArray[np.float64], count: NDArray[np.float64]) -> Floats:
    """A smooth curve at the 17 knots through bins, of which there are sums and counts; constant beyond them."""
    there = np.flatnonzero(count >= LEAST_PIXELS)
    if not len(there):
        return np.zeros(KNOTS, np.float32)
    level, term = levels[there] / count[there], sums[there] / count[there]
    near = np.exp(-np.square((level - level[:, None]) / WIDTH) / 2) * np.sqrt(count[there])
    knots = np.arange(KNOTS) * 255 / (KNOTS - 1)
    return np.asarray(np.interp(knots, level, near @ term / near.sum(axis=1)), np.float32)
