"""Limits the colors that are filled into large holes to the colors around them.

Beside pixels that are still missing, a model gives some of the color that marks them, and the next ring of the hole,
which sees this as known, gives more. So the green (or gray) of a filled pixel, and how far red and blue differ from it,
are held between the least and the largest of the known pixels around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_CELL: Final = 64  # side of the parts that are worked on
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
    near = np.arange(-(reach // 2), reach // 2 + 1)
    far = np.arange(reach // 2 + 2, reach + 1, 2)
    steps = np.concatenate([-far, near, far])
    places = np.flatnonzero(where)
    result = np.empty_like(made)
    for box in _boxes(where):
        ys, xs = np.nonzero(where[box])
        some = np.searchsorted(places, (ys + box[0].start) * where.shape[1] + xs + box[1].start)
        least, largest = _around(image, unknown, box, steps)
        result[some] = _colors(_opponent(made[some]).clip(least[ys, xs], largest[ys, xs]))
    return result


def _boxes(where: NDArray[np.bool_]) -> Iterator[tuple[slice, slice]]:
    """Yield small boxes that hold all marked pixels."""
    height, width = where.shape
    for top in range(0, height, _CELL):
        for left in range(0, width, _CELL):
            cell = where[top : top + _CELL, left : left + _CELL]
            rows, columns = np.flatnonzero(cell.any(axis=1)), np.flatnonzero(cell.any(axis=0))
            if len(rows):
                yield (
                    slice(top + int(rows[0]), top + int(rows[-1]) + 1),
                    slice(left + int(columns[0]), left + int(columns[-1]) + 1),
                )


def _around(
    image: NDArray[Any], unknown: NDArray[np.bool_], box: tuple[slice, slice], steps: NDArray[np.int_]
) -> tuple[Floats, Floats]:
    """Return the least and the largest known values around each pixel of a box, (h, w, C): over columns, then rows."""
    reach = int(steps.max())
    rows, columns = (
        np.arange(part.start - reach, part.stop + reach).clip(0, side - 1)
        for part, side in zip(box, unknown.shape, strict=True)
    )
    around = _opponent(image[rows[:, None], columns].astype(np.float32))
    hidden = unknown[rows[:, None], columns]
    high, wide = (part.stop - part.start for part in box)
    turned = wide > high  # the longer side comes last, which is less work
    if turned:
        around, hidden, high, wide = around.swapaxes(0, 1), hidden.T, wide, high
    found: list[Floats] = []
    for beyond, pick in ((np.inf, np.minimum), (-np.inf, np.maximum)):
        values = np.where(hidden[..., None], np.float32(beyond), around)
        for length in (wide, high):
            values = np.ascontiguousarray(values.swapaxes(0, 1))
            best = values[reach : reach + length].copy()
            for step in steps:
                pick(best, values[reach + step : reach + step + length], out=best)
            values = best
        found.append(values.swapaxes(0, 1) if turned else values)
    return found[0], found[1]


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
