"""Noise coarser than a pixel: film grain, color noise, and noise that was enlarged with its picture.

Such noise is what scanned film, phones in the dark and pictures from messengers have. It looks like texture, so a
network that has seen white noise alone keeps it. Each patch draws its own width, strength and kind.
"""

from dataclasses import dataclass
from math import ceil, pi

import torch
from torch import Tensor

from cae_train.degradations.blur import line_filters
from cae_train.degradations.noise import Level

TAIL = 3  # sigmas that a Gaussian reaches
GRAIN_WIDTH = (0.4, 1.7)  # sigma in pixels of the Gaussian that makes grain of white noise
GRAIN_ENDS = (0.05, 0.75)  # strength in black and in white, as a share of that in the middle tones
GRAIN_GRAY, GRAIN_COMMON = 0.35, (0.2, 1.0)  # share of patches whose grain is gray; of the others', what channels share
COLOR_WIDTH = (0.8, 4.0)  # sigma in pixels of color noise
COLOR_FADES = (0.0, 0.8)  # how much weaker color noise is in white than in black, in half of the patches
WHITE_SIGMA = (0.0, 12.0)  # sigma of the white noise that is added, in gray levels of 255
ENLARGEMENT = (1.1, 2.4)  # range of the factor by which noise is enlarged
CUBIC = -0.75  # the parameter of OpenCV's cubic interpolation

_FROM_LUMA = torch.tensor([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])  # of Y, Cb, Cr


@dataclass(frozen=True)
class Grain:
    """Film grain; the level is its strength in the middle tones, sigma in gray levels of 255.

    White noise through a Gaussian of 0.4 to 1.7 pixels, scaled by strength x (ends + (1 - ends) sin(pi value)): grain
    is strongest in the middle tones. Some patches have gray grain, the same in all channels, as black and white or
    toned prints do; in the others a share of the variance is common to the channels.
    """

    strength: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 -> the same with grain, not clipped."""
        count, channels = clean.shape[:2]
        width = _uniform(count, GRAIN_WIDTH, generator)
        noise = smooth_noise(width, (channels + 1, *clean.shape[2:]), generator)
        common = _uniform(count, GRAIN_COMMON, generator)
        gray = torch.rand(count, 1, 1, 1, generator=generator) < GRAIN_GRAY
        common = torch.where(gray, 1.0, common) if channels > 1 else torch.ones_like(common)
        noise = common.sqrt() * noise[:, :1] + (1 - common).sqrt() * noise[:, 1:]
        ends = _uniform(count, GRAIN_ENDS, generator)
        strength = self.strength.draw(count, generator) / 255
        return clean + noise * strength * (ends + (1 - ends) * torch.sin(pi * clean.clamp(0, 1)))


@dataclass(frozen=True)
class ColorNoise:
    """Coarse noise of the colors, Cb and Cr, beside fine noise of the brightness; the level is the colors' sigma.

    In gray levels of 255. The colors' noise goes through a Gaussian of 0.8 to 4 pixels; in half of the patches it is
    weaker where they are bright. The brightness has white noise of sigma 0 to 12; a gray patch has that alone.
    """

    strength: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 (C 3 or 1) -> the same with noise, not clipped."""
        count, channels, height, width = clean.shape
        fine = torch.randn(count, 1, height, width, generator=generator)
        fine *= _uniform(count, WHITE_SIGMA, generator) / 255
        if channels == 1:
            return clean + fine
        coarse = smooth_noise(_uniform(count, COLOR_WIDTH, generator), (2, height, width), generator)
        fades = _uniform(count, COLOR_FADES, generator)
        fades = fades * (torch.rand(count, 1, 1, 1, generator=generator) < 0.5)
        bright = clean.mean(1, keepdim=True).clamp(0, 1)
        coarse *= self.strength.draw(count, generator) / 255 * (1 - fades * bright)
        return clean + torch.einsum("ij,njhw->nihw", _FROM_LUMA.to(clean.device), torch.cat((fine, coarse), 1))


@dataclass(frozen=True)
class Enlarged:
    """White noise of a smaller picture that was enlarged 1.1 to 2.4 times; the level is its sigma before that.

    In gray levels of 255. Enlarged as OpenCV does it, cubic; where the pixels lie between those of the smaller picture
    is drawn too.
    """

    sigma: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 -> the same with noise, not clipped."""
        count, channels, height, width = clean.shape
        times = _uniform(count, ENLARGEMENT, generator)[:, 0]
        white = torch.randn(count, channels, height + 4, width + 4, generator=generator)
        rows, columns = (_cubic(times, side, generator)[:, None] for side in (height, width))
        return clean + rows @ white @ columns.mT * (self.sigma.draw(count, generator) / 255)


def smooth_noise(sigma: Tensor, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Gaussian noise of variance 1 and mean 0 that is as smooth everywhere, also at the edges.

    Args:
        sigma: in pixels, of the Gaussian that white noise goes through, N x 1 x 1 x 1; 0 leaves it white.
        shape: channels, height and width of each.
        generator: the source of all randomness.

    Returns:
        float32 N x `shape`.
    """
    reach = ceil(TAIL * float(sigma.max()))
    channels, *sides = (shape[0], shape[1] + 2 * reach, shape[2] + 2 * reach)
    white = torch.randn(len(sigma), channels, *sides, generator=generator)
    rows, columns = (line_filters(sigma.flatten(1), reach, side)[:, reach : side - reach] for side in sides)
    smooth = rows[:, None] @ white @ columns[:, None].mT
    gain = rows[:, :1].square().sum(2, keepdim=True).sqrt()  # alike for all rows: none is reflected
    return smooth / (gain.square()[:, None])


def _uniform(count: int, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    return torch.empty(count, 1, 1, 1).uniform_(*bounds, generator=generator)


def _cubic(times: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """What `side` pixels take of `side` + 4 pixels that are `times` (N x 1 x 1) as large: N x side x side + 4."""
    start = torch.rand(len(times), 1, generator=generator)
    places = (torch.arange(side) / times[:, 0] + start).clamp_max(side)  # N x side
    first = places.floor()
    matrix = torch.zeros(len(times), side, side + 4)
    for tap in range(4):
        distance = (places - first + 1 - tap).abs()
        near = (CUBIC + 2) * distance**3 - (CUBIC + 3) * distance**2 + 1
        far = CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        weight = torch.where(distance <= 1, near, far)
        matrix.scatter_(2, (first.long() + tap)[:, :, None], weight[:, :, None])
    return matrix
