"""How much noise a picture has in its dark, middle and bright parts, before and after cleaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.io.arrays import colors_of, full_scale

BLOCK: Final = 16  # pixels: side of the blocks that are looked at
PARTS: Final = (
    ("dark", 0.0, 85.0),
    ("middle", 85.0, 170.0),
    ("bright", 170.0, 256.0),
)  # means of 255, without the last
_FLATTEST: Final = 0.1  # share of the blocks of a part in which its noise is measured
_FEWEST: Final = 4  # blocks for a figure
_LEFT, _AT_LEAST = 0.5, 2.0  # share that cleaning leaves, of how many levels, from which on it is detail
_CLIPPED: Final = 0.2  # largest share of black or white values of a block that counts


@dataclass(frozen=True)
class PartNoise:
    """The noise of one part of a picture: standard deviations in levels of 255; None where nothing is flat enough.

    Attributes:
        part: `dark`, `middle` or `bright`.
        share: of the picture, 0..1.
        brightness_before: of the luminance (ITU-R BT.601), before cleaning.
        brightness_after: after it.
        color_before: of the differences of blue and red from the luminance, root mean square of both; None for gray.
        color_after: after it.
        detail: whether cleaning at full strength leaves more than half of the brightness figure, if that is 2 or more:
            no part is flat, so that the figure is mostly detail of the picture.
    """

    part: str
    share: float
    brightness_before: float | None
    brightness_after: float | None
    color_before: float | None
    color_after: float | None
    detail: bool = False


def noise_by_part(before: NDArray[Any], after: NDArray[Any], guide: NDArray[Any] | None = None) -> list[PartNoise]:
    """Measure the noise in the flattest tenth of the blocks of 16x16 pixels, for each part.

    Which blocks are flat is seen by the means of their quarters in a cleaned picture, not by the noise that is
    measured there.

    Args:
        before: the picture, (H, W) or (H, W, C), BGR; alpha is left out.
        after: the cleaned picture, of the same shape and dtype.
        guide: the picture cleaned at full strength, in which flat blocks are looked for; None: `after` is that.

    Returns:
        One entry for each of `PARTS`.
    """
    if min(before.shape[:2]) < BLOCK:
        return [PartNoise(name, 0.0, None, None, None, None) for name, _, _ in PARTS]
    old, new = _planes(before), _planes(after)
    seen = new if guide is None else _planes(guide)
    brightness, whole = _means(old[0]), ~_clipped(before)
    flatness = _unevenness(seen[0])
    deviations = [(_deviations(a) ** 2, _deviations(b) ** 2) for a, b in zip(old, new, strict=True)]
    left = _deviations(seen[0]) ** 2
    found = []
    for name, low, high in PARTS:
        inside = (brightness >= low) & (brightness < high)
        usable = inside & whole
        count = max(_FEWEST, round(usable.sum() * _FLATTEST))
        figures: list[float | None] = [None] * 4
        detail = False
        if usable.sum() >= _FEWEST:
            chosen = usable & (flatness <= np.partition(flatness[usable], count - 1)[count - 1])
            rms = [[float(np.sqrt(np.median(each[chosen]))) for each in pair] for pair in deviations]
            figures[:2] = rms[0]
            detail = bool(rms[0][0] >= _AT_LEAST and np.sqrt(np.median(left[chosen])) > _LEFT * rms[0][0])
            if len(rms) > 1:
                figures[2:] = [float(np.sqrt((blue**2 + red**2) / 2)) for blue, red in zip(*rms[1:], strict=True)]
        found.append(PartNoise(name, float(inside.mean()), figures[0], figures[1], figures[2], figures[3], detail))
    return found


def _planes(picture: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Return the luminance, and for color its differences from blue and red, in levels of 255, in whole blocks."""
    colors = colors_of(picture)
    height, width = (side // BLOCK * BLOCK for side in colors.shape[:2])
    values = colors[:height, :width].astype(np.float32) * np.float32(255 / full_scale(picture.dtype))
    if values.shape[2] == 1:
        return [values[..., 0]]
    light = np.asarray(cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_BGR2GRAY), np.float32)
    return [light, values[..., 0] - light, values[..., 2] - light]


def _blocks(plane: NDArray[Any]) -> NDArray[Any]:
    """Return a plane as blocks, shape (N, BLOCK * BLOCK)."""
    down, across = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    return plane.reshape(down, BLOCK, across, BLOCK).swapaxes(1, 2).reshape(down * across, BLOCK * BLOCK)


def _means(plane: NDArray[np.float32]) -> NDArray[Any]:
    return np.asarray(_blocks(plane).mean(axis=1))


def _deviations(plane: NDArray[np.float32]) -> NDArray[Any]:
    return np.asarray(_blocks(plane).std(axis=1))


def _unevenness(plane: NDArray[np.float32]) -> NDArray[Any]:
    """Return how far the means of the quarters of each block lie apart, in which its noise hardly counts."""
    half = BLOCK // 2
    down, across = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    quarters = plane.reshape(down, 2, half, across, 2, half).mean(axis=(2, 5))
    return np.asarray(quarters.std(axis=(1, 3)).ravel())


def _clipped(picture: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which blocks have values that are cut off at black or white."""
    colors = colors_of(picture)
    height, width = (side // BLOCK * BLOCK for side in colors.shape[:2])
    at_end = np.asarray(
        ((colors[:height, :width] <= 0) | (colors[:height, :width] >= full_scale(picture.dtype))).any(axis=2)
    )
    return np.asarray(_blocks(at_end).mean(axis=1) > _CLIPPED)
