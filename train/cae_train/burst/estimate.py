"""The noise of pictures of which there is one shot each: from their flat parts.

Blocks are chosen whose four quarters have the same mean, which noise of fine grain hardly disturbs, so that choosing
does not favour little noise. What is left in them after a plane is taken off is noise. What cannot be known so: the
fixed pattern, noise that is coarser than a block, and noise where there is texture.

Source: variance of homogeneous blocks, Amer and Dubois, "Fast and reliable structure-oriented video noise estimation"
(IEEE TCSVT 2005).
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cae_train.burst.measure import grain_of
from cae_train.data import IMAGE_SUFFIXES, read_rgb
from cae_train.errors import DataError
from cae_train.measured import COLORS, KNOTS, NoiseModel

BLOCK = 16  # pixels along a side
FLATTEST = 0.1  # share of the blocks of a brightness
BINS = 16  # of brightness
LEAST_BLOCKS = 16  # of a bin of a picture, and of all
BLOCKS_MOST = 8_000  # of a picture
BLOCKS_IN_ALL = 20_000
PICTURES_MOST = 200
CLIPPED = (3.0, 252.0)
UNKNOWN = (
    "what flat parts do not show is not known: a fixed pattern, coarse grain, noise in texture; --burst measures them"
)

Floats = NDArray[np.float64]


def estimate(folder: Path, camera: str, tell: Callable[[str], None]) -> NoiseModel:
    """Estimate the noise of all pictures of a folder together.

    Raises:
        DataError: it has none that can be read, or nothing flat in them.
    """
    if not folder.is_dir():
        raise DataError(f"--noise-from {str(folder)!r} is no folder: name one of noisy pictures")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    found: list[tuple[NDArray[np.uint8], Floats]] = []
    read = 0
    for path in paths[:: max(1, -(-len(paths) // PICTURES_MOST))]:
        image = read_rgb(path)
        if image is None:
            tell(f"note: left out {path.name}, which cannot be read")
            continue
        if min(image.shape[:2]) >= 2 * BLOCK:
            blocks, means, unevenness = _blocks(image)
            flat = _flat(means, unevenness)
            found.append((blocks[flat], means[flat]))
            read += 1
    if not read:
        raise DataError(
            f"--noise-from {str(folder)!r} has no pictures that can be used: {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    blocks, levels = (np.concatenate(part) for part in zip(*found, strict=True))
    chosen = slice(None, None, max(1, -(-len(blocks) // BLOCKS_IN_ALL)))
    blocks, levels = blocks[chosen], levels[chosen]
    tell(f"{read} pictures: {len(blocks):,} flat places of {BLOCK}x{BLOCK} pixels")
    if len(blocks) < LEAST_BLOCKS:
        raise DataError(
            f"--noise-from {str(folder)!r}: there are too few flat places in these pictures to see noise in them"
        )
    noise = _without_plane(blocks.astype(np.float64))
    sigma = np.stack([_curve(levels[:, c], noise[..., c].var(axis=(1, 2))) for c in range(COLORS)])
    knots = np.arange(KNOTS) * 255 / (KNOTS - 1)
    strength = np.stack([np.interp(levels[:, c], knots, sigma[c]) for c in range(COLORS)], axis=1)
    colors, grain = grain_of(noise / np.maximum(strength, 0.1)[:, None, None, :])
    return NoiseModel(camera, (sigma / 255).astype(np.float32), colors, grain)


def _blocks(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Floats, Floats]:
    """Blocks of a picture, N x 16 x 16 x 3; their means, N x 3; how far their quarters' means lie apart, N."""
    height, width = (size // BLOCK for size in image.shape[:2])
    cut = image[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK, COLORS).swapaxes(1, 2)
    blocks = cut.reshape(-1, BLOCK, BLOCK, COLORS)
    blocks = blocks[:: -(-len(blocks) // BLOCKS_MOST)]
    means = blocks.mean(axis=(1, 2))
    inside = ((means > CLIPPED[0]) & (means < CLIPPED[1])).all(axis=1)
    blocks, means = blocks[inside], means[inside]
    half = BLOCK // 2
    quarters = blocks.reshape(-1, 2, half, 2, half, COLORS).mean(axis=(2, 4)).mean(axis=3)
    return blocks, means, np.ptp(quarters.reshape(len(quarters), 4), axis=1)


def _flat(means: Floats, unevenness: Floats) -> NDArray[np.bool_]:
    """The flattest of each brightness."""
    which = np.minimum((means.mean(axis=1) * BINS / 256).astype(int), BINS - 1)
    flat = np.zeros(len(means), np.bool_)
    for number in range(BINS):
        here = np.flatnonzero(which == number)
        if len(here) >= LEAST_BLOCKS:
            flat[here[np.argsort(unevenness[here])[: max(4, round(len(here) * FLATTEST))]]] = True
    return flat


def _without_plane(blocks: Floats) -> Floats:
    """What is left of blocks after the best plane, scaled to the noise's own variance."""
    ramp = np.linspace(-1, 1, BLOCK)
    ramp /= np.sqrt(np.square(ramp).sum() * BLOCK)
    left = blocks - blocks.mean(axis=(1, 2), keepdims=True)
    for plane in (np.tile(ramp, (BLOCK, 1)), np.tile(ramp, (BLOCK, 1)).T):
        left -= np.einsum("nhwc,hw->nc", left, plane)[:, None, None, :] * plane[None, :, :, None]
    return np.asarray(left * np.sqrt(BLOCK**2 / (BLOCK**2 - 3)))


def _curve(levels: Floats, variances: Floats) -> Floats:
    """Standard deviations at the knots: medians of blocks of about each brightness, constant beyond them."""
    edges = np.linspace(0, 256, BINS + 1)
    seen, found = [], []
    for low, high in pairwise(edges):
        here = (levels >= low) & (levels < high)
        if here.sum() >= 8:
            seen.append(levels[here].mean())
            found.append(np.median(variances[here]))
    return np.asarray(np.sqrt(np.interp(np.arange(KNOTS) * 255 / (KNOTS - 1), seen, found)))
