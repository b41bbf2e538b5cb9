"""What is known of an image file before it is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        format: one of the image formats of `cae_runtime.formats`.
        width: stored width in pixels, before any rotation.
        height: stored height in pixels.
        metadata: the kinds of metadata in the file, such as `exif`, `xmp`, `icc`, `iptc`, `comment`.
        blocks: those of the kinds `gamma`, `chromaticities`, `srgb` and `density` as they stand in the file; only a
            file of the same format can carry them.
        grey_alpha: the pixels are gray with alpha, which decoders turn into color with alpha.
        lossless: the file is a lossless WebP.
    """

    format: str
    width: int
    height: int
    metadata: frozenset[str]
    blocks: Mapping[str, bytes] = field(default_factory=dict)
    grey_alpha: bool = False
    lossless: bool = False
