"""Degradations by name: they turn the clean patches of training into degraded ones.

A degradation is a frozen dataclass that is called with a batch and a generator. To add one, add a class in a file of
its own (or in that of its kind), a line in `DEGRADATIONS`, and one in `cae_train.on_device.chain` to train on a GPU.

Specs read `NAME`, `NAME:LEVEL` or `NAME:LOW-HIGH`, where a level is drawn for each patch; several with plus signs
between them are applied in a row; several (or rows of several) with commas between them are alternatives, of which each
patch draws one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cae_train.config import TrainConfig
from cae_train.degradations.blur import Blur, MotionBlur
from cae_train.degradations.camera_noise import SOFT, Camera, HotPixels, Sensor
from cae_train.degradations.chain import Chain, OneOf, Row
from cae_train.degradations.coarse_noise import ColorNoise, Enlarged, Grain
from cae_train.degradations.jpeg import Jpeg, JpegTwice
from cae_train.degradations.marks import Letters, Scratches
from cae_train.degradations.mask import Mask
from cae_train.degradations.measured_noise import Measured, NoiseModel
from cae_train.degradations.noise import Degradation, Gaussian, Level, Poisson, SaltPepper, Speckle
from cae_train.errors import ConfigError


@dataclass(frozen=True)
class Nothing:
    """No degradation, for a plain autoencoder."""

    level: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """A copy."""
        return clean.clone()


MEASURED = "measured"  # its levels are not in the spec but in `TrainConfig.noise`


@dataclass(frozen=True)
class Kind:
    """A degradation's entry in the registry.

    Attributes:
        make: its constructor.
        low: the lowest level, and
        high: the highest that it takes.
        summary: what it is, in a line for people.
        default: the level where none is named; without it a level must be.
        unit: what the level is; empty where it takes none.
    """

    make: Callable[[Level], Degradation]
    low: float
    high: float
    summary: str
    default: Level | None = None
    unit: str = ""

    @property
    def levels(self) -> str:
        """The levels for people, as `0..255, sigma in gray levels of 255`; empty where it takes none."""
        return f"{_plain(self.low)}..{_plain(self.high)}, {self.unit}" if self.unit else ""


DEGRADATIONS: dict[str, Kind] = {
    "gaussian": Kind(Gaussian, 0, 255, "white Gaussian noise", unit="sigma in gray levels of 255"),
    "salt-pepper": Kind(SaltPepper, 0, 1, "pixels turned black or white", unit="share of the pixels"),
    "poisson": Kind(Poisson, 1, 1e6, "photon noise", unit="number of photons for white"),
    "speckle": Kind(Speckle, 0, 2, "multiplicative Gaussian noise", unit="sigma as a share of each value"),
    "blur": Kind(Blur, 0, 8, "Gaussian blur", unit="sigma in pixels"),
    "motion-blur": Kind(MotionBlur, 1, 31, "straight motion in a random direction", unit="its length in pixels"),
    "jpeg": Kind(Jpeg, 1, 100, "JPEG with a random position of its blocks", unit="quality"),
    "mask": Kind(Mask, 0, 1, "holes for inpainting: rectangles or strokes", unit="share of the pixels"),
    "letters": Kind(Letters, 0, 1, "holes for inpainting: lettering", unit="least share of the pixels"),
    "scratches": Kind(Scratches, 0, 1, "holes for inpainting: long lines", unit="least share of the pixels"),
    "camera": Kind(Camera, 0, 1, "a simulated camera's noise", Level(0, 1), "daylight (0) to near darkness (1)"),
    "camera-soft": Kind(
        partial(Camera, filters=SOFT), 0, 1, "camera with wider smoothing filters", Level(0, 1), "as for camera"
    ),
    "sensor": Kind(
        Sensor, 0, 1, "camera without JPEG and resizing, to combine with others", Level(0, 1), "as for camera"
    ),
    "hot-pixels": Kind(HotPixels, 0, 1, "pixels of the sensor that are always bright", unit="share of the pixels"),
    "grain": Kind(Grain, 0, 255, "film grain", Level(1, 28), "sigma in the middle tones, in gray levels of 255"),
    "color-noise": Kind(ColorNoise, 0, 255, "coarse noise of the colors", Level(3, 20), "sigma in gray levels of 255"),
    "enlarged": Kind(Enlarged, 0, 255, "white noise enlarged with its picture", unit="sigma in gray levels of 255"),
    "jpeg-twice": Kind(JpegTwice, 1, 100, "JPEG, and again at quality 60 to 96", unit="quality of the first"),
    "none": Kind(Nothing, 0, 0, "no degradation, for a plain autoencoder", Level(0, 0)),
}


_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_LEVEL = re.compile(rf"(?P<low>{_NUMBER})(?:-(?P<high>{_NUMBER}))?")

_PLUS = re.compile(r"\+(?!\d)")  # not that of 1e+3


def parse(spec: str, noise: Mapping[str, Any] | None = None) -> Degradation:
    """Read one spec such as `gaussian:25`, `gaussian:0-55`, `gaussian:0-55,camera` or `grain,grain+jpeg:70-99`.

    `measured` is what `noise` says, as `NoiseModel.to_dict` writes it.

    Raises:
        ConfigError: an unknown name, a level that is no number or out of range.
    """
    alternatives = tuple(_parse_row(spec, part, noise or {}) for part in spec.split(","))
    return alternatives[0] if len(alternatives) == 1 else OneOf(alternatives)


def _parse_row(spec: str, part: str, noise: Mapping[str, Any]) -> Degradation:
    steps = tuple(_parse_one(spec, step, noise) for step in _PLUS.split(part))
    if len(steps) > 1 and any(isinstance(step, (Mask, Nothing)) for step in steps):
        raise ConfigError(f"degrade {spec!r}: mask and none cannot be combined with plus signs")
    return steps[0] if len(steps) == 1 else Row(steps)


def _parse_one(spec: str, part: str, noise: Mapping[str, Any]) -> Degradation:
    name, colon, level = part.partition(":")
    if name == MEASURED:
        if not noise:
            raise ConfigError(
                f"degrade {spec!r}: no noise was measured, neither in a burst nor in a folder of noisy pictures"
            )
        return Measured(NoiseModel.from_dict(noise))
    if name not in DEGRADATIONS and spec.count(",") == 1 and not colon and _LEVEL.fullmatch(name):
        raise ConfigError(f"degrade {spec!r}: a range is written with a hyphen, {spec.replace(',', '-')}; a comma "
                          "separates alternatives such as gaussian:25,camera")  # fmt: skip
    if name not in DEGRADATIONS:
        raise ConfigError(f"degrade {spec!r}: unknown degradation {name!r}, choose from {', '.join(DEGRADATIONS)}")
    kind = DEGRADATIONS[name]
    if kind.default is not None and not colon:
        return kind.make(kind.default)
    if not kind.unit:
        raise ConfigError(f"degrade {spec!r}: {name} takes no level")
    match = _LEVEL.fullmatch(level)
    if match is None:
        raise ConfigError(
            f"degrade {spec!r}: {level!r} is not a level, write {name}:LEVEL or {name}:LOW-HIGH "
            f"({kind.summary}: {kind.levels})"
        )
    levels = Level(float(match["low"]), float(match["high"] or match["low"]))
    if not kind.low <= levels.low <= levels.high <= kind.high:
        low, high = _plain(kind.low), _plain(kind.high)
        raise ConfigError(f"degrade {spec!r}: levels of {name} go from {low} to {high}, low first ({kind.unit})")
    return kind.make(levels)


def chain_of(config: TrainConfig) -> Chain:
    """The degradations of a run.

    Raises:
        ConfigError: as `parse_chain`.
    """
    if config.noise:
        NoiseModel.from_dict(config.noise)
    return parse_chain(config.degrade, config.clip, config.noise)


def described(config: TrainConfig) -> str:
    """Describe the degradations of a run for the metadata of models: their names and levels, and measured noise."""
    text = " ".join(config.degrade)
    return f"{text} on {NoiseModel.from_dict(config.noise).summary()}" if config.noise else text


def parse_chain(specs: Sequence[str], clip: bool = True, noise: Mapping[str, Any] | None = None) -> Chain:
    """Read several specs, applied in their order.

    Raises:
        ConfigError: as `parse`; `none` in a row with others.
    """
    chain = Chain(tuple(parse(spec, noise) for spec in specs), clip)
    if "none" in specs and len(specs) > 1:
        raise ConfigError("degrade 'none' cannot be combined with other degradations: leave it out")
    return chain


def _plain(number: float) -> str:
    return f"{number:,.0f}" if number >= 1e4 else f"{number:g}"
