"""Keeps what is filled into large holes within the colors around it.

Beside pixels that are still missing, a model gives some of the color that marks them, and the next ring of the hole,
which sees this as known, gives more. So the green (or gray) of a filled pixel, and how far red and blue differ from it,
are held between the least and the largest of the known pixels around it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_AT_ONCE: Final = 2**13  # pixels whose surroundings are in memory
_COLORS: Final = 3
Floats = NDArray[np.float32]


def within_surroundings(
    made: Floats, image: NDArray[Any], where: NDArray[np.bool_], unknown: NDArray[np.bool_], reach: int
) -> Floats:
    """Return filled pixels, none of a color beyond those of the known pixels around it.

    Args:
        made: the filled pixels in row order, (M, C), in the range of `image`; C is 1 or 3.
        image: (H, W, C).
        where: their places, bool (H, W). Each has a known pixel within half of `reach`.
        unknown: the pixels of `image` without a value yet, bool (H, W).
        reach: pixels to each side that count as around one; of the farther half, every second one.
    """
    ys, xs = np.nonzero(where)
    near = np.arange(-(reach // 2), reach // 2 + 1)
    far = np.arange(reach // 2 + 2, reach + 1, 2)
    steps = np.concatenate([-far, near, far])
    height, width = where.shape
    result = np.empty_like(made)
    for first in range(0, len(ys), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        rows = (ys[some, None, None] + steps[:, None]).clip(0, height - 1)  # (m, s, 1)
        columns = (xs[some, None, None] + steps).clip(0, width - 1)  # (m, 1, s)
        around = _opponent(image[rows, columns].astype(np.float32))  # (m, s, s, C)
        hidden = unknown[rows, columns][..., None]
        least = np.where(hidden, np.float32(np.inf), around).min(axis=(1, 2))
        largest = np.where(hidden, np.float32(-np.inf), around).max(axis=(1, 2))
        result[some] = _colors(_opponent(made[some]).clip(least, largest))
    return result


def _opponent(colors: Floats) -> Floats:
    """The middle channel, and how far the two others differ from it; gray stays as it is."""
    if colors.shape[-1] != _COLORS:
        return colors
    middle = colors[..., 1:2]
    return np.concatenate([colors[..., :1] - middle, middle, colors[..., 2:] - middle], axis=-1)


def _colors(opponent: Floats) -> Floats:
    """The inverse of `_opponent`."""
    if opponent.shape[-1] != _COLORS:
        return opponent
    middle = opponent[..., 1:2]
    return np.concatenate([opponent[..., :1] + middle, middle, opponent[..., 2:] + middle], axis=-1)
