"""Noise measured on a camera: its strength at each brightness, grain, color correlation and fixed pattern.

`cae_train.burst` measures it; a training with it, and the `model.pt` that comes out, carry the numbers with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows

from cae_train.errors import ConfigError

KNOTS = 17  # brightnesses, 0, 1/16 ... 1, between which the strength is interpolated
GRAIN = 11  # pixels along a side of the filters that give the noise its grain
COLORS = 3
HOT_VALUES = 9  # quantiles of the excess of hot pixels, the least first
_SHAPES: dict[str, tuple[int, ...]] = {
    "sigma": (COLORS, KNOTS), "colors": (COLORS, COLORS), "grain": (COLORS, GRAIN, GRAIN), "rows": (), "columns": (),
    "hot": (), "hot_values": (HOT_VALUES,), "dead": (),
}  # fmt: skip
_FORMER = {"bias", "gamma"}  # that models from before version 0.2 hold; they are ignored
_SIGNED = ("colors", "grain")
_LARGEST = {"colors": 4.0, "hot": 0.05, "dead": 0.05}  # of others 1
_NAME = 60  # letters of a camera's name

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class NoiseModel:
    """A camera's noise, in units of the full range 0..1.

    Attributes:
        camera: its name.
        sigma: 3 x 17, standard deviations of R, G and B where their value is 0, 1/16 ... 1.
        colors: 3 x 3; noise of unit variance is this times three independent components.
        grain: 3 x 11 x 11, what white noise is filtered with to be one of these components; squares sum to 1.
        rows: standard deviation of a pattern that is the same along each row; it does not change over time.
        columns: the same of columns.
        hot: share of the pixels that are always too bright.
        hot_values: 9 quantiles of by how much they are.
        dead: share of the pixels that are always black.
    """

    camera: str
    sigma: Floats
    colors: Floats
    grain: Floats
    rows: float = 0.0
    columns: float = 0.0
    hot: float = 0.0
    hot_values: Floats = field(default_factory=lambda: np.zeros(HOT_VALUES, np.float32))
    dead: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The model as flat lists of numbers, for TOML and `model.pt`."""
        values = {name: np.asarray(getattr(self, name), np.float64).round(6).ravel().tolist() for name in _SHAPES}
        return {"camera": self.camera} | {k: v if _SHAPES[k] else v[0] for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "NoiseModel":
        """The inverse of `to_dict`.

        Raises:
            ConfigError: something is missing or of another size, or no number that noise can have.
        """
        if set(values) - _FORMER != {"camera", *_SHAPES} or not isinstance(values["camera"], str):
            raise ConfigError(f"[noise] has {', '.join(map(str, values))}: camera, {', '.join(_SHAPES)} are needed")
        if values["camera"] != name_of(values["camera"]):
            raise ConfigError(f"[noise] camera is {values['camera'][:_NAME]!r}: letters, digits and - _ . are needed")
        arrays = {}
        for name, shape in _SHAPES.items():
            try:
                array = np.asarray(values[name], np.float32).reshape(shape)
            except (TypeError, ValueError, OverflowError):
                raise ConfigError(f"[noise] {name} is not {shape} numbers") from None
            if not (np.abs(array) <= _LARGEST.get(name, 1.0)).all() or (name not in _SIGNED and array.min() < 0):
                raise ConfigError(f"[noise] {name} has values beyond {_LARGEST.get(name, 1.0):g}, or below 0")
            arrays[name] = array if shape else float(array)
        return cls(values["camera"], **arrays)  # type: ignore[arg-type]

    def stronger(self, factor: float) -> "NoiseModel":
        """The same noise, this many times as strong; the fixed pattern stays."""
        return replace(self, sigma=np.minimum(self.sigma * np.float32(factor), 1))

    def summary(self) -> str:
        """One line for people and for the metadata of models."""
        mean = self.sigma.mean(0) * 255
        parts = [
            f"sigma {mean[2]:.1f}/{mean[8]:.1f}/{mean[14]:.1f} where dark/gray/bright",
            f"grain {self.width:.1f} px",
        ]
        parts += [
            f"fixed {name} {255 * value:.1f}"
            for name, value in (("rows", self.rows), ("columns", self.columns))
            if value
        ]
        parts += [f"{value:.2%} {name} pixels" for name, value in (("hot", self.hot), ("dead", self.dead)) if value]
        return f"{self.camera}: {', '.join(parts)}"

    @property
    def width(self) -> float:
        """Width of the grain in pixels: of the square that has one independent value; 1 of white noise."""
        first = self.grain[np.argmax(np.abs(self.colors).sum(0))]
        return float(max(1.0, abs(float(first.sum()))))


class Measured:
    """The degradation: float32 N x C x H x W in 0..1 -> the same with a camera's noise, not clipped."""

    def __init__(self, model: NoiseModel) -> None:
        self.model = model
        self.sigma = torch.from_numpy(np.ascontiguousarray(model.sigma))
        self.colors = torch.from_numpy(np.ascontiguousarray(model.colors))
        self.grain = torch.from_numpy(np.ascontiguousarray(model.grain))[:, None]
        self.hot_values = torch.from_numpy(np.ascontiguousarray(model.hot_values))

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Add noise; of gray pictures that of the mean of the colors."""
        count, channels, height, width = clean.shape
        white = torch.randn(count, COLORS, height + GRAIN - 1, width + GRAIN - 1, generator=generator)
        rgb = clean.expand(-1, COLORS, -1, -1)
        components = F.conv2d(white, self.grain.to(clean.device), groups=COLORS)
        noise = torch.einsum("ij,njhw->nihw", self.colors.to(clean.device), components) * at(rgb, self.sigma)
        noise = noise + self._fixed(rgb, generator)
        return clean + (noise if channels == COLORS else noise.mean(1, keepdim=True))

    def _fixed(self, rgb: Tensor, generator: torch.Generator) -> Tensor:
        """What rows, columns and defective pixels add, N x 1 or 3 x H x W."""
        count, _, height, width = rgb.shape
        fixed = torch.zeros(count, 1, height, width)
        if self.model.rows:
            fixed = fixed + self.model.rows * torch.randn(count, 1, height, 1, generator=generator)
        if self.model.columns:
            fixed = fixed + self.model.columns * torch.randn(count, 1, 1, width, generator=generator)
        if self.model.hot:
            place = torch.rand(count, 1, height, width, generator=generator) * (HOT_VALUES - 1)
            low = place.long().clamp(max=HOT_VALUES - 2)
            values = self.hot_values.to(rgb.device)
            excess = torch.lerp(values[low], values[low + 1], place - low)
            fixed = fixed + excess * (torch.rand(excess.shape, generator=generator) < self.model.hot)
        if self.model.dead:
            fixed = fixed - rgb * (torch.rand(count, 1, height, width, generator=generator) < self.model.dead)
        return fixed


def at(picture: Tensor, curves: Tensor) -> Tensor:
    """Curves through 3 x 17 values, of R, G and B of 0, 1/16 ... 1, at those of N x 3 x H x W in 0..1."""
    curves = curves.to(picture.device)
    place = picture.clamp(0, 1) * (KNOTS - 1)
    low = place.long().clamp(max=KNOTS - 2)
    share = place - low
    channel = torch.arange(COLORS).view(1, -1, 1, 1)
    return torch.lerp(curves[channel, low], curves[channel, low + 1], share)


def name_of(text: str) -> str:
    """A camera's name out of any text: letters, digits, - _ and ., at most 60 of them."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)[:_NAME].strip(".") or "camera"
