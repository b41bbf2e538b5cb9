"""The pixel density of a picture, as each format stores it."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

PER_METER: Final = {"inch": 1 / 0.0254, "cm": 100.0, "m": 1.0}


@dataclass(frozen=True)
class Density:
    """Pixels per unit along x and y.

    Attributes:
        x: along the rows.
        y: along the columns.
        unit: `inch`, `cm`, `m`, or empty: only the ratio of x and y is meaningful.
    """

    x: float
    y: float
    unit: str

    def per(self, unit: str) -> tuple[float, float]:
        """Return x and y in another unit; a bare ratio stays as it is."""
        factor = PER_METER[self.unit] / PER_METER[unit] if self.unit else 1.0
        return self.x * factor, self.y * factor

    def turned(self, orientation: int) -> Density:
        """Return the density for pixels that an EXIF orientation was applied to."""
        return Density(self.y, self.x, self.unit) if orientation >= 5 else self


_JPEG_UNITS: Final = ("", "inch", "cm")
_TIFF_UNITS: Final[dict[float, str]] = {1: "", 2: "inch", 3: "cm"}
_OF_PNG: Final = ("", "m")


def _known(x: float, y: float, unit: str | None) -> Density | None:
    usable = unit is not None and math.isfinite(x) and math.isfinite(y) and min(x, y) > 0 and (unit or x != y)
    return Density(x, y, unit or "") if usable else None


def from_jpeg(data: bytes) -> Density | None:
    """Read the five bytes of a JFIF header."""
    unit, x, y = struct.unpack(">BHH", data)
    return _known(x, y, _JPEG_UNITS[unit] if unit < len(_JPEG_UNITS) else None)


def to_jpeg(density: Density) -> bytes | None:
    """Return the five bytes of a JFIF header; None if they cannot hold the density."""
    unit = "cm" if density.unit == "cm" else "inch"
    return _packed(">BHH", _JPEG_UNITS.index(unit) if density.unit else 0, density.per(unit), 0xFFFF)


def from_png(data: bytes) -> Density | None:
    """Read a `pHYs` chunk."""
    x, y, unit = struct.unpack(">IIB", data)
    return _known(x, y, _OF_PNG[unit] if unit < len(_OF_PNG) else None)


def to_png(density: Density) -> bytes | None:
    """Return the content of a `pHYs` chunk; None if it cannot hold the density."""
    packed = _packed(">BII", int(bool(density.unit)), density.per("m"), 0x7FFFFFFF)
    return packed and packed[1:] + packed[:1]


def from_bmp(data: bytes) -> Density | None:
    """Read the eight bytes of a BMP header."""
    x, y = struct.unpack("<ii", data)
    return _known(x, y, "m")


def to_bmp(density: Density) -> bytes | None:
    """Return the eight bytes of a BMP header; None if they cannot hold the density."""
    packed = _packed("<Bii", 0, density.per("m"), 0x7FFFFFFF) if density.unit else None
    return packed and packed[1:]


def from_tiff(x: float, y: float, unit: float) -> Density | None:
    """Read the values of the tags 282, 283 and 296."""
    return _known(x, y, _TIFF_UNITS.get(unit))


def to_tiff(density: Density) -> tuple[float, float, int]:
    """Return the values of the tags 282, 283 and 296."""
    unit = "cm" if density.unit == "cm" else "inch"
    return (*density.per(unit), {"": 1, "inch": 2, "cm": 3}[unit if density.unit else ""])


def _packed(form: str, unit: int, values: tuple[float, float], largest: int) -> bytes | None:
    if max(values) > largest:  # including infinity, which cannot be rounded
        return None
    x, y = (round(value) for value in values)
    return struct.pack(form, unit, x, y) if min(x, y) >= 1 else None
