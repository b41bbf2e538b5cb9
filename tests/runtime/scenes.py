"""Videos with a truth, made of photographs: a scene that stands, one that slides, a square that moves over one."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Degrade = Callable[[Image, np.random.Generator], Image]
MARGIN = 4  # pixels of the photograph above and left of the first frame
SQUARE = 48  # pixels


def slide(photo: Image, x: float, y: float, width: int, height: int) -> Image:
    """Cut width x height out of a photograph; between pixels by Lanczos' interpolation."""
    matrix = np.array([[1, 0, MARGIN + x], [0, 1, MARGIN + y]], np.float32)
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(photo, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return warped.astype(np.uint8, copy=False)


def pan(photo: Image, step_x: float, step_y: float, width: int, height: int) -> Callable[[int], Image]:
    """Return the frames of a camera that turns, by their number: so many pixels a frame."""
    return lambda number: slide(photo, step_x * number, step_y * number, width, height)


def square(photo: Image, other: Image, step: float, width: int, height: int) -> Callable[[int], Image]:
    """Return the frames of a square, cut out of another photograph, that moves to the right over a standing one."""
    below = slide(photo, 0, 0, width, height).astype(np.float32)

    def frame(number: int) -> Image:
        matrix = np.array([[1, 0, 20 + step * number], [0, 1, (height - SQUARE) // 2]], np.float32)
        inside = other[60 : 60 + SQUARE, 60 : 60 + SQUARE].astype(np.float32)
        share = cv2.warpAffine(np.ones((SQUARE, SQUARE), np.float32), matrix, (width, height))[..., None]
        above = cv2.warpAffine(inside, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        return np.rint(below * (1 - share) + above * share).astype(np.uint8)

    return frame


def white(sigma: float) -> Degrade:
    """Return Gaussian noise, clipped and rounded to 8 bits."""
    return lambda image, rng: np.clip(np.rint(image + rng.normal(0, sigma, image.shape)), 0, 255).astype(np.uint8)


def camera(strength: float) -> Degrade:
    """Return a camera's noise: Poisson-Gaussian in linear light, blurred as by demosaicing; gamma, a good JPEG."""

    def degrade(image: Image, rng: np.random.Generator) -> Image:
        light = (image / np.float32(255)) ** 2.2
        noise = cv2.GaussianBlur(rng.standard_normal(image.shape, np.float32), (0, 0), 0.7)
        light += noise / noise.std() * np.sqrt(0.01 * strength * light + (0.01 * strength) ** 2)
        shown = np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)
        written = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        return cv2.imdecode(written, cv2.IMREAD_UNCHANGED).astype(np.uint8, copy=False)

    return degrade


def video(frame: Callable[[int], Image], degrade: Degrade, frames: int, seed: int) -> list[tuple[Image, Image]]:
    """Return (clean, noisy) of each frame."""
    rng = np.random.default_rng(seed)
    clean = [frame(number) for number in range(frames)]
    return [(image, degrade(image, rng)) for image in clean]
