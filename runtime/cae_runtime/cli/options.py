"""The options of the command line, as one object."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cae_runtime.errors import UsageError
from cae_runtime.inference.cpu_limits import THREADS_MAX
from cae_runtime.io.formats import CODECS, CRF_MAX, FORMAT_OF_SUFFIX, VIDEO_FORMAT_OF_SUFFIX, VideoCoding, known_suffix
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.places.address import PROTOCOLS, is_address
from cae_runtime.tasks.strengths import Strengths
from cae_shared.text import masked

EXTENSIONS = ", ".join(suffix.removeprefix(".") for suffix in FORMAT_OF_SUFFIX)
_SHORTENED = re.compile(rf"({'|'.join(PROTOCOLS)}):[/\\]", re.IGNORECASE)  # a Path has one slash of two
CONTAINERS = ", ".join(suffix.removeprefix(".") for suffix in VIDEO_FORMAT_OF_SUFFIX)

LOCAL, RAY = "local", "ray"
ENGINES: Final = (LOCAL, RAY)
"""What does the work: this process, or the workers of a cluster."""


@dataclass(frozen=True)
class Options:
    """The options and arguments of `cae-run`; `cae-run --help` says what each does.

    Attributes:
        given: names of those that were given; the others have their defaults.
    """

    given: frozenset[str]
    sources: list[str] | None
    output: str | None
    model: str | None
    provider: str
    threads: int | None
    batch: int | None
    overlap: int | None
    strength: float
    color_strength: float | None
    analyze: bool
    watch: bool
    view: bool
    sheet: Path | None
    stretch: bool
    suffix: str
    ext: str | None
    quality: int | None
    codec: str | None
    crf: int | None
    pixel_format: str | None
    engine: str
    address: str | None
    gpus_per_worker: float | None
    mask: str | None
    mask_color: str | None
    invert_mask: bool
    grow: int
    per_patch: bool
    projection: str | None
    generate: int | None
    seed: int | None
    latent: Path | None
    between: tuple[Path, Path] | None
    steps: int | None
    encoder: Path | None
    false_alarms: float | None
    threshold: float | None
    fail_on_anomaly: bool
    bad: Path | None
    roi: Path | None
    raw_maps: bool
    defect_masks: bool
    overwrite: bool
    as_json: bool
    webcam: bool
    camera: str | None
    list_cameras: bool
    size: str | None
    fps: float | None
    target_fps: float | None
    temporal: bool
    compare: bool
    reconnect: bool
    virtual_camera: bool
    no_window: bool
    frames: int | None
    seconds: float | None
    page: bool
    doctor: bool
    benchmark: bool
    verbose: bool

    @property
    def fills(self) -> bool:
        """Whether to fill holes instead of cleaning."""
        return self.mask is not None or self.mask_color is not None

    @property
    def model_name(self) -> str:
        """The model to open first."""
        from cae_runtime.inference.model_files import DEFAULT_MODEL, FILLING_MODEL

        if self.model is not None:
            return self.model
        return FILLING_MODEL if self.fills else DEFAULT_MODEL

    def check(self) -> None:
        """Refuse values that no command takes.

        Raises:
            UsageError: there is such a value.
        """
        _check_range("threads", self.threads, 1, THREADS_MAX)
        _check_range("batch", self.batch, 1)
        _check_range("overlap", self.overlap, 0)
        _check_range("strength", self.strength, 0, 1)
        _check_range("color-strength", self.color_strength, 0, 1)
        _check_range("quality", self.quality, 1, 100)
        _check_range("fps", self.fps, 1, 1000)
        _check_range("target-fps", self.target_fps, 1, 1000)
        _check_range("frames", self.frames, 1)
        _check_range("seconds", self.seconds, 0.1)
        _check_range("grow", self.grow, 0, 100)
        _check_range("generate", self.generate, 1)
        _check_range("seed", self.seed, 0)
        _check_range("steps", self.steps, 2)
        _check_range("gpus-per-worker", self.gpus_per_worker, 0)
        if self.engine not in ENGINES:
            raise UsageError(f"--engine is {self.engine!r}: it must be {' or '.join(ENGINES)}")
        if self.codec is not None and self.codec not in CODECS:
            raise UsageError(f"--codec is {self.codec!r}: it must be one of {', '.join(CODECS)}")
        highest = CRF_MAX[self.codec] if self.codec else max(CRF_MAX.values())
        if self.crf is not None and not 0 <= self.crf <= highest:
            of = (
                f"0..{highest} with {self.codec}"
                if self.codec
                else f"0..{CRF_MAX['h264']}, with vp9 and av1 0..{highest}"
            )
            raise UsageError(f"--crf is {self.crf}: it must be {of}")
        _checked_ext(self.ext)
        for name, value in self._of_this_computer():
            if is_address(value) or _SHORTENED.match(value):
                raise UsageError(f"--{name} takes a file of this computer, and {masked(value)!r} is an address")
        if "suffix" in self.given and not self.suffix:
            raise UsageError("--suffix is empty: give what is appended to each file's name, such as _clean")
        if Path(self.suffix).name != self.suffix:
            raise UsageError(f"--suffix is {self.suffix!r}: it must be part of a file's name, such as _clean")

    def _of_this_computer(self) -> Iterator[tuple[str, str]]:
        """Yield the options that take no address, with their values."""
        for name in ("model", "mask", "sheet", "latent", "encoder", "bad", "roi"):
            if (value := getattr(self, name)) is not None:
                yield name, str(value)
        yield from (("between", str(value)) for value in self.between or ())

    def for_restoring(self) -> RestoreOptions:
        """Return the options for restoring files.

        Raises:
            UsageError: the given suffix belongs to no known format.
        """
        return RestoreOptions(
            strength=Strengths(self.strength, self.strength if self.color_strength is None else self.color_strength),
            stretch=self.stretch, batch=self.batch,
            overlap=self.overlap, suffix=self.suffix, ext=_checked_ext(self.ext), quality=self.quality,
            coding=VideoCoding(self.codec, self.crf, self.pixel_format), temporal=self.temporal,
            mask=None if self.mask is None else Path(self.mask), mask_color=self.mask_color,
            invert_mask=self.invert_mask, grow=self.grow, overwrite=self.overwrite,
        )  # fmt: skip


def _check_range(name: str, value: float | None, low: float, high: int | None = None) -> None:
    if value is None or low <= value <= (math.inf if high is None else high):
        return
    raise UsageError(f"--{name} is {value}: it must be {f'{low} or more' if high is None else f'{low}..{high}'}")


def _checked_ext(ext: str | None) -> str | None:
    return None if ext is None else known_suffix("--ext", ext)
