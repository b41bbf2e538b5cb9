"""PNG, WebP and BMP of every kind compared with Pillow and the written values; files with missing data."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.runtime.files import chunk, opened, saved

from cae_runtime import ImageError
from cae_runtime.io import image_files as images
from cae_runtime.io.encoding import encode
from cae_runtime.io.headers import webp as webp_header
from cae_runtime.io.image_files import decode

RNG = np.random.default_rng(6)
HEIGHT, WIDTH = 7, 12
GRAY, COLOR, INDEXED, GRAY_ALPHA, COLOR_ALPHA = 0, 2, 3, 4, 6


def png(rows: bytes, bits: int, color: int, extra: bytes = b"", size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    header = struct.pack(">IIBBBBB", *size, bits, color, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def rows_of(samples: np.ndarray, bits: int) -> bytes:
    flat = samples.reshape(len(samples), -1)
    if bits < 8:
        flat = np.packbits((flat[..., None] >> np.arange(bits - 1, -1, -1) & 1).reshape(len(flat), -1), axis=1)
    return b"".join(b"\0" + row.astype(">u2" if bits == 16 else "u1").tobytes() for row in flat)


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize(
    ("color", "bits"),
    [
        *((GRAY, bits) for bits in (1, 2, 4, 8, 16)),
        *((INDEXED, bits) for bits in (1, 2, 4, 8)),
        *((color, bits) for color in (COLOR, GRAY_ALPHA, COLOR_ALPHA) for bits in (8, 16)),
    ],
)
def test_every_kind_of_png_is_decoded_correctly_or_refused(color: int, bits: int, transparent: bool) -> None:
    channels = {GRAY: 1, COLOR: 3, INDEXED: 1, GRAY_ALPHA: 2, COLOR_ALPHA: 4}[color]
    samples = RNG.integers(0, 2**bits, (HEIGHT, WIDTH, channels))
    extra, seen = b"", samples
    if color == INDEXED:
        palette, alpha = (RNG.integers(0, 256, (2**bits, n)).astype(np.uint8) for n in (3, 1))
        extra, seen = chunk(b"PLTE", palette.tobytes()), palette[samples[..., 0]]
        if transparent:
            extra, seen = extra + chunk(b"tRNS", alpha.tobytes()), np.dstack([seen, alpha[samples[..., 0]]])
    elif transparent and color in (GRAY, COLOR):
        extra = chunk(b"tRNS", samples[0, 0].astype(">u2").tobytes())
        hidden = (samples == samples[0, 0]).all(axis=2)
        seen = np.dstack([samples, np.where(hidden, 0, 2**bits - 1)])
    data = png(rows_of(samples, bits), bits, color, extra)
    if color != INDEXED and bits < 8:
        seen = np.round(seen * (255 / (2**bits - 1)))
    pixels = decode(data).pixels
    stored = pixels.reshape(HEIGHT, WIDTH, -1)
    np.testing.assert_array_equal(stored[..., [2, 1, 0, 3][: stored.shape[2]]] if stored.shape[2] > 2 else stored, seen)


def bmp(
    bits: int, rows: bytes, *, compression: int = 0, behind: bytes = b"", size: int = 40, down: bool = False
) -> bytes:
    header = struct.pack("<IiiHHIIiiII", size, WIDTH, -HEIGHT if down else HEIGHT, 1, bits, compression, 0, 0, 0, 0, 0)
    start = 14 + len(header) + len(behind)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + behind + rows


def bmps() -> Iterator[tuple[str, bytes, str]]:
    """Yield a name, a file and why it is refused (empty where it is read)."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0)
    for down in (False, True):
        for bits in (1, 4, 8):
            palette = RNG.integers(0, 256, (2**bits, 4)).astype(np.uint8)
            palette[:, 3] = 0
            row = (WIDTH * bits + 31) // 32 * 4
            yield f"{bits} bits", bmp(bits, RNG.bytes(row * HEIGHT), behind=palette.tobytes(), down=down), ""
        yield "24 bits", bmp(24, RNG.bytes(WIDTH * HEIGHT * 3), down=down), ""
        yield "32 bits", bmp(32, RNG.bytes(WIDTH * HEIGHT * 4), down=down), ""
        fields = {"compression": 3, "down": down}
        yield "no alpha", bmp(32, RNG.bytes(WIDTH * HEIGHT * 4), behind=masks[:12], **fields), ""
        v4 = masks[:12] + struct.pack("<I", 0xFF000000) + bytes(52)
        yield "alpha", bmp(32, RNG.bytes(WIDTH * HEIGHT * 4), behind=v4, size=108, **fields), ""
        yield "5 bits a color", bmp(16, RNG.bytes(WIDTH * HEIGHT * 2), down=down), "16 bits per pixel"
    other = masks[8:12] + masks[4:8] + masks[:4]
    yield "other order", bmp(32, RNG.bytes(WIDTH * HEIGHT * 4), compression=3, behind=other), "unusual order of colors"
    old = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 8) + RNG.bytes(768 + WIDTH * HEIGHT)
    yield "OS/2", b"BM" + struct.pack("<IHHI", 14 + len(old), 0, 0, 14 + 12 + 768) + old, "BMP of OS/2 with 8 bits"


