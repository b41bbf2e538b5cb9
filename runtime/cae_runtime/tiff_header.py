"""What the first directory of a TIFF says of the picture, and which kinds of TIFF are read."""

from __future__ import annotations

from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.formats import TIFF
from cae_runtime.header import Header
from cae_runtime.tiff_directory import directory

SIGNATURES: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_METADATA: Final = {282: "density", 34665: "exif", 700: "xmp", 34675: "icc", 33723: "iptc"}
_COLORS: Final = {0, 1, 2, 3, 6}  # gray (two ways), RGB, palette, YCbCr
_ALPHA: Final = {1, 2}  # premultiplied or not
_EXTRA_SAMPLES: Final = 338


def read(data: bytes) -> Header:
    """Read the header of a TIFF; see `cae_runtime.container.inspect`."""
    page = directory(data)
    if page.following:
        raise ImageError("is a TIFF of several pages: one image a file is expected")
    colors, samples = page.number(262, 1), page.number(277, 1)
    if colors not in _COLORS or samples not in (1, 3, 4):
        raise ImageError(
            f"is a TIFF with photometric interpretation {colors} and {samples} samples a pixel: gray and RGB are read"
        )
    if page.number(_EXTRA_SAMPLES, 0) in _ALPHA:  # OpenCV multiplies it into the colors
        raise ImageError("is a TIFF with an alpha channel, which would change its colors: convert it to PNG first")
    metadata = frozenset(kind for tag, kind in _METADATA.items() if tag in page)
    return Header(TIFF, page.number(256, 0), page.number(257, 0), metadata)
