"""Degradations: what stands between the clean patch that is wanted and the noisy one that is given.

A degradation is a frozen dataclass that is called with a batch and a generator. Adding one: a class here with a line
in `DEGRADATIONS`. Specs read `NAME:LEVEL` or `NAME:LOW-HIGH`, where a level is drawn for each patch.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cae_train.errors import ConfigError


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


@dataclass(frozen=True)
class Kind:
    """A degradation's constructor, its valid levels, and one line for people."""

    make: Callable[[Level], Degradation]
    low: float
    high: float
    summary: str


DEGRADATIONS: dict[str, Kind] = {
    "gaussian": Kind(Gaussian, 0, 255, "white Gaussian noise, sigma in grey levels of 255"),
    "salt-pepper": Kind(SaltPepper, 0, 1, "pixels turned black or white, a share of all pixels"),
}


@dataclass(frozen=True)
class Chain:
    """Degradations in a row; the result is clipped to 0..1 and rounded to 8 bits where `clip` is set."""

    steps: tuple[Degradation, ...]
    clip: bool = True

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Clean N x C x H x W in 0..1 -> degraded, in 0..1 in steps of 1/255 (anything, unclipped)."""
        degraded = clean
        for step in self.steps:
            degraded = step(degraded, generator)
        return degraded.mul(255).round_().clamp_(0, 255).div_(255) if self.clip else degraded


_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_LEVEL = re.compile(rf"(?P<low>{_NUMBER})(?:-(?P<high>{_NUMBER}))?")


def parse(spec: str) -> Degradation:
    """Read one spec such as `gaussian:25`, `gaussian:0-55` or `salt-pepper:0.05`.

    Raises:
        ConfigError: an unknown name, a level that is no number or out of range.
    """
    name, _, level = spec.partition(":")
    if name not in DEGRADATIONS:
        raise ConfigError(f"--degrade {spec!r}: unknown degradation {name!r}, choose from {', '.join(DEGRADATIONS)}")
    kind = DEGRADATIONS[name]
    match = _LEVEL.fullmatch(level)
    if match is None:
        raise ConfigError(
            f"--degrade {spec!r}: {level!r} is no level, write {name}:LEVEL or {name}:LOW-HIGH ({kind.summary})"
        )
    levels = Level(float(match["low"]), float(match["high"] or match["low"]))
    if not kind.low <= levels.low <= levels.high <= kind.high:
        raise ConfigError(f"--degrade {spec!r}: levels of {name} go from {kind.low:g} to {kind.high:g}, low first")
    return kind.make(levels)


def parse_chain(specs: Sequence[str], clip: bool = True) -> Chain:
    """Read several specs, applied in their order.

    Raises:
        ConfigError: as `parse`.
    """
    return Chain(tuple(parse(spec) for spec in specs), clip)
