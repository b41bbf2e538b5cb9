"""Blur: a lens out of focus, or motion of the camera or an object.

Each patch has its own kernel, with non-negative weights that sum to 1, so flat areas do not change. At the edges of its
input the picture is reflected. Training passes patches with a margin (`reach`), so that their edges see the real
surroundings.
"""

from dataclasses import dataclass
from math import ceil, pi

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cae_train.degradations.noise import Level

TAIL = 3  # radius of a Gaussian kernel in sigmas: 0.3 % lie outside
TRACKS = (-0.375, -0.125, 0.125, 0.375)  # lines whose mean stands for a path with a width, in widths from its middle


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur; sigma in pixels."""

    sigma: Level

    @property
    def reach(self) -> int:
        """How many pixels around a patch influence it."""
        return ceil(TAIL * self.sigma.high)

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W -> blurred, as wide as before."""
        sigma = self.sigma.draw(len(clean), generator).flatten(1)
        height, width = (line_filters(sigma, self.reach, side) for side in clean.shape[2:])
        return height[:, None] @ clean @ width[:, None].mT


def line_filters(sigma: Tensor, reach: int, length: int) -> Tensor:
    """Gaussians of N x 1 sigmas, cut off at `reach` pixels, as N x L x L matrices that filter a line of `length`."""
    line = torch.arange(-reach, reach + 1)
    kernels = torch.exp(-(line**2) / (2 * sigma.clamp_min(1e-3) ** 2))  # N x K; sigma 0: the pixel alone
    kernels /= kernels.sum(1, keepdim=True)
    return _rows(kernels, length)


def _rows(kernels: Tensor, length: int) -> Tensor:
    """N x K kernels, K odd -> N x L x L matrices that filter a line of `length` pixels, reflected at its ends.

    For wide kernels, matrix products take a tenth of the time of separate convolutions.
    """
    taps = reflected(length, kernels.shape[1] // 2).unfold(0, kernels.shape[1], 1)  # L x K
    return torch.einsum("nk,ikj->nij", kernels, F.one_hot(taps, length).to(kernels))


@dataclass(frozen=True)
class MotionBlur:
    """Straight, uniform motion in a random direction during the exposure; a length of 1 pixel means no blur.

    The weight of a pixel is the share of a one pixel wide path inside it, so lengths and directions need not fit the
    grid.
    """

    length: Level

    @property
    def reach(self) -> int:
        """How many pixels around a patch influence it."""
        return ceil((self.length.high - 1) / 2)

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W -> blurred, as wide as before."""
        return _convolved(clean, path(*self.drawn(len(clean), generator), self.reach))

    def drawn(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw lengths in pixels and angles in radians of `count` movements, count x 1 x 1 each."""
        length = self.length.draw(count, generator)[:, 0]
        return length, torch.empty(count, 1, 1).uniform_(0, pi, generator=generator)


def path(length: Tensor, angle: Tensor, radius: int) -> Tensor:
    """Kernels of straight paths through the middle, a pixel wide (a path of less than two pixels: narrower).

    Args:
        length: N x 1 x 1, in pixels.
        angle: N x 1 x 1, radians from the right toward the bottom.
        radius: pixels from the middle to the kernel's edge.

    Returns:
        float32 N x K x K with K = 2 `radius` + 1, each of sum 1.
    """
    middles = torch.arange(-radius, radius + 1, dtype=torch.float32)
    across, down = angle.cos(), angle.sin()
    kernels = torch.zeros(len(length), len(middles), len(middles))
    for track in TRACKS:  # parallel ones, a width between the outermost and the path's edges
        aside = track * (length - 1).clamp(0, 1)
        begin, end = -length / 2, length / 2
        for direction, places in ((across, middles + aside * down), (down, (middles - aside * across).mT)):
            slope = torch.where(direction.abs() < 1e-6, 1e-6, direction)
            sides = (places - 0.5) / slope, (places + 0.5) / slope  # where on the track a pixel is entered and left
            begin, end = torch.maximum(begin, torch.minimum(*sides)), torch.minimum(end, torch.maximum(*sides))
        kernels += (end - begin).clamp_min(0)
    return kernels / kernels.sum((1, 2), keepdim=True)


def reflected(length: int, margin: int) -> Tensor:
    """Indices 0 ... `length` - 1, extended at both ends by repeated reflection."""
    if length == 1:
        return torch.zeros(1 + 2 * margin, dtype=torch.long)
    places = torch.arange(-margin, length + margin).remainder(2 * length - 2)
    return torch.minimum(places, 2 * length - 2 - places)


def _convolved(picture: Tensor, kernels: Tensor) -> Tensor:
    """N x C x H x W, reflected at its edges, each of the N with its own symmetric kernel of N x K x K, K odd."""
    count, channels = picture.shape[:2]
    rows, columns = (reflected(side, kernels.shape[1] // 2) for side in picture.shape[2:])
    wide = picture.index_select(2, rows).index_select(3, columns)
    weight = kernels[:, None].repeat_interleave(channels, 0)
    return F.conv2d(wide.flatten(0, 1)[None], weight, groups=count * channels).view_as(picture)
