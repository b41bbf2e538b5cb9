"""Textures, and defects drawn on them: what the benchmark of anomalies looks for."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

Image = NDArray[np.uint8]  # H x W x 3
Mask = NDArray[np.bool_]
SIDE = 512
KINDS = ("scratch", "hole", "spot", "blotch")


def textures(seed: int = 0) -> dict[str, Image]:
    """Three photographed textures (CC0Textures, in scikit-image) and five drawn ones, 512x512x3 each."""
    rng = np.random.default_rng(seed)
    photographed = {name: getattr(data, name)() for name in ("brick", "grass", "gravel")}
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    drawn = {
        "weave": 128 + 50 * np.where((x // 8 + y // 8) % 2, np.sin(x * np.pi / 4), np.sin(y * np.pi / 4)),
        "corduroy": 120 + 60 * np.sin(x * 2 * np.pi / 11 + 0.6 * np.sin(y / 40)),
        "perforated": 170 - 110 * ((((x % 20) - 10) ** 2 + ((y % 20) - 10) ** 2) < 36),
        "wood": 140 + 45 * np.sin(2 * np.pi * (x + 6 * _cloud(rng, 64)) / 17 + 2 * _cloud(rng, 128)),
        "leather": 110 + 35 * _cloud(rng, 6),
    }
    tints = {"weave": (0.8, 0.9, 1.1), "wood": (0.5, 0.8, 1.2), "leather": (0.5, 0.7, 1.1)}
    found = {}
    for name, image in (photographed | drawn).items():
        grain = 0 if name in photographed else rng.normal(0, 4, (SIDE, SIDE, 1))
        colored = image.astype(np.float64)[..., None] * np.array(tints.get(name, (1, 1, 1))) + grain
        found[name] = np.clip(np.rint(colored), 0, 255).astype(np.uint8)
    return found


def _cloud(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Smooth random values about 0, their deviation 1, with features of about `size` pixels."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), size / 3)
    return np.asarray((noise - noise.mean()) / noise.std())


def damaged(image: Image, kind: str, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A copy with one defect, and where it is: what it changed by 8 gray levels or more."""
    height, width = image.shape[:2]
    cover = np.zeros((height, width), np.float32)
    x, y = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height
    value = np.array(rng.choice([20.0, 235.0]))
    colored = rng.random() < 0.5
    if kind == "scratch":
        heading = rng.uniform(0, 2 * np.pi)
        points = [(x, y)]
        for _ in range(6):
            heading += rng.normal(0, 0.3)
            points.append((points[-1][0] + 9 * np.cos(heading), points[-1][1] + 9 * np.sin(heading)))
        cv2.polylines(cover, [np.rint(points).astype(np.int32)], False, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA)
    elif kind == "hole":
        axes = (int(rng.integers(4, 9)), int(rng.integers(4, 9)))
        cv2.ellipse(cover, (int(x), int(y)), axes, rng.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA)
        value = np.array(10.0)
    elif kind == "spot":
        cv2.circle(cover, (int(x), int(y)), int(rng.integers(3, 7)), 1.0, -1, cv2.LINE_AA)
        cover = cv2.GaussianBlur(cover, (0, 0), 1.0).astype(np.float32)
        value = rng.uniform(0, 255, 3 if colored else 1)
    else:
        for _ in range(5):
            at = int(x + rng.normal(0, 8)), int(y + rng.normal(0, 8))
            cv2.circle(cover, at, int(rng.integers(8, 16)), 1.0, -1)
        cover = 0.45 * cv2.GaussianBlur(cover, (0, 0), 3.0).astype(np.float32)
        value = rng.uniform(0, 255, 3 if colored else 1)
    changed = image * (1 - cover[..., None]) + value * cover[..., None]
    result = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
    where = np.abs(result.astype(int) - image).max(axis=2) >= 8
    return result, where
