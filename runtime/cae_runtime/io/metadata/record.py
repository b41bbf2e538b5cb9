"""What an image file says beside its pixels: what can be written into another file, and the names of all there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from cae_runtime.io.metadata import xmp
from cae_runtime.io.metadata.density import Density
from cae_runtime.io.metadata.tiff_tags import Value

BEHIND: Final = "data behind the picture"
PALETTE: Final = "palette (written as colors)"


GEO: Final = frozenset({33550, 33922, 34264, 34735, 34736, 34737})  # tags that put pixels on the earth
FURTHER: Final = "further metadata"
_NAMES_MAX: Final = 1000  # that one file gives
_KEPT_MAX: Final = 1000  # texts or comments of one file, as libpng has it
_KEPT_BYTES_MAX: Final = 2**24  # of all of them
_OF_AXES: Final = {b"pHYs", b"oFFs"}  # chunks that tell x from y


def bits_name(bits: int) -> str:
    """Return what is said of pixels of fewer than 8 bits, which are written with 8."""
    return f"depth of {bits} bit{'s' * (bits != 1)} (8 are written)"


def note(found: set[str], name: str) -> None:
    """Add a name that a file has chosen to those that were found in it; after 1,000 names only `FURTHER`."""
    found.add(name if len(found) < _NAMES_MAX else FURTHER)


class Kept:
    """The texts or comments of a file that are carried over: the first 1,000, of 16 MiB together.

    Attributes:
        items: (kind, content) of each, in the order of the file.
    """

    def __init__(self) -> None:
        self.items: list[tuple[bytes, bytes]] = []
        self._room = _KEPT_BYTES_MAX

    def add(self, kind: bytes, content: bytes) -> bool:
        """Keep one more; return whether there was room for it."""
        fits = len(self.items) < _KEPT_MAX and len(content) <= self._room
        if fits:
            self.items.append((kind, content))
            self._room -= len(content)
        return fits


@dataclass(frozen=True)
class Metadata:
    """The metadata of an image file.

    Attributes:
        exif: an EXIF block, without prefix; empty where there is none, as are the following ones.
        xmp: an XMP packet, without what it says of things that only its own file had.
        icc: a color profile.
        iptc: IPTC data (IIM).
        density: pixels an inch.
        native: chunks of a PNG or segments of a JPEG as they stand there, for files of the same format.
        tags: the tags of a TIFF that no EXIF block has, as far as they are true of other pixels too.
        layout: what `native` depends on: of a PNG its bit depth and color type.
        found: names of all that the file has, also of what cannot be carried over.
        in_exif: names of what the EXIF block has; a TIFF has them as tags of its own.
        jpeg_quality: of a JPEG, the least quality 1..100 whose tables are as fine as those of the file; else None.
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

    def upright(self, orientation: int, exif: bytes) -> Metadata:
        """Return the metadata of pixels that an EXIF orientation was applied to, with another EXIF block."""
        density = self.density.turned(orientation) if self.density else None
        native = tuple(chunk for chunk in self.native if orientation == 1 or chunk[0] not in _OF_AXES)
        tags = {tag: value for tag, value in self.tags.items() if orientation == 1 or tag not in GEO}
        return replace(self, exif=exif, xmp=xmp.upright(self.xmp), density=density, native=native, tags=tags)
