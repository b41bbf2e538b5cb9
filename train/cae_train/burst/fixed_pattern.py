"""The fixed pattern of a camera, which no averaging removes: rows, columns, defective pixels.

It is the common part of the means of several scenes. Source: EMVA standard 1288, which separates the fixed pattern from
noise that changes over time.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SMOOTHING_SIGMA = 4.0  # sigma of the blurred picture that a line is compared with, in pixels
LARGEST_LINE = 15.0  # largest difference of a line from the blurred picture, in levels of 255
LEAST_PATTERN = 0.12  # standard deviation of the least pattern that counts, in levels of 255
LEAST_PATTERN_CAP = 0.05  # the same with the lens cap on
SHARED_VARIANCE = 0.5  # share of the lines' variance that all scenes must have in common
ERROR_CAP = 0.02  # error of a pattern measured with the lens cap on, as a share of its variance
DEFECT_LEVELS = 10.0  # levels of 255 by which a defective pixel differs from its neighbors, and
DEFECT_FACTOR = 2.0  # least ratio of this difference to the usual difference around it
NEIGHBOR_SHARE = 0.5  # share of `DEFECT_LEVELS` by which the pixel must differ from its most similar neighbor
SCENE_LIMITS = (-0.5, 2.0)  # the evidence of one scene for or against a pixel is clipped to this
DEFECTS_MOST = 0.02  # largest share of defective pixels; more of them are texture

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def lines(lit: Sequence[Floats], black: Sequence[Floats], axis: int) -> Floats:
    """The common pattern of rows (axis 0) or columns (1) of pictures H x W x 3; zeros if there is none.

    The pattern of a line is its median difference from a smooth picture. The part that smoothing removed is restored as
    far as the scenes agree (Wiener filter). Black pictures contain only the pattern, partly clipped, so its strength is
    taken from lit pictures.

    Returns:
        float32 H or W, in levels of 255.
    """
    each = np.stack([_lines_of(mean, axis) for mean in (*lit, *black)])
    if black:
        pattern = each[len(lit) :].mean(axis=0)
        strength = float((each[: len(lit)] @ pattern).mean() / max(float(pattern @ pattern), 1e-9))
        there = pattern.std() > LEAST_PATTERN_CAP and strength > SHARED_VARIANCE
        return _sharp(pattern * strength, ERROR_CAP) if there else np.zeros(each.shape[1], np.float32)
    covariance = np.cov(each)
    own = np.trace(covariance) / len(each)
    common = (covariance.sum() - np.trace(covariance)) / (len(each) * (len(each) - 1))
    if common < LEAST_PATTERN**2 or common < SHARED_VARIANCE * own:
        return np.zeros(each.shape[1], np.float32)
    return _sharp(np.median(each, axis=0), (own - common) / len(each) / common)


def _lines_of(mean: Floats, axis: int) -> NDArray[np.float64]:
    plane = np.ascontiguousarray(mean.mean(2) if axis == 0 else mean.mean(2).T)
    found = np.median(plane - _smooth_down(plane), axis=1).clip(-LARGEST_LINE, LARGEST_LINE).astype(np.float64)
    return np.asarray(found - found.mean())


def _sharp(pattern: NDArray[np.float64], error: float) -> Floats:
    """Restore the part of a pattern that smoothing removed; `error` is the share of error in the pattern's variance."""
    unit = np.eye(len(pattern), dtype=np.float32)
    fine = (unit - _smooth_down(unit)).astype(np.float64)
    sharp = np.linalg.solve(fine.T @ fine + error * unit, fine.T @ pattern)
    return np.asarray(sharp - sharp.mean(), np.float32)


def _smooth_down(plane: Floats) -> Floats:
    """Blur a plane with a Gaussian along its columns."""
    size = 2 * int(3 * SMOOTHING_SIGMA) + 1
    return cv2.sepFilter2D(plane, -1, np.ones(1), cv2.getGaussianKernel(size, SMOOTHING_SIGMA)).astype(np.float32)


def hot(means: Sequence[Floats]) -> Mask:
    """Pixels that are brighter than all their neighbors in most of the pictures H x W x 3, lit or black."""
    return _defects([_standing_out(mean) for mean in means])


def dead(lit: Sequence[Floats]) -> Mask:
    """Pixels that are darker than all their neighbors in most of the lit pictures H x W x 3."""
    return _defects([_standing_out(255 - mean) for mean in lit])


def _standing_out(mean: Floats) -> Floats:
    """How much each pixel stands out in its most deviating color, H x W; 1 or more means that it does."""
    ring = np.ones((3, 3), np.uint8)
    ring[1, 1] = 0
    most = np.full(mean.shape[:2], -np.inf, np.float32)
    for c in range(mean.shape[2]):
        plane = np.ascontiguousarray(mean[..., c], np.float32)
        excess = plane - cv2.medianBlur(plane, 5)
        usual = cv2.blur(np.minimum(np.abs(excess), 4 * DEFECT_LEVELS), (15, 15))
        neighbor = (plane - cv2.dilate(plane, ring)) / (NEIGHBOR_SHARE * DEFECT_LEVELS)
        most = np.maximum(most, np.minimum(neighbor, excess / np.maximum(DEFECT_LEVELS, DEFECT_FACTOR * usual)))
    return most


def _defects(standing_out: Sequence[Floats]) -> Mask:
    """Pixels that stand out on average over the scenes; texture does so in one scene only."""
    found: Mask = np.mean([scene.clip(*SCENE_LIMITS) for scene in standing_out], axis=0) > 1
    return found if found.mean() <= DEFECTS_MOST else np.zeros_like(found)
