"""Simulated 16-bit pictures whose noise is far below one level of 255, each with its truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Truth = NDArray[np.float64]
SKY: Final = 310.0


@dataclass(frozen=True)
class Scene:
    """A picture, what it would be without noise, and the stars in it: row, column, peak above the sky."""

    noisy: NDArray[np.uint16]
    truth: Truth
    sigma: float
    stars: list[tuple[float, float, float]] = field(default_factory=list)


def with_noise(rng: np.random.Generator, truth: Truth, black: float, gain: float, read: float) -> NDArray[np.uint16]:
    """Add shot noise of so many steps an electron above black, and read noise."""
    signal = rng.poisson(np.maximum(truth - black, 0) / gain) * gain if gain else truth - black
    return np.clip(np.rint(black + signal + rng.normal(0, read, truth.shape)), 0, 65535).astype(np.uint16)


def sky(side: int, rng: np.random.Generator) -> Scene:
    """A telescope's: sky at 310 of 65535, sigma 21, stars up to many thousand."""
    truth, stars = np.full((side, side), SKY), []
    y, x = np.mgrid[:side, :side]
    count = side * side // 2200
    for row, column, peak in zip(*rng.uniform(12, side - 12, (2, count)), rng.lognormal(6, 1.3, count), strict=True):
        truth += peak * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 1.4**2))
        stars.append((float(row), float(column), float(peak)))
    noise = rng.normal(0, 1, truth.shape) * np.sqrt(21.3**2 + 0.4 * (truth - SKY))
    return Scene(np.clip(np.rint(truth + noise), 0, 65535).astype(np.uint16), truth, 21.3, stars)


def microscope(side: int, rng: np.random.Generator) -> Scene:
    """Cells that glow, of few photons."""
    truth = np.full((side, side), 500.0)
    y, x = np.mgrid[:side, :side]
    for _ in range(side * side // 4000):
        row, column = rng.uniform(0, side, 2)
        radius, flat = rng.uniform(8, 25), rng.uniform(0.5, 1)
        inside = ((y - row) / radius) ** 2 + ((x - column) / (flat * radius)) ** 2 < 1
        truth += rng.uniform(50, 900) * cv2.GaussianBlur(inside.astype(np.float64), (0, 0), 2)
    return Scene(with_noise(rng, truth, 400, 4, 20), truth, 28)


def twelve_bits(side: int, rng: np.random.Generator) -> Scene:
    """0..4095 of an instrument in a file of 16 bits."""
    truth = 300 + 3500 * _leaves(side, rng, 1)[..., 0]
    return Scene(with_noise(rng, truth, 0, 0, 60), truth, 60)


def radiograph(side: int, rng: np.random.Generator) -> Scene:
    """Nearly the whole range, and photons enough for a noise of less than one level of 255."""
    y, x = np.mgrid[:side, :side] / side
    truth = 45000 * np.exp(-2.2 * np.exp(-((x - 0.5) ** 2 / 0.08 + (y - 0.5) ** 2 / 0.15)))
    for number in range(8):
        bone = np.abs(y - 0.12 * number - 0.1 - 0.2 * (x - 0.5) ** 2) < 0.02
        truth *= 1 - 0.25 * cv2.GaussianBlur(bone.astype(np.float64), (0, 0), 3)
    return Scene(with_noise(rng, truth, 0, 1.2, 20), truth, 170)


def thermal(side: int, rng: np.random.Generator) -> Scene:
    """Hundredths of a kelvin: a room, a person, something hot."""
    y, x = np.mgrid[:side, :side] / side
    person = ((x - 0.5) / 0.12) ** 2 + ((y - 0.6) / 0.35) ** 2 < 1
    hot = ((x - 0.8) / 0.03) ** 2 + ((y - 0.2) / 0.03) ** 2 < 1
    truth = 29500 + 400 * y + 600 * cv2.GaussianBlur(person.astype(np.float64), (0, 0), 1.5)
    truth += 2500 * cv2.GaussianBlur(hot.astype(np.float64), (0, 0), 1)
    return Scene(with_noise(rng, truth, 0, 0, 6), truth, 6)


def underexposed(side: int, rng: np.random.Generator) -> Scene:
    """A camera's linear colors, six stops too dark."""
    truth = 256 + _leaves(side, rng, 3) * np.array([900.0, 1400, 700])
    return Scene(with_noise(rng, truth, 256, 2.5, 12), truth, 36)


def _leaves(side: int, rng: np.random.Generator, channels: int) -> Truth:
    """Disks that hide each other (Lee, Mumford and Huang, IJCV 41, 2001), blurred as by a lens: values in 0..1."""
    y, x = np.mgrid[:side, :side]
    values = np.zeros((side, side, channels))
    for _ in range(side):
        row, column = rng.uniform(0, side, 2)
        radius = min(8 / rng.uniform(0.05, 1), 60)
        values[(y - row) ** 2 + (x - column) ** 2 < radius**2] = rng.uniform(0, 1, channels)
    return np.asarray(cv2.GaussianBlur(values, (0, 0), 1), np.float64).reshape(side, side, channels)


SCENES: Final[dict[str, Callable[[int, np.random.Generator], Scene]]] = {
    "sky": sky,
    "microscope": microscope,
    "12 bits in 16": twelve_bits,
    "radiograph": radiograph,
    "thermal": thermal,
    "underexposed": underexposed,
}


def made(name: str, side: int, seed: int = 1) -> Scene:
    """Return a scene of side x side pixels."""
    return SCENES[name](side, np.random.default_rng(seed))


def rms(picture: NDArray[np.uint16], truth: Truth) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.mean((picture - truth) ** 2)))


def light(picture: NDArray[np.float64] | NDArray[np.uint16], scene: Scene, radius: float = 4) -> Truth:
    """Flux in a circle around each star of the sky with a peak of 5 sigma and more."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    bright = [(row, column) for row, column, peak in scene.stars if peak >= 5 * scene.sigma]
    circles = [np.hypot(y - row, x - column) <= radius for row, column in bright]
    return np.array([(picture[circle] - SKY).sum() for circle in circles])
