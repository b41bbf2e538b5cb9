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
from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Plane = NDArray[Any]  # (H, W), one channel of a picture

_CELL: Final = 12  # pixels
_FEWEST: Final = 16  # cells that a picture needs to be measured
_BINS: Final = 8  # bins of brightness, with equally many cells
_FEWEST_IN_BIN: Final = 24
_LOW: Final = 0.05  # share of a bin's cells, those with the least energy
_LOW_OF_NOISE: Final = 0.677  # for white noise: the largest of these energies divided by the mean
_LOW_OF_RATIO: Final = 0.43  # the same for the ratio of energies at half and full size
_LAPLACE: Final = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_LAPLACE_ENERGY: Final = 36
_SHARED: Final = (
    2.5,
    100.0,
)  # ratios from the first on mean noise that neighbors share, less may be texture; largest ratio
_TILES: Final = 5  # along each side of a large picture
_TILE: Final = 8 * _CELL + 2
_SMALL: Final = 2**18  # pixels: pictures up to this size are measured completely
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

    def stabilized(self, values: Plane) -> NDArray[np.float64]:
        """Values on a scale where the standard deviation of the noise is 1 everywhere, 0 at black.

        The square root of Anscombe, written so that it also holds without gain: with d = v - black, 2 d /
        (sqrt(variance + gain d) + sqrt(variance)). Where the variance would fall below a quarter of that at black, the
        curve continues as its tangent.
        """
        distance = np.asarray(values, np.float64) - self.black
        root, lowest = self.variance**0.5, self._lowest()
        above = np.maximum(distance, lowest[0])
        stable: NDArray[np.float64] = 2 * above / (np.sqrt(self.variance + self.gain * above) + root)
        stable += (distance - above) / (root * _DARKEST_SHARE**0.5)
        return stable

    def values(self, stable: Floats) -> tuple[Floats, Floats]:
        """Undo `stabilized`: values and the standard deviation of their noise, float32 of the same shape."""
        root = np.float32(self.variance**0.5)
        if self.gain == 0:
            return stable * root + np.float32(self.black), np.full_like(stable, root)
        above = np.maximum(stable, np.float32(self._lowest()[1]))
        values: Floats = stable - above
        values *= root * np.float32(_DARKEST_SHARE**0.5)
        values += np.float32(self.black)
        deviation: Floats = above * np.float32(self.gain / 4)
        deviation += root
        above *= deviation
        values += above
        deviation *= np.float32(2)  # root + gain / 2 * above
        deviation -= root
        return values, deviation

    def _lowest(self) -> tuple[float, float]:
        """The point where the square root ends: its distance from black, and the same on the stabilized scale."""
        if self.gain == 0:
            return -1e9, -1e9
        root, share = self.variance**0.5, _DARKEST_SHARE
        return (share - 1) * self.variance / self.gain, 2 * (share**0.5 - 1) * root / self.gain


def measured_noise(
    shape: tuple[int, ...], plane: Callable[[slice, slice], Plane], white: int, hidden: Plane | None = None
) -> tuple[NoiseModel, float] | None:
    """Measure the noise of one channel; in large pictures 25 tiles are measured.

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
    parts = np.array_split(order, bins)
    at = np.array([np.median(brightness[part]) for part in parts])
    variances = np.array([_lowest(energy[part]) for part in parts]) * (shared / _LOW_OF_NOISE)
    return _fitted(at, variances), float(np.median(brightness))


def _tiles(height: int, width: int) -> list[tuple[slice, slice]]:
    if height * width <= _SMALL:
        return [(slice(0, height), slice(0, width))]

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
    half = cv2.resize(values[1 : 1 + height, 1 : 1 + width], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    inner = values[1 : 1 + height, 1 : 1 + width]
    waves = cv2.filter2D(values, cv2.CV_32F, _LAPLACE)[1 : 1 + height, 1 : 1 + width]
    coarse = cv2.filter2D(half, cv2.CV_32F, _LAPLACE)
    energy = _means(cv2.multiply(waves, waves), _CELL) * np.float32(1 / _LAPLACE_ENERGY)
    halved = _means(cv2.multiply(coarse, coarse), _CELL // 2) * np.float32(4 / _LAPLACE_ENERGY)
    cut = (inner <= 0) | (inner >= white)
    if hidden is not None:
        cut = cut | hidden[1 : 1 + height, 1 : 1 + width]
    whole = np.equal(_means(cut.astype(np.float32), _CELL), 0)
    ratio = halved / np.maximum(energy, np.float32(1e-9))
    return _means(inner, _CELL), energy, ratio, whole


def _means(values: Any, side: int) -> Floats:
    height, width = values.shape
    means = cv2.resize(values, (width // side, height // side), interpolation=cv2.INTER_AREA)
    return cast(Floats, np.asarray(means, np.float32).ravel())


def _lowest(values: Floats) -> float:
    rank = int(len(values) * _LOW)
    return float(np.partition(values, rank)[rank])


def _fitted(at: NDArray[np.float64], variances: NDArray[np.float64]) -> NoiseModel:
    """The line below which few bins lie: texture raises a bin, and only chance lowers it.

    Of the lines through two bins, and the level ones through one, that with the least quantile loss of the logarithm.
    """
    first, second = np.triu_indices(len(at), 1)
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
