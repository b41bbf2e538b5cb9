"""Noise as the textbook has it, and the levels that it is drawn at."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Degradation(Protocol):
    """Clean float32 N x C x H x W in 0..1 in, degraded (not clipped) out; all randomness from `generator`."""

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


@dataclass(frozen=True)
class Gaussian:
    """White Gaussian noise; sigma in grey levels of 255."""

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
