"""The metadata of one image file: what can be written into another file, and the names of everything found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from cae_runtime.io.headers import header
from cae_runtime.io.metadata import xmp
from cae_runtime.io.metadata.density import Density
from cae_runtime.io.metadata.tiff_tags import Value

BEHIND: Final = header.BEHIND
PALETTE: Final = "palette (written as colors)"


GEO: Final = frozenset({33550, 33922, 34264, 34735, 34736, 34737})  # tags that locate pixels on the earth
SRGB: Final = (1, 13)  # color primaries and transfer characteristics (ITU-T H.273)
FURTHER: Final = "further metadata"
_NAMES_MAX: Final = 1000  # from one file
_KEPT_MAX: Final = 1000  # texts or comments of one file, the limit of libpng
_KEPT_BYTES_MAX: Final = 2**24  # of all of them
_OF_AXES: Final = {b"pHYs", b"oFFs"}  # chunks in which x and y differ


def bits_name(bits: int) -> str:
    """Return the remark on pixels of fewer than 8 bits, which are written with 8."""
    return f"depth of {bits} bit{'s' * (bits != 1)} (8 are written)"


def note(found: set[str], name: str) -> None:
    """Add a name chosen by a file to those found in it; after 1,000 names only `FURTHER`."""
    found.add(name if len(found) < _NAMES_MAX else FURTHER)


class Kept:
    """The texts or comments of a file that are copied: the first 1,000, at most 16 MiB together.

    Attributes:
        items: (kind, content) of each, in the order of the file.
    """

    def __init__(self) -> None:
        self.items: list[tuple[bytes, bytes]] = []
        self._room = _KEPT_BYTES_MAX

    def add(self, kind: bytes, content: bytes) -> bool:
        """Keep one more; return whether it fit."""
        fits = len(self.items) < _KEPT_MAX and len(content) <= self._room
        if fits:
            self.items.append((kind, content))
            self._room -= len(content)
        return fits


@dataclass(frozen=True)
class Metadata:
    """The metadata of an image file.

    Attributes:
        exif: an EXIF block, without prefix; empty if there is none, like the following ones.
        xmp: an XMP packet, without statements about parts that only the original file had.
        icc: a color profile.
        iptc: IPTC data (IIM).
        density: the pixel density.
        native: unchanged chunks of a PNG or segments of a JPEG, for files of the same format.
        tags: the tags of a TIFF that EXIF blocks do not have, as far as they remain true for cleaned pixels.
        layout: what `native` depends on: for a PNG its bit depth and color type.
        found: names of everything in the file, including what cannot be copied.
        in_exif: names of what the EXIF block contains; a TIFF stores these as its own tags.
        jpeg_quality: for a JPEG, the lowest quality 1..100 whose tables are as fine as those of the file; otherwise
            None.
        chroma: color resolution of a HEIC: 420 (halved in both directions), 422 or 444 (full).
        cicp: color primaries and transfer characteristics (ITU-T H.273); None if they are those of sRGB or not given.
    """

    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""
    iptc: bytes = b""
    density: Density | None = None
    native: tuple[tuple[bytes, bytes], ...] = ()
    tags: Mapping[int, Value] = field(default_factory=dict)
    layout: bytes = b""
    found: frozenset[str] = frozenset()
    in_exif: frozenset[str] = frozenset()
    jpeg_quality: int | None = None
    chroma: int = 420
    cicp: tuple[int, int] | None = None

    def upright(self, orientation: int, exif: bytes) -> Metadata:
        """Return the metadata of pixels that an EXIF orientation was applied to, with another EXIF block."""
        density = self.density.turned(orientation) if self.density else None
        native = tuple(chunk for chunk in self.native if orientation == 1 or chunk[0] not in _OF_AXES)
        tags = {tag: value for tag, value in self.tags.items() if orientation == 1 or tag not in GEO}
        return replace(self, exif=exif, xmp=xmp.upright(self.xmp), density=density, native=native, tags=tags)
