"""Damaged image files and random bytes: an image, or an error, and never a crash."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.runtime.files import chunk, opened, saved
from tests.runtime.tiffs import BLACK_ZERO, LZW, RGB, ZSTD, picture

from cae_runtime import ImageError
from cae_runtime.io import image_files as images
from cae_runtime.io.encoding import encode
from cae_runtime.io.headers.inspect import inspect
from cae_runtime.io.image_files import decode
from cae_runtime.io.orientation import exif_orientation

GAMMA = struct.pack(">I", 45455)
CHROMATICITIES = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
DENSITY = struct.pack(">IIB", 5000, 5000, 1)
SIGNATURES = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM"]
ENDLESS_OFFSET = b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1)


def ramp_as(format: str, mode: str = "RGB", **options: Any) -> bytes:
    ramp = (np.arange(9 * 7 * 3, dtype=np.uint8) % 251).reshape(9, 7, 3)
    return saved(Image.fromarray(ramp).convert(mode), format, **options)


def chunks_of(png: bytes) -> list[tuple[bytes, bytes]]:
    position, found = 8, []
    while position < len(png):
        length, name = struct.unpack_from(">I4s", png, position)
        found.append((name, png[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    return png[:33] + b"".join(chunk(*each) for each in chunks) + png[33:]


EXIF = Image.Exif()
EXIF[274] = 6
FILES = [
    ramp_as("JPEG", exif=EXIF, dpi=(300, 300)),
    ramp_as("JPEG", "L", progressive=True),
    ramp_as("PNG", exif=EXIF, dpi=(300, 300)),
    ramp_as("PNG", "P"),
    ramp_as("PNG", "LA"),
    ramp_as("WebP", exif=EXIF),
    ramp_as("WebP", lossless=True),
    ramp_as("TIFF", compression="tiff_lzw"),
    ramp_as("TIFF", big_tiff=True),
    ramp_as("BMP"),
    ramp_as("BMP", "P"),
    ramp_as("TIFF", compression="jpeg"),
    picture(np.full((9, 7, 3), 999, np.uint16), RGB, 16, planes=True, compression=LZW),
    picture(np.full((9, 7, 1), 9, np.uint8), BLACK_ZERO, 4, compression=ZSTD, rows=4),
    ramp_as("PPM"),
    ramp_as("PPM", "1"),
]


def only_an_image_error(data: bytes) -> None:
    """Decode; whatever is raised but an ImageError fails the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "PIXELS_MAX", 2**20)  # so that no example takes seconds
        with contextlib.suppress(ImageError):
            decode(data)


@example(ENDLESS_OFFSET)
@settings(max_examples=150)
@given(st.builds(bytes.__add__, st.sampled_from(SIGNATURES), st.binary(max_size=200)))
def test_random_bytes_after_a_signature_give_an_image_or_an_image_error(data: bytes) -> None:
    only_an_image_error(data)


@pytest.mark.slow
@settings(max_examples=200)
@given(st.data())
def test_a_damaged_file_gives_an_image_or_an_image_error(data: st.DataObject) -> None:
    file = bytearray(data.draw(st.sampled_from(FILES)))
    del file[data.draw(st.just(len(file)) | st.integers(0, len(file))) :]
    for _ in range(data.draw(st.integers(0, 4)) if file else 0):
        at = data.draw(st.integers(0, len(file) - 1))
        new = data.draw(st.sampled_from([b"\0", b"\xff", b"\xff" * 8]) | st.binary(min_size=1, max_size=8))
        file[at : at + len(new)] = new
    only_an_image_error(bytes(file))


@given(st.binary(max_size=60) | st.builds(bytes.__add__, st.sampled_from(SIGNATURES[3:7]), st.binary(max_size=60)))
def test_any_exif_block_has_an_orientation(block: bytes) -> None:
    assert 1 <= exif_orientation(block) <= 8


def test_an_offset_beyond_the_file_is_an_image_error() -> None:
    assert exif_orientation(ENDLESS_OFFSET) == 1
    with pytest.raises(ImageError, match="is truncated or damaged"):
        inspect(ENDLESS_OFFSET)


def test_fill_bytes_in_a_jpeg_are_skipped_quickly() -> None:
    with pytest.raises(ImageError, match="truncated"):
        inspect(b"\xff\xd8\xff" + b"\xff" * 300_000 + b"\0")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_png_color_and_density_chunks_are_kept(mode: str) -> None:
    kept = [(b"gAMA", GAMMA), (b"cHRM", CHROMATICITIES), (b"sRGB", b"\0"), (b"pHYs", DENSITY)]
    picture = decode(with_chunks(ramp_as("PNG", mode), *kept))
    assert picture.metadata.found == {"gamma", "chromaticities", "srgb", "density"}
    for _ in range(2):  # a second pass finds what the first one has written
        data, dropped = encode(picture, "PNG")
        assert dropped == ()
        chunks = chunks_of(data)
        names = [name for name, _ in chunks]
        for name, content in kept:
            assert chunks.count((name, content)) == names.count(name) == 1
            assert names.index(name) < names.index(b"IDAT")
        assert opened(data).info["dpi"] == pytest.approx((127, 127))
        picture = decode(data)
    assert encode(picture, "JPEG")[1] == ("chromaticities", "gamma", "srgb")


def test_a_png_chunk_of_the_wrong_length_is_ignored() -> None:
    assert decode(with_chunks(ramp_as("PNG"), (b"gAMA", b"\0"))).metadata.found == frozenset()


def test_a_jpeg_without_a_density_has_none() -> None:
    assert decode(ramp_as("JPEG")).metadata.found == frozenset()
