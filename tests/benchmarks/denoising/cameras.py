"""Simulated cameras: each takes a picture that has no noise, and gives a frame of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

SENSOR = 1024  # pixels along a side
TONE = 2.2  # light is value ** TONE
BALANCE = np.array([1.6, 1.0, 2.0])  # of blue, green and red: what a Bayer sensor's light is multiplied with
UNEVEN = np.array([1.3, 0.9, 1.0])  # how strong sloping noise is in blue, green and red

Image = NDArray[np.uint8]  # H x W x 3, BGR
Floats = NDArray[np.float64]
Corner = tuple[int, int]  # row and column of the sensor


@dataclass(frozen=True)
class Camera:
    """What a camera does to a picture; without arguments nothing.

    Attributes:
        light: whether noise is added to linear light, before the tone curve, or to the values.
        white: standard deviation of noise that is alike at every brightness, in levels of 255.
        slope: variance of symmetric noise at each brightness, as a share of it.
        photons: that white stands for; 0 is without their noise.
        grain: sigma in pixels of a Gaussian that the noise alone goes through, at the same strength.
        processed: whether the frame is smoothed, its colors more than its brightness, and sharpened.
        bayer: whether the sensor sees one color at each pixel, in a third of the light, and cuts off black.
        black: levels that are taken off, below which all is cut off; negative ones are added.
        rows: standard deviation of offsets of rows that never change, in levels.
        hot: whether some pixels are always bright.
        quality: of JPEG; 0 is without.
    """

    light: bool = False
    white: float = 0.0
    slope: float = 0.0
    photons: float = 0.0
    grain: float = 0.0
    processed: bool = False
    bayer: bool = False
    black: float = 0.0
    rows: float = 0.0
    hot: bool = False
    quality: int = 0

    def frame(self, picture: Image, rng: np.random.Generator, corner: Corner = (0, 0), fixed: bool = True) -> Image:
        """A frame of a picture, from a corner of the sensor on; without the fixed pattern where that is not wanted."""
        values = np.asarray(picture, np.float64) - self.black
        if self.bayer:
            values = self._of_bayer(values, rng)
        elif self.light:
            values = 255 * self._noisy((values / 255).clip(0) ** TONE, 1.0, rng).clip(0, 1) ** (1 / TONE)
        else:
            values = self._noisy(values, 255.0, rng)
        if self.processed:
            values = processed(values)
        if fixed:
            values = values + self._fixed(picture.shape, corner)
        return _coded(values, self.quality) if self.quality else _eight_bits(values)

    def clean(self, picture: Image) -> Image:
        """The picture through the same camera, without noise, fixed pattern and JPEG."""
        values = np.asarray(picture, np.float64) - self.black
        if self.bayer:
            light = (values / 255).clip(0) ** TONE
            values = 255 * _demosaiced(light / BALANCE).clip(0, 1) ** (1 / TONE)
        return _eight_bits(processed(values) if self.processed else values)

    def _noisy(self, clean: Floats, full: float, rng: np.random.Generator) -> Floats:
        """Values or light, up to `full`, with noise."""
        noise = np.sqrt((self.white / 255 * full) ** 2 + self.slope * full * clean.clip(0) / 255 * UNEVEN**2)
        white = rng.normal(0, 1, clean.shape)
        if self.grain:
            white = cv2.GaussianBlur(white, (0, 0), self.grain)
            white /= white.std()
        seen = clean
        if self.photons:
            seen = rng.poisson(clean.clip(0) / full * self.photons) * full / self.photons
        return np.asarray(seen + white * noise)

    def _of_bayer(self, values: Floats, rng: np.random.Generator) -> Floats:
        light = (values / 255).clip(0) ** TONE / BALANCE
        return np.asarray(255 * _demosaiced(self._noisy(light, 1.0, rng).clip(0)).clip(0, 1) ** (1 / TONE))

    def _fixed(self, shape: tuple[int, ...], corner: Corner) -> Floats:
        (y, x), (height, width) = corner, shape[:2]
        rows, hot = _sensor()
        pattern = self.rows * rows[y : y + height] + self.hot * hot[y : y + height, x : x + width]
        return np.asarray(pattern)


CAMERAS = {
    "dark": Camera(light=True, photons=80, white=2.55, quality=50),
    "soft": Camera(light=True, photons=250, white=1, processed=True, quality=92),
    "lines": Camera(white=8, rows=4, hot=True),
    "white": Camera(white=12),
    "coded": Camera(white=10, quality=50),
    "slope": Camera(white=3.5, slope=0.35, grain=0.7, quality=85),
    "grain": Camera(white=3.5, slope=0.6, grain=0.8, quality=82),
    "rows": Camera(white=3.5, slope=0.35, grain=0.8, rows=1, quality=82),
    "photons": Camera(photons=200),
    "filtered": Camera(photons=100, processed=True, quality=95),
    "light": Camera(light=True, white=5),
    "cut": Camera(white=10, black=20, quality=80),
    "kept": Camera(white=10, black=-20, quality=80),
    "bayer": Camera(bayer=True, photons=120, white=1.3, processed=True, quality=90),
}
KINDS = {
    "dark": "photons in little light, JPEG 50",
    "soft": "photons in light, smoothed and sharpened, JPEG 92",
    "lines": "white noise, fixed rows, hot pixels",
    "white": "white noise",
    "coded": "white noise, JPEG 50",
    "slope": "symmetric noise that grows with brightness, grain 0.7 px, JPEG 85",
    "grain": "the same, stronger, grain 0.8 px, JPEG 82",
    "rows": "the same, faint fixed rows, JPEG 82",
    "photons": "photons in the values",
    "filtered": "photons in the values, smoothed and sharpened, JPEG 95",
    "light": "symmetric noise in light",
    "cut": "white noise, black cut off, JPEG 80",
    "kept": "white noise, black kept above 0, JPEG 80",
    "bayer": "Bayer sensor in little light, black cut off, smoothed and sharpened, JPEG 90",
}


def processed(image: Floats) -> Floats:
    """Smoothed, colors more than brightness, and sharpened."""
    planes = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_BGR2YCrCb)
    planes[..., 1:] = cv2.GaussianBlur(planes[..., 1:], (0, 0), 2.0)
    bright = cv2.GaussianBlur(planes[..., 0], (0, 0), 0.9)
    planes[..., 0] = bright + 0.9 * (bright - cv2.GaussianBlur(bright, (0, 0), 1.5))
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR), np.float64)


def _demosaiced(light: Floats) -> Floats:
    """Light of which a sensor keeps one color at each pixel (RGGB), filled in between, and balanced."""
    kept = np.zeros(light.shape, np.float64)
    for channel, rows, columns in ((2, 0, 0), (1, 0, 1), (1, 1, 0), (0, 1, 1)):
        kept[rows::2, columns::2, channel] = 1
    weights = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    return np.asarray(cv2.filter2D(light * kept, -1, weights) / cv2.filter2D(kept, -1, weights) * BALANCE)


def _eight_bits(image: Floats) -> Image:
    return np.rint(image).clip(0, 255).astype(np.uint8)


def _coded(image: Floats, quality: int) -> Image:
    coded = cv2.imencode(".jpg", _eight_bits(image), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR).astype(np.uint8)


@cache
def _sensor() -> tuple[Floats, Floats]:
    """Offsets of rows, of standard deviation 1, and the excess of hot pixels."""
    rng = np.random.default_rng(77)
    hot = rng.random((SENSOR, SENSOR, 1)) < 0.003
    return rng.normal(0, 1, (SENSOR, 1, 1)), np.asarray(hot * rng.uniform(40, 120, hot.shape))
