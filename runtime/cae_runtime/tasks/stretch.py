"""Stretches 16-bit pictures whose noise is too faint for a model, and scales the cleaned picture back.

A model that was trained on 8-bit photographs knows nothing below one of their 255 levels: there it adds a pattern of
its own. Pictures of telescopes, microscopes, X-ray, thermal and underexposed cameras have their noise there. They are
cleaned in three steps:

1. The noise is measured (`noise_model`), and the values are brought to a scale on which its deviation is 1 everywhere
   (Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 35, 1948).
2. The means of blocks of 8x8 pixels, interpolated, are taken away, and the rest is scaled so that the noise has 8 of
   255 levels around middle gray. So the whole range of the picture need not fit into that of the model.
3. What the model changes is put back as a multiple of the noise's deviation (`put_back`).

Pixels that do not fit into the model's range, as in bright stars and hot pixels, stay as they are, but for a fraction
of the noise.
"""

from __future__ import annotations

from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.inference.model_spec import ModelSpec
from cae_runtime.inference.tiled_image import Rows
from cae_runtime.io.arrays import Image
from cae_runtime.tasks.noise_model import NoiseModel, block_means, measured_noise

Floats = NDArray[np.float32]
Plane = NDArray[np.uint16]  # rows of one channel, (h, W)

WHITE: Final = 65535
FAINT: Final = 2.0  # of 255 levels: below this, models add noise instead of removing it
LEVEL: Final = 8.0  # of 255 levels: sigma after stretching; 6 to 12 are about equally good
LEAST: Final = 0.5  # deviation in steps of the file; below this there is only rounding
BLOCK: Final = 8  # pixels: side of the blocks whose means are subtracted
_PIXELS: Final = 2**15  # stabilized at once for the blocks' means: they stay in the cache


def faintest(spec: ModelSpec) -> float | None:
    """Return the faintest noise that a model cleans, in levels of 255; None if it was not trained to denoise.

    This is the lowest Gaussian noise of its training, but at least 2: below that, cleaning does more harm than good.
    """
    return None if spec.sigma_min is None else max(spec.sigma_min, FAINT)


class Stretch:
    """A 16-bit picture on a scale on which a model can clean it.

    Args:
        noises: the noise of each channel.
        rows: returns rows of the picture, uint16 (h, W, C).
        shape: the picture's, (H, W, C).
        level: deviation of the noise on the new scale, of 255.

    Attributes:
        noises: the noise of each channel.
        picture: gives rows of the picture, uint16 (h, W, C).
        half: deviations of the noise from middle gray to white.
    """

    def __init__(self, noises: list[NoiseModel], rows: Rows, shape: tuple[int, ...], level: float) -> None:
        self.noises, self.picture = noises, rows
        self.half = 255 / 2 / level
        self._shape = shape
        values = np.arange(WHITE + 1, dtype=np.float32)
        self._tables = [noise.stabilized(values) for noise in noises]
        self._means = self._block_means()

    def rows(self, first: int, end: int) -> Image:
        """Rows first..end-1 as the model sees them: uint16 (h, W, C), middle gray at a block's mean."""
        picture = self.picture(first, end)
        values = cv2.merge([self.stabilized(plane, channel) for channel, plane in enumerate(_planes(picture))])
        scale, base = WHITE / 2 / self.half, self.base(first, end, 0, self._shape[1])
        stretched = cv2.addWeighted(values, scale, base, -scale, WHITE / 2, dtype=cv2.CV_16U)
        return cast(Image, stretched.reshape(picture.shape))

    def stabilized(self, plane: Plane, channel: int) -> Floats:
        """Values of one channel, (h, w), on the scale where the deviation of the noise is 1: float32 (h, w)."""
        return cast(Floats, np.take(self._tables[channel], plane, mode="clip"))  # no value is clipped: it is faster

    def base(self, first: int, end: int, left: int, right: int) -> Floats:
        """Means of the blocks, interpolated, on the stabilized scale: rows first..end-1, columns left..right-1.

        Returns:
            float32, shape (h, w, C), or (h, w) where there is one channel.
        """
        top, side = first // BLOCK, left // BLOCK  # the means have a border of one block: these begin one earlier
        means = self._means[top : -(-end // BLOCK) + 2, side : -(-right // BLOCK) + 2]
        size = means.shape[1] * BLOCK, means.shape[0] * BLOCK
        base = cv2.resize(means, size, interpolation=cv2.INTER_LINEAR)
        top, side = (top - 1) * BLOCK, (side - 1) * BLOCK
        return cast(Floats, base[first - top : end - top, left - side : right - side])

    def _block_means(self) -> Floats:
        """Means of the blocks on the stabilized scale, (ceil(H / 8) + 2, ceil(W / 8) + 2, C): with a border."""
        height, width, channels = self._shape
        step = max(1, _PIXELS // width // BLOCK) * BLOCK
        size = -(-height // BLOCK), -(-width // BLOCK)
        means = np.empty((*size, channels), np.float32)
        for top in range(0, height, step):
            for channel, plane in enumerate(_planes(self.picture(top, min(top + step, height)))):
                found = block_means(whole_blocks(self.stabilized(plane, channel)), BLOCK)
                means[top // BLOCK : top // BLOCK + len(found), :, channel] = found
        bordered = cv2.copyMakeBorder(means, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        return cast(Floats, bordered.reshape(size[0] + 2, size[1] + 2, channels))


def _planes(picture: Image) -> list[Plane]:
    return cast(list[Plane], cv2.split(picture))


def whole_blocks(values: Floats) -> Floats:
    """Repeat the last row and column of (h, w) until there are whole blocks; itself where there are."""
    below, right = (-side % BLOCK for side in values.shape)
    if not (below or right):
        return values
    return cast(Floats, cv2.copyMakeBorder(values, 0, below, 0, right, cv2.BORDER_REPLICATE))


def stretch_for(
    spec: ModelSpec, image: Image, rows: Rows, hidden: NDArray[np.bool_] | None
) -> tuple[Stretch | None, float] | None:
    """Measure a 16-bit picture, and stretch it if its noise is fainter than a model can clean.

    Args:
        spec: the model's.
        image: the picture, uint16 (H, W, C), C 1 or 3.
        rows: returns its rows, with hidden pixels filled.
        hidden: bool (H, W), true where pixels do not count; None: all do.

    Returns:
        None if the picture needs no stretching or cannot be measured. Otherwise the stretched picture (None if its
        noise is less than a step of the file) and the deviation of the noise at the picture's median.
    """
    faint = faintest(spec)
    if faint is None:
        return None

    def measured(channel: int) -> tuple[NoiseModel, float] | None:
        return measured_noise(image.shape, lambda y, x: image[y, x, channel], WHITE, hidden)

    channels = image.shape[2]
    middle = measured(channels // 2)
    if middle is None:
        return None
    deviation = middle[0].deviation(middle[1])
    if deviation >= faint * WHITE / 255:
        return None
    found = [middle if channel == channels // 2 else measured(channel) for channel in range(channels)]
    noises = [each[0] for each in found if each is not None]
    if len(noises) < channels or min(each[0].deviation(each[1]) for each in found if each) < LEAST:
        return None, deviation
    return Stretch(noises, rows, image.shape, max(LEVEL, faint if faint > FAINT else 0)), deviation
