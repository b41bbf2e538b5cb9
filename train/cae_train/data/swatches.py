"""Drawn charts of flat colors, half of them saturated.

Other pictures have few large areas of a pure color, and networks that learned from them alone shift the mean of such an
area under noise, by up to 0.6 levels (`tests/benchmarks/denoising/dark.py`).
"""

import numpy as np
from numpy.typing import NDArray

from cae_train.data.synthetic import SIDE, Image

PICTURES = 120
SWATCH = 64  # pixels along a side: most patches of 32x32 see one or two colors
SPREAD = 0.5  # of the beta distribution of a saturated color's channels: below 1 prefers dark and bright ones
INSIDE = (25, 230)  # of the other half: values that noise of sigma 8 seldom takes to black or white


def load_swatches(seed: int = 0, count: int | None = None) -> list[Image]:
    """The first `count` of a seed's `PICTURES`, `SIDE` x `SIDE`, RGB."""
    rng = np.random.default_rng((seed, 0xC0108))
    return [chart(rng) for _ in range(PICTURES if count is None else count)]


def chart(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Squares of `SWATCH` pixels, each of one color."""
    across = SIDE // SWATCH
    saturated = 255 * rng.beta(SPREAD, SPREAD, (across, across, 3))
    others = rng.uniform(*INSIDE, saturated.shape)
    colors = np.where(rng.random((across, across, 1)) < 0.5, saturated, others)
    return np.rint(colors).astype(np.uint8).repeat(SWATCH, 0).repeat(SWATCH, 1)
