"""What is known of an image file before it is decoded, and the parts that it has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chunk:
    """One chunk of a PNG or WebP: its name, and where its content starts and ends in the file."""

    name: bytes
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a file says of its pixels; `cae_runtime.io.metadata` reads what it says beside them.

    Attributes:
        format: one of the image formats of `cae_runtime.io.formats`.
        width: stored width in pixels, before any rotation.
        height: stored height in pixels.
        gray_alpha: the pixels are gray with alpha, which decoders turn into color with alpha.
        opaque: the fourth channel that the decoder gives is no alpha.
        lossless: the file is a lossless WebP.
        part_pixels: pixels of the largest part that is decoded at once, where it can be larger than the picture
            (the tiles of a TIFF).
        refusal: why OpenCV does not decode the file right, though another library may; empty where it does.
    """

    format: str
    width: int
    height: int
    gray_alpha: bool = False
    opaque: bool = False
    lossless: bool = False
    part_pixels: int = 0
    refusal: str = ""

    @property
    def pixels(self) -> int:
        """For how many pixels memory is set aside to decode it."""
        return max(self.width * self.height, self.part_pixels)
