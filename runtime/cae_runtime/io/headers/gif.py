"""The header of GIF files: their blocks (GIF89a)."""

from __future__ import annotations

import struct
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.formats import GIF
from cae_runtime.io.headers.header import Header

SIGNATURES: Final = (b"GIF87a", b"GIF89a")
_IMAGE, _EXTENSION, _END = 0x2C, 0x21, 0x3B
_COMMENT, _TEXT, _APPLICATION = 0xFE, 0x01, 0xFF
_APPLICATIONS: Final = {b"NETSCAPE2.0": "", b"ANIMEXTS1.0": "", b"XMP DataXMP": "xmp", b"ICCRGBG1012": "icc"}


def read(data: bytes) -> Header:
    """Read the header of a GIF; see `cae_runtime.io.headers.inspect.inspect`."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _table_bytes(flags)
    frames = 0
    found: set[str] = set()
    while (kind := _byte(data, at)) != _END:
        if kind == _IMAGE:
            frames += 1
            at = _behind(data, at + 10 + _table_bytes(_byte(data, at + 9)) + 1)
        elif kind == _EXTENSION:
            label, name = _byte(data, at + 1), data[at + 3 : at + 14]
            if label == _APPLICATION:
                found.add(_APPLICATIONS.get(name, f"application data {name.decode('latin-1')!r}"))
            elif label in (_COMMENT, _TEXT):
                found.add("comments")
            at = _behind(data, at + 2)
        else:
            raise ImageError("is damaged: a GIF has no such block")
    if frames == 0:
        raise ImageError("is damaged: it has no picture")
    return Header(GIF, width, height, frames=frames, not_kept=frozenset(found - {""}))


def _table_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _behind(data: bytes, at: int) -> int:
    """Return where the sub-blocks that start at a position end."""
    while size := _byte(data, at):
        at += size + 1
    return at + 1


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise ImageError("is truncated: the end of the GIF is missing")
    return data[at]
