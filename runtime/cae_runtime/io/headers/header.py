"""What is known about an image file before decoding, and the chunks it consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FURTHER_PICTURES: Final = "further pictures"
BEHIND: Final = "data behind the picture"
PARTS_MAX: Final = 2**12  # chunks or segments that a header keeps; pictures have a few, or one every 8 KiB


@dataclass(frozen=True)
class Chunk:
    """One chunk of a PNG or WebP: its name, and where its content starts and ends in the file."""

    name: bytes
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a file says about its pixels; `cae_runtime.io.metadata` reads everything else.

    Attributes:
        format: one of the image formats of `cae_runtime.io.formats`.
        width: stored width in pixels, before any rotation.
        height: stored height in pixels.
        gray_alpha: the pixels are gray with alpha, which decoders convert to color with alpha.
        opaque: the decoder's fourth channel is not alpha.
        lossless: the file is a lossless WebP.
        cmyk: its colors are amounts of ink, which are converted to RGB.
        bits: of each value, where these are more than 8 and not 16 (AVIF, HEIC), or floating point and not 32 (TIFF);
            otherwise 0.
        frames: frames of an animation or image sequence (GIF, APNG, WebP, AVIF, HEIC), or pages of a TIFF; 1 for other
            pictures.
        part_pixels: pixels of the largest part that is decoded at once, if it can be larger than the picture (TIFF
            tiles).
        refusal: why OpenCV does not decode the file correctly, though another library may; empty if it does.
        chunks: of PNG and WebP: their chunks in order; None if there are more than 4096.
        not_kept: of GIF and PNM: names of what the file holds besides its pixels, which is not kept.
    """

    format: str
    width: int
    height: int
    gray_alpha: bool = False
    opaque: bool = False
    lossless: bool = False
    cmyk: bool = False
    bits: int = 0
    frames: int = 1
    part_pixels: int = 0
    refusal: str = ""
    chunks: tuple[Chunk, ...] | None = None
    not_kept: frozenset[str] = frozenset()

    @property
    def pixels(self) -> int:
        """The number of pixels for which decoding needs memory."""
        return max(self.width * self.height * self.frames, self.part_pixels)
