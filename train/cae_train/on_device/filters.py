"""Filters for many patches at once, each with its own sigma or kernel.

Gaussians are matrix products along rows and columns, with a matrix for each patch. Kernels that are not separable, such
as motion blur, use the Fourier transform.
"""

from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cae_train.data.augment import GRAIN_MOST
from cae_train.degradations.blur import MotionBlur, line_filters, path, reflected

RADIUS, SPACE = 2, 2.0  # of the bilateral filter: radius and spatial sigma, in pixels


class DeviceMotionBlur(MotionBlur):
    """`MotionBlur` by Fourier transform: its time does not depend on the length of the blur."""

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W -> the same shape, blurred."""
        return convolved(clean, path(*self.drawn(len(clean), generator), self.reach))


def convolved(pictures: Tensor, kernels: Tensor) -> Tensor:
    """N x C x H x W convolved with N kernels, N x K x K with K odd; edges are reflected."""
    radius = kernels.shape[1] // 2
    rows, columns = (reflected(side, radius).to(pictures.device) for side in pictures.shape[2:])
    wide = pictures.index_select(2, rows).index_select(3, columns)
    sides = wide.shape[2:]
    placed = F.pad(kernels, (0, sides[1] - kernels.shape[2], 0, sides[0] - kernels.shape[1]))
    placed = placed.roll((-radius, -radius), (1, 2))
    spectrum = torch.fft.rfft2(wide) * torch.fft.rfft2(placed)[:, None]
    filtered: Tensor = torch.fft.irfft2(spectrum, s=sides)
    return filtered[:, :, radius : sides[0] - radius, radius : sides[1] - radius]


def gaussian(pictures: Tensor, sigma: Tensor, tail: float) -> Tensor:
    """N x C x H x W blurred by Gaussians with N sigmas (0: unchanged), cut off at `tail` times the largest sigma."""
    reach = ceil(tail * float(sigma.max()))
    sides = pictures.shape[2:]
    rows, *others = (line_filters(sigma[:, None], reach, side) for side in dict.fromkeys(sides))
    return along(pictures, rows, others[0] if others else rows)


def along(pictures: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """N x C x H x W multiplied by matrices N x H x H along columns of pixels, and by N x W x W along rows."""
    count, channels, height, width = pictures.shape
    across = torch.bmm(pictures.reshape(count, channels * height, width), columns.mT)
    across = across.view(count, channels, height, width).transpose(1, 2).reshape(count, height, channels * width)
    return torch.bmm(rows, across).view(count, height, channels, width).transpose(1, 2)


def without_grain(patches: Tensor) -> Tensor:
    """Remove the faint noise of clean patches, float32 N x C x H x W in 0..255, like `augment.without_grain`.

    This is a bilateral filter over the 13 pixels within a distance of 2; the result is rounded to whole numbers.
    """
    channels, height, width = patches.shape[1:]
    spread = -0.5 / (GRAIN_MOST * channels / 3) ** 2
    wide = F.pad(patches, (RADIUS,) * 4, mode="reflect")
    total, weights = torch.zeros_like(patches), torch.zeros_like(patches[:, :1])
    around = range(-RADIUS, RADIUS + 1)
    for y, x in ((y, x) for y in around for x in around if y * y + x * x <= RADIUS**2):
        other = wide[:, :, RADIUS + y : RADIUS + y + height, RADIUS + x : RADIUS + x + width]
        difference = (other - patches).abs().sum(1, keepdim=True)
        weight = torch.exp(difference.square() * spread - (y * y + x * x) / (2 * SPACE**2))
        total += weight * other
        weights += weight
    return (total / weights).round_()
