"""Drawn pictures of fine regular patterns: meshes, weaves, gratings, honeycombs, bricks and dithering.

A pattern of a few pixels looks like noise to a network that has never seen one: it wipes out the mesh of a chair, the
weave of a shirt or the dots of a printed page. Photographs have too few of these to learn from.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_train.data.synthetic import DRAWN, OVERSAMPLING, SIDE, Image, colors, reduced, smooth_ground

PICTURES = 480
REGIONS = (1, 8)  # shapes in a picture, each with a pattern of its own
PERIOD = (2.2, 10.0)  # of a pattern, in pixels; log-uniform
EDGE = (0.5, 6.0)  # from sine waves to sharp edges; log-uniform
BEND = 0.15  # largest share of its period by which a pattern bends over 32 pixels, as on a curved surface
BLUR = (0.05, 0.8)  # sigma in pixels of the blur of a region
DITHERED = 0.15  # share of the pictures that are dithered
PLAIN = 0.25  # share of the grounds and shapes that have no pattern

Values = NDArray[np.float32]


def load_patterns(seed: int = 0, count: int | None = None) -> list[Image]:
    """The first `count` of a seed's `PICTURES`, `SIDE` x `SIDE`, RGB."""
    rng = np.random.default_rng((seed, 0xFAB))
    count = PICTURES if count is None else count
    return [dithered(rng) if rng.random() < DITHERED else patterned(rng) for _ in range(count)]


def patterned(rng: np.random.Generator) -> Image:
    """A patterned ground, and shapes on it with patterns of their own."""
    picture = _surface(rng, DRAWN)
    side = len(picture)
    for _ in range(int(rng.integers(*REGIONS, endpoint=True))):
        corners = int(rng.integers(3, 7))
        angles = np.sort(rng.random(corners)) * 2 * np.pi
        radius = float(np.exp(rng.uniform(np.log(side / 12), np.log(side / 2))))
        points = np.rint(np.stack((np.cos(angles), np.sin(angles)), 1) * radius + rng.random(2) * side).astype(np.int32)
        low, high = points.min(0).clip(0, side), points.max(0).clip(-1, side - 1) + 1
        region = picture[low[1] : high[1], low[0] : high[0]]
        if region.size:
            mask = np.zeros(region.shape[:2], np.uint8)
            cv2.fillPoly(mask, [points - low.astype(np.int32)], [1.0])
            np.copyto(region, _surface(rng, (len(region), region.shape[1])), where=mask[:, :, None].astype(bool))
    return reduced(picture)


def dithered(rng: np.random.Generator) -> Image:
    """Two colors, dithered with a Bayer matrix of 2, 4 or 8 pixels a side; each of its dots is 1 or 2 pixels wide."""
    matrix = np.zeros((1, 1))
    for _ in range(int(rng.integers(1, 4))):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    dot = int(rng.integers(1, 3))
    ground = reduced(smooth_ground(rng)).mean(2)[::dot, ::dot] / 255
    times = -(-len(ground) // len(matrix))
    threshold = np.tile((matrix + 0.5) / matrix.size, (times, times))[: len(ground), : len(ground)]
    low, high = colors(rng, 2)
    drawn: Image = np.where((ground > threshold)[:, :, None], high, low).astype(np.uint8)
    return drawn.repeat(dot, 0).repeat(dot, 1)[:SIDE, :SIDE]


def _surface(rng: np.random.Generator, size: tuple[int, int]) -> Image:
    """One pattern of this height and width between two colors, with shade and light; some have no pattern."""
    smooth = smooth_ground(rng, size)
    if rng.random() < PLAIN:
        return smooth
    ground = smooth.astype(np.float32)
    wave = _edged(KINDS[int(rng.integers(len(KINDS)))](*_phases(rng, size), rng), rng)[:, :, None]
    if rng.random() < 0.5:
        mixed = ground + (colors(rng, 1)[0].astype(np.float32) - ground) * (wave + 1) / 2
    else:
        mixed = ground * (1 + wave * np.float32(rng.uniform(0.1, 1)))
    blurred = cv2.GaussianBlur(mixed, (0, 0), OVERSAMPLING * rng.uniform(*BLUR))
    surface: Image = np.clip(blurred, 0, 255).astype(np.uint8)
    return surface


def _phases(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Values, Values]:
    """Two coordinates of a turned, stretched and slightly bent lattice, in radians, each of this height and width."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    period = OVERSAMPLING * np.exp(rng.uniform(*np.log(PERIOD)))
    turn = rng.choice((0.0, np.pi / 4, rng.uniform(0, np.pi)))
    reach = 32 * OVERSAMPLING
    bends = rng.uniform(-BEND, BEND, (2, 3)) * period / reach**2
    found = []
    for angle, stretch, bend in zip((turn, turn + np.pi / 2), (1.0, rng.uniform(0.7, 1.4)), bends, strict=True):
        slopes = np.array((np.cos(angle), np.sin(angle), *bend), np.float32) * np.float32(2 * np.pi / period / stretch)
        first, second, *bent = slopes
        phase = np.float32(rng.uniform(0, 2 * np.pi))
        found.append(x * (first + bent[0] * x + bent[1] * y) + y * (second + bent[2] * y) + phase)
    return found[0], found[1]


def _grating(u: Values, _v: Values, _rng: np.random.Generator) -> Values:
    wave: Values = np.cos(u)
    return wave


def _mesh(u: Values, v: Values, _rng: np.random.Generator) -> Values:
    return _mean(np.cos(u), np.cos(v))


def _weave(u: Values, v: Values, _rng: np.random.Generator) -> Values:
    wave: Values = np.cos(u / 2) * np.cos(v / 2)
    return wave


def _honeycomb(u: Values, v: Values, _rng: np.random.Generator) -> Values:
    half, height = u / 2, v * np.float32(3**0.5 / 2)
    return _mean(np.cos(u), np.cos(half + height), np.cos(half - height))


def _bricks(u: Values, v: Values, rng: np.random.Generator) -> Values:
    rows = np.floor(v / np.float32(2 * np.pi))
    wave: Values = np.cos(u + rows * np.float32(rng.uniform(0, np.pi))) * np.sin(v / 2) ** 2
    return wave


def _mean(*waves: Values) -> Values:
    total: Values = sum(waves[1:], waves[0])
    return total / np.float32(len(waves))


KINDS: tuple[Callable[[Values, Values, np.random.Generator], Values], ...] = (
    _grating, _mesh, _mesh, _weave, _honeycomb, _bricks,
)  # fmt: skip


def _edged(wave: Values, rng: np.random.Generator) -> Values:
    """The wave in -1..1, with edges as sharp, and a share of light and dark, as drawn."""
    sharpness, bias = np.exp(rng.uniform(*np.log(EDGE))), rng.uniform(-0.5, 0.5)
    edged = np.tanh(np.float32(sharpness) * (wave + np.float32(bias)))
    low, high = float(edged.min()), float(edged.max())
    stretched: Values = (edged - low) * np.float32(2 / max(high - low, 1e-6)) - 1
    return stretched.astype(np.float32, copy=False)
