"""Hot pixels, stars and flat colors: what models remove, keep and shift, on drawn pictures.

    python -m tests.benchmarks.denoising.dark [--model denoise ...]

`hot left`: of 200 hot pixels (220 in one channel) on a dark frame of 20 with noise of sigma 3, those that still stand
out by 20 levels. `stars`: the share of their peak that stars of 60 to 220 levels keep on such a frame, Gaussians of
sigma 0.8 to 2 pixels; the median and the lowest tenth. `colors`: how far the mean of a flat color moves under noise of
sigma 8, in levels, in the channel where it moves most. The table gives the median and the largest of 125 colors, none
of which is clipped.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np

from cae_runtime import Restorer

DARK, NOISE, SIDE = 20, 3, 384
HOT, COUNT, LEFT = 220, 200, 20
STAR_SIGMAS = (0.8, 1.0, 1.4, 2.0)
FLAT_NOISE, FLAT_SIDE = 8, 128
LEVELS = (30, 80, 130, 180, 225)  # further from 0 and 255 than 3 sigma of the noise


def hot_left(restorer: Restorer, random: np.random.Generator) -> int:
    """How many of the hot pixels of a dark frame still stand out."""
    frame = DARK + random.normal(0, NOISE, (SIDE, SIDE, 3))
    places = random.choice(SIDE * SIDE, COUNT, replace=False)
    rows, columns, channels = places // SIDE, places % SIDE, random.integers(0, 3, COUNT)
    frame[rows, columns, channels] = HOT
    cleaned = restorer(eight_bits(frame))
    return int((cleaned[rows, columns, channels].astype(int) - DARK > LEFT).sum())


def stars_kept(restorer: Restorer, random: np.random.Generator) -> np.ndarray:
    """The share of its peak that each star keeps, beside the same star without noise."""
    truth = np.full((SIDE, SIDE, 3), float(DARK))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centers = [(row, column) for row, column in product(range(16, SIDE - 8, 24), repeat=2)]
    for number, (row, column) in enumerate(centers):
        sigma = STAR_SIGMAS[number % len(STAR_SIGMAS)]
        near = np.s_[row - 8 : row + 9, column - 8 : column + 9]
        y, x = rows[near] - row - random.uniform(-0.5, 0.5), columns[near] - column - random.uniform(-0.5, 0.5)
        light = random.uniform(60, HOT) * np.exp(-(x**2 + y**2) / (2 * sigma**2))
        truth[near] += light[..., None] * random.uniform(0.8, 1, 3)  # nearly white
    truth = truth.clip(0, 255)
    cleaned = restorer(eight_bits(truth + random.normal(0, NOISE, truth.shape))).astype(float)
    kept = []
    for row, column in centers:
        near = np.s_[row - 1 : row + 2, column - 1 : column + 2]
        before, after = truth[near].mean(2) - DARK, cleaned[near].mean(2) - DARK
        kept.append(after.max() / before.max())
    return np.array(kept)


def color_shifts(restorer: Restorer, random: np.random.Generator) -> np.ndarray:
    """The largest shift of a channel's mean, for each flat color."""
    shifts = []
    for color in product(LEVELS, repeat=3):
        noise = random.normal(0, FLAT_NOISE, (FLAT_SIDE, FLAT_SIDE, 3))
        noise -= noise.mean((0, 1))
        noisy = eight_bits(np.array(color) + noise)
        difference = restorer(noisy).astype(float).mean((0, 1)) - noisy.mean((0, 1))
        shifts.append(np.abs(difference).max())
    return np.array(shifts)


def eight_bits(picture: np.ndarray) -> np.ndarray:
    """Rounded and clipped to 8 bits."""
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append")
    print("| model | hot left | stars: median, lowest tenth | colors: median, largest |\n| --- | ---: | ---: | ---: |")
    for name in parser.parse_args().model or ["denoise", "denoise-fast", "denoise-best"]:
        restorer = Restorer(name, color="rgb")
        hot = hot_left(restorer, np.random.default_rng(0))
        stars = stars_kept(restorer, np.random.default_rng(1))
        shifts = color_shifts(restorer, np.random.default_rng(2))
        print(
            f"| `{name}` | {hot} of {COUNT} | {np.median(stars):.2f}, {np.quantile(stars, 0.1):.2f} "
            f"| {np.median(shifts):.2f}, {shifts.max():.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
