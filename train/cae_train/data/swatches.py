"""Drawn charts of flat colors, saturated ones above all.

Photographs have few large areas of a pure color, so a network that learned from them alone shifts the mean of such an
area under noise, by up to a level.
"""

import numpy as np
from numpy.typing import NDArray

from cae_train.data.synthetic import SIDE, Image

PICTURES = 120
SWATCH = 64  # pixels along a side: most patches of 32x32 see one or two colors
SPREAD = 0.5  # of the beta distribution of each channel: below 1 prefers dark and bright channels to those between


def load_swatches(seed: int = 0, count: int | None = None) -> list[Image]:
    """The first `count` of a seed's `PICTURES`, `SIDE` x `SIDE`, RGB."""
    rng = np.random.default_rng((seed, 0xC0108))
    return [chart(rng) for _ in range(PICTURES if count is None else count)]


def chart(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Squares of `SWATCH` pixels, each of one color."""
    across = SIDE // SWATCH
    colors = np.rint(255 * rng.beta(SPREAD, SPREAD, (across, across, 3))).astype(np.uint8)
    return colors.repeat(SWATCH, 0).repeat(SWATCH, 1)
