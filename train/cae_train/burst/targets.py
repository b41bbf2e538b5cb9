"""The targets: scenes without noise, as means of their frames without the fixed pattern."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_train.burst import fixed_pattern
from cae_train.burst.static_scenes import Steady
from cae_train.errors import DataError

SCENES_LEAST = 3  # scenes needed to find a fixed pattern; 2 suffice if one has the lens cap on

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Target:
    """What a scene looks like without noise, as far as its frames tell.

    Attributes:
        steady: the scene's frames, with their brightness factors.
        total: sum of the frames, float32 H x W x 3, of 0..255 each; or the scene's `truth` if it has one.
        count: number of frames in the sum; 1 for a `truth`.
        fixed: the fixed pattern of rows and columns to take off, float32 H x W x 1, in levels.
        hot: pixels that are always too bright, bool H x W.
        dead: pixels that are always too dark, bool H x W.
    """

    steady: Steady
    total: Floats
    count: int
    fixed: Floats
    hot: Mask
    dead: Mask

    @cached_property
    def defects(self) -> Mask:
        """Hot and dead pixels, bool H x W."""
        return self.hot | self.dead

    @property
    def left(self) -> float:
        """Remaining noise of a target, as a share of the variance of one frame's noise; 0 for a truth."""
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
        defects = self.defects[place]
        if defects.any():
            clean[defects] = self.smooth[place][defects]
        return noisy.clip(0, 255), clean.clip(0, 255)

    @cached_property
    def smooth(self) -> Floats:
        """The mean of all frames, defective pixels filled from around them."""
        return self.mean()

    def _without_pattern(self, mean: Floats) -> Floats:
        result = np.subtract(mean, self.fixed, dtype=np.float32)
        if self.defects.any():
            middle = cv2.medianBlur(np.ascontiguousarray(result.clip(0, 255)), 5)
            result[self.defects] = middle[self.defects]
        return result.clip(0, 255)


def targets_of(scenes: Sequence[Steady]) -> list[Target]:
    """What the lit scenes look like without noise.

    The fixed pattern is what three or more scenes of one frame size have in common, dark ones included. With fewer
    scenes it is not determined, since a table's edge could be mistaken for it.

    Raises:
        DataError: all scenes are black.
    """
    lit = [steady for steady in scenes if not steady.black]
    if not lit:
        names = ", ".join(repr(steady.scene.name) for steady in scenes)
        raise DataError(f"scene {names} is black: it shows the fixed pattern alone; record something in light too")
    totals = [_total(steady) for steady in scenes]
    sizes = {total.shape for total, _ in totals}
    enough = len(scenes) >= SCENES_LEAST or len(lit) < len(scenes)
    same = enough and len(sizes) == 1 and all(steady.scene.truth is None for steady in scenes)
    means = [total / np.float32(count) for total, count in totals]
    pattern = _pattern(scenes, means) if same else None
    targets = []
    for steady, (total, count) in zip(scenes, totals, strict=True):
        if not steady.black:
            none = np.zeros((*total.shape[:2], 1), np.float32), *np.zeros((2, *total.shape[:2]), np.bool_)
            targets.append(Target(steady, total, count, *(pattern or none)))
    return targets


def _pattern(scenes: Sequence[Steady], means: Sequence[Floats]) -> tuple[Floats, Mask, Mask]:
    """Fixed rows and columns, hot and dead pixels, of scenes and their means of one size."""
    lit = [mean for steady, mean in zip(scenes, means, strict=True) if not steady.black]
    black = [mean for steady, mean in zip(scenes, means, strict=True) if steady.black]
    lines = fixed_pattern.lines(lit, black, 0)[:, None, None] + fixed_pattern.lines(lit, black, 1)[None, :, None]
    hot = fixed_pattern.hot(means)
    return lines, hot, fixed_pattern.dead(lit) if len(lit) >= SCENES_LEAST else np.zeros_like(hot)


def _total(steady: Steady) -> tuple[Floats, int]:
    if steady.scene.truth is not None:
        return steady.scene.truth, 1
    total = np.zeros(steady.scene.frames.shape[1:], np.float32)
    for number in range(len(steady.gains)):
        total += steady.frame(number)
    return total, len(steady.gains)
