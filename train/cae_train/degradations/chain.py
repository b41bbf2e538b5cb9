"""Combines degradations: several in sequence, and alternatives from which each patch draws one."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cae_train.degradations.blur import Blur, MotionBlur
from cae_train.degradations.mask import Mask
from cae_train.degradations.noise import Degradation, Gaussian


def reach_of(degradation: Degradation) -> int:
    """How many pixels around a patch influence it; 0 unless the degradation says otherwise."""
    return int(getattr(degradation, "reach", 0))


def center(batch: Tensor, margin: int) -> Tensor:
    """Crop N x C x H x W by this many pixels on each side."""
    return batch[:, :, margin:-margin, margin:-margin] if margin else batch


@dataclass(frozen=True)
class Row:
    """Several degradations in sequence that form one alternative."""

    steps: tuple[Degradation, ...]

    @property
    def reach(self) -> int:
        """How many pixels around a patch influence the result of all steps."""
        return sum(map(reach_of, self.steps))

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 -> degraded, not clipped."""
        for step in self.steps:
            clean = step(clean, generator)
        return clean


@dataclass(frozen=True)
class OneOf:
    """Alternatives: each patch draws one of them with equal probability."""

    alternatives: tuple[Degradation, ...]

    @property
    def reach(self) -> int:
        """How many pixels around a patch influence the result, for the alternative that reaches furthest."""
        return max(map(reach_of, self.alternatives))

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 -> degraded, not clipped."""
        return self.cut(clean, generator, 0)

    def cut(self, clean: Tensor, generator: torch.Generator, margin: int) -> Tensor:
        """Degrade patches with a margin, and crop the margin from the result.

        If any alternative is a `Row`, each alternative gets only as much of the margin as it reaches.

        Args:
            clean: N x C x H x W in 0..1.
            generator: the source of all randomness.
            margin: pixels on each side of `clean` that only influence the others: 0, or at least `reach`.

        Returns:
            N x C x H - 2 `margin` x W - 2 `margin`, not clipped.
        """
        drawn = torch.randint(len(self.alternatives), (len(clean),), generator=generator)
        degraded = torch.empty_like(center(clean, margin))
        rows = any(isinstance(each, Row) for each in self.alternatives)
        for number, degrade in enumerate(self.alternatives):
            chosen = drawn == number
            if chosen.any():
                needed = min(margin, reach_of(degrade)) if rows else margin
                given = center(clean[chosen], margin - needed)
                degraded[chosen] = center(degrade(given, generator), needed)
        return degraded


@dataclass(frozen=True)
class Chain:
    """Degradations in sequence; the result is clipped to 0..1 and rounded to 8 bits if `clip` is set."""

    steps: tuple[Degradation, ...]
    clip: bool = True

    @property
    def reach(self) -> int:
        """How many pixels around a patch influence the result of all steps."""
        return sum(map(reach_of, self.steps))

    @property
    def leaves_holes(self) -> bool:
        """Whether the last step cuts holes, so that `mask.holes` can find the missing pixels in the result."""
        last = self.steps[-1] if self.steps else None
        return any(isinstance(step, Mask) for step in (last.alternatives if isinstance(last, OneOf) else (last,)))

    @property
    def sigma_min(self) -> float | None:
        """The lowest sigma of the Gaussian noise, in gray levels of 255, for models that only remove noise.

        None if there is no Gaussian noise, if there are several steps, or if there is also blur or holes.
        """
        rows = [row for step in self.steps for row in (step.alternatives if isinstance(step, OneOf) else (step,))]
        kinds = [kind for row in rows for kind in (row.steps if isinstance(row, Row) else (row,))]
        sigmas = [kind.sigma.low for kind in kinds if isinstance(kind, Gaussian)]
        more = len(self.steps) > 1 or any(isinstance(kind, (Blur, MotionBlur, Mask)) for kind in kinds)
        return min(sigmas) if sigmas and not more else None

    def __call__(self, clean: Tensor, generator: torch.Generator, margin: int = 0) -> Tensor:
        """Degrade a batch.

        Args:
            clean: N x C x H x W in 0..1.
            generator: the source of all randomness.
            margin: pixels on each side of `clean` that only influence the others: 0, or at least `reach`.

        Returns:
            N x C x H - 2 `margin` x W - 2 `margin`; in 0..1 in steps of 1/255 if `clip` is set, else of any value.
        """
        *_, degraded = clean, *self.stages(clean, generator, margin)
        return degraded.mul(255).round_().clamp_(0, 255).div_(255) if self.clip else degraded

    def of_gray(self, gray: Tensor, channels: int, generator: torch.Generator, margin: int = 0) -> Tensor:
        """Degrade gray patches for a network of `channels`; holes get the color that this network knows.

        Args:
            gray: N x 1 x H x W in 0..1.
            channels: 3 or 1.
            generator: as in a call.
            margin: as in a call.

        Returns:
            As a call does, with one channel; with `channels` if the chain cuts holes.
        """
        return self(gray.repeat(1, channels, 1, 1) if self.leaves_holes else gray, generator, margin)

    def stages(self, clean: Tensor, generator: torch.Generator, margin: int = 0) -> Iterator[Tensor]:
        """Yield the result after each step, not clipped.

        Each step crops the part of the margin that it reaches; the last one crops all that is left.
        """
        degraded = clean
        for number, step in enumerate(self.steps, 1):
            used = margin if number == len(self.steps) else min(margin, reach_of(step))
            if isinstance(step, OneOf):
                degraded = step.cut(degraded, generator, used)
            else:
                degraded = center(step(degraded, generator), used)
            margin -= used
            yield degraded
