"""Estimates the noise of a video from its frames: the variance of the noise at each brightness.

Everything is measured on frames of half the size, as energies of differences. Their expected values do not depend on
the correlation of the noise between neighboring pixels, which cameras cause by demosaicing and JPEG.
"""

from __future__ import annotations

from math import erf, exp, pi, sqrt
from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CELL: Final = 4  # side of a cell in pixels of a half-size frame; the last cells of a row may be a bit larger
LEAST: Final = 0.03  # variance of rounding to 8 bits in a half-size frame
_EDGES: Final = np.array([3, 6, 10, 16, 24, 40, 64, 96, 128, 160, 192, 216, 232, 240, 246, 250, 253])
_CENTERS: Final = np.convolve([0, *_EDGES, 256], [0.5, 0.5], "valid")  # bins are finer where noise is clipped
_BIN: Final = np.searchsorted(_EDGES, np.arange(256), side="right").astype(np.uint8)
_FEWEST: Final = 24  # cells that a bin needs to count
_TENTH: Final = 10  # static cells have the least energy: the lowest tenth is used
# The lowest tenth of pure noise divided by its mean: energies, their ratio in two bands, the coarse band, gray.
_LOW, _LOW_SMOOTH, _LOW_COARSE, _LOW_COLORS = 0.84, 0.81, 0.5, 0.9
_LAPLACE: Final = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_LAPLACE_ENERGY: Final = 36
_TEXTURE: Final = 1.1  # the spatial estimate is an upper bound with this slack
_MOST_SMOOTH, _MOST_COARSE = 5.0, 4.0  # more is motion
_RISE: Final = 0.3  # share of the way to a larger new estimate, and
_FALL: Final = 0.8  # to a smaller one: motion makes estimates too large, so they fall faster than they rise
_RISE_SHAPE: Final = 0.15  # the same for the three attributes, which depend on the camera and hardly change


