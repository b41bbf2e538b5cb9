"""Stretches 16-bit pictures whose noise is too faint for a model, and puts the cleaned picture back.

A model that was trained on 8-bit photographs knows nothing of what happens below one of their 255 levels: there it
prints its own pattern on the picture. Telescopes, microscopes, radiographs, thermal and underexposed cameras have their
noise there. Such a picture is cleaned in three steps:

1. The noise is measured (`noise_model`), and the values are brought to a scale on which its deviation is 1 everywhere
   (Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 35, 1948).
2. The means of blocks of 8x8 pixels, interpolated, are taken away, and the rest is scaled so that the noise has 10 of
   255 levels around middle gray. So the whole range of the picture need not fit into that of the model.
3. What the model changes is put back as a multiple of the noise's deviation: never more than 4 of them; less where it
   changes more than noise can explain; and its mean over 33x33 pixels is given back, so that the picture's mean stays,
   whatever the curve (an unbiased inverse, as in Makitalo and Foi, IEEE TIP 22, 2013). Around what stands out from its
   surroundings, as stars do, its mean over about 5x5 pixels is given back: their light stays.

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
from cae_runtime.tasks.noise_model import NoiseModel, measured_noise

Floats = NDArray[np.float32]

WHITE: Final = 65535
FAINT: Final = 2.0  # of 255 levels: fainter noise a model rather adds to than cleans
LEVEL: Final = 10.0  # of 255 levels: what the noise is stretched to; from 8 to 16 the result is as good
_MORE_THAN_NOISE: Final = {"blur", "motion-blur", "mask"}  # what makes a model do more than cleaning
LEAST: Final = 0.5  # deviation in steps of the file, below which rounding is all that there is
_BLOCK: Final = 8  # pixels: side of the blocks whose means are taken away
_MOST: Final = 4.0  # deviations of the noise that a pixel may change by
_AROUND: Final = 9  # pixels: side of the window in which the change is compared with the noise
_SLACK: Final = 1.1  # the energy of the change that still passes for noise's
_FAR: Final = 33  # pixels: side of the window whose mean stays
_NEAR: Final = 1.25  # deviation in pixels of the window whose mean stays near what stands out
_STAR: Final = 1.2  # deviation in pixels of the profile that is looked for
_STANDS_OUT: Final = 5.0, 6.0  # deviations of the noise: a pixel, and pixels summed under that profile
_REACH: Final = 9  # pixels: side of the square around what stands out
_HALO: Final = _FAR // 2 + _AROUND // 2 + 1  # rows above and below that have a say
_PART: Final = 8  # halos: the least rows that are put back at once
_PIXELS: Final = 2**17  # put back at once, where they are more
_HELPS: Final = 0.1  # share of the noise's energy that must go, for a picture to be changed


def faintest(spec: ModelSpec) -> float | None:
    """Return the faintest noise that a model cleans, in levels of 255: None where that is not what it was trained for.

    It is the least Gaussian noise of its training, but at least 2: below that, pictures lose more than they gain.
    """
    kinds = [part.partition(":") for part in spec.degradation.replace("+", ",").split(",")]
    if " " in spec.degradation or {name for name, _, _ in kinds} & _MORE_THAN_NOISE:
        return None
    try:
        lowest = [float(level.split("-")[0]) for name, _, level in kinds if name == "gaussian"]
    except ValueError:
        return None
    return max(min(lowest), FAINT) if lowest else None


class Stretch:
    """A 16-bit picture on the scale on which a model can clean it.

    Args:
        noises: the noise of each channel.
        rows: gives rows of the picture, uint16 (h, W, C).
        shape: the picture's, (H, W, C).
        level: deviation of the noise on the new scale, of 255.
    """

    def __init__(self, noises: list[NoiseModel], rows: Rows, shape: tuple[int, ...], level: float) -> None:
        self._noises, self._picture, self._shape = noises, rows, shape
        self._half = np.float32(255 / 2 / level)  # deviations of the noise from middle gray to white
        values = np.arange(WHITE + 1)
        self._tables = [noise.stabilized(values).astype(np.float32) for noise in noises]
        self._means = self._block_means()

    def rows(self, first: int, end: int) -> Image:
        """Rows first..end-1 as the model gets them: uint16 (h, W, C), middle gray where a pixel is like its block."""
        picture = self._picture(first, end)
        stretched = np.empty(picture.shape, np.uint16)
        for channel in range(picture.shape[2]):
            values = self._stabilized(picture, channel)
            values -= self._base(first, end, channel)
            values *= np.float32(WHITE / 2) / self._half
            values += np.float32(WHITE / 2 + 0.5)
            np.clip(values, 0, WHITE, out=values)
            np.copyto(stretched[..., channel], values, casting="unsafe")
        return stretched

    def changed(self, cleaned: Image, first: int, strength: np.float32) -> tuple[Image, float]:
        """Bring back what the model made of rows.

        Args:
            cleaned: what it made of `rows`, uint16 (h, W, C).
            first: the first of these rows.
            strength: s in 0..1, how much of the change is made.

        Returns:
            The picture's rows, cleaned, and the share of the noise that went, 0..1: little where most of what the model
            changed was no noise.
        """
        picture = self._picture(first, first + len(cleaned))
        result, shares = np.empty(picture.shape, np.uint16), []
        for channel in range(picture.shape[2]):
            values = np.ascontiguousarray(picture[..., channel], np.float32)
            change, share = self._change(picture, cleaned[..., channel], first, channel, values)
            change *= strength
            values -= change
            np.clip(np.rint(values, out=values), 0, WHITE, out=values)
            np.copyto(result[..., channel], values, casting="unsafe")
            shares.append(share)
        return result, float(np.mean(shares))

    def _change(self, picture: Image, cleaned: Image, first: int, channel: int, values: Floats) -> tuple[Floats, float]:
        """What is to be taken from the values of one channel, float32 (h, W), and the share of the noise in that."""
        base = self._base(first, first + len(cleaned), channel)
        distance = self._stabilized(picture, channel) - base
        base += (cleaned * np.float32(2 / WHITE) - np.float32(1)) * self._half
        change, deviation = self._noises[channel].values(base)
        np.subtract(values, change, out=change)
        change /= deviation
        np.clip(change, -_MOST, _MOST, out=change)
        change[np.abs(distance) >= np.float32(0.98) * self._half] = 0
        energy: Floats = np.asarray(cv2.blur(change * change, (_AROUND, _AROUND)), np.float32)
        share = float(np.minimum(energy, 1 / np.maximum(energy, 1)).mean())
        energy -= np.float32(_SLACK - 1)
        change /= np.maximum(energy, 1, out=energy)
        near: Floats = np.asarray(cv2.GaussianBlur(change, (9, 9), _NEAR), np.float32)
        far = cv2.blur(change, (_FAR, _FAR))
        near -= far
        near *= _standing_out(distance)
        change -= far
        change -= near
        change *= deviation
        return change, share

    def _stabilized(self, picture: Image, channel: int) -> Floats:
        values: Floats = np.take(self._tables[channel], picture[..., channel])
        return values

    def _base(self, first: int, end: int, channel: int) -> Floats:
        """Rows of the blocks' means, interpolated: float32 (h, W), on the stabilized scale."""
        top, bottom = first // _BLOCK - 2, -(-end // _BLOCK) + 2
        means = self._means[channel]
        means = means[np.clip(np.arange(top, bottom), 0, len(means) - 1)]
        size = (means.shape[1] * _BLOCK, means.shape[0] * _BLOCK)
        smooth = cv2.resize(means, size, interpolation=cv2.INTER_CUBIC)
        return cast(Floats, smooth[first - top * _BLOCK : end - top * _BLOCK, : self._shape[1]])

    def _block_means(self) -> list[Floats]:
        """Means of the blocks on the stabilized scale, (ceil(H / 8), ceil(W / 8)) for each channel."""
        height, width, channels = self._shape
        step = max(1, _PIXELS // width // _BLOCK) * _BLOCK
        parts: list[list[Floats]] = [[] for _ in range(channels)]
        for top in range(0, height, step):
            picture = self._picture(top, min(top + step, height))
            for channel, found in enumerate(parts):
                values = self._stabilized(picture, channel)
                missing = [(0, -side % _BLOCK) for side in values.shape]
                if any(after for _, after in missing):
                    values = np.pad(values, missing, mode="edge")
                size = (values.shape[1] // _BLOCK, values.shape[0] // _BLOCK)
                found.append(cast(Floats, cv2.resize(values, size, interpolation=cv2.INTER_AREA)))
        return [np.concatenate(found) for found in parts]


class PutBack:
    """The way back from a model's scale to that of the picture, for as many threads as call `work`.

    Args:
        stretch: the stretched picture.
        result: what the model made of its rows, uint16 (H, W, C); each value is replaced by the picture's own, cleaned.
        strength: s in 0..1; the result is picture + s * (cleaned - picture).

    Attributes:
        blocks: number of parts; more threads than that have nothing to do.
    """

    def __init__(self, stretch: Stretch, result: Image, strength: float) -> None:
        self._stretch, self._result, self._strength = stretch, result, np.float32(strength)
        height, width = result.shape[:2]
        step = max(_PART * _HALO, _PIXELS // width)
        self._tops = [*range(0, max(height - step // 2, 1), step), height]
        self._edges = [result[max(0, top - _HALO) : top + _HALO].copy() for top in self._tops]
        self.blocks = len(self._tops) - 1
        self._gone = [0.0] * self.blocks
        self._left = iter(range(self.blocks))
        self._lock = threading.Lock()

    @property
    def helped(self) -> bool:
        """Whether enough of the noise is gone for the picture to be changed; to be asked when all work is done."""
        rows = np.diff(self._tops)
        return bool(np.dot(self._gone, rows) > _HELPS * rows.sum())

    def work(self) -> None:
        """Put parts back until none is left, or `stop` is called."""
        while True:
            with self._lock:
                part = next(self._left, None)
            if part is None:
                return
            top, bottom = self._tops[part : part + 2]
            above = self._edges[part][: min(top, _HALO)]
            below = self._edges[part + 1][min(bottom, _HALO) :]
            cleaned = cast(Image, np.concatenate([above, self._result[top:bottom], below]))
            back, self._gone[part] = self._stretch.changed(cleaned, top - len(above), self._strength)
            self._result[top:bottom] = back[len(above) : len(above) + bottom - top]

    def stop(self) -> None:
        """Make every thread stop after its current part."""
        with self._lock:
            self._left = iter(())


def stretch_for(
    spec: ModelSpec, image: Image, rows: Rows, hidden: NDArray[np.bool_] | None
) -> tuple[Stretch | None, float] | None:
    """Measure a 16-bit picture, and stretch it where its noise is fainter than a model can clean.

    Args:
        spec: the model's.
        image: the picture, uint16 (H, W, C), C 1 or 3.
        rows: gives its rows, with hidden pixels filled.
        hidden: bool (H, W), true where pixels do not count; None: all do.

    Returns:
        None where the picture needs no stretching, or it cannot be told; else the stretched picture, None where its
        noise is less than a step of the file, and the deviation of the noise at the picture's median.
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


def _standing_out(distance: Floats) -> Floats:
    """Where pixels (h, W) stand out from the means of their blocks, and around: weights 0..1."""
    pixel, profile = _STANDS_OUT
    summed = cv2.GaussianBlur(distance, (7, 7), _STAR)
    threshold = np.float32(profile / (2 * np.pi**0.5 * _STAR))  # the blurred noise's deviation, `profile` times
    found = (np.abs(summed) > threshold) | (np.abs(distance) > pixel)
    wide = cv2.dilate(found.view(np.uint8), np.ones((_REACH, _REACH), np.uint8))
    return cast(Floats, cv2.blur(wide.astype(np.float32), (5, 5)))
