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
from typing import Any, Final, cast

import cv2
import numpy as np

from cae_runtime.io.arrays import Image
from cae_runtime.tasks.faint.noise_model import block_means
from cae_runtime.tasks.faint.stretch import BLOCK, WHITE, Floats, Plane, Stretch, rows_in_cache, shaped, split

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
        most = min(len(self._result), int(np.diff(self._tops).max()) + 2 * _HALO)
        part = _Part(self._stretch, most, self._result.shape[2])
        while True:
            with self._lock:
                index = next(self._left, None)
            if index is None:
                return
            top, bottom = self._tops[index : index + 2]
            above = self._edges[index][: min(top, _HALO)]
            below = self._edges[index + 1][min(bottom, _HALO) :]
            result = self._result[top:bottom]
            part.fill(top - len(above), [above, result, below])
            kept, channels = slice(len(above), len(above) + len(result)), range(result.shape[2])
            self._gone[index] = float(np.mean([part.put_back(channel, kept, self._strength) for channel in channels]))
            part.give(kept, result)

    def stop(self) -> None:
        """Make every thread stop after its current part."""
        with self._lock:
            self._left = iter(())


class _Part:
    """Rows of the picture, with the rows around them that have an influence.

    One object takes one part after the other, since new memory for each would cost a third of the time.

    Args:
        stretch: the stretched picture.
        most: rows of the largest part.
        channels: C.
    """

    def __init__(self, stretch: Stretch, most: int, channels: int) -> None:
        self._stretch, width = stretch, stretch.width
        height, whole = _whole(most), _whole(width)
        self._step, self._height, self._first = min(rows_in_cache(width), height), most, 0
        self._picture, self._cleaned = np.empty((2, channels, most, width), np.uint16)
        # Of one channel: what is to be taken away, as a multiple of the deviation of the noise; this deviation;
        self._change, self._deviation = np.empty((height, whole), np.float32), np.empty((most, width), np.float32)
        # means over 2x2 pixels of the change, and of how far values are from the means of their blocks;
        self._halved, self._distance = np.empty((2, height // 2, whole // 2), np.float32)
        self._energy = np.empty((height // 4, whole // 4), np.float32)  # means of the squared change over 4x4 pixels.
        self._scratch = np.empty((2, (self._step + 2 * BLOCK) * (whole + 2 * BLOCK)), np.float32)

    def fill(self, first: int, cleaned: list[Image]) -> None:
        """Take the part that begins with row `first`.

        Args:
            first: the first of the rows, with those around it.
            cleaned: what the model made of them, uint16 (h, W, C), in pieces.
        """
        self._first, self._height = first, sum(map(len, cleaned))
        split(self._stretch.picture(first, first + self._height), self._picture[:, : self._height])
        row = 0
        for piece in cleaned:
            split(piece, self._cleaned[:, row : row + len(piece)])
            row += len(piece)

    def give(self, kept: slice, result: Image) -> None:
        """Copy the rows without those around them to `result`, uint16 (h, W, C)."""
        for row in range(0, len(result), self._step):
            strip = self._picture[:, kept][:, row : row + self._step]
            result[row : row + self._step] = cv2.merge(list(strip)).reshape(-1, *result.shape[1:])

    def put_back(self, channel: int, kept: slice, strength: float) -> float:
        """Put one channel back.

        Args:
            channel: which.
            kept: the rows without those around them; they are changed.
            strength: the share of the change that is made.

        Returns:
            The share of the noise in the change, 0..1: little where most of what the model changed was no noise.
        """
        strips = [slice(row, min(row + self._step, self._height)) for row in range(0, self._height, self._step)]
        outliers = [self._compare(rows, channel) for rows in strips]
        height = _whole(self._height)
        share, weights = _weights(self._energy[: height // 4])
        for rows in strips:
            change = self._change[_part(rows, 1)]
            if weights is not None:
                cv2.multiply(change, _enlarged(weights, 4, rows.start, change, self._scratch[0]), change)
            block_means(change, 2, self._halved[_part(rows, 2)])
        standing = _standing_out(self._distance[: height // 2], self._step // 2, outliers)
        mean = _mean_that_stays(self._halved[: height // 2], standing)
        for rows in strips:
            some = slice(max(kept.start, rows.start), min(kept.stop, rows.stop))
            if some.start < some.stop:
                change = self._change[_part(rows, 1)]
                cv2.subtract(change, _enlarged(mean, 2, rows.start, change, self._scratch[0]), change)
                self._take_away(some, channel, strength)
        return share

    def _compare(self, rows: slice, channel: int) -> Plane | None:
        """Find out what the model changed in rows of one channel.

        Returns:
            Where pixels are very far from the means of their blocks: not 0 there, uint8 (h / 2, w / 2); None: nowhere.
        """
        half, first = self._stretch.half, self._first + rows.start
        values, answer = self._picture[channel, rows], self._cleaned[channel, rows]
        padded, (height, width) = self._change[_part(rows, 1)], values.shape
        change, far = padded[:height, :width], shaped(self._scratch[0], padded.shape)
        distance = far[:height, :width]
        base = self._stretch.base(first, first + height, channel, self._scratch[1])
        self._stretch.noises[channel].undone(values, base, answer, 2 * half, change, self._deviation[rows])
        cv2.addWeighted(change, 1, answer, 2 * half / WHITE, -half, distance, cv2.CV_32F)
        np.clip(change, -_MOST, _MOST, out=change)
        _repeat_edges(padded, height, width)
        _repeat_edges(far, height, width)
        block_means(far, 2, self._distance[_part(rows, 2)])
        squared, outliers = shaped(self._scratch[1], padded.shape), None
        farthest = cv2.norm(far, cv2.NORM_INF)
        if farthest > _STANDS_OUT[0]:
            np.abs(far, out=far)
            outliers = cast(Plane, block_means(cv2.compare(far, cast(Any, _STANDS_OUT[0]), cv2.CMP_GT), 2))
        if farthest >= 0.98 * half:
            cv2.multiply(padded, cv2.threshold(far, 0.98 * half, 1, cv2.THRESH_BINARY_INV, squared)[1], padded)
        block_means(cv2.multiply(padded, padded, squared), 4, self._energy[_part(rows, 4)])
        return outliers

    def _take_away(self, rows: slice, channel: int, strength: float) -> None:
        """Take a share of the change away from rows of one channel."""
        values, noise = self._picture[channel, rows], self._stretch.noises[channel]
        change = self._change[rows, : values.shape[1]]
        if noise.gain:
            cv2.multiply(change, self._deviation[rows], change, strength)
        else:
            change *= np.float32(noise.variance**0.5 * strength)
        cv2.addWeighted(values, 1, change, -1, 0, values, cv2.CV_16U)  # rounded and clipped


def _whole(side: int) -> int:
    return -(-side // BLOCK) * BLOCK


def _part(rows: slice, factor: int) -> slice:
    """The rows of whole blocks in a copy of 1 / `factor` of the size."""
    return slice(rows.start // factor, _whole(rows.stop) // factor)


def _repeat_edges(values: Floats, height: int, width: int) -> None:
    """Repeat the last of `height` rows and `width` columns to the edges of the array."""
    values[:height, width:] = values[:height, width - 1 : width]
    values[height:] = values[height - 1]


def _enlarged(values: Floats, factor: int, first: int, to: Floats, scratch: Floats) -> Floats:
    """Interpolate values to `factor` times their size; of that the rows from `first` on, as many as `to` has."""
    top, bottom = first // factor, (first + len(to)) // factor
    above = min(top, 1)
    some = values[top - above : bottom + 1]
    large = shaped(scratch, (len(some) * factor, to.shape[1]))
    cv2.resize(some, large.shape[::-1], large, interpolation=cv2.INTER_LINEAR)
    return large[above * factor : above * factor + len(to)]


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


def _standing_out(distance: Floats, step: int, outliers: list[Plane | None]) -> Floats | None:
    """Where pixels stand out from the means of their blocks, and around: weights 0..1, of half the size.

    Args:
        distance: how far they are, float32 (h / 2, w / 2).
        step: rows of a strip, except the last.
        outliers: of each strip, where single pixels are very far: not 0 there, uint8 (step, w / 2); None: nowhere.
    """
    kernel = cv2.getGaussianKernel(5, _NEAR)
    # noise has a deviation of 1 before, and 1 / 2 after halving
    threshold = _STANDS_OUT[1] * float((kernel**2).sum()) / 2
    summed = cv2.GaussianBlur(distance, (5, 5), _NEAR)
    found: Any = cv2.bitwise_not(cv2.inRange(summed, -threshold, threshold))
    for index, single in enumerate(outliers):
        if single is not None:
            found[index * step :][: len(single)] |= single
    if not found.any():
        return None
    wide = cv2.dilate(found, np.ones((5, 5), np.uint8)) > 0
    return cast(Floats, cv2.blur(wide.astype(np.float32), (3, 3)))
