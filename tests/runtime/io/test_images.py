from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.runtime.files import opened, saved

from cae_runtime import ImageError
from cae_runtime.io import encoding
from cae_runtime.io import image_files as images
from cae_runtime.io.encoding import encode
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, SUFFIX_OF_FORMAT, SUFFIXES_READ, is_picture
from cae_runtime.io.image_files import decode, write_file
from cae_runtime.io.metadata import Metadata
from cae_runtime.io.orientation import exif_orientation, upright

Noise = Callable[..., np.ndarray]
ORIENTATION, MAKER = 0x112, 0x10F
CARRIERS = ["JPEG", "PNG", "WebP"]


def exif(orientation: int = 1) -> Image.Exif:
    block = Image.Exif()
    block[ORIENTATION], block[MAKER] = orientation, "Maker"
    return block


@pytest.fixture
def photo() -> Image.Image:
    ramp = np.add.outer(np.arange(48), np.arange(72)) % 200
    return Image.fromarray(np.stack([ramp, ramp[::-1], 255 - ramp], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("target", [*CARRIERS, "TIFF", "BMP"])
@pytest.mark.parametrize("source", [*CARRIERS, "TIFF"])
def test_pictures_are_rotated_exactly_once(photo: Image.Image, source: str, target: str, orientation: int) -> None:
    data = saved(photo, source, exif=exif(orientation), **({"lossless": True} if source == "WebP" else {}))
    written, _ = encode(decode(data), target)
    seen, expected = (ImageOps.exif_transpose(opened(d)).convert("RGB") for d in (written, data))
    assert seen.size == expected.size
    assert np.abs(np.asarray(seen, int) - np.asarray(expected, int)).mean() < 3


def test_exif_with_a_prefix_is_understood(photo: Image.Image) -> None:
    plain = exif(6).tobytes()[6:]
    webp = saved(photo, "WebP", exif=plain + bytes(6)).replace(plain + bytes(6), b"Exif\0\0" + plain)
    picture = decode(webp)
    assert picture.orientation == 6
    for target in ("TIFF", "BMP"):
        assert opened(encode(picture, target)[0]).size == photo.size[::-1]
    assert encode(picture, "JPEG")[0].count(b"Exif\0\0") == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_equals_pillow(orientation: int) -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    data = saved(Image.fromarray(pixels), "PNG", exif=exif(orientation))
    np.testing.assert_array_equal(upright(pixels, orientation), np.asarray(ImageOps.exif_transpose(opened(data))))


@pytest.mark.parametrize("block", [b"", b"II", b"MM\0*\0\0\0\xff", b"nonsense", exif(9).tobytes()[6:]])
def test_damaged_exif_means_no_rotation(block: bytes) -> None:
    assert exif_orientation(block) == 1


@pytest.mark.parametrize("channels", [(), (3,), (4,), (2,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_bit_depth_gray_and_alpha_are_kept(noise: Noise, format: str, dtype: type, channels: tuple[int, ...]) -> None:
    pixels = noise((20, 30, *channels), dtype)
    picture = images.Picture(pixels, format, Metadata(), lossless=False)
    back = decode(encode(picture, format)[0]).pixels
    np.testing.assert_array_equal(back, pixels if channels != (2,) else pixels[..., [0, 0, 0, 1]])


def test_gray_with_alpha_stays_gray(photo: Image.Image) -> None:
    image = photo.convert("LA")
    picture = decode(saved(image, "PNG"))
    np.testing.assert_array_equal(picture.pixels, np.asarray(image))
    written = opened(encode(picture, "PNG")[0])
    np.testing.assert_array_equal(np.asarray(written.convert("LA")), np.asarray(image))


@pytest.mark.parametrize(("mode", "shape"), [("P", (48, 72, 3)), ("1", (48, 72)), ("L", (48, 72)), ("I;16", (48, 72))])
def test_unusual_png_types_are_read(photo: Image.Image, mode: str, shape: tuple[int, ...]) -> None:
    image = photo.convert(mode) if mode != "I;16" else Image.fromarray(np.full((48, 72), 40_000, np.uint16))
    picture = decode(saved(image, "PNG"))
    assert picture.pixels.shape == shape
    if mode == "I;16":
        assert picture.pixels.dtype == np.uint16
        assert (picture.pixels == 40_000).all()


@pytest.mark.parametrize("format", ["JPEG", "WebP", "BMP"])
def test_16_bits_are_never_written_as_8(noise: Noise, format: str) -> None:
    picture = decode(saved(Image.fromarray(noise((9, 9), np.uint16)), "PNG"))
    with pytest.raises(ImageError, match=f"16 bits per channel, and {format} holds 8: write a PNG"):
        encode(picture, format)


def test_alpha_is_never_lost_in_a_jpeg(photo: Image.Image) -> None:
    with pytest.raises(ImageError, match="alpha channel, which JPEG cannot hold: write a PNG"):
        encode(decode(saved(photo.convert("RGBA"), "PNG")), "JPEG")


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WebP", {}),
        ("WebP", {"lossless": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
    ],
)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_file_fails(noise: Noise, format: str, options: dict[str, Any], part: float) -> None:
    data = saved(Image.fromarray(noise((100, 120, 3))), format, **options)
    with pytest.raises(ImageError, match=r"truncated|decoded|is not a|a size of"):
        decode(data[: int(len(data) * part)])


def test_a_truncated_jpeg_with_an_intact_thumbnail_fails(photo: Image.Image, noise: Noise) -> None:
    thumbnail = saved(photo, "JPEG")
    data = saved(Image.fromarray(noise((200, 300, 3))), "JPEG", exif=b"Exif\0\0" + exif().tobytes()[6:] + thumbnail)
    assert b"\xff\xd9" in data[: len(data) // 2]
    with pytest.raises(ImageError, match="truncated"):
        decode(data[: len(data) * 3 // 4])


def test_bytes_after_the_end_of_a_jpeg_are_tolerated(photo: Image.Image) -> None:
    data = saved(photo, "JPEG")
    np.testing.assert_array_equal(decode(data + b"trailer\xff\xe0").pixels, decode(data).pixels)


def test_an_unsuitable_file_is_refused_with_the_reason(photo: Image.Image) -> None:
    for data, reason in [
        (b"", "is empty"),
        (b"just text\n", "is not a JPEG"),
    ]:
        with pytest.raises(ImageError, match=reason):
            decode(data)


def test_the_error_for_other_files_lists_every_supported_format() -> None:
    with pytest.raises(ImageError) as error:
        decode(b"just text\n")
    told = str(error.value).removeprefix("is not a ").removesuffix(" image").replace(" or ", ", ").split(", ")
    assert set(told) == {*FORMAT_OF_SUFFIX.values(), "PBM", "GIF", "camera raw"} - {"JPEG 2000 codestream"}
    assert all(is_picture(Path(f"a{suffix}")) for suffix in SUFFIXES_READ)


def test_a_decompression_bomb_is_refused_before_decoding() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + bytes(4) + struct.pack(">I4sI", 0, b"IEND", 0)
    with pytest.raises(ImageError, match="60000x60000 pixels: the limit is 268435456"):
        decode(data)


def test_quality_sets_the_file_size_and_has_a_default(photo: Image.Image) -> None:
    picture = decode(saved(photo, "PNG"))
    for format in ("JPEG", "WebP"):
        low, default, high = (len(encode(picture, format, quality)[0]) for quality in (10, None, 100))
        assert low < default < high
    jpeg = opened(encode(picture, "JPEG")[0])
    assert jpeg.layer[0][1:3] == jpeg.layer[1][1:3]  # type: ignore[attr-defined] # full color resolution
    lossless = decode(saved(photo, "WebP", lossless=True))
    np.testing.assert_array_equal(decode(encode(lossless, "WebP")[0]).pixels, lossless.pixels)
    assert not decode(encode(lossless, "WebP", 80)[0]).lossless


def test_a_picture_too_small_for_a_format_is_refused(noise: Noise) -> None:
    picture = decode(saved(Image.fromarray(noise((2, 2))), "PNG"))
    with pytest.raises(ImageError, match="16400x2 pixels"):
        encode(replace(picture, pixels=np.zeros((2, 16_400), np.uint8)), "WebP")


def test_a_file_is_written_completely_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "sub" / "a.png", b"first")
    assert (tmp_path / "sub" / "a.png").read_bytes() == b"first"
    probe = tmp_path / "probe"
    probe.touch()
    assert (tmp_path / "sub" / "a.png").stat().st_mode == probe.stat().st_mode

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ImageError, match="No space left"):
        write_file(tmp_path / "sub" / "a.png", b"second")
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.png"]
    assert (tmp_path / "sub" / "a.png").read_bytes() == b"first"


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = [], os.fsync

    def watched(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size, (tmp_path / "a.png").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_file(tmp_path / "a.png", b"whole")
    assert synced == [((tmp_path / "a.png").stat().st_ino, 5, False)]


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there are no devices among files here")
def test_a_device_or_a_socket_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is not a file but a device: it was not opened"):
        images.read_file(Path("/dev/zero"))
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(os.path.relpath(tmp_path / "a"))  # names of sockets are short
        with pytest.raises(ImageError, match="is not a file but a socket"):
            images.read_file(tmp_path / "a")


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes among files there")
def test_a_named_pipe_is_read_but_never_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="is a named pipe that nothing is written to"):
        images.read_file(pipe)
    reader, writer = os.pipe()  # what a shell makes of <(command)
    os.write(writer, b"a picture")
    os.close(writer)
    assert images.read_file(Path(f"/dev/fd/{reader}")) == b"a picture"
    os.close(reader)


def test_every_format_has_a_suffix() -> None:
    named_alike = ("png", "webp", "bmp", "ppm", "pgm", "avif", "heic")
    found = {format.lower(): suffix for format, suffix in SUFFIX_OF_FORMAT.items()}
    jpeg_2000 = {"jpeg 2000": ".jp2", "jpeg 2000 codestream": ".j2k"}
    assert found == {"jpeg": ".jpg", "tiff": ".tif", **jpeg_2000, **{name: f".{name}" for name in named_alike}}


@pytest.mark.parametrize(("quality", "kept"), [(None, bool(encoding._WEBP_EXACT)), (90, False)])
def test_a_webp_keeps_colors_under_transparent_pixels_or_reports_their_loss(
    noise: Noise, quality: int | None, kept: bool
) -> None:
    pixels = noise((40, 50, 4), np.uint8)
    pixels[..., 3] |= 1
    pixels[:20, :, 3] = 0
    picture = decode(saved(Image.fromarray(pixels), "WebP", lossless=True, exact=True))
    data, dropped = encode(picture, "WebP", quality)
    assert np.array_equal(np.asarray(opened(data)), pixels) == kept
    assert (encoding.HIDDEN_COLORS in dropped) == (not kept)
    picture.pixels[:20] = 0
    assert encoding.HIDDEN_COLORS not in encode(picture, "WebP", quality)[1]
