"""Measures the noise of a single picture in its flattest parts: a variance that grows with the signal.

A sensor adds read noise, which is the same everywhere, and shot noise, whose variance is the gain times the signal
(Foi et al., "Practical Poissonian-Gaussian noise modeling", IEEE TIP 17, 2008):

    variance(v) = variance_at_black + gain * (v - black)

Each cell of 12x12 pixels is measured by the energy of a Laplacian (Immerkaer, "Fast noise variance estimation", CVIU
64, 1996). Texture only adds energy, so among cells of similar brightness those with the least energy count. The
Laplacian misses noise that neighboring pixels share, as after demosaicing; the same measure on a half-size copy shows
how much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Plane = NDArray[Any]  # (H, W), one channel of a picture

_WHITE: Final = 65535
_CELL: Final = 12  # pixels
_FEWEST: Final = 16  # cells that a picture needs to be measured
_BINS: Final = 8  # bins of brightness, with equally many cells
_FEWEST_IN_BIN: Final = 24
_LOW: Final = 0.05  # share of a bin's cells, those with the least energy
_LOW_OF_NOISE: Final = 0.677  # for white noise: the largest of these energies divided by the mean
_LOW_OF_RATIO: Final = 0.43  # the same for the ratio of energies at half and full size
_LAPLACE: Final = np.array([1, -2, 1], np.float32)  # along rows and columns
_LAPLACE_ENERGY: Final = 36
_MEDIAN: Final = 0.6745  # of the absolute values of normally distributed numbers of deviation 1
_SHARED: Final = 2.5, 100.0  # smallest ratio that means noise shared by neighbors (less may be texture), and the most
_TILES: Final = 5  # along each side of a large picture
_TILE: Final = 8 * _CELL + 2
_SMALL: Final = 2**17  # pixels: pictures up to this size are measured completely
_MIDDLE: Final = 2**20  # pixels: in pictures up to this size, so many pixels are measured in bands across the picture
_BANDS: Final = 4
_GROWTH: Final = 0.3  # growth of the variance from the darkest to the brightest bin; less may be chance
_DARKEST_SHARE: Final = 0.25  # below black the variance never falls under this share of that at black


@dataclass(frozen=True)
class NoiseModel:
    """The noise of one channel, in the picture's own steps.

    Attributes:
        black: the value at which `variance` holds; the darkest measured one.
        variance: variance at `black`, above 0.
        gain: growth of the variance per step of brightness, 0 or more.
    """

    black: float
    variance: float
    gain: float

    def deviation(self, value: float) -> float:
        """Standard deviation of the noise at this value."""
        return float(max(self.variance + self.gain * (value - self.black), self.variance * _DARKEST_SHARE) ** 0.5)

    def stabilized(self, values: Plane) -> Floats:
        """Values on a scale where the standard deviation of the noise is 1 everywhere, 0 at black: float32.

        The square root of Anscombe, written so that it also holds without gain: with d = v - black, 2 d /
        (sqrt(variance + gain d) + sqrt(variance)). Where the variance would fall below a quarter of that at black, the
        curve continues as its tangent.
        """
        found = np.asarray(values, np.float32) - np.float32(self.black)
        root = self.variance**0.5
        if self.gain == 0:
            found /= np.float32(root)
            return found
        lowest, rate = root * _DARKEST_SHARE**0.5, self.gain / 2
        kink = (lowest**2 - self.variance) / self.gain
        below = found < np.float32(kink)
        tangent = found[below]
        found *= np.float32(self.gain)
        found += np.float32(self.variance)
        found[below] = lowest**2
        np.sqrt(found, out=found)
        found -= np.float32(root)
        found /= np.float32(rate)
        found[below] += (tangent - np.float32(kink)) / np.float32(lowest)
        return found

    def undone(
        self, values: Plane, base: Floats, answer: Plane, span: float, change: Floats, deviation: Floats
    ) -> None:
        """Compare values with others that are given on the stabilized scale: base + span * (answer / 65535 - 1 / 2).

        On that scale the deviation is a straight line, and the derivative of the values.

        Args:
            values: uint16 (h, w).
            base: float32 (h, w); overwritten.
            answer: uint16 (h, w).
            span: in deviations of the noise.
            change: becomes the difference between `values` and the others, as a multiple of the noise's standard
                deviation at the others: float32 (h, w).
            deviation: becomes this deviation, in steps: float32 (h, w). Without `gain` it is the same everywhere, and
                the array is overwritten.
        """
        root, step = self.variance**0.5, span / _WHITE
        if self.gain == 0:
            cv2.addWeighted(base, -1, answer, -step, span / 2 - self.black / root, deviation, cv2.CV_32F)
            cv2.addWeighted(values, 1 / root, deviation, 1, 0, change, cv2.CV_32F)
            return
        rate, lowest = self.gain / 2, root * _DARKEST_SHARE**0.5
        cv2.addWeighted(base, rate, answer, rate * step, root - rate * span / 2, deviation, cv2.CV_32F)
        offset, tangent = self.variance / self.gain - self.black, cv2.minMaxLoc(deviation)[0] < lowest
        if tangent:
            low = cv2.threshold(deviation, lowest, 0, cv2.THRESH_TRUNC, base)[1]
            cv2.addWeighted(deviation, 1, low, -1, lowest, deviation)
        cv2.multiply(deviation, deviation, change)
        cv2.addWeighted(values, 1, change, -1 / self.gain, offset, change, cv2.CV_32F)
        if tangent:
            cv2.addWeighted(change, 1, low, -lowest / rate, lowest**2 / rate, change)
        cv2.divide(change, deviation, change)


def measured_noise(
    shape: tuple[int, ...], plane: Callable[[slice, slice], Plane], white: int, hidden: Plane | None = None
) -> tuple[NoiseModel, float] | None:
    """Measure the noise of one channel; in large pictures bands or 25 tiles are measured.

    Args:
        shape: the picture's, (H, W, ...).
        plane: returns the channel's values at rows and columns, shape (h, w).
        white: the largest possible value.
        hidden: bool (H, W), true where pixels do not count; None: all do.

    Returns:
        The noise, and the median brightness of the measured pixels; None if the picture is too small or nothing in it
        varies.
    """
    found = [_cells(plane(*tile), white, None if hidden is None else hidden[tile]) for tile in _tiles(*shape[:2])]
    brightness, energy, ratio, whole = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if whole.sum() >= _FEWEST:  # cells that are clipped at black or white show too little noise
        brightness, energy, ratio = brightness[whole], energy[whole], ratio[whole]
    varies = energy > 0
    brightness, energy, ratio = brightness[varies], energy[varies], ratio[varies]
    if len(energy) < _FEWEST:
        return None
    shared = min(_lowest(ratio) / _LOW_OF_RATIO, _SHARED[1])
    shared = shared if shared >= _SHARED[0] else 1.0
    order = np.argsort(brightness)
    bins = max(1, min(_BINS, len(order) // _FEWEST_IN_BIN))
    brightness, energy = brightness[order], energy[order]
    size, longer = divmod(len(order), bins)
    edges = [size * index + min(index, longer) for index in range(bins + 1)]
    at = np.array([brightness[first + (end - first) // 2] for first, end in pairwise(edges)], np.float64)
    variances = np.array([_lowest(energy[first:end]) for first, end in pairwise(edges)]) * (shared / _LOW_OF_NOISE)
    return _fitted(at, variances), float(brightness[len(order) // 2])


def rough_deviation(
    shape: tuple[int, ...], plane: Callable[[slice, slice], Plane], hidden: Plane | None = None
) -> float:
    """Estimate the noise of one channel that `measured_noise` cannot measure, by the median of its Laplacian.

    Texture raises it. It is 0 where most pixels are equal, or all are hidden.

    Args:
        shape: the picture's, (H, W, ...).
        plane: returns the channel's values at rows and columns, shape (h, w).
        hidden: bool (H, W), true where pixels do not count; None: all do.

    Returns:
        Its standard deviation, in the picture's own steps.
    """
    found = []
    for tile in _tiles(*shape[:2]):
        values = np.ascontiguousarray(plane(*tile), np.float32)
        waves = np.abs(cv2.sepFilter2D(values, cv2.CV_32F, _LAPLACE, _LAPLACE))
        found.append(waves.ravel() if hidden is None else waves[~hidden[tile]])
    waves = np.concatenate(found)
    return float(np.median(waves)) / (_LAPLACE_ENERGY**0.5 * _MEDIAN) if len(waves) else 0.0


def _tiles(height: int, width: int) -> list[tuple[slice, slice]]:
    if height * width <= _SMALL:
        return [(slice(0, height), slice(0, width))]
    if height * width <= _MIDDLE:
        rows = max(1, _SMALL // (_BANDS * width * _CELL)) * _CELL + 2
        tops = np.linspace(0, max(0, height - rows), min(_BANDS, max(1, height // rows))).astype(int).tolist()
        return [(slice(top, min(top + rows, height)), slice(0, width)) for top in tops]

    def along(length: int) -> list[slice]:
        count = min(_TILES, max(1, length // _TILE))
        starts = np.linspace(0, max(0, length - _TILE), count).astype(int)
        return [slice(start, min(start + _TILE, length)) for start in starts.tolist()]

    return [(rows, columns) for rows in along(height) for columns in along(width)]


def _cells(tile: Plane, white: int, hidden: Plane | None) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Brightness, energy, ratio of energies at half and full size, and whether all pixels count, of whole cells."""
    height, width = ((side - 2) // _CELL * _CELL for side in tile.shape)
    if height <= 0 or width <= 0:
        nothing = np.empty(0, np.float32)
        return nothing, nothing, nothing, nothing > 0
    values = np.ascontiguousarray(tile, np.float32)
    inner = values[1 : 1 + height, 1 : 1 + width]
    half = block_means(inner, 2)
    waves = cv2.sepFilter2D(values, cv2.CV_32F, _LAPLACE, _LAPLACE)[1 : 1 + height, 1 : 1 + width]
    coarse = cv2.sepFilter2D(half, cv2.CV_32F, _LAPLACE, _LAPLACE)
    energy = block_means(cv2.multiply(waves, waves, scale=1 / _LAPLACE_ENERGY), _CELL)
    halved = block_means(cv2.multiply(coarse, coarse, scale=4 / _LAPLACE_ENERGY), _CELL // 2)
    brightness = block_means(half, _CELL // 2).ravel()
    whole = np.ones(energy.shape, np.bool_)
    least, most = cv2.minMaxLoc(inner)[:2]
    if hidden is not None or least <= 0 or most >= white:
        cut = (inner <= 0) | (inner >= white)
        if hidden is not None:
            cut |= hidden[1 : 1 + height, 1 : 1 + width]
        whole = np.equal(block_means(cut.astype(np.float32), _CELL), 0)
    ratio: Any = halved / np.maximum(energy, np.float32(1e-9))
    return brightness, energy.ravel(), ratio.ravel(), whole.ravel()


def block_means(values: Any, side: int, means: Floats | None = None) -> Floats:
    """Means over squares of `side` pixels, shape (h / side, w / side), in fast steps of 2 and a rest; into `means`."""
    while side > 1:
        step = 2 if side % 2 == 0 else side
        side //= step
        size = values.shape[1] // step, values.shape[0] // step
        values = cv2.resize(values, size, means if side == 1 else None, interpolation=cv2.INTER_AREA)
    return cast(Floats, values)


def _lowest(values: Floats) -> float:
    """The largest of the lowest values, which are a twentieth of all; changes their order."""
    rank = int(len(values) * _LOW)
    values.partition(rank)
    return float(values[rank])


@cache
def _pairs(count: int) -> tuple[NDArray[np.intp], ...]:
    return np.triu_indices(count, 1)


def _fitted(at: NDArray[np.float64], variances: NDArray[np.float64]) -> NoiseModel:
    """The line below which few bins lie: texture raises a bin, and only chance lowers it.

    Of the lines through two bins, and the level ones through one, that with the least quantile loss of the logarithm.
    """
    first, second = _pairs(len(at))
    run = np.maximum(at[second] - at[first], 1e-6)
    slope = np.concatenate([np.zeros(len(at)), (variances[second] - variances[first]) / run])
    level = np.concatenate([variances, variances[first] - slope[len(at) :] * (at[first] - at[0])])
    usable = (slope >= 0) & (level > 0.1 * variances.min())
    slope, level = slope[usable], level[usable]
    above = np.log(variances / (level[:, None] + slope[:, None] * (at - at[0])))
    best = int(np.argmin(np.where(above > 0, 0.3 * above, -0.7 * above).sum(1)))
    gain = float(slope[best])
    grows = gain * (at[-1] - at[0]) > _GROWTH * level[best]
    return NoiseModel(float(at[0]), float(level[best]), gain if grows else 0.0)
