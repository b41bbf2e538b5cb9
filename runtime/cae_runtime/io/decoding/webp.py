"""Finds WebPs whose data was overwritten: libwebp decodes any bits, and stops when the picture is full.

The decoder needs the data of a whole picture up to its last bytes. Behind overwritten bytes it mostly finds codes of
other lengths, so that it runs out of data, which it reports, or is done before the end. So what can still be decoded
without its last bytes is damaged. A lossless picture of noise is the exception: there the codes are so much alike that
the decoder often needs exactly as many bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from cae_runtime.errors import ImageError
from cae_runtime.io.headers import webp
from cae_runtime.io.headers.header import Header

_LESS: Final = 8  # even; a whole picture has up to three bytes at its end that the decoder does not need
_HEADER: Final = 10  # bytes of a VP8 chunk that say how large its picture is
_SMALLEST: Final = 32  # bytes of a file that OpenCV takes
_WITH_ALPHA: Final = b"\x10\0\0\0"  # the flags of a VP8X chunk


def check(data: bytes, header: Header) -> None:
    """Refuse a WebP if a picture, its alpha channel or a frame can be decoded without its last bytes.

    Args:
        data: the whole file.
        header: its header.

    Raises:
        ImageError: there is one, or a frame is larger than the animation.
    """
    for file in _shortened(data):
        part = webp.read(file)
        if part.width > header.width or part.height > header.height or _is_decoded(file):
            raise ImageError("cannot be decoded: its WebP data is damaged, or parts of it are missing")


def large_enough(data: bytes) -> bytes:
    """Return a WebP that OpenCV takes: it refuses those of fewer than 32 bytes, which pictures of one color have."""
    return data + bytes(max(0, _SMALLEST - len(data)))


def _shortened(data: bytes) -> Iterator[bytes]:
    """Yield a file for each coded part of a WebP, without the part's last bytes."""
    size, alpha = bytes(6), b""
    for name, content in _coded(data):
        if name == b"VP8X":
            size = content[4:10]
        elif name == b"ANMF":
            size, alpha = content[6:12], b""
        elif name == b"ALPH":
            alpha = content
        elif len(content) > _LESS + _HEADER:
            yield _file((name, content[:-_LESS]))
            if len(alpha) > _LESS:
                yield _file((b"VP8X", _WITH_ALPHA + size), (b"ALPH", alpha[:-_LESS]), (name, content))
            alpha = b""


def _coded(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and contents of the chunks of pictures; for a frame, first its header, then its chunks."""
    for chunk in webp.chunks(data):
        content = data[chunk.start : chunk.end]
        if chunk.name in (b"VP8X", b"ALPH", b"VP8 ", b"VP8L", b"ANMF"):
            yield chunk.name, content
        at = 16
        while chunk.name == b"ANMF" and at + 8 <= len(content):
            name, length = struct.unpack_from("<4sI", content, at)
            if name in (b"ALPH", b"VP8 ", b"VP8L"):
                yield name, content[at + 8 : at + 8 + length]
            if name in (b"VP8 ", b"VP8L"):
                break  # a frame has one picture
            at += 8 + length + length % 2


def _file(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for name, part in parts)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _is_decoded(data: bytes) -> bool:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags=cv2.IMREAD_UNCHANGED) is not None
    except (cv2.error, MemoryError):
        return False
