"""The metadata of BMP files: density and color profile."""

from __future__ import annotations

import struct
from typing import Final

from cae_runtime.io.headers.header import Header
from cae_runtime.io.metadata.density import from_bmp, to_bmp
from cae_runtime.io.metadata.record import PALETTE, Metadata, bits_name

_FILE_HEADER: Final = 14
_DENSITY: Final = slice(38, 46)
_INFO_BYTES: Final = 40  # size of the header that has a density
_V5_BYTES: Final = 124  # size of the header that has a profile
_SPACE: Final = 70  # position of the color space in headers of version 4 and 5
_EMBEDDED: Final = b"DEBM"  # a profile in the file
_PROFILE: Final = 126  # position of its offset (from the header's start) and length
_FOR_PHOTOGRAPHS: Final = 4  # rendering intent


def read(data: bytes, _header: Header | None = None) -> Metadata:
    """Read the metadata of a BMP."""
    header = struct.unpack_from("<I", data, _FILE_HEADER)[0]
    found: set[str] = set()
    density, icc = None, b""
    if header >= _INFO_BYTES:
        density = from_bmp(data[_DENSITY])
    if header >= _V5_BYTES and data[_SPACE : _SPACE + 4] == _EMBEDDED:
        offset, size = struct.unpack_from("<II", data, _PROFILE)
        icc = data[_FILE_HEADER + offset : _FILE_HEADER + offset + size]
    found |= {name for name, value in (("density", density), ("icc", icc)) if value}
    return Metadata(icc=icc, density=density, found=frozenset(found | _palette(data, header)))


def write(data: bytes, metadata: Metadata) -> bytes:
    """Return a BMP that OpenCV wrote with metadata added."""
    density = to_bmp(metadata.density) if metadata.density else None
    if density:
        data = data[: _DENSITY.start] + density + data[_DENSITY.stop :]
    if not metadata.icc:
        return data
    header, body = bytearray(data[: _FILE_HEADER + _V5_BYTES]), data[_FILE_HEADER + _V5_BYTES :]
    size = struct.unpack_from("<I", data, _FILE_HEADER)[0]
    if size == _INFO_BYTES:
        header = bytearray(data[: _FILE_HEADER + _INFO_BYTES] + bytes(_V5_BYTES - _INFO_BYTES))
        body = data[_FILE_HEADER + _INFO_BYTES :]
    pixels_at = struct.unpack_from("<I", data, 10)[0] + _V5_BYTES - size
    end = len(header) + len(body)
    struct.pack_into("<I", header, 2, end + len(metadata.icc))
    struct.pack_into("<II", header, 10, pixels_at, _V5_BYTES)
    header[_SPACE : _SPACE + 4] = _EMBEDDED
    struct.pack_into("<IIII", header, _PROFILE - 4, _FOR_PHOTOGRAPHS, end - _FILE_HEADER, len(metadata.icc), 0)
    return bytes(header) + body + metadata.icc


def _palette(data: bytes, header: int) -> set[str]:
    """Whether the colors come from a palette; BMPs store gray pictures with a palette too."""
    old = header == 12
    bits = struct.unpack_from("<H", data, 24 if old else 28)[0]
    if bits > 8:
        return set()
    entry, start = 3 if old else 4, _FILE_HEADER + header
    stop = min(struct.unpack_from("<I", data, 10)[0], start + entry * 2**bits)
    planes = [data[start + color : stop : entry] for color in range(3)]
    gray = planes[0] == planes[1] == planes[2]
    if gray:
        return {bits_name(bits)} if bits < 8 else set()
    return {PALETTE}
