"""The options that all files of a call share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cae_runtime.io.formats import VideoCoding
from cae_runtime.tasks.strengths import FULL, Strengths


@dataclass(frozen=True)
class RestoreOptions:
    """How files are restored, and where the results go.

    Attributes:
        strength: of brightness and color, 0..1, see `cae_runtime.Restorer`.
        stretch: whether 16-bit images of faint noise are stretched, see there.
        batch: patches per call of the model, see there.
        overlap: pixels that neighboring patches share, see there.
        suffix: added to the stem of each output.
        ext: suffix of the outputs, `.png` of the images or `.mkv` of the videos; None keeps that of each source.
        quality: of JPEG, WebP, AVIF and HEIC images, 1..100, see `cae_runtime.io.encoding.encode`.
        coding: how videos are encoded.
        temporal: whether the frames of videos are averaged over time before the network.
        mask: an image that marks what is filled in every image, or a folder of one for each; None: none does.
        mask_color: the color that marks it in the images themselves, such as `#ff00ff`; None: none does.
        invert_mask: whether what the masks do not mark is filled instead.
        grow: pixels by which holes are larger than what is marked, 0..100.
        overwrite: replace outputs that exist, instead of skipping them.
    """

    strength: Strengths = FULL
    stretch: bool = True
    batch: int | None = None
    overlap: int | None = None
    suffix: str = ""
    ext: str | None = None
    quality: int | None = None
    coding: VideoCoding = field(default_factory=VideoCoding)
    temporal: bool = True
    mask: Path | None = None
    mask_color: str | None = None
    invert_mask: bool = False
    grow: int = 0
    overwrite: bool = False

    @property
    def fills(self) -> bool:
        """Whether to fill holes instead of cleaning."""
        return self.mask is not None or self.mask_color is not None


DEFAULTS: Final = RestoreOptions()
