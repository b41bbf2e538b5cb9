"""Synthetic pictures: saturated colors, flat areas, sharp edges at every scale, text and line art.

Photographs have little of these, and a network that never saw them smears them. Dead leaves (shapes that occlude each
other, their sizes distributed as those of objects in photographs) train denoisers nearly as well as photographs do:
Lee, Mumford and Huang (IJCV 2001); Achddou, Gousseau and Ladjal (SSVM 2021).
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # H x W x 3, RGB

PICTURES, SIDE = 240, 256  # how many, and pixels along a side
OVERSAMPLING = 2  # drawn so much larger, then reduced: edges without stairs
DRAWN = (SIDE * OVERSAMPLING, SIDE * OVERSAMPLING)  # height and width of a drawn picture
LEAVES, SMALLEST, LARGEST = 1000, 8.0, 200.0  # shapes a picture and their radii in drawn pixels
FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, cv2.FONT_HERSHEY_PLAIN,
)  # fmt: skip
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .,:;!?()+-=%&/"


def load_synthetic(seed: int = 0, count: int | None = None) -> list[Image]:
    """The first `count` of a seed's `PICTURES`, `SIDE` x `SIDE`: half dead leaves, the rest text and line art."""
    rng = np.random.default_rng((seed, 0x5EED))
    kinds: tuple[Callable[[np.random.Generator], Image], ...] = (dead_leaves, text, dead_leaves, line_art)
    return [reduced(kinds[number % len(kinds)](rng)) for number in range(PICTURES if count is None else count)]


def dead_leaves(rng: np.random.Generator) -> Image:
    """Shapes on shapes, radii with a density of r^-3, flat, shaded or striped."""
    picture = smooth_ground(rng)
    side = len(picture)
    u = rng.random(LEAVES)
    radii = 1 / np.sqrt(u / LARGEST**2 + (1 - u) / SMALLEST**2)  # inverse of the distribution of r^-3
    palette = colors(rng, 12)
    for radius in radii:
        corners = int(rng.choice((3, 4, 5, 24)))
        angles = np.sort(rng.random(corners)) * 2 * np.pi if corners < 24 else np.linspace(0, 2 * np.pi, 24)
        stretch = rng.uniform(0.4, 1.0)
        outline = np.stack((np.cos(angles), stretch * np.sin(angles)), 1) * radius
        turn = rng.random() * np.pi
        rotation = np.array(((np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))))
        points = np.rint(outline @ rotation.T + rng.random(2) * side).astype(np.int32)
        color = np.clip(palette[rng.integers(len(palette))] + rng.normal(0, 12, 3), 0, 255)
        _fill(picture, points, color, rng)
    return picture


def text(rng: np.random.Generator) -> Image:
    """Lines of random letters of several fonts, sizes and colors on a smooth ground."""
    picture = smooth_ground(rng)
    side = len(picture)
    y = 0
    while y < side:
        scale = float(np.exp(rng.uniform(np.log(0.5), np.log(3.0))))
        y += int(30 * scale) + 4
        line = "".join(rng.choice(list(LETTERS), 60))
        color = [int(v) for v in colors(rng, 1)[0]]
        font, weight = int(rng.choice(FONTS)), int(rng.integers(1, 4))
        cv2.putText(picture, line, (int(rng.integers(-40, 20)), y), font, scale, color, weight, cv2.LINE_AA)
    return picture


def line_art(rng: np.random.Generator) -> Image:
    """Lines, circles, gratings and grids on a smooth ground."""
    picture = smooth_ground(rng)
    side = len(picture)
    for _ in range(90):
        color = [int(v) for v in colors(rng, 1)[0]]
        width = int(rng.integers(1, 6))
        a, b = (tuple(int(v) for v in rng.integers(0, side, 2)) for _ in range(2))
        kind = rng.integers(4)
        if kind == 0:
            cv2.line(picture, a, b, color, width, cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(picture, a, int(rng.integers(4, 90)), color, width, cv2.LINE_AA)
        elif kind == 2:
            cv2.rectangle(picture, a, b, color, width)
        else:
            step, length = int(rng.integers(2 * width + 2, 24)), int(rng.integers(30, 200))
            for offset in range(0, 140, step):
                x = a[0] + offset
                cv2.line(picture, (x, a[1]), (x + int(rng.integers(-2, 3)), a[1] + length), color, width, cv2.LINE_AA)
    return picture


def smooth_ground(rng: np.random.Generator, size: tuple[int, int] = DRAWN) -> Image:
    """Four corner colors, blended, of this height and width."""
    corners = colors(rng, 4).reshape(2, 2, 3).astype(np.float32)
    if rng.random() < 0.4:
        corners[:] = corners[0, 0]
    return np.clip(cv2.resize(corners, size[::-1], interpolation=cv2.INTER_LINEAR), 0, 255).astype(np.uint8)


def colors(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """RGB, count x 3 in 0..255: from grays to pure colors, dark to bright."""
    value = rng.random((count, 1)) * 255
    saturation = rng.beta(0.7, 0.9, (count, 1))
    hue = rng.random((count, 3))
    hue = (hue - hue.min(1, keepdims=True)) / (np.ptp(hue, axis=1)[:, None] + 1e-6)
    found: NDArray[np.float64] = value * (1 - saturation + saturation * hue)
    return found


def _fill(picture: Image, points: NDArray[np.int32], color: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Fill a polygon: mostly flat, else shaded or striped along a direction."""
    if rng.random() < 0.6:
        cv2.fillPoly(picture, [points], [float(v) for v in color], cv2.LINE_AA)
        return
    low, high = points.min(0).clip(0, len(picture)), points.max(0).clip(0, len(picture)) + 1
    region = picture[low[1] : high[1], low[0] : high[0]]
    if not region.size:
        return
    mask = np.zeros(region.shape[:2], np.uint8)
    cv2.fillPoly(mask, [points - low.astype(np.int32)], [1.0])
    y, x = np.mgrid[: region.shape[0], : region.shape[1]]
    turn, period = rng.random() * 2 * np.pi, float(np.exp(rng.uniform(np.log(5), np.log(400))))
    wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * (2 * np.pi / period))
    shaded = color + wave[:, :, None] * rng.uniform(5, 60)
    np.copyto(region, np.clip(shaded, 0, 255).astype(np.uint8), where=mask[:, :, None].astype(bool))


def reduced(picture: Image) -> Image:
    """A drawn picture in its final size."""
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
