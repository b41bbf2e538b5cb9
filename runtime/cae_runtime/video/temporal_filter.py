"""Temporal filter: averages static regions of a video before the network sees them.

A recursive average with a separate gain for each cell: a scalar Kalman filter (Dubois and Sabri, IEEE Trans. Commun.
32, 1984; Brailean et al., Proc. IEEE 83, 1995) whose process noise is that energy of the difference between frame and
average which their noise does not explain. Four tests look for such energy; each detects another kind of motion.
"""

from __future__ import annotations

from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError, ImageTypeError
from cae_runtime.io.arrays import ImageT, full_scale
from cae_runtime.video.noise_estimation import CELL, Floats, NoiseLevel, around, cells, energy, gray

_FLOOR: Final = 1 / 16  # the lowest gain: about 16 frames are averaged
_TAKE_OVER: Final = 0.85  # gains above this become 1
_CUT: Final = (
    0.7,
    0.8,
)  # if gains exceed the first in more than the second share of the cells, the whole frame replaces the average
_PENALTY: Final = 14.0  # weight of unexplained energy, since the network removes noise but not motion blur
_HOLD: Final = 0.7, 0.5  # what moved is taken to move on: of the energy found before, of this much of it at most
_EXCESS_CELL: Final = 2.0  # how far the energy of a cell may exceed its expected value: 5 sigma or more
_EXCESS_AREA: Final = 0.7  # the same for 3x3 cells
_COARSE: Final = 2.1  # the same for the means of 3x3 cells
_SHIFT: Final = 18.0  # the same for a small shift: chi-squared with 2 degrees of freedom
_SHIFT_CELLS: Final = 5
_SPREAD: Final = 31, 1.0, 0.08  # cells around that share a part of what was found in them: at most each, and less
_SINGLE: Final = 0.1  # where no cell is a single frame by more than that, that it is one need not be looked at
_FIRST_FRAMES: Final = 4  # the noise is measured in each of these, and then
_EVERY: Final = 5  # in every fifth frame; odd, since some cameras give each frame twice
_DILATE: Final = np.ones((3, 3), np.uint8)
_WEIGHT: Final = 256.0  # the sum of two weights, large as OpenCV adds 1e-5 to it
_WHITE: Final = 255  # of averages, noise and `NoiseLevel`, whatever the depth of the frames


