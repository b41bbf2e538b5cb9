"""The way back from the scale on which a model has cleaned a stretched picture (`stretch`) to the picture's own.

What the model changes is put back as a multiple of the noise's deviation: never more than 4 of them; less where it
changes more than noise can explain; and its mean over about 33x33 pixels is given back, so that the picture's mean
stays, whatever the curve (an unbiased inverse, as in Makitalo and Foi, IEEE TIP 22, 2013). Around what stands out from
its surroundings, as stars do, its mean over about 5x5 pixels is given back: their light stays.

All that varies slowly, as those means, is found in copies of a half, a quarter and an eighth of the size. At full size
strips of a few rows are worked on, which stay in the cache.
"""

from __future__ import annotations

import threading
from typing import Any, Final, NamedTuple, cast

import cv2
import numpy as np

from cae_runtime.io.arrays import Image
from cae_runtime.tasks.faint.noise_model import block_means
from cae_runtime.tasks.faint.stretch import BLOCK, Floats, Plane, Stretch, rows_in_cache, whole_blocks

_MOST: Final = 4.0  # largest change of a pixel, in deviations of the noise
_SLACK: Final = 1.2  # largest energy of the change that counts as noise
_FAR: Final = 3  # eighths of the size: side of the window whose mean stays
_NEAR: Final = 0.6  # half pixels: deviation of the window whose mean stays near what stands out
_STANDS_OUT: Final = 5.0, 6.0  # deviations of the noise: a pixel, and pixels summed under a star's profile
_HALO: Final = 3 * BLOCK  # rows above and below that have an influence
_ROWS: Final = 20 * _HALO  # put back at once, of pictures up to 2048 pixels wide
_FEWEST_ROWS: Final = 5 * _HALO  # of wider ones
_HELPS: Final = 0.1  # share of the noise's energy that must be removed for a picture to be changed


