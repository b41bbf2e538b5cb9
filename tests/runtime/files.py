"""Image files in memory: written and opened by Pillow, and the parts that they are put together from."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    """Return the file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    """Return what Pillow reads from a file."""
    return Image.open(io.BytesIO(data))


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def segment(marker: int, payload: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload
