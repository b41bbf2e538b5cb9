"""The header of GIF files: their blocks (GIF89a)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.formats import GIF
from cae_runtime.io.headers.header import Header

SIGNATURES: Final = (b"GIF87a", b"GIF89a")
_IMAGE, _EXTENSION, _END = 0x2C, 0x21, 0x3B
_COMMENT, _TEXT, _APPLICATION = 0xFE, 0x01, 0xFF
_TRANSPARENT: Final = b"!\xf9\x04\x01\0\0\0\0"  # a control block: the color 0 is transparent
_APPLICATIONS: Final = {b"NETSCAPE2.0": "", b"ANIMEXTS1.0": "", b"XMP DataXMP": "xmp", b"ICCRGBG1012": "icc"}


def read(data: bytes) -> Header:
    """Read the header of a GIF; see `cae_runtime.io.headers.inspect.inspect`."""
    width, height = struct.unpack_from("<HH", data, 6)
    frames = 0
    found: set[str] = set()
    for kind, at in _blocks(data):
        frames += kind == _IMAGE
        if kind == _EXTENSION:
            label, name = _byte(data, at + 1), data[at + 3 : at + 14]
            if label == _APPLICATION:
                found.add(_APPLICATIONS.get(name, f"application data {name.decode('latin-1')!r}"))
            elif label in (_COMMENT, _TEXT):
                found.add("comments")
    if frames == 0:
        raise ImageError("is damaged: it has no picture")
    return Header(GIF, width, height, frames=frames, not_kept=frozenset(found - {""}))


def with_alpha(data: bytes) -> bytes:
    """Return an animation that OpenCV decodes with alpha.

    OpenCV asks only the last control block whether a color is transparent, and paints what no frame covers. So one is
    added behind the last frame.
    """
    end = next(at for kind, at in _blocks(data) if kind == _END)
    return data[:end] + _TRANSPARENT + bytes([_END])


def _blocks(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the kind of each block and where it starts, up to the end.

    Raises:
        ImageError: the file is truncated or damaged.
    """
    at = 13 + _table_bytes(_byte(data, 10))
    while (kind := _byte(data, at)) != _END:
        yield kind, at
        if kind == _IMAGE:
            at = _behind(data, at + 10 + _table_bytes(_byte(data, at + 9)) + 1)
        elif kind == _EXTENSION:
            at = _behind(data, at + 2)
        else:
            raise ImageError("is damaged: a GIF has no such block")
    yield kind, at


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
