"""The metadata of a model file: converts between `ModelSpec` and the `metadata_props` of an ONNX file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import le
from typing import Any, Final

from cae_runtime.errors import ModelError
from cae_shared.text import listed

SCHEMA: Final = "2"
_READ: Final = ("1", SCHEMA)
SCHEMA_KEY: Final = "schema"
WHOLE_FRAME: Final = "whole_frame"  # key of files that take frames of any size, which other programs run
NCHW: Final = "nchw"
NHWC: Final = "nhwc"
PATCH_MIN: Final = 8
PATCH_MAX: Final = 1024

_CHOICES: Final[Mapping[str, tuple[str | int, ...]]] = {
    "task": ("restore", "inpaint", "encode", "anomaly", "generate"),
    "channels": (1, 3),
    "color": ("rgb", "gray"),
    "range": ("0..1",),
    "layout": (NCHW, NHWC),
    "dtype": ("float32", "float16"),
    "precision": ("fp32", "int8", "fp16"),
}
_OF_ANOMALY: Final = ("threshold", "threshold_pixel", "false_alarms", "threshold_size", "threshold_images")
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?(e[+-]?[0-9]{1,3})?")
_SHOWN_MAX: Final = 40
_GOOD_SCORES_LEAST: Final = 3
_IMAGES_MAX: Final = 10**7
_ENDS: Final = 2  # of a range
COLOR_OF_CHANNELS: Final = {1: "gray", 3: "rgb"}
_FILL_1: Final = {1: (128 / 255,), 3: (1.0, 0.0, 1.0)}  # of files of schema 1, by number of channels
_MORE_THAN_NOISE_1: Final = {"blur", "motion-blur"}
RESTORING: Final = ("restore", "inpaint")  # tasks whose output is an image like the input


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The contract between an exported model and the runtime.

    Attributes:
        task: `restore`, `inpaint`, `encode`, `anomaly` or `generate`.
        architecture: name of the network, such as `cae` or `skip`.
        patch: side P of the square patches, 8..1024.
        channels: channels C of a patch, 1 or 3.
        overlap: recommended overlap of neighboring patches in pixels, 0..patch-1.
        color: `rgb` for 3 channels, `gray` for 1.
        range: value range at the boundary, `0..1`.
        layout: axis order at the boundary, `nchw`, or `nhwc` with channels last.
        dtype: element type at the boundary, `float32` or `float16`.
        degradation: what the model was trained to undo, such as `gaussian:0-55`.
        precision: `fp32`, `int8` or `fp16`, the arithmetic inside.
        psnr_in: PSNR in dB of the degraded evaluation images, or None.
        psnr_out: PSNR in dB of the restored evaluation images, or None.
        evaluated_on: what the two PSNR figures were measured on.
        version: version of the toolkit that exported the model.
        license: SPDX identifier of the weights' license, empty if unknown.
        threshold: for task `anomaly`: a picture with a higher score is an anomaly; otherwise None.
        threshold_pixel: for task `anomaly`: score that one in a thousand pixels of good pictures exceeds; otherwise
            None.
        false_alarms: for task `anomaly`: share of new good pictures, 0..1, that `threshold` was set for; otherwise
            None.
        threshold_size: for task `anomaly`: pixels of the median picture that the thresholds were found on; otherwise
            None.
        threshold_images: for task `anomaly`: how many good pictures they were found on; otherwise None.
        good_scores: for task `anomaly`: the ascending scores of these pictures, or 256 quantiles of them; None
            where they are not known.
        good_brightness: for task `anomaly`: the least and the largest mean value of these pictures, 0..1; None where
            they are not known.
        fill: for task `inpaint`: the value of a missing pixel in each channel, 0..1; otherwise None.
        sigma_min: the least Gaussian noise that a pure denoiser was trained on, sigma in gray levels of 255; None for
            models that were trained on other noise only, or to do more than remove noise.
        framed: side in pixels of the pictures that the model was trained on in the middle of black patches; None for
            models that were trained on crops of pictures, or on pictures as large as a patch.

    Raises:
        ModelError: a value is not as listed above.
    """

    task: str = "restore"
    architecture: str
    patch: int = 32
    channels: int = 3
    overlap: int = 8
    color: str = "rgb"
    range: str = "0..1"
    layout: str = NCHW
    dtype: str = "float32"
    degradation: str = ""
    precision: str = "fp32"
    psnr_in: float | None = None
    psnr_out: float | None = None
    evaluated_on: str = ""
    version: str = "1"
    license: str = ""
    threshold: float | None = None
    threshold_pixel: float | None = None
    false_alarms: float | None = None
    threshold_size: int | None = None
    threshold_images: int | None = None
    good_scores: tuple[float, ...] | None = None
    good_brightness: tuple[float, ...] | None = None
    fill: tuple[float, ...] | None = None
    sigma_min: float | None = None
    framed: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            _check(name, getattr(self, name), getattr(self, name) in allowed, " or ".join(map(str, allowed)))
        _check("patch", self.patch, PATCH_MIN <= self.patch <= PATCH_MAX, f"{PATCH_MIN}..{PATCH_MAX}")
        _check("overlap", self.overlap, 0 <= self.overlap < self.patch, f"0..{self.patch - 1}")
        expected = COLOR_OF_CHANNELS[self.channels]
        _check("color", self.color, self.color == expected, f"{expected} with {self.channels} channel(s)")
        for name in ("psnr_in", "psnr_out", "sigma_min", *_OF_ANOMALY):
            value = getattr(self, name)
            _check(name, value, value is None or math.isfinite(value), "a finite number")
        inside = self.framed is None or (0 < self.framed < self.patch and (self.patch - self.framed) % 2 == 0)
        _check("framed", self.framed, inside, f"an even number of pixels less than the patch of {self.patch}")
        if self.task == "anomaly":
            for name in _OF_ANOMALY:
                value = getattr(self, name)
                _check(name, value, value is not None and value > 0, "a number above 0 with task anomaly")
            _check("false_alarms", self.false_alarms, (self.false_alarms or 0) < 1, "below 1")
            scores = self.good_scores or (0.0, 0.0, 0.0)
            valid = len(scores) >= _GOOD_SCORES_LEAST and scores[0] >= 0 and all(map(le, scores, scores[1:]))
            shown = "..." if self.good_scores else None
            _check("good_scores", shown, valid and math.isfinite(scores[-1]), "3 or more ascending numbers from 0 on")
            images = self.threshold_images or 0
            valid = self.good_scores is None or len(scores) <= images <= _IMAGES_MAX
            _check("threshold_images", images, valid, f"{len(scores)}..{_IMAGES_MAX} with {len(scores)} good_scores")
            usual = self.good_brightness or (0.0, 1.0)
            valid = len(usual) == _ENDS and 0 <= usual[0] <= usual[1] <= 1
            _check("good_brightness", self.good_brightness, valid, "two ascending numbers of 0..1")
        if self.task == "inpaint":
            count = self.channels
            valid = self.fill is not None and len(self.fill) == count and all(0 <= value <= 1 for value in self.fill)
            _check("fill", self.fill, valid, f"{count} number(s) of 0..1 with task inpaint and {count} channel(s)")
        if self.task not in RESTORING:
            _check("layout", self.layout, self.layout == NCHW, f"{NCHW} with task {self.task}")

    @property
    def restores(self) -> bool:
        """Whether the model's output is an image like its input."""
        return self.task in RESTORING

    def margin(self, height: int, width: int) -> int:
        """Return how many black pixels belong around a picture of this size, as in training: 0 but for framed ones."""
        return (self.patch - height) // 2 if height == width == self.framed else 0

    def pixels(self, height: int, width: int) -> int:
        """Return how many pixels of a picture of this size the model sees: with the black frame, if it gets one."""
        return self.patch**2 if self.margin(height, width) else height * width

    def shape(self, patches: int) -> tuple[int, int, int, int]:
        """Return the input shape of a batch of patches."""
        if self.layout == NHWC:
            return patches, self.patch, self.patch, self.channels
        return patches, self.channels, self.patch, self.patch

    def to_metadata(self) -> dict[str, str]:
        """Return the spec as ONNX `metadata_props`; fields that are None are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {SCHEMA_KEY: SCHEMA} | {name: _written(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelSpec:
        """Read a spec from ONNX `metadata_props`, of schema 1 or 2; other keys are ignored.

        Args:
            metadata: the string keys and values of the file.

        Returns:
            The validated spec.

        Raises:
            ModelError: the schema is missing or unknown, a key is missing, or a value is not valid.
        """
        schema = metadata.get(SCHEMA_KEY)
        if schema is None:
            raise ModelError(f"metadata key {SCHEMA_KEY!r} is missing")
        if schema not in _READ:
            raise ModelError(
                f"metadata schema {_shown(schema)} is not known to this version, which reads "
                f"{listed(map(repr, _READ), 'and')}: update cae-toolkit"
            )
        types = {field.name: str(field.type) for field in fields(cls)}
        for name, kind in types.items():
            if "None" not in kind and name not in metadata:
                raise ModelError(f"metadata key {name!r} is missing")
        values = {name: _parse(name, kind, metadata[name]) for name, kind in types.items() if name in metadata}
        return cls(**(_from_schema_1(values) if schema == "1" else values))


def _from_schema_1(values: dict[str, Any]) -> dict[str, Any]:
    """Add to the values of a file of schema 1 what only its degradation says: task `inpaint`, `fill`, `sigma_min`."""
    if values["task"] != "restore":
        return values
    steps = values["degradation"].split(" ")  # one after the other; each has alternatives
    kinds = [part.partition(":") for part in steps[-1].replace("+", ",").split(",")]
    names = {name for name, _, _ in kinds}
    if "mask" in names:
        return values | {"task": "inpaint", "fill": _FILL_1.get(values["channels"])}
    if len(steps) > 1 or names & _MORE_THAN_NOISE_1:
        return values
    try:
        sigmas = [float(level.partition("-")[0]) for name, _, level in kinds if name == "gaussian"]
    except ValueError:
        return values
    return values | {"sigma_min": min(sigmas)} if sigmas else values


def _written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _parse(name: str, kind: str, text: str) -> Any:
    if kind == "str":
        return text
    if kind.startswith("tuple"):
        return tuple(_parse(name, "float", part) for part in text.split(","))
    whole = kind.startswith("int")
    if not (_WHOLE if whole else _NUMBER).fullmatch(text):  # int() and float() also take '3_2', ' 32 ' and 'nan'
        wanted = "a whole number" if whole else "a number"
        raise ModelError(f"metadata {name} is {_shown(text)}: it must be {wanted}, in digits alone")
    return int(text) if whole else float(text)


def _check(name: str, value: object, valid: bool, choices: str) -> None:
    if not valid:
        raise ModelError(f"metadata {name} is {_shown(value)}: it must be {choices}")


def _shown(value: object) -> str:
    """Return a value for a message: a text of any length is cut."""
    return repr(f"{value[:_SHOWN_MAX]}...") if isinstance(value, str) and len(value) > _SHOWN_MAX else repr(value)
