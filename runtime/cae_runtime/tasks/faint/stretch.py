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

import threading
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.inference.model_spec import ModelSpec
from cae_runtime.inference.tiled_image import Rows
from cae_runtime.io.arrays import Image
from cae_runtime.tasks.faint.noise_model import NoiseModel, block_means, measured_noise, rough_deviation

Floats = NDArray[np.float32]
Plane = NDArray[np.uint16]  # rows of one channel, (h, W)

WHITE: Final = 65535
FAINT: Final = 2.0  # of 255 levels: below this, models add noise instead of removing it
LEVEL: Final = 8.0  # of 255 levels: sigma after stretching; 6 to 12 are about equally good
LEAST: Final = 0.5  # deviation in steps of the file; below this there is only rounding
BLOCK: Final = 8  # pixels: side of the blocks whose means are subtracted
_PIXELS: Final = 2**17  # of one channel, worked on at once: they stay in the cache
_KEPT: Final = 2  # strips of the stretched picture
_KEPT_ROWS: Final = 64  # the fewest rows of each


def faintest(spec: ModelSpec) -> float | None:
    """Return the faintest noise that a model cleans, in levels of 255; None if it was not trained to denoise.

    This is the lowest Gaussian noise of its training, but at least 2: below that, cleaning does more harm than good.
    """
    return None if spec.sigma_min is None else max(spec.sigma_min, FAINT)


class _Strip:
    """Rows of the stretched picture, (C, h, W); None until they are made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.planes: Floats | None = None


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
        width: W.
    """

    def __init__(self, noises: list[NoiseModel], rows: Rows, shape: tuple[int, ...], level: float) -> None:
        self.noises, self.picture = noises, rows
        self.half = 255 / 2 / level
        self._shape, self.width = shape, shape[1]
        self._strips: dict[int, _Strip] = {}  # by their first row
        self._lock = threading.Lock()
        values = np.arange(WHITE + 1, dtype=np.float32)
        self._tables = [noise.stabilized(values)[None] for noise in noises]
        self._means = self._block_means()

    def rows(self, first: int, end: int) -> Image:
        """Rows first..end-1 as the model sees them: float32 (h, W, C) in 0..1, 0.5 at a block's mean.

        Neighboring patches share rows: so strips are kept for a while, each made by the first thread that needs it.
        """
        step, parts = max(_KEPT_ROWS, rows_in_cache(self.width)), []
        for top in range(first // step * step, end, step):
            strip = self._kept_strip(top, min(top + step, self._shape[0]))
            parts.append(strip[:, max(0, first - top) : end - top])
        planes = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return cast(Image, planes.transpose(1, 2, 0))

    def _kept_strip(self, top: int, bottom: int) -> Floats:
        with self._lock:
            strip = self._strips.setdefault(top, _Strip())
            if len(self._strips) > _KEPT:
                del self._strips[next(iter(self._strips))]
        with strip.lock:
            if strip.planes is None:
                strip.planes = self._stretched(top, bottom)
            return strip.planes

    def _stretched(self, first: int, end: int) -> Floats:
        """Rows first..end-1 as the model sees them, but by channels: (C, h, W)."""
        result = np.empty((self._shape[2], end - first, self.width), np.float32)
        scale = 0.5 / self.half
        for channel, plane in enumerate(_planes(self.picture(first, end))):
            values, base = self.stabilized(plane, channel), self.base(first, end, channel)
            cv2.addWeighted(values, scale, base, -scale, 0.5, result[channel])
        np.clip(result, 0, 1, out=result)
        return result

    def stabilized(self, plane: Plane, channel: int) -> Floats:
        """Values of one channel, (h, w), on the scale where the deviation of the noise is 1: float32 (h, w)."""
        return cast(Floats, cv2.LUT(plane, self._tables[channel]))

    def base(self, first: int, end: int, channel: int) -> Floats:
        """Means of one channel's blocks, interpolated, on the stabilized scale: rows first..end-1, float32 (h, W)."""
        top = first // BLOCK  # the means have a border of one block: these begin one earlier
        means = self._means[channel][top : -(-end // BLOCK) + 2]
        base = cv2.resize(means, None, fx=BLOCK, fy=BLOCK, interpolation=cv2.INTER_LINEAR)
        top = (top - 1) * BLOCK
        return cast(Floats, base[first - top : end - top, BLOCK : BLOCK + self.width])

    def _block_means(self) -> list[Floats]:
        """Means of each channel's blocks on the stabilized scale, (ceil(H / 8) + 2, ceil(W / 8) + 2): with a border."""
        height, width = self._shape[:2]
        found: list[list[Floats]] = [[] for _ in self.noises]
        step = rows_in_cache(width)
        for top in range(0, height, step):
            for channel, plane in enumerate(_planes(self.picture(top, min(top + step, height)))):
                found[channel].append(block_means(whole_blocks(self.stabilized(plane, channel)), BLOCK))
        planes = [np.concatenate(parts) for parts in found]
        return [cast(Floats, cv2.copyMakeBorder(plane, 1, 1, 1, 1, cv2.BORDER_REPLICATE)) for plane in planes]


def rows_in_cache(width: int) -> int:
    """How many rows of a picture are worked on at once: whole blocks, at least one."""
    return max(1, _PIXELS // width // BLOCK) * BLOCK


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
) -> tuple[Stretch | None, float | None] | None:
    """Measure a 16-bit picture, and stretch it if its noise is fainter than a model can clean.

    Args:
        spec: the model's.
        image: the picture, uint16 (H, W, C), C 1 or 3.
        rows: returns its rows, with hidden pixels filled.
        hidden: bool (H, W), true where pixels do not count; None: all do.

    Returns:
        None if the picture needs no stretching. Otherwise the stretched picture (None if its noise is less than a step
        of the file, or cannot be measured) and the deviation of the noise at the picture's median (None if it cannot be
        measured).
    """
    faint = faintest(spec)
    if faint is None:
        return None

    def measured(channel: int) -> tuple[NoiseModel, float] | None:
        return measured_noise(image.shape, lambda y, x: image[y, x, channel], WHITE, hidden)

    channels, enough = image.shape[2], faint * WHITE / 255
    middle = measured(channels // 2)
    if middle is None:
        rough = rough_deviation(image.shape, lambda y, x: image[y, x, channels // 2], hidden)
        return None if rough >= enough else (None, None)
    deviation = middle[0].deviation(middle[1])
    if deviation >= enough:
        return None
    found = [middle if channel == channels // 2 else measured(channel) for channel in range(channels)]
    noises = [each[0] for each in found if each is not None]
    if len(noises) < channels or min(each[0].deviation(each[1]) for each in found if each) < LEAST:
        return None, deviation
    return Stretch(noises, rows, image.shape, max(LEVEL, faint)), deviation