class PutBack:
    """Scales a model's output back to the scale of the picture, shared by all threads that call `work`.

    Args:
        stretch: the stretched picture.
        result: the model's output, uint16 (H, W, C); replaced in place by the cleaned picture.
        strength: s in 0..1; the result is picture + s * (cleaned - picture).

    Attributes:
        blocks: number of parts; more threads than that have nothing to do.
    """

    def __init__(self, stretch: Stretch, result: Image, strength: float) -> None:
        self._stretch, self._result, self._strength = stretch, result, strength
        height, width = result.shape[:2]
        parts = max(1, round(height / min(_ROWS, max(_FEWEST_ROWS, _ROWS * 2048 // width))))
        self._tops = [*(height * part // parts // BLOCK * BLOCK for part in range(parts)), height]
        self._edges = [result[max(0, top - _HALO) : top + _HALO].copy() for top in self._tops]
        self.blocks = len(self._tops) - 1
        self._gone = [0.0] * self.blocks
        self._left = iter(range(self.blocks))
        self._lock = threading.Lock()

    @property
    def helped(self) -> bool:
        """Whether enough noise was removed to change the picture; valid when all work is done."""
        rows = np.diff(self._tops)
        return bool(np.dot(self._gone, rows) > _HELPS * rows.sum())

    def work(self) -> None:
        """Process parts until all are done or `stop` is called."""
        while True:
            with self._lock:
                part = next(self._left, None)
            if part is None:
                return
            top, bottom = self._tops[part : part + 2]
            above = self._edges[part][: min(top, _HALO)]
            below = self._edges[part + 1][min(bottom, _HALO) :]
            result = self._result[top:bottom]
            cleaned = cast(Image, np.concatenate([above, result, below])) if self.blocks > 1 else result
            picture = self._stretch.picture(top - len(above), bottom + len(below))
            before, after, now = (cast(Plane, values.transpose(2, 0, 1)) for values in (picture, cleaned, result))
            shares = [self._put_back(before[index], after[index], top, now[index], index) for index in range(len(now))]
            self._gone[part] = float(np.mean(shares))

    def stop(self) -> None:
        """Make every thread stop after its current part."""
        with self._lock:
            self._left = iter(())

    def _put_back(self, picture: Plane, cleaned: Plane, top: int, result: Plane, channel: int) -> float:
        """Put one channel of one part back.

        Args:
            picture: the part with the rows around it, uint16 (h, W).
            cleaned: what the model made of it, uint16 (h, W).
            top: the part's first row in the whole picture.
            result: where the part without the rows around it goes, uint16 (h', W); may be a view of `cleaned`.
            channel: which.

        Returns:
            The share of the noise in the change, 0..1: little where most of what the model changed was no noise.
        """
        offset, step = min(top, _HALO), rows_in_cache(picture.shape[1])
        strips = [
            _strip(self._stretch, picture[row : row + step], cleaned[row : row + step], top - offset + row, channel)
            for row in range(0, len(picture), step)
        ]
        share, weights = _weights(np.concatenate([strip.energy for strip in strips]))
        halved: Any = []
        for index, strip in enumerate(strips):
            if weights is not None:
                np.multiply(strip.change, _enlarged(weights, 4, index * step, strip.change), out=strip.change)
            halved.append(block_means(strip.change, 2))
        mean = _mean_that_stays(np.concatenate(halved), _standing_out(strips))
        for index, strip in enumerate(strips):
            first = max(offset, index * step)
            kept = slice(first - index * step, min(offset + len(result) - index * step, len(strip.plane)))
            if kept.start < kept.stop:
                np.subtract(strip.change, _enlarged(mean, 2, index * step, strip.change), out=strip.change)
                result[first - offset : first - offset + kept.stop - kept.start] = strip.put_back(self._strength)[kept]
        return share


class _Strip(NamedTuple):
    """Some rows of one channel.

    Attributes:
        plane: their values, uint16 (h, w).
        change: what is to be taken from them as a multiple of the noise's deviation, float32, padded to whole blocks.
        deviation: that deviation, float32 (h, w) or one number.
        energy: means of the squared change, float32 (h / 4, w / 4).
        distance: means of how far the values are from the means of their blocks, float32 (h / 2, w / 2).
        outliers: not 0 where a pixel is very far, uint8 (h / 2, w / 2); None: nowhere.
    """

    plane: Plane
    change: Floats
    deviation: Floats | np.float32
    energy: Floats
    distance: Floats
    outliers: Plane | None

    def put_back(self, strength: float) -> Plane:
        """The values after a share of the change, uint16 (h, w); changes `change`."""
        height, width = self.plane.shape
        change = self.change[:height, :width]
        if isinstance(self.deviation, np.ndarray):
            cv2.multiply(change, self.deviation, change, strength)
        else:
            change *= self.deviation * np.float32(strength)
        return cast(Plane, cv2.subtract(self.plane, change, dtype=cv2.CV_16U))  # rounded and clipped


def _strip(stretch: Stretch, picture: Plane, cleaned: Plane, first: int, channel: int) -> _Strip:
    """Compare rows of one channel with what the model made of them.

    Args:
        stretch: the stretched picture.
        picture: the rows, uint16 (h, w).
        cleaned: what the model made of them, uint16 (h, w).
        first: the first row in the whole picture.
        channel: which.
    """
    half, plane = stretch.half, np.ascontiguousarray(picture)
    stable = stretch.stabilized(plane, channel)
    distance: Any = cv2.subtract(stable, stretch.base(first, first + len(plane), channel))
    answer = np.ascontiguousarray(cleaned)
    change: Any = cv2.addWeighted(distance, 1, answer, -2 * half / 65535, half, dtype=cv2.CV_32F)
    deviation = stretch.noises[channel].unstabilized(change, stable)
    np.clip(change, -_MOST, _MOST, out=change)
    farthest = cv2.norm(distance, cv2.NORM_INF)
    if farthest >= 0.98 * half:
        change[np.abs(distance) >= np.float32(0.98 * half)] = 0
    change, distance = whole_blocks(change), whole_blocks(distance)
    energy, outliers = block_means(cv2.multiply(change, change), 4), None
    if farthest > _STANDS_OUT[0]:
        single = (np.abs(distance) > np.float32(_STANDS_OUT[0])).view(np.uint8)
        single *= np.uint8(255)
        outliers = cast(Plane, block_means(single, 2))
    return _Strip(plane, change, deviation, energy, block_means(distance, 2), outliers)


def _enlarged(values: Floats, factor: int, first: int, to: Floats) -> Floats:
    """Interpolate values to `factor` times their size; of that the rows from `first` on, as many as `to` has."""
    top, bottom = first // factor, (first + len(to)) // factor
    above = min(top, 1)
    some = values[top - above : bottom + 1]
    large = cv2.resize(some, (to.shape[1], len(some) * factor), interpolation=cv2.INTER_LINEAR)
    return cast(Floats, large[above * factor : above * factor + len(to)])


def _weights(energy: Floats) -> tuple[float, Floats | None]:
    """The share of the change that is noise; and less than 1 where it is more than noise can explain: (h, w)."""
    energy = cast(Floats, cv2.blur(energy, (3, 3)))
    share = float(np.minimum(energy, 1 / np.maximum(energy, 1)).mean())
    energy -= np.float32(_SLACK - 1)
    return share, cast(Floats, 1 / np.maximum(energy, 1)) if energy.max() > 1 else None


def _mean_that_stays(halved: Floats, standing: Floats | None) -> Floats:
    """The mean of the change that is given back, from its means over 2x2 pixels: float32 of the same shape (h, w)."""
    blurred = cast(Floats, cv2.blur(block_means(halved, 4), (_FAR, _FAR)))
    mean: Any = cv2.resize(blurred, halved.shape[::-1], interpolation=cv2.INTER_LINEAR)
    if standing is not None:
        near: Any = cv2.GaussianBlur(halved, (5, 5), _NEAR)
        near -= mean
        near *= standing
        mean += near
    return cast(Floats, mean)


def _standing_out(strips: list[_Strip]) -> Floats | None:
    """Where pixels stand out from the means of their blocks, and around: weights 0..1, of half the size."""
    kernel = cv2.getGaussianKernel(5, _NEAR, cv2.CV_32F)
    # noise has a deviation of 1 before, and 1 / 2 after halving
    threshold = _STANDS_OUT[1] * float((kernel**2).sum()) / 2
    summed = cv2.sepFilter2D(np.concatenate([strip.distance for strip in strips]), -1, kernel, kernel)
    found: Any = cv2.bitwise_not(cv2.inRange(summed, -threshold, threshold))
    row = 0
    for strip in strips:
        if strip.outliers is not None:
            found[row : row + len(strip.outliers)] |= strip.outliers
        row += len(strip.distance)
    if not found.any():
        return None
    wide = cv2.dilate(found, np.ones((5, 5), np.uint8)) > 0
    return cast(Floats, cv2.blur(wide.astype(np.float32), (3, 3)))