def test_every_kind_of_bmp_equals_pillow_or_is_refused() -> None:
    for name, data, refusal in bmps():
        if refusal:
            with pytest.raises(ImageError, match=refusal):
                decode(data)
            continue
        pixels = decode(data).pixels
        seen = np.asarray(opened(data).convert("RGBA" if pixels.shape[2] == 4 else "RGB"))
        np.testing.assert_array_equal(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]], seen, err_msg=name)
        with pytest.raises(ImageError, match="damaged"):
            decode(data[: len(data) * 3 // 4])


def short_webp(data: bytes, name: bytes, part: float) -> bytes:
    """Return a WebP in which one chunk has lost its end, and all lengths agree."""
    body = b""
    for each in webp_header.chunks(data):
        content = data[each.start : each.end]
        content = content[: int(len(content) * part)] if each.name == name else content
        body += each.name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_png_or_webp_with_missing_data_is_damaged_even_with_an_end(part: float) -> None:
    noise = RNG.integers(0, 256, (90, 120, 4), np.uint8)
    for name, options in ((b"VP8 ", {}), (b"VP8L", {"lossless": True}), (b"ALPH", {})):
        file = io.BytesIO()
        Image.fromarray(noise if name == b"ALPH" else noise[..., :3]).save(file, "WebP", **options)
        assert decode(short_webp(file.getvalue(), name, 1)).pixels.shape[:2] == (90, 120)
        with pytest.raises(ImageError, match="damaged"):
            decode(short_webp(file.getvalue(), name, part))
    rows = rows_of(noise[..., :3], 8)
    for missing in (png(rows[: int(len(rows) * part)], 8, COLOR, size=(120, 90)),):
        with pytest.raises(ImageError, match="damaged"):
            decode(missing)


def smooth(noise: float) -> Image.Image:
    y, x = np.mgrid[:120, :160]
    values = np.stack([x, y, 240 - x - y / 2], axis=-1) + RNG.normal(0, noise, (120, 160, 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("hole", [b"\0", b"\xff"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"quality": 100, "method": 6}])
def test_a_webp_with_missing_bytes_is_damaged(options: dict[str, Any], hole: bytes) -> None:
    """Its decoder takes any bytes for data, and stops when the picture is full; by chance it may need all of them."""
    whole = saved(smooth(8), "WebP", **options)
    assert decode(whole).pixels.shape == (120, 160, 3)
    found = 0
    for share in np.linspace(0.1, 0.9, 20):
        at, size = int(share * len(whole)), len(whole) // 40
        try:
            decode(whole[:at] + hole * size + whole[at + size :])
        except ImageError as e:
            found += "cannot be decoded: its WebP data is damaged" in str(e)
    assert found >= 16


def test_valid_webps_of_every_setting_are_accepted() -> None:
    """Small pictures, pictures of one color, noise: the check for damage must not take them for damaged."""
    images = [Image.new("RGB", size, "red") for size in ((1, 1), (64, 64))] + [smooth(0), smooth(30)]
    images[-1].putalpha(smooth(30).convert("L"))
    for image, method, quality in itertools.product(images, (0, 4), (1, 60, 100)):
        for lossless in (False, True):
            data = saved(image, "WebP", lossless=lossless, method=method, quality=quality)
            seen = np.asarray(opened(data).convert("RGB"))
            assert np.abs(decode(data).pixels[..., 2::-1].astype(int) - seen).max() <= 1


def test_two_contradicting_sizes_are_damage() -> None:
    data = png(rows_of(np.zeros((HEIGHT, WIDTH, 1), int), 8), 8, GRAY)
    header = data[8:33]
    with pytest.raises(ImageError, match="gives its size more than once"):
        decode(data[:33] + header + data[33:])
    file = io.BytesIO()
    Image.new("RGBA", (64, 32), (1, 2, 3, 4)).save(file, "WebP")
    canvas = file.getvalue().index(b"VP8X") + 12
    with pytest.raises(ImageError, match="gives its size more than once"):
        decode(file.getvalue()[:canvas] + b"\xff" + file.getvalue()[canvas + 1 :])


def test_a_file_over_a_limit_is_refused_with_the_limit() -> None:
    data = png(b"", 8, GRAY, size=(2**20 + 1, 1))
    for read in (decode, images.header_of):
        with pytest.raises(ImageError, match="1048577x1 pixels: the limit is 1048576 pixels per side"):
            read(data)
    wide = decode(png(rows_of(np.zeros((1, 70_000, 1), int), 8), 8, GRAY, size=(70_000, 1)))
    for format in ("JPEG", "WebP", "AVIF"):
        with pytest.raises(ImageError, match=rf"cannot be encoded as {format} with 70000x1 pixels.*write a PNG"):
            encode(wide, format)
