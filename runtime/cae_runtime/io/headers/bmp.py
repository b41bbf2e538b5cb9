"""The header of BMP files."""

from __future__ import annotations

import struct
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.formats import BMP
from cae_runtime.io.headers.header import Header

SIGNATURE: Final = b"BM"
_OS2: Final = 12  # bytes of the header of OS/2
_WITH_MASKS: Final = 56  # bytes of the first header that says which bits are alpha
_BITFIELDS: Final = 3
_PLAIN: Final = (0xFF0000, 0xFF00, 0xFF)  # where red, green and blue are in 32 bits


def read(data: bytes) -> Header:
    """Read the header of a BMP; see `cae_runtime.io.headers.inspect.inspect`."""
    size = struct.unpack_from("<I", data, 14)[0]
    width, height, _, bits = struct.unpack_from("<HHHH" if size == _OS2 else "<iiHH", data, 18)
    if size == _OS2 and bits != 24:
        raise ImageError(f"is a BMP of OS/2 with {bits} bits per pixel, which is not read: convert it to PNG first")
    if bits == 16:
        raise ImageError("is a BMP of 16 bits per pixel, which is not read correctly: convert it to PNG first")
    opaque = False
    if bits == 32 and struct.unpack_from("<I", data, 30)[0] == _BITFIELDS:
        *colors, alpha = struct.unpack_from("<IIII", data, 54)
        opaque = size < _WITH_MASKS or alpha == 0
        if opaque and tuple(colors) != _PLAIN:
            raise ImageError("is a BMP with an unusual order of colors, which is not read: convert it to PNG first")
    return Header(BMP, width, abs(height), opaque=opaque)