class TemporalFilter:
    """Averages static regions of a video over time; it estimates the noise itself.

    Its output has less noise, so a network's result is better and flickers less. Moving regions stay as they are. The
    first frame, and the first one after a scene cut, is returned unchanged. Each video needs its own filter, called
    from one thread at a time.
    """

    _average: Floats | None  # of the frames; None before the first
    _small: Floats  # the average and the previous frame, at half size
    _before: Floats
    _gain: Floats  # the last gains of the cells, and the motion energy found in them
    _excess: Floats
    _work: Floats  # scratch memory, as large as the frame

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all frames; the next one starts a new video."""
        self._average = None
        self._noise = NoiseLevel()
        self._frames = 0

    def __call__(self, frame: ImageT) -> ImageT:
        """Filter the next frame.

        Args:
            frame: uint8 or uint16, shape (H, W) gray or (H, W, 3) colors. Never modified. A change of shape starts a
                new video.

        Returns:
            A new array of the same shape and dtype. Values stay within the range of the frames so far.

        Raises:
            ImageError: the frame's dtype or shape is none of the above.
        """
        _check(frame)
        frame = cast(ImageT, np.ascontiguousarray(frame))
        height, width = frame.shape[:2]
        half = (width + 1) // 2, (height + 1) // 2
        small = _in_levels(cv2.resize(frame, half, interpolation=cv2.INTER_AREA))
        if self._average is None or self._average.shape != frame.shape:
            self.reset()
            self._take(frame, small)
            self._before, self._excess = small, np.zeros_like(self._gain)
            self._work = np.empty_like(self._average)
            return frame.copy()
        brightness = cells(self._small)
        if self._frames < _FIRST_FRAMES or self._frames % _EVERY == 0:
            self._noise.measure(small, self._before, brightness)
        self._frames += 1
        self._before = small
        gain = self._gains(small, brightness)
        if np.count_nonzero(gain > _CUT[0]) > _CUT[1] * gain.size:
            self._take(frame, small)
            return frame.copy()
        self._gain = gain
        self._small = _blend(small, self._small, gain, self._small)
        _in_levels(frame, self._work)
        self._average = _blend(self._work, self._average, gain, self._average)
        return self._shown(frame)

    def _take(self, frame: ImageT, small: Floats) -> None:
        """Replace the average by the frame."""
        self._average, self._small = _in_levels(frame), small.copy()
        self._gain = np.ones(cells(small).shape[:2], np.float32)

    def _gains(self, small: Floats, brightness: Floats) -> Floats:
        """Gains of the cells, 1/16..1. The variance of the average, in units of the noise, is the previous gain."""
        noise = gray(self._noise.variance(brightness))
        excess = np.maximum(self._unexplained(small, noise * (1 + self._gain)), 0)
        excess /= noise
        cells_around, most, less = _SPREAD
        np.maximum(excess, around(np.minimum(excess, most), cells_around) - less, out=excess)
        np.maximum(excess, _HOLD[0] * np.minimum(self._excess, _HOLD[1]), out=excess)
        self._excess = excess
        gain: Floats = np.add(self._gain, _PENALTY * excess, dtype=np.float32)
        gain /= 1 + gain
        np.maximum(gain, _FLOOR, out=gain)
        gain[gain > _TAKE_OVER] = 1
        return gain

    def _unexplained(self, small: Floats, expected: Floats) -> Floats:
        """Energy per pixel of the difference from the average, beyond the expected value and its spread.

        The largest that four tests find: single cells (small things), 3x3 cells, means of cells (light, smooth motion),
        and small shifts of the surroundings.
        """
        difference = small - self._small
        coarseness, colors = self._noise.coarseness, self._noise.colors
        fewer = (coarseness / colors) ** 0.5  # correlated noise means fewer independent samples
        found = gray(energy(difference))
        means = cells(difference)
        coarse = gray(means**2)
        coarse_bound = (1 + _COARSE / colors**0.5) * coarseness / CELL**2
        shift_bound = _SHIFT / colors * coarseness / (CELL * _SHIFT_CELLS) ** 2
        result: Floats = np.asarray(cv2.dilate(found - (1 + _EXCESS_CELL * fewer) * expected, _DILATE), np.float32)
        result = np.maximum(result, around(found, 3) - (1 + _EXCESS_AREA * fewer) * expected)
        result = np.maximum(result, around(coarse, 3) - coarse_bound * expected)
        return np.maximum(result, self._shifted(difference, small) - shift_bound * expected)

    def _shifted(self, difference: Floats, small: Floats) -> Floats:
        """Energy per pixel that a small shift of the surroundings explains (Lucas and Kanade 1981).

        This matched filter detects slow motion of weak texture far below the noise of a pixel.
        """
        change = gray(difference)
        between = gray(small) - np.float32(0.5) * change
        x, y = (cast(Floats, cv2.Sobel(between, cv2.CV_32F, 1 - i, i, scale=1 / 8)) for i in (0, 1))
        pairs = ((x, x), (y, y), (x, y), (x, change), (y, change))
        xx, yy, xy, xt, yt = (around(cells(a * b), _SHIFT_CELLS) for a, b in pairs)
        ridge = np.float32(0.02) * (xx + yy) + np.float32(1e-3)
        xx, yy = xx + ridge, yy + ridge
        explained: Floats = (yy * xt * xt - 2 * xy * xt * yt + xx * yt * yt) / (xx * yy - xy * xy)
        return explained

    def _shown(self, frame: ImageT) -> ImageT:
        """Round the average and undo the effect of clipped noise on it, except where it is a single frame.

        The network recognizes clipped noise in a single frame, but not in an average.
        """
        average = cast(Floats, self._average)
        deep = frame.dtype != np.uint8
        step = (full_scale(frame.dtype) + 1) // (_WHITE + 1)
        table = self._noise.unclipped(int(frame.min()) // step, int(frame.max()) // step)
        if np.abs(table - np.arange(256)).max() < 0.5:
            return cast(ImageT, _in_steps(average, self._work) if deep else cv2.convertScaleAbs(average))
        rounded = cast(NDArray[np.uint8], cv2.convertScaleAbs(average))
        cv2.LUT(rounded, table, dst=self._work)
        if deep:
            self._work += (average - rounded) * cv2.LUT(rounded, np.gradient(table).astype(np.float32))
        single = self._gain**2  # 1: a single frame
        if single.max() > _SINGLE:
            _blend(average, self._work, single, self._work)
        return cast(ImageT, _in_steps(self._work, self._work) if deep else cv2.convertScaleAbs(self._work, dst=rounded))


def _in_levels(frame: NDArray[Any], result: Floats | None = None) -> Floats:
    """Return a frame as float32 in 0..255."""
    if frame.dtype != np.uint8:
        scale = np.float32(_WHITE / full_scale(frame.dtype))
        return cast(Floats, np.multiply(frame, scale, out=result, dtype=np.float32))
    if result is None:
        return frame.astype(np.float32)
    np.copyto(result, frame)
    return result


def _in_steps(values: Floats, work: Floats) -> NDArray[np.uint16]:
    """Return float32 values in 0..255 as 16-bit ones; `work` is overwritten, and may be the values."""
    np.multiply(values, np.float32(full_scale(np.dtype(np.uint16)) / _WHITE), out=work)
    np.rint(work, out=work)
    return np.clip(work, 0, full_scale(np.dtype(np.uint16)), out=work).astype(np.uint16)


def _blend(frame: Floats, average: Floats, gain: Floats, result: Floats) -> Floats:
    """Store average + gain * (frame - average) in `result`, which may be one of the two; gains are per cell."""
    size = frame.shape[1::-1]
    own, other = (cv2.resize(weight, size) for weight in (gain * _WEIGHT, (1 - gain) * _WEIGHT))
    return cast(Floats, cv2.blendLinear(frame, average, own, other, dst=result))


def _check(frame: NDArray[Any]) -> None:
    if not isinstance(frame, np.ndarray):
        raise ImageTypeError(f"the frame is a {type(frame).__name__}: it must be a NumPy array")
    if frame.dtype not in (np.uint8, np.uint16):
        raise ImageTypeError(f"the frame's dtype is {frame.dtype}: it must be uint8 or uint16")
    if (frame.ndim != 2 and not (frame.ndim == 3 and frame.shape[2] == 3)) or 0 in frame.shape:
        raise ImageError(f"the frame's shape is {frame.shape}: it must be (H, W) or (H, W, 3), without a 0")
