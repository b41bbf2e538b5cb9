"""What scenes look like without noise: the means of their frames, without the pattern that all frames have in common.

Along rows and columns, and of single pixels that are always too bright, that pattern is found in what several scenes
have in common; no mean removes it. Source: the fixed pattern apart from what changes over time, EMVA standard 1288.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_train.burst.steady import Steady
from cae_train.errors import DataError

SCENES = 3  # in which a fixed pattern is looked for; with the lens cap on in one, 2 will do
LINE_SIGMA, LINE_LEAST = 4.0, 0.12  # what a fixed line stands out of, in pixels; the least that counts, of 255
LINE_MOST, LINE_ALIKE = 15.0, 0.5  # the largest of a line; share of the lines' variance that the scenes have in common
HOT_LEAST = 12.0  # by how much a hot pixel is brighter than its neighbours, of 255
HOT_TIMES = 3.0  # and of what the excess usually is around it
HOT_MOST = 0.02  # of the pixels: more of them are texture

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Target:
    """What a scene looks like without noise, as far as its frames tell.

    Attributes:
        steady: the scene.
        total: sum of its frames, float32 H x W x 3 in 0..255 each; with `truth`, that.
        count: how many frames are in the sum.
        fixed: the fixed pattern to take off, float32 H x W x 1.
        hot: pixels that are always too bright, bool H x W.
    """

    steady: Steady
    total: Floats
    count: int
    fixed: Floats
    hot: Mask

    @property
    def left(self) -> float:
        """Noise that is left in a target, as a share of the variance of one frame's; 0 with a truth."""
        return 0.0 if self.steady.scene.truth is not None else 1 / max(1, self.count - 1)

    @property
    def usable(self) -> Mask:
        """Where nothing moves."""
        return ~self.steady.moving

    def mean(self) -> Floats:
        """The mean of all frames without the fixed pattern, H x W x 3 in 0..255."""
        return self._without_pattern(self.total / np.float32(self.count))

    def without(self, number: int) -> Floats:
        """The mean of all frames but one, without the fixed pattern, H x W x 3 in 0..255."""
        if self.steady.scene.truth is not None:
            return self._without_pattern(self.total)
        return self._without_pattern((self.total - self.steady.frame(number)) / np.float32(self.count - 1))

    def pair(self, number: int, y: int, x: int, side: int) -> tuple[Floats, Floats]:
        """A window of a frame, and of the mean of the others without the fixed pattern: side x side x 3 in 0..255."""
        place = np.s_[y : y + side, x : x + side]
        noisy = np.multiply(self.steady.scene.frames[number][place], self.steady.gains[number], dtype=np.float32)
        if self.steady.scene.truth is None:
            clean = (self.total[place] - noisy) / np.float32(self.count - 1) - self.fixed[place]
        else:
            clean = self.total[place].copy()
        hot = self.hot[place]
        if hot.any():
            clean[hot] = self.smooth[place][hot]
        return noisy.clip(0, 255), clean.clip(0, 255)

    @cached_property
    def smooth(self) -> Floats:
        """The mean of all frames, hot pixels filled from around them."""
        return self.mean()

    def _without_pattern(self, mean: Floats) -> Floats:
        result = np.subtract(mean, self.fixed, dtype=np.float32)
        if self.hot.any():
            middle = cv2.medianBlur(np.ascontiguousarray(result.clip(0, 255)), 5)
            result[self.hot] = middle[self.hot]
        return result.clip(0, 255)


def targets_of(scenes: Sequence[Steady]) -> list[Target]:
    """What the lit scenes look like without noise.

    The fixed pattern is found in what three scenes or more have in common, dark ones too, of frames of one size; it is
    not looked for in fewer, where a table's edge would be taken for it.

    Raises:
        DataError: all are black.
    """
    lit = [steady for steady in scenes if not steady.black]
    if not lit:
        names = ", ".join(repr(steady.scene.name) for steady in scenes)
        raise DataError(f"scene {names} is black: it shows the fixed pattern alone; record something in light too")
    totals = [_total(steady) for steady in scenes]
    sizes = {total.shape for total, _ in totals}
    enough = len(scenes) >= SCENES or len(lit) < len(scenes)
    same = enough and len(sizes) == 1 and all(steady.scene.truth is None for steady in scenes)
    means = [total / np.float32(count) for total, count in totals]
    targets = []
    for steady, (total, count) in zip(scenes, totals, strict=True):
        if steady.black:
            continue
        height, width = total.shape[:2]
        if same:
            fixed = _lines(means, 0)[:, None, None] + _lines(means, 1)[None, :, None]
            hot = _hot(means)
        else:
            fixed, hot = np.zeros((1, 1, 1), np.float32), np.zeros((height, width), np.bool_)
        targets.append(Target(steady, total, count, np.broadcast_to(fixed, (height, width, 1)), hot))
    return targets


def _total(steady: Steady) -> tuple[Floats, int]:
    if steady.scene.truth is not None:
        return steady.scene.truth, 1
    total = np.zeros(steady.scene.frames.shape[1:], np.float32)
    for number in range(len(steady.gains)):
        total += steady.frame(number)
    return total, len(steady.gains)


def _lines(means: Sequence[Floats], axis: int) -> Floats:
    """The pattern of rows (axis 0) or columns (1) that the means of scenes have in common; zeros where there is none.

    Each line's median difference from a smooth picture; what is not alike from scene to scene is the scenes' own.
    """
    found = []
    for mean in means:
        plane = np.ascontiguousarray(mean.mean(2) if axis == 0 else mean.mean(2).T)
        found.append(np.median(plane - _smooth_down(plane), axis=1).clip(-LINE_MOST, LINE_MOST))
    lines = np.array(found, np.float64)
    lines -= lines.mean(axis=1, keepdims=True)
    covariance = np.cov(lines)
    own = np.trace(covariance) / len(lines)
    common = (covariance.sum() - np.trace(covariance)) / (len(lines) * (len(lines) - 1))
    if common < LINE_LEAST**2 or common < LINE_ALIKE * own:
        return np.zeros(lines.shape[1], np.float32)
    reliable = common / (common + (own - common) / len(lines))
    return np.asarray(reliable * np.median(lines, axis=0), np.float32)


def _smooth_down(plane: Floats) -> Floats:
    """A plane through a Gaussian along its columns alone."""
    size = 2 * int(3 * LINE_SIGMA) + 1
    return cv2.sepFilter2D(plane, -1, np.ones(1), cv2.getGaussianKernel(size, LINE_SIGMA)).astype(np.float32)


def _hot(means: Sequence[Floats]) -> Mask:
    """Pixels that are brighter than all around them in most scenes: their excess stands out of what texture has."""
    excess = []
    for mean in means:
        plane = np.ascontiguousarray(mean.max(2))
        excess.append(plane - cv2.medianBlur(plane, 5))
    common = np.min(excess, axis=0) if len(means) < SCENES else np.median(excess, axis=0)
    usual = cv2.blur(np.minimum(np.abs(common), HOT_LEAST), (15, 15))
    hot: Mask = common > np.maximum(HOT_LEAST, HOT_TIMES * usual)
    return hot if hot.mean() <= HOT_MOST else np.zeros_like(hot)
