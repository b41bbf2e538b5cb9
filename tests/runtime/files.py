"""Image files in memory: written and opened by Pillow, the parts that they are put together from, and damage."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cae_runtime import ImageError
from cae_runtime.io.image_files import decode


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


def check_damaged(data: bytes, *, ends: Iterable[int], places: int | None = None, values: int = 2**24) -> None:
    """Check that a file is refused wherever it ends, and refused or read with any bytes changed; it must not crash.

    Args:
        data: a whole file.
        ends: where to cut it.
        places: change only so many bytes at its start; None changes all.
        values: the picture of a changed file must have fewer values.
    """
    for end in ends:
        with pytest.raises(ImageError):
            decode(data[:end])
    numbers = np.random.default_rng(7)
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(numbers.integers(1, 5)):
            changed[numbers.integers(places or len(data))] = numbers.integers(256)
        try:
            picture = decode(bytes(changed))
        except ImageError:
            continue
        assert picture.pixels.size < values
