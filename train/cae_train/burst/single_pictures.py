"""Estimates the noise of single pictures from their flat parts.

First, blocks are chosen whose four quarters have the same mean. Fine noise hardly affects these means, so this choice
is not biased toward little noise. Since texture adds variance, only blocks are kept that vary hardly more than the
quietest blocks of similar brightness in the same picture. What remains after subtracting a plane is noise. This method
does not see a fixed pattern, noise that is coarser than a block, or noise that occurs only in textured places.

Source: variance of homogeneous blocks, Amer and Dubois, "Fast and reliable structure-oriented video noise estimation"
(IEEE TCSVT 2005).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cae_shared.text import counted
from cae_train.burst.measure import LEAST_VARIANCE, grain_of
from cae_train.data.images import IMAGE_SUFFIXES, read_rgb
from cae_train.degradations.measured_noise import COLORS, KNOTS, NoiseModel
from cae_train.errors import DataError, DataNotFoundError

BLOCK = 16  # side of a block, in pixels
FLAT_BLOCKS_SHARE = 0.1  # share of the blocks of each brightness that are taken as flat
BINS = 16  # number of bins of brightness
LEAST_BLOCKS = 16  # least number of blocks of a picture in a bin, and in all
BLOCKS_MOST = 8_000  # blocks taken from one picture
BLOCKS_IN_ALL = 20_000
PICTURES_MOST = 200
SMALLEST = 2 * BLOCK  # smallest side of a picture, in pixels
UNSEEN_LEVELS = 48.0  # flat parts must come this close to black and to white, in levels of 255
CLIPPED = (3.0, 252.0)  # levels of 255 below and above which noise is cut off
QUIETEST_QUANTILE = 0.1  # quantile of the variances of a picture's blocks that is taken for the variance of the noise
NOISE_FACTOR = 2.0  # a block with up to this many times that variance is taken as noise only
GRAIN_QUANTILE = 0.25  # share of the blocks, those with the least texture, that the grain is measured on
TEXTURED_FACTOR = 3.0  # a picture with more than this many times the variance of the quieter ones has no flat parts
ALIKE_BRIGHT, FEW_BLOCKS = 24.0, 8  # blocks within so many levels are compared; fewer blocks say nothing
SPREAD_SHARE = 0.1  # share of the pictures below the spread's lower end, and above its upper end
WIDE_SPREAD = 1.75  # least ratio of its ends at which the pictures are said to differ
SHEET_GRID = (6, 12)  # rows and columns of blocks on `flat.png`
UNKNOWN = "flat parts do not show a fixed pattern, coarse grain, or noise in texture; a burst measures these"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """The estimated noise.

    Attributes:
        model: the noise as far as flat parts show it.
        sheet: some of the blocks used, uint8 H x W x 3 BGR, at four times their contrast and size.
        spread: the strength of the noise in single pictures, as a multiple of the model's: a tenth of the pictures are
            below the first number, and a tenth above the second. (1, 1) for a single picture.
    """

    model: NoiseModel
    sheet: NDArray[np.uint8]
    spread: tuple[float, float]

    @property
    def differs(self) -> bool:
        """Whether the noise of the pictures differs so much that one model fits few of them."""
        return self.spread[1] > WIDE_SPREAD * self.spread[0]


def estimate(folder: Path, camera: str, tell: Callable[[str], None]) -> Estimate:
    """Estimate the common noise of all pictures in a folder.

    Raises:
        DataError: no picture can be read, or none has flat parts.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"noise_from {str(folder)!r} is not a folder: name a folder of noisy pictures")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    found: list[_Quiet] = []
    small = 0
    for path in paths[:: max(1, -(-len(paths) // PICTURES_MOST))]:
        image = read_rgb(path)
        if image is None:
            tell(f"note: left out {path.name}, which cannot be read")
        elif min(image.shape[:2]) < SMALLEST:
            small += 1
        else:
            blocks, means, unevenness = _blocks(image)
            flat = _flat(means, unevenness)
            found.append(_quiet(blocks[flat], means[flat]))
    if small:
        tell(f"note: left out {counted(small, 'picture')} of less than {SMALLEST}x{SMALLEST} pixels")
    if not found:
        raise DataError(
            f"noise_from {str(folder)!r} has no pictures that can be used: {', '.join(sorted(IMAGE_SUFFIXES))} of "
            f"{SMALLEST}x{SMALLEST} pixels or more"
        )
    blocks = np.concatenate([each.blocks for each in found])
    levels = np.concatenate([each.means for each in found])
    alike = _alike(levels, np.concatenate([each.quietest for each in found]))
    alike = alike[:: max(1, -(-len(alike) // BLOCKS_IN_ALL))]
    blocks, levels = blocks[alike], levels[alike]
    tell(f"{counted(len(found), 'picture')}: {counted(len(blocks), 'flat place')} of {BLOCK}x{BLOCK} pixels")
    if len(blocks) < LEAST_BLOCKS:
        raise DataError(
            f"noise_from {str(folder)!r}: there are too few flat places in these pictures to see noise in them"
        )
    noise = _without_plane(blocks.astype(np.float64))
    sigma = np.stack([_curve(levels[:, c], noise[..., c].var(axis=(1, 2))) for c in range(COLORS)])
    if np.square(sigma).max() < LEAST_VARIANCE:
        raise DataError(f"noise_from {str(folder)!r}: there is no noise in the flat parts of these pictures")
    knots = np.arange(KNOTS) * 255 / (KNOTS - 1)
    strength = np.stack([np.interp(levels[:, c], knots, sigma[c]) for c in range(COLORS)], axis=1)
    noise /= np.maximum(strength, 0.1)[:, None, None, :]
    over = noise.var(axis=(1, 2, 3))
    colors, grain = grain_of(noise[over <= np.quantile(over, GRAIN_QUANTILE)])  # the others also contain texture
    low, high = np.quantile(levels.mean(axis=1), (0.005, 0.995))
    if low > UNSEEN_LEVELS or high < 255 - UNSEEN_LEVELS:
        tell(f"note: flat parts are {low:.0f} to {high:.0f} of 255 bright; noise outside is assumed to be the same")
    model = NoiseModel(camera, (sigma / 255).astype(np.float32), colors, grain)
    return Estimate(model, _sheet(blocks), _spread(found, sigma))


def _spread(found: Sequence["_Quiet"], sigma: Floats) -> tuple[float, float]:
    """How much the noise of single pictures differs from the common one, see `Estimate`."""
    knots = np.arange(KNOTS) * 255 / (KNOTS - 1)
    common = np.maximum(np.square(sigma).mean(axis=0), LEAST_VARIANCE)
    strengths = [
        float(np.sqrt(np.median(each.variances / np.interp(each.means.mean(axis=1), knots, common))))
        for each in found if len(each.blocks) >= LEAST_BLOCKS
    ]  # fmt: skip
    if len(strengths) < 2:
        return 1.0, 1.0
    low, high = np.quantile(strengths, (SPREAD_SHARE, 1 - SPREAD_SHARE))
    return float(low), float(high)


def _sheet(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = SHEET_GRID
    some = blocks[np.linspace(0, len(blocks) - 1, rows * columns).astype(int)].astype(np.float64)
    shown = (128 + 4 * (some - some.mean(axis=(1, 2), keepdims=True))).clip(0, 255).astype(np.uint8)
    tiles = np.pad(shown.repeat(4, axis=1).repeat(4, axis=2), ((0, 0), (0, 4), (0, 4), (0, 0)))
    side = tiles.shape[1]
    sheet = tiles.reshape(rows, columns, side, side, COLORS).swapaxes(1, 2)
    return np.ascontiguousarray(sheet.reshape(rows * side, columns * side, COLORS)[..., ::-1])


def _blocks(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Floats, Floats]:
    """Blocks of a picture, N x 16 x 16 x 3; their means, N x 3; the spread of their quarters' means, N."""
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
    """The flattest blocks of each brightness."""
    which = np.minimum((means.mean(axis=1) * BINS / 256).astype(int), BINS - 1)
    flat = np.zeros(len(means), np.bool_)
    for number in range(BINS):
        here = np.flatnonzero(which == number)
        if len(here) >= LEAST_BLOCKS:
            flat[here[np.argsort(unevenness[here])[: max(4, round(len(here) * FLAT_BLOCKS_SHARE))]]] = True
    return flat


class _Quiet(NamedTuple):
    """The quiet blocks of a picture.

    Attributes:
        blocks: N x 16 x 16 x 3.
        means: N x 3.
        quietest: variance of the quietest blocks of similar brightness, N.
        variances: their own, N.
    """

    blocks: NDArray[np.uint8]
    means: Floats
    quietest: Floats
    variances: Floats


def _quiet(blocks: NDArray[np.uint8], means: Floats) -> _Quiet:
    """Blocks of a picture that vary little more than its quietest ones of similar brightness."""
    variance = _without_plane(blocks.astype(np.float64)).var(axis=(1, 2)).mean(axis=1)
    bright = means.mean(axis=1)
    quietest = np.zeros(len(blocks))
    for number, level in enumerate(bright):
        alike = variance[np.abs(bright - level) <= ALIKE_BRIGHT]
        quietest[number] = np.quantile(alike if len(alike) >= FEW_BLOCKS else variance, QUIETEST_QUANTILE)
    quiet = variance <= NOISE_FACTOR * quietest
    return _Quiet(blocks[quiet], means[quiet], quietest[quiet], variance[quiet])


def _alike(levels: Floats, quietest: Floats) -> NDArray[np.intp]:
    """Indices of the blocks of pictures that have flat parts of this brightness."""
    which = np.minimum((levels.mean(axis=1) * BINS / 256).astype(int), BINS - 1)
    kept = np.zeros(len(levels), np.bool_)
    for number in range(BINS):
        here = which == number
        if here.any():
            kept[here] = quietest[here] <= TEXTURED_FACTOR * np.quantile(quietest[here], 0.25)
    return np.flatnonzero(kept)


def _without_plane(blocks: Floats) -> Floats:
    """The residual of blocks after subtracting the best plane, scaled to the variance of the noise."""
    ramp = np.linspace(-1, 1, BLOCK)
    ramp /= np.sqrt(np.square(ramp).sum() * BLOCK)
    left = blocks - blocks.mean(axis=(1, 2), keepdims=True)
    for plane in (np.tile(ramp, (BLOCK, 1)), np.tile(ramp, (BLOCK, 1)).T):
        left -= np.einsum("nhwc,hw->nc", left, plane)[:, None, None, :] * plane[None, :, :, None]
    return np.asarray(left * np.sqrt(BLOCK**2 / (BLOCK**2 - 3)))


def _curve(levels: Floats, variances: Floats) -> Floats:
    """Standard deviations at the knots: medians of blocks of similar brightness, constant outside their range."""
    edges = np.linspace(0, 256, BINS + 1)
    seen: list[float] = []
    found: list[float] = []
    for low, high in pairwise(edges):
        here = (levels >= low) & (levels < high)
        if here.sum() >= 8:
            seen.append(float(levels[here].mean()))
            found.append(float(np.median(variances[here])))
    if not seen:  # few blocks of many brightnesses
        seen, found = [float(levels.mean())], [float(np.median(variances))]
    return np.asarray(np.sqrt(np.interp(np.arange(KNOTS) * 255 / (KNOTS - 1), seen, found)))
