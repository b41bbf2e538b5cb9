"""By how much the mean of many frames differs from the picture without noise, and targets without that.

A tone curve bends noise to one side and black cuts its lower half off: the mean of many frames is then not what one
long exposure shows. The noise's third moment tells: of what a curve made of symmetric noise, the median is the curve's
value, and lies a sixth of the third moment over the variance below the mean.

Source: Cornish and Fisher, "Moments and cumulants in the specification of distributions" (1938), the first term. How
much of it to take was chosen on simulated cameras, with and without JPEG and clipping, on photographs.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cae_train.burst.targets import Target
from cae_train.measured import COLORS, KNOTS

FEWEST = 8  # frames of a scene that a third moment is measured on
FRAMES = 24  # of a scene that are looked at
BINS, LEAST_PIXELS = 64, 400
ALONE, SHARED = 1.5, 3.0  # times the term; smoothing and JPEG mix noise, which hides its third moment
CORRELATED = 0.1  # from neighbour to neighbour, or from colour to colour, from which on it is mixed
LEAST, MOST = 0.2, 12.0  # of 255: below it nothing is to be corrected; never by more

Floats = NDArray[np.float32]


def unbiased(targets: Sequence[Target]) -> tuple[list[Target], Floats]:
    """Targets without what the mean of frames is off by, and by how much a mean is off: 3 x 17, where 0 ... 1 is shown.

    Scenes that came with their mean, and those of few frames, stay as they are.
    """
    many = [target for target in targets if target.steady.scene.truth is None and target.count >= FEWEST]
    if not many:
        return list(targets), np.zeros((COLORS, KNOTS), np.float32)
    count, values, second, third = np.zeros((4, COLORS, BINS))
    pairs = np.zeros(3)  # variance, covariance with the neighbour, with another colour
    for target in many:
        mean = (target.total / np.float32(target.count)).clip(0, 255)
        usable = target.usable & ~target.defects
        which = np.minimum((mean * np.float32(BINS / 256)).astype(np.intp), BINS - 1)
        for number in range(0, target.count, max(1, target.count // FRAMES)):
            noise = target.steady.frame(number) - mean
            pairs += (
                np.square(noise[..., 1]).mean(),
                ((noise[:, 1:, 1] * noise[:, :-1, 1]).mean() + (noise[1:, :, 1] * noise[:-1, :, 1]).mean()) / 2,
                (noise[..., 1] * noise[..., 0]).mean(),
            )
            for c in range(COLORS):
                at, of = which[..., c][usable], noise[..., c][usable]
                square = np.square(of)
                count[c] += np.bincount(at, minlength=BINS)
                values[c] += np.bincount(at, mean[..., c][usable], BINS)
                second[c] += np.bincount(at, square, BINS)
                third[c] += np.bincount(at, square * of, BINS) / (1 - 2 / target.count)
    mixed = max(pairs[1:]) > CORRELATED * pairs[0]
    enough = count >= LEAST_PIXELS
    with np.errstate(invalid="ignore", divide="ignore"):
        term = np.where(enough & (second > 0), third / (6 * second), 0)
        level = np.where(enough, values / count, np.nan)
    curves = np.stack([_curve(level[c], (SHARED if mixed else ALONE) * term[c], count[c]) for c in range(COLORS)])
    if np.abs(curves).max() < LEAST:
        return list(targets), np.zeros((COLORS, KNOTS), np.float32)
    knots = np.arange(KNOTS) * 255 / (KNOTS - 1)
    corrected = [replace(target, bias=_at(target, curves)) if target in many else target for target in targets]
    shown = np.stack([np.interp(knots, knots - curve, curve) for curve in curves])  # where the mean is a knot: curves
    return corrected, np.asarray(shown, np.float32)


def _curve(level: NDArray[np.float64], term: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    """A smooth curve at the knots through the bins that there are, constant beyond them."""
    knots = np.arange(KNOTS) * 255 / (KNOTS - 1)
    there = np.flatnonzero(~np.isnan(level))
    if not len(there):
        return np.zeros(KNOTS)
    near = np.exp(-np.square((level[there] - level[there, None]) / 6) / 2) * np.sqrt(count[there])
    return np.asarray(np.interp(knots, level[there], (near @ term[there] / near.sum(axis=1)).clip(-MOST, MOST)))


def _at(target: Target, curves: NDArray[np.float64]) -> Floats:
    """The curves' values at a target's mean, H x W x 3."""
    table = np.stack([np.interp(np.arange(256), np.arange(KNOTS) * 255 / (KNOTS - 1), curve) for curve in curves])
    mean = (target.total / np.float32(target.count)).round().clip(0, 255).astype(np.uint8)
    return np.stack([table[c].astype(np.float32)[mean[..., c]] for c in range(COLORS)], axis=-1)
