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

import math
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
_PIXELS: Final = 2**18  # of one channel, worked on at once: they stay in the cache
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
        self._step = max(_KEPT_ROWS, rows_in_cache(self.width))
        self._strips: dict[int, _Strip] = {}  # by their first row
        self._lock = threading.Lock()
        self._tables = np.zeros((len(noises), 1, WHITE + 1), np.float32)
        values = np.arange(self._most() + 1, dtype=np.float32)
        for noise, table in zip(noises, self._tables, strict=True):
            table[0, : len(values)] = noise.stabilized(values)
        self._small: Floats | None = None  # the stabilized values, by channels, until they are stretched
        self._means = self._block_means()

    def rows(self, first: int, end: int) -> Image:
        """Rows first..end-1 as the model sees them: float32 (h, W, C) in 0..1, 0.5 at a block's mean.

        Neighboring patches share rows: so strips are kept for a while, each made by the first thread that needs it.
        """
        top = first // self._step * self._step
        planes = self._kept_strip(top)[:, first - top : end - top]
        while (top := top + self._step) < end:
            planes = np.concatenate([planes, self._kept_strip(top)[:, : end - top]], axis=1)
        return cast(Image, planes.transpose(1, 2, 0))

    def _kept_strip(self, top: int) -> Floats:
        strip = self._strips.get(top)
        if strip is None:
            with self._lock:
                strip = self._strips.setdefault(top, _Strip())
                if len(self._strips) > _KEPT:
                    del self._strips[next(iter(self._strips))]
        if strip.planes is not None:
            return strip.planes
        with strip.lock:
            if strip.planes is None:
                strip.planes = self._stretched(top, min(top + self._step, self._shape[0]))
            return strip.planes

    def _stretched(self, first: int, end: int) -> Floats:
        """Rows first..end-1 as the model sees them, but by channels: (C, h, w)."""
        with self._lock:
            result, self._small = self._small, None
        if result is None:
            result = np.empty((self._shape[2], end - first, self.width), np.float32)
            for channel, plane in enumerate(split(self.picture(first, end))):
                self.stabilized(plane, channel, result[channel])
        scale = 0.5 / self.half
        for channel, values in enumerate(result):
            cv2.addWeighted(values, scale, self.base(first, end, channel), -scale, 0.5, values)
            cv2.threshold(values, 1, 0, cv2.THRESH_TRUNC, values)
            cv2.threshold(values, 0, 0, cv2.THRESH_TOZERO, values)
        return result

    def stabilized(self, plane: Plane, channel: int, values: Floats | None = None) -> Floats:
        """Values of one channel, (h, w), on the scale where the deviation of the noise is 1: float32 (h, w)."""
        return cast(Floats, cv2.LUT(plane, self._tables[channel], values))

    def base(self, first: int, end: int, channel: int, scratch: Floats | None = None) -> Floats:
        """Means of one channel's blocks, interpolated, on the stabilized scale: rows first..end-1, float32 (h, W).

        They are made in `scratch`, if it is given, which holds whole blocks and two rows and columns of blocks more.
        """
        top = first // BLOCK  # the means have a border of one block: these begin one earlier
        means = self._means[channel][top : -(-end // BLOCK) + 2]
        shape = len(means) * BLOCK, means.shape[1] * BLOCK
        base = None if scratch is None else shaped(scratch, shape)
        base = cast(Floats, cv2.resize(means, shape[::-1], base, interpolation=cv2.INTER_LINEAR))
        top = (top - 1) * BLOCK
        return base[first - top : end - top, BLOCK : BLOCK + self.width]

    def _block_means(self) -> list[Floats]:
        """Means of each channel's blocks on the stabilized scale, (ceil(H / 8) + 2, ceil(W / 8) + 2): with a border."""
        height, width = self._shape[:2]
        found: list[list[Floats]] = [[] for _ in self.noises]
        step = min(rows_in_cache(width), height)
        planes, memory = np.empty((len(found), step, width), np.uint16), np.empty((len(found), step, width), np.float32)
        for top in range(0, height, step):
            rows = self.picture(top, min(top + step, height))
            for channel, plane in enumerate(split(rows, planes[:, : len(rows)])):
                values = self.stabilized(plane, channel, memory[channel, : len(rows)])
                found[channel].append(block_means(whole_blocks(values), BLOCK))
        if height <= step:  # a small picture: they are needed once more
            self._small = memory
        means = [np.concatenate(parts) for parts in found]
        return [cast(Floats, cv2.copyMakeBorder(plane, 1, 1, 1, 1, cv2.BORDER_REPLICATE)) for plane in means]

    def _most(self) -> int:
        """The largest value of the picture."""
        height, step = self._shape[0], rows_in_cache(self.width)
        return max(int(self.picture(top, min(top + step, height)).max()) for top in range(0, height, step))


def rows_in_cache(width: int) -> int:
    """How many rows of a picture are worked on at once: whole blocks, at least one."""
    return max(1, _PIXELS // width // BLOCK) * BLOCK


def split(picture: Image, planes: NDArray[np.uint16] | None = None) -> list[Plane]:
    """The channels of rows, uint16 (h, W, C), each (h, W); into `planes`, (C, h, W)."""
    return cast(list[Plane], cv2.split(picture, None if planes is None else list(planes)))


def shaped(memory: Floats, shape: tuple[int, ...]) -> Floats:
    """The beginning of a long array as one of another shape."""
    return memory[: math.prod(shape)].reshape(shape)


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
