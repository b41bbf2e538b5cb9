"""Textbook noise, and the levels that are drawn for it."""

from dataclasses import dataclass
from math import log
from typing import Protocol

import torch
from torch import Tensor


class Degradation(Protocol):
    """Clean float32 N x C x H x W in 0..1 in (C 3 or 1), degraded (not clipped) out; all randomness from `generator`.

    One whose output is decided by pixels outside a patch too has an attribute or property `reach`: how many pixels
    around it (whole, not negative). Training then degrades more than the patch and cuts it out of that.
    """

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Degrade a batch; the input is not changed."""
        ...


@dataclass(frozen=True)
class Level:
    """A fixed level (`low == high`) or a range from which each patch draws its own, uniformly."""

    low: float
    high: float

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Levels of `count` patches, float32 count x 1 x 1 x 1."""
        if self.low == self.high:
            return torch.full((count, 1, 1, 1), self.low)
        return torch.empty(count, 1, 1, 1).uniform_(self.low, self.high, generator=generator)

    def draw_log(self, count: int, generator: torch.Generator) -> Tensor:
        """Like `draw`, but uniform in the logarithm, for positive levels whose ratio matters."""
        if self.low == self.high:
            return self.draw(count, generator)
        return torch.empty(count, 1, 1, 1).uniform_(log(self.low), log(self.high), generator=generator).exp_()


@dataclass(frozen=True)
class Gaussian:
    """White Gaussian noise; sigma in gray levels of 255."""

    sigma: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 -> the same with noise, not clipped."""
        noise = torch.randn(clean.shape, generator=generator)
        return clean + noise * (self.sigma.draw(len(clean), generator) / 255)


@dataclass(frozen=True)
class SaltPepper:
    """Impulse noise: each pixel, all its channels together, turns black or white with the given probability."""

    share: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 -> the same with some pixels 0 and as many 1."""
        count, _, height, width = clean.shape
        draw = torch.rand((count, 1, height, width), generator=generator)
        share = self.share.draw(count, generator)
        degraded = torch.where(draw < share / 2, torch.zeros(()), clean)
        return torch.where(draw > 1 - share / 2, torch.ones(()), degraded)


@dataclass(frozen=True)
class Poisson:
    """Photon noise (shot noise): a pixel counts photons, `photons` of them where it is white.

    So its variance is value / photons: 30 is a dark scene, 1000 a bright one. A range is drawn uniformly in its
    logarithm. Source: Foi, Trimeche, Katkovnik and Egiazarian, Practical Poissonian-Gaussian noise modeling and fitting
    for single-image raw-data (IEEE TIP 2008), its signal-dependent part.
    """

    photons: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 -> counted, each channel by itself; not clipped."""
        photons = self.photons.draw_log(len(clean), generator)
        return torch.poisson(clean.clamp_min(0) * photons, generator=generator) / photons


@dataclass(frozen=True)
class Speckle:
    """Multiplicative Gaussian noise, value + value * n: its spread is the share `sigma` of each value.

    Of radar, ultrasound and lasers. Gaussian speckle as in Matlab's `imnoise` and scikit-image's `random_noise`.
    """

    sigma: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 -> the same with noise, each channel by itself; not clipped."""
        noise = torch.randn(clean.shape, generator=generator)
        return clean + clean * noise * self.sigma.draw(len(clean), generator)