def cells(values: Floats) -> Floats:
    """Means over the cells of a frame of half the size: (h, w[, C]) -> (ceil(h / 4), ceil(w / 4)[, C])."""
    height, width = values.shape[:2]
    return cast(Floats, cv2.resize(values, (-(-width // CELL), -(-height // CELL)), interpolation=cv2.INTER_AREA))


def energy(values: Floats) -> Floats:
    """Mean squares of the cells, for each color."""
    return cells(cast(Floats, cv2.multiply(values, values)))


def around(values: Floats, size: int) -> Floats:
    """Means of size x size cells around each."""
    return cast(Floats, cv2.blur(values, (size, size)))


def gray(values: Floats) -> Floats:
    """Mean of the colors: (h, w) or (h, w, C) -> (h, w)."""
    if values.ndim == 2:
        return values
    return cast(Floats, cv2.transform(values, np.full((1, values.shape[2]), 1 / values.shape[2], np.float32)))


class NoiseLevel:
    """The noise of a video, measured blindly.

    Successive frames differ by noise and motion; cells of least energy have the least motion. If everything moves, a
    Laplacian of one frame is an upper bound (Immerkaer, CVIU 64, 1996), corrected for the smoothness of the noise.
    Before the first `measure` the variance has its lowest value.

    Attributes:
        coarseness: variance of the cell means, divided by its value for white noise: 1..4.
        smoothness: variance divided by the Laplacian's estimate: 1 for white noise, at most 5.
        colors: effective number of color channels with independent noise: 1..3.
    """

    def __init__(self) -> None:
        self.coarseness, self.smoothness, self.colors = 1.0, 1.0, 1.0
        self._levels: Floats | None = None
        self._table = np.full(256, LEAST, np.float32)

    def measure(self, frame: Floats, before: Floats, brightness: Floats) -> None:
        """Update the estimate from two successive half-size frames.

        Args:
            frame: float32 in 0..255, shape (h, w) or (h, w, 3).
            before: the previous frame, of the same kind.
            brightness: means of the cells, with as little noise as possible, as `cells` returns them.
        """
        difference = frame - before
        waves, changes = (cast(Floats, cv2.filter2D(x, cv2.CV_32F, _LAPLACE)) for x in (frame, difference))
        coarse = cells(difference)
        temporal, spatial, fine, coarse = (
            around(x, 3).ravel() for x in (energy(difference), energy(waves), energy(changes), coarse * coarse)
        )
        alive = temporal > 0  # a repeated frame, or a codec that copies blocks, has no information
        if np.count_nonzero(alive) * 20 < alive.size:
            return
        bins = _BIN[np.clip(brightness.ravel(), 0, 255).astype(np.uint8)]
        if not alive.all():
            temporal, spatial, fine, coarse = (x[alive] for x in (temporal, spatial, fine, coarse))
            bins = bins[alive]
        fine = np.maximum(fine, np.float32(_LAPLACE_ENERGY * LEAST))
        smoothness = _LAPLACE_ENERGY * _lowest(temporal / fine) / _LOW_SMOOTH
        coarseness = CELL**2 * _lowest(coarse / temporal) / _LOW_COARSE
        first = self._levels is None
        if difference.ndim == 3:
            common = around(energy(gray(difference)), 3) / np.maximum(around(gray(energy(difference)), 3), LEAST)
            colors = _LOW_COLORS / max(_lowest(common.ravel()), 1 / 9)
            self.colors = 1 / _toward(1 / self.colors, 1 / min(max(colors, 1.0), 3.0), first)
        self.smoothness = _toward(self.smoothness, min(max(smoothness, 1.0), _MOST_SMOOTH), first)
        self.coarseness = _toward(self.coarseness, min(max(coarseness, 1.0), _MOST_COARSE), first)
        scale = np.float32(_TEXTURE * self.smoothness / _LAPLACE_ENERGY)
        levels = self._by_brightness(np.multiply(temporal, 0.5, dtype=np.float32), spatial * scale, bins)
        if self._levels is not None:
            step = np.where(levels > self._levels, np.float32(_RISE), np.float32(_FALL))
            levels = self._levels + step * (levels - self._levels)
        self._levels = levels
        self._table = np.interp(np.arange(256), _CENTERS, levels).astype(np.float32)

    def _by_brightness(self, temporal: Floats, spatial: Floats, bins: NDArray[np.uint8]) -> Floats:
        """Variance in each bin of brightness; bins with too few cells are interpolated."""
        order = np.argsort(bins, kind="stable")
        temporal, spatial = temporal[order], spatial[order]
        ends = np.cumsum(np.bincount(bins, minlength=len(_CENTERS)))
        parts = [slice(end - n, end) for end, n in zip(ends, np.diff(ends, prepend=0), strict=True)]
        heard = [i for i, part in enumerate(parts) if part.stop - part.start >= _FEWEST]
        centers = [_CENTERS[i] for i in heard] or [0.0]
        wanted = [parts[i] for i in heard] or [slice(None)]
        found = [min(_lowest(temporal[part]), _lowest(spatial[part])) / _LOW for part in wanted]
        levels: Floats = np.maximum(np.interp(_CENTERS, centers, found), LEAST).astype(np.float32)
        return levels

    def variance(self, brightness: Floats) -> Floats:
        """Variance of the noise in a half-size frame at each brightness (0..255): float32, same shape."""
        return cast(Floats, cv2.LUT(cv2.convertScaleAbs(brightness), self._table))

    def unclipped(self, darkest: int, brightest: int) -> Floats:
        """The true values behind means of noisy values that were clipped to 0..255.

        The mean of a clipped normal variable divided by its deviation determines the unclipped mean, whatever the noise
        (after Foi, Signal Processing 89, 2009). An end of the range that no pixel has reached is left alone.

        Args:
            darkest: the least value in the frame.
            brightest: the largest.

        Returns:
            A table of 256 values in 0..255, float32.
        """
        means = np.arange(256, dtype=np.float32)
        result = means.copy()
        deviation = np.sqrt(self._table * max(CELL / self.smoothness, 1.0))  # of the full size: 4 if white
        for reached, distance, sign in ((darkest == 0, means, 1), (brightest == 255, 255 - means, -1)):
            near = (distance < _CLIPPED[0][-1] * deviation) & reached
            behind = deviation * np.interp(distance / deviation, *_CLIPPED)
            result[near] += sign * (behind - distance)[near]
        clipped: Floats = np.clip(result, 0, 255)
        return clipped


def _lowest(values: NDArray[np.floating[Any]]) -> float:
    """Return the upper end of the lowest tenth."""
    rank = len(values) // _TENTH
    return float(np.partition(values, rank)[rank])


def _toward(old: float, new: float, at_once: bool) -> float:
    return new if at_once else old + (_RISE_SHAPE if new > old else _FALL) * (new - old)


def _clipped() -> tuple[list[float], list[float]]:
    """Distance from black in deviations: of the mean of clipped normal values, and of the unclipped mean."""
    seen, behind = [], []
    for x in np.linspace(-1.5, 3, 46).tolist():
        above, density = (1 + erf(x / sqrt(2))) / 2, exp(-x * x / 2) / sqrt(2 * pi)
        mean = x * above + density
        deviation = sqrt((x * x + 1) * above + x * density - mean * mean)
        seen.append(mean / deviation)
        behind.append(max(x, 0) / deviation)
    return seen, behind


_CLIPPED: Final = _clipped()
