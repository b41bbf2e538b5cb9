"""Degradations by name: what stands between the clean patch that is wanted and the noisy one that is given.

A degradation is a frozen dataclass that is called with a batch and a generator. Adding one: a class in `noise.py` or
a file of its own, with a line in `DEGRADATIONS`. Specs read `NAME`, `NAME:LEVEL` or `NAME:LOW-HIGH`, where a level is
drawn for each patch; several with commas between them are alternatives, of which each patch draws one.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cae_train.camera import Camera
from cae_train.errors import ConfigError
from cae_train.noise import Degradation, Gaussian, Level, SaltPepper


@dataclass(frozen=True)
class Kind:
    """A degradation's constructor, its valid levels, one line for people, and the level where none is named."""

    make: Callable[[Level], Degradation]
    low: float
    high: float
    summary: str
    default: Level | None = None


DEGRADATIONS: dict[str, Kind] = {
    "gaussian": Kind(Gaussian, 0, 255, "white Gaussian noise, sigma in grey levels of 255"),
    "salt-pepper": Kind(SaltPepper, 0, 1, "pixels turned black or white, a share of all pixels"),
    "camera": Kind(Camera, 0, 1, "a simulated camera, from its lowest (0) to its highest sensitivity (1)", Level(0, 1)),
}


@dataclass(frozen=True)
class OneOf:
    """Alternatives: each patch draws one of them, all equally likely."""

    alternatives: tuple[Degradation, ...]

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 -> degraded, not clipped."""
        drawn = torch.randint(len(self.alternatives), (len(clean),), generator=generator)
        degraded = torch.empty_like(clean)
        for number, degrade in enumerate(self.alternatives):
            chosen = drawn == number
            if chosen.any():
                degraded[chosen] = degrade(clean[chosen], generator)
        return degraded


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
    """Read one spec such as `gaussian:25`, `gaussian:0-55`, `camera` or `gaussian:0-55,camera`.

    Raises:
        ConfigError: an unknown name, a level that is no number or out of range.
    """
    alternatives = tuple(_parse_one(spec, part) for part in spec.split(","))
    return alternatives[0] if len(alternatives) == 1 else OneOf(alternatives)


def _parse_one(spec: str, part: str) -> Degradation:
    name, colon, level = part.partition(":")
    if name not in DEGRADATIONS:
        raise ConfigError(f"--degrade {spec!r}: unknown degradation {name!r}, choose from {', '.join(DEGRADATIONS)}")
    kind = DEGRADATIONS[name]
    if kind.default is not None and not colon:
        return kind.make(kind.default)
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
