"""The way back from the scale on which a model has cleaned a stretched picture (`stretch`) to the picture's own.

What the model changes is put back as a multiple of the noise's deviation: never more than 4 of them; less where it
changes more than noise can explain; and its mean over about 33x33 pixels is given back, so that the picture's mean
stays, whatever the curve (an unbiased inverse, as in Makitalo and Foi, IEEE TIP 22, 2013). Around what stands out from
its surroundings, as stars do, its mean over about 5x5 pixels is given back: their light stays.

All that varies slowly, as those means, is found in copies of a half, a quarter and an eighth of the size.
"""

from __future__ import annotations

import threading
from typing import Any, Final, cast

import cv2
import numpy as np

from cae_runtime.io.arrays import Image
from cae_runtime.tasks.noise_model import block_means
from cae_runtime.tasks.stretch import BLOCK, Floats, Plane, Stretch, whole_blocks

_MOST: Final = 4.0  # largest change of a pixel, in deviations of the noise
_SLACK: Final = 1.2  # largest energy of the change that counts as noise
_FAR: Final = 3  # eighths of the size: side of the window whose mean stays
_NEAR: Final = 0.6  # half pixels: deviation of the window whose mean stays near what stands out
_STANDS_OUT: Final = 5.0, 6.0  # deviations of the noise: a pixel, and pixels summed under a star's profile
_HALO: Final = 3 * BLOCK  # rows above and below that have an influence
_ROWS: Final = 20 * _HALO  # put back at once
_COLUMNS: Final = 1024
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
        height, parts = len(result), max(1, round(len(result) / _ROWS))
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
            cleaned = cast(Image, np.concatenate([above, self._result[top:bottom], below]))
            picture = self._stretch.picture(top - len(above), bottom + len(below))
            width, offset = picture.shape[1], len(above)
            for left in range(0, width, _COLUMNS):
                right = min(left + _COLUMNS, width)
                columns = slice(max(0, left - _HALO), min(right + _HALO, width))
                back, gone = self._put_back(picture[:, columns], cleaned[:, columns], top - offset, columns.start)
                inner = slice(left - columns.start, right - columns.start)
                self._result[top:bottom, left:right] = back[offset : offset + bottom - top, inner]
                self._gone[part] += gone * (right - left) / width

    def stop(self) -> None:
        """Make every thread stop after its current part."""
        with self._lock:
            self._left = iter(())

    def _put_back(self, picture: Image, cleaned: Image, first: int, left: int) -> tuple[Image, float]:
        """Put one part back; returns its pixels, uint16 (h, w, C), and the share of its noise that was removed."""
        height, width = picture.shape[:2]
        base, shares = self._stretch.base(first, first + height, left, left + width), []
        planes, answers, bases = (cast(list[Any], cv2.split(values)) for values in (picture, cleaned, base))
        for channel, (plane, answer, mean) in enumerate(zip(planes, answers, bases, strict=True)):
            change, deviation, share = _change(self._stretch, plane, answer, mean, channel)
            if isinstance(deviation, np.ndarray):
                cv2.multiply(change, deviation, change, self._strength)
            else:
                change *= deviation * np.float32(self._strength)
            cv2.subtract(plane, change, plane, dtype=cv2.CV_16U)  # rounded and clipped
            shares.append(share)
        return cast(Image, cv2.merge(planes).reshape(picture.shape)), float(np.mean(shares))


def _change(
    stretch: Stretch, plane: Plane, cleaned: Plane, base: Floats, channel: int
) -> tuple[Floats, Floats | np.float32, float]:
    """What is to be taken from the values of one channel.

    Args:
        stretch: the stretched picture.
        plane: a part of it, uint16 (h, w).
        cleaned: what the model made of it, uint16 (h, w).
        base: the means of its blocks, float32 (h, w).
        channel: which.

    Returns:
        The change as a multiple of the noise's deviation, float32 (h, w); that deviation, float32 (h, w) or one number;
        and the share of the noise in the change, 0..1: little where most of what the model changed was no noise.
    """
    height, width = plane.shape
    half = stretch.half
    stable = stretch.stabilized(plane, channel)
    distance: Any = cv2.subtract(stable, base)
    change: Any = cv2.addWeighted(distance, 1, cleaned, -2 * half / 65535, half, dtype=cv2.CV_32F)
    deviation = stretch.noises[channel].unstabilized(change, stable)
    np.clip(change, -_MOST, _MOST, out=change)
    farthest = cv2.norm(distance, cv2.NORM_INF)
    if farthest >= 0.98 * half:
        change[np.abs(distance) >= np.float32(0.98 * half)] = 0
    whole, distance = whole_blocks(change), whole_blocks(distance)
    share, weights = _weights(whole)
    if weights is not None:
        whole *= weights
    whole -= _enlarged(_mean_that_stays(whole, distance, farthest), whole)
    return whole[:height, :width], deviation, share


def _enlarged(values: Floats, to: Floats) -> Floats:
    """Interpolate values to the size of others."""
    return cast(Floats, cv2.resize(values, to.shape[::-1], interpolation=cv2.INTER_LINEAR))


def _weights(change: Floats) -> tuple[float, Floats | None]:
    """The share of the change, (h, w), that is noise; and less than 1 where it is more than noise can explain."""
    energy: Any = cv2.blur(block_means(cv2.multiply(change, change), 4), (3, 3))
    share = float(np.minimum(energy, 1 / np.maximum(energy, 1)).mean())
    energy -= np.float32(_SLACK - 1)
    return share, _enlarged(1 / np.maximum(energy, 1), change) if energy.max() > 1 else None


def _mean_that_stays(change: Floats, distance: Floats, farthest: float) -> Floats:
    """The mean of the change, (h, w), that is given back: float32 (h / 2, w / 2)."""
    halved = block_means(change, 2)
    mean = _enlarged(cast(Floats, cv2.blur(block_means(halved, 4), (_FAR, _FAR))), halved)
    standing = _standing_out(distance, farthest)
    if standing is not None:
        near: Any = cv2.GaussianBlur(halved, (5, 5), _NEAR)
        near -= mean
        near *= standing
        mean += near
    return mean


def _standing_out(distance: Floats, farthest: float) -> Floats | None:
    """Where pixels (h, w) stand out from the means of their blocks, and around: weights 0..1, (h / 2, w / 2)."""
    pixel, profile = _STANDS_OUT
    kernel = cv2.getGaussianKernel(5, _NEAR, cv2.CV_32F)
    threshold = profile * float((kernel**2).sum()) / 2  # noise has a deviation of 1 before, and 1 / 2 after halving
    summed = cv2.sepFilter2D(block_means(distance, 2), -1, kernel, kernel)
    found: Any = cv2.bitwise_not(cv2.inRange(summed, -threshold, threshold))
    if farthest > pixel:
        single = (np.abs(distance) > np.float32(pixel)).view(np.uint8)
        single *= np.uint8(255)
        found |= block_means(single, 2)
    if not found.any():
        return None
    wide = cv2.dilate(found, np.ones((5, 5), np.uint8)) > 0
    return cast(Floats, cv2.blur(wide.astype(np.float32), (3, 3)))
