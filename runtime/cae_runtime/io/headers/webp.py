"""The header of WebP files: their chunks."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cae_runtime.errors import ImageError
from cae_runtime.io.formats import WEBP
from cae_runtime.io.headers.header import PARTS_MAX, Chunk, Header


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks of a WebP in order.

    Raises:
        ImageError: the file ends before its last chunk does.
        struct.error: it ends inside the RIFF header.
    """
    end = struct.unpack_from("<I", data, 4)[0] + 8
    position = 12
    while position + 8 <= min(end, len(data)):
        name, length = struct.unpack_from("<4sI", data, position)
        if position + 8 + length > len(data):
            break
        yield Chunk(name, position + 8, position + 8 + length)
        position += 8 + length + length % 2
    if end > len(data) or position + 8 <= end:
        raise ImageError("is truncated: the end of the WebP is missing")


def read(data: bytes) -> Header:
    """Read the header of a WebP; see `cae_runtime.io.headers.inspect.inspect`."""
    sizes: list[tuple[int, int]] = []
    lossless, frames, pictures = False, 0, 0
    parts: list[Chunk] = []
    for number, chunk in enumerate(chunks(data)):
        if number <= PARTS_MAX:
            parts.append(chunk)
        pictures += chunk.name in (b"VP8L", b"VP8 ")
        if chunk.name == b"ANMF":
            frames += 1
            lossless = lossless or data[chunk.start + 16 : chunk.start + 20] == b"VP8L"
        if chunk.name == b"VP8X":
            canvas = data[chunk.start + 4 : chunk.start + 10]
            sizes.append((int.from_bytes(canvas[:3], "little") + 1, int.from_bytes(canvas[3:], "little") + 1))
        elif chunk.name == b"VP8L":
            lossless, bits = True, struct.unpack_from("<I", data, chunk.start + 1)[0]
            sizes.append(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
        elif chunk.name == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, chunk.start + 6)
            sizes.append((width & 0x3FFF, height & 0x3FFF))
    if len(set(sizes)) != 1:
        raise ImageError("is damaged: it gives its size more than once, or not at all")
    if min(frames, 1) + pictures != 1:
        raise ImageError("is damaged: it has no picture, or several that are not frames of an animation")
    return Header(
        WEBP,
        *sizes[0],
        lossless=lossless,
        frames=max(frames, 1),
        chunks=tuple(parts) if len(parts) <= PARTS_MAX else None,
    )
