"""AVIF and HEIC of every kind compared with Pillow, pillow-heif and the written values."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms
from tests.runtime.conftest import Command
from tests.runtime.files import check_damaged, opened, saved

from cae_runtime import ImageError
from cae_runtime.io import heic_extra
from cae_runtime.io.encoding import encode
from cae_runtime.io.formats import AVIF, HEIC
from cae_runtime.io.headers.boxed.av1 import CodedSizes
from cae_runtime.io.image_files import Picture, decode
from cae_runtime.io.orientation import exif_orientation, upright

HEIGHT, WIDTH = 48, 70
SMOOTH = cv2.resize(np.random.default_rng(4).integers(0, 256, (5, 7, 4), np.uint8), (WIDTH, HEIGHT))
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'


def exif(orientation: int = 1) -> bytes:
    block = Image.Exif()
    block[0x0112], block[0x010F] = orientation, "Maker"
    return block.tobytes()


def heic(pixels: np.ndarray[Any, Any], mode: str, **options: Any) -> bytes:
    target = io.BytesIO()
    size = (pixels.shape[1], pixels.shape[0])
    pillow_heif.encode(mode, size, pixels.tobytes(), target, quality=-1, chroma=444, matrix_coefficients=0, **options)
    return target.getvalue()


def avif(pixels: np.ndarray[Any, Any], bits: int = 8) -> bytes:
    settings = [cv2.IMWRITE_AVIF_QUALITY, 100, cv2.IMWRITE_AVIF_DEPTH, bits]
    return cv2.imencode(".avif", pixels, settings)[1].tobytes()


def rgb(pixels: np.ndarray[Any, Any]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_of_every_bit_depth_keeps_its_values(channels: int, bits: int) -> None:
    values = SMOOTH[..., :channels].squeeze().astype(np.uint16) << bits - 8
    picture = decode(avif(values.astype(np.uint8) if bits == 8 else values, bits))
    scaled = values if bits == 8 else np.rint(values * 65535.0 / (2**bits - 1))
    assert picture.format == AVIF
    assert picture.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.array_equal(picture.pixels, scaled)
    written, dropped = encode(picture, AVIF, 100)
    assert np.array_equal(decode(written).pixels, picture.pixels)
    assert dropped == ()
    assert np.array_equal(decode(encode(picture, "PNG")[0]).pixels, picture.pixels)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_gray_avif_of_limited_range_is_expanded(frames: int) -> None:
    first, *others = [rgb(np.roll(SMOOTH[..., :3], number, axis=1)) for number in range(frames)]
    more = {"save_all": True, "append_images": others} if others else {}
    full, limited = (
        decode(saved(first, "AVIF", quality=100, subsampling="4:0:0", range=each, **more)).pixels
        for each in ("full", "limited")
    )
    assert np.abs(full.astype(int) - limited).max() <= 2
    with pytest.raises(ImageError, match="is a gray AVIF with alpha, which OpenCV does not read"):
        decode(saved(rgb(SMOOTH), "AVIF", subsampling="4:0:0"))


@pytest.mark.parametrize("mode", ["L", "LA", "BGR", "BGRA"])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_heic_of_every_bit_depth_keeps_its_values(mode: str, bits: int) -> None:
    planes = {"L": [0], "LA": [0, 3], "BGR": [0, 1, 2], "BGRA": [0, 1, 2, 3]}[mode]
    values = np.ascontiguousarray(SMOOTH[..., planes].squeeze())
    wide = values.astype(np.uint16) << bits - 8
    data = heic(values, mode) if bits == 8 else heic(wide, f"{mode};{bits}", bit_depth=bits)
    picture = decode(data)
    assert picture.format == HEIC
    assert picture.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    scaled = values if bits == 8 else np.rint(wide * 65535.0 / (2**bits - 1))
    assert np.abs(picture.pixels.astype(float) - scaled).max() <= (1 if bits == 8 else 65535 / 2**bits * 2)
    written, dropped = encode(picture, HEIC, 100)
    assert dropped == ()
    assert decode(written).bits == (bits if bits > 8 else 0)
    assert np.abs(decode(written).pixels.astype(float) - picture.pixels).max() < 0.02 * scaled.max()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_pictures_come_out_upright(orientation: int) -> None:
    plain = SMOOTH[..., :3]
    turned = saved(rgb(plain), "AVIF", quality=100, subsampling="4:4:4", exif=exif(orientation))
    assert np.abs(decode(turned).pixels.astype(int) - upright(plain, orientation)).max() < 8
    photo = heic(plain, "BGR", exif=exif(orientation))
    assert np.abs(decode(photo).pixels.astype(int) - upright(plain, orientation)).max() <= 1
    for data in (turned, photo):
        picture = decode(data)
        assert picture.orientation == exif_orientation(picture.metadata.exif) == 1
        for format in (AVIF, HEIC, "JPEG"):
            again = decode(encode(picture, format)[0])
            assert again.pixels.shape == picture.pixels.shape
            assert again.orientation == 1


@pytest.mark.parametrize("format", [AVIF, HEIC])
def test_a_sideways_jpeg_is_written_upright(format: str) -> None:
    sideways = decode(saved(rgb(SMOOTH[..., :3]), "JPEG", exif=exif(6)))
    written = decode(encode(sideways, format)[0])
    assert written.pixels.shape == (WIDTH, HEIGHT, 3)
    assert np.abs(written.pixels.astype(int) - upright(sideways.pixels, 6)).mean() < 4
    assert written.orientation == 1


def test_heic_keeps_its_chroma_sampling_and_other_sources_get_420() -> None:
    plain = Image.fromarray(SMOOTH[..., :3])
    for chroma in (420, 422, 444):
        source = io.BytesIO()
        pillow_heif.from_pillow(plain).save(source, quality=90, chroma=chroma)
        written, _ = encode(decode(source.getvalue()), HEIC)
        assert pillow_heif.open_heif(written).info["chroma"] == chroma
    assert pillow_heif.open_heif(encode(decode(saved(plain, "PNG")), HEIC)[0]).info["chroma"] == 420


def test_hdr_metadata_of_heic_is_reported_as_lost() -> None:
    light = heic(np.ascontiguousarray(SMOOTH[..., :3]), "BGR").replace(b"pixi", b"clli")
    assert encode(decode(light), HEIC)[1] == ("content light level (cLLI)",)


def test_a_bit_depth_that_jpeg_cannot_hold_is_reported() -> None:
    with pytest.raises(ImageError, match="has 10 bits per channel, and JPEG holds 8"):
        encode(decode(avif(SMOOTH[..., :3].astype(np.uint16) << 2, 10)), "JPEG")


@pytest.mark.parametrize("target", [AVIF, HEIC, "PNG", "JPEG", "WebP", "TIFF"])
@pytest.mark.parametrize("source", [AVIF, HEIC])
def test_metadata_is_kept_between_formats(source: str, target: str) -> None:
    picture = decode(saved(rgb(SMOOTH[..., :3]), "PNG", exif=exif(), icc_profile=PROFILE))
    metadata = replace(picture.metadata, xmp=XMP, found=picture.metadata.found | {"xmp"})
    first, dropped = encode(replace(picture, metadata=metadata), source)
    assert dropped == ()
    second, dropped = encode(decode(first), target)
    assert dropped == ()
    seen = pillow_heif.open_heif(second).info if target == HEIC else opened(second).info
    assert seen["icc_profile"] == PROFILE
    if target != "TIFF":
        found = Image.Exif()
        found.load(seen["exif"])
        assert found[0x010F] == "Maker"
    assert decode(second).metadata.xmp == XMP


@pytest.mark.parametrize(("source", "target"), [(AVIF, AVIF), (HEIC, AVIF), (AVIF, HEIC), (HEIC, HEIC)])
def test_a_wide_gamut_without_a_profile_is_kept(source: str, target: str) -> None:
    picture = Picture(SMOOTH[..., :3], source, decode(avif(SMOOTH[..., :3])).metadata, lossless=False)
    wide = replace(picture, metadata=replace(picture.metadata, cicp=(12, 16)))  # P3, PQ
    first = decode(encode(wide, source)[0])
    assert first.metadata.cicp == (12, 16)
    written, dropped = encode(first, target)
    assert dropped == ()
    profile = pillow_heif.open_heif(written).info["nclx_profile"] if target == HEIC else None
    assert decode(written).metadata.cicp == (12, 16)
    assert profile is None or (profile["color_primaries"], profile["transfer_characteristics"]) == (12, 16)
    png, dropped = encode(first, "PNG")
    assert b"cICP\x0c\x10\x00\x01" in png
    assert dropped == ()
    assert "cicp" in encode(first, "JPEG")[1]


def test_lost_thumbnails_and_lost_bits_are_reported() -> None:
    with_thumbnail = heic(np.tile(SMOOTH[..., :3], (2, 2, 1)), "BGR", thumbnails=[64])
    assert "thumbnail" in encode(decode(with_thumbnail), HEIC)[1]
    deep = decode(cv2.imencode(".png", SMOOTH[..., :3].astype(np.uint16) * 257)[1].tobytes())
    assert encode(deep, AVIF)[1] == ("depth of 16 bits (12 are written)",)
    assert encode(deep, HEIC)[1] == ("depth of 16 bits (10 are written)",)


def test_tile_grids_and_odd_sizes_are_read() -> None:
    large = np.tile(SMOOTH[..., :3], (4, 4, 1))[:161, :207]
    picture = decode(heic(large, "BGR", tile_size=64))
    assert np.abs(picture.pixels.astype(int) - large).max() <= 1
    for height, width in ((1, 1), (1, 7), (9, 1), (33, 65)):
        small = np.ascontiguousarray(SMOOTH[:height, :width, :3])
        assert np.array_equal(decode(avif(small)).pixels, small)
        for format in (AVIF, HEIC):
            assert decode(encode(decode(avif(small)), format)[0]).pixels.shape == small.shape


@pytest.mark.parametrize("data", [avif(SMOOTH), heic(SMOOTH, "BGRA", exif=exif())], ids=[AVIF, HEIC])
def test_damaged_files_are_refused_or_read_but_never_crash(data: bytes) -> None:
    check_damaged(data, ends=range(0, len(data), max(1, len(data) // 40)), values=2**20)


def test_a_false_size_is_refused() -> None:
    data = avif(SMOOTH[..., :3])
    at = data.index(b"ispe") + 8
    for size in ((2**20, 2**20), (2**14 + 1, 2**14), (0, HEIGHT)):
        with pytest.raises(ImageError, match=r"the limit is|has a size of|its data has 70x48"):
            decode(data[:at] + b"".join(side.to_bytes(4, "big") for side in size) + data[at + 8 :])


def test_a_coded_size_larger_than_announced_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(avif(np.zeros((64, 96, 3), np.uint8)))
    at = data.index(b"ispe") + 8
    struct.pack_into(">II", data, at, 48, 32)
    monkeypatch.setattr(cv2, "imdecode", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="is damaged: its header says 48x32 pixels, but its data has 96x64"):
        decode(bytes(data))


def moving(sizes: list[tuple[int, int]]) -> bytes:
    frames = cv2.Animation()
    frames.frames = [np.full((high, wide, 4), 40 * n, np.uint8) for n, (wide, high) in enumerate(sizes)]
    frames.durations = [100] * len(sizes)
    return cv2.imencodeanimation(".avif", frames)[1].tobytes()


def test_a_frame_larger_than_announced_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = moving([(64, 64)] * 3), moving([(512, 512)] * 3)
    assert decode(small).animation is not None
    data, here, there = bytearray(small), 0, 0
    for _ in ("colors", "alpha"):
        here, there = small.index(b"stsz", here + 1), large.index(b"stsz", there + 1)
        data[here : here + 28] = large[there : there + 28]  # the sizes of three frames
        place = struct.unpack_from(">I", large, large.index(b"stco", there) + 12)[0]
        struct.pack_into(">I", data, small.index(b"stco", here) + 12, len(small) + 8 + place)
    file = bytes(data) + struct.pack(">I4s", 8 + len(large), b"free") + large
    monkeypatch.setattr(cv2, "imdecodeanimation", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="is damaged: its header says 64x64 pixels, but its data has 512x512"):
        decode(file)


def test_the_amount_of_av1_data_that_is_parsed_is_limited() -> None:
    unit = b"\x12\x00"  # a temporal delimiter
    file = unit * 2**16
    sizes = CodedSizes(file)
    for _ in range(1000):  # the same bytes again
        assert sizes.of([(0, len(file))]) == (0, 0)
    assert sizes.of([(2, len(file))]) == (0, 0)
    with pytest.raises(ImageError, match="more than 131072 units"):
        sizes.of([(4, len(file))])
    sizes = CodedSizes(b"\x12\x7f" + bytes(127))
    for end in range(3):
        assert sizes.of([(0, 129), (129, 129 + end)]) == (0, 0)
    with pytest.raises(ImageError, match="overlap"):
        [sizes.of([(0, 129), (128, 128), (129, 129 + end)]) for end in range(3)]


@pytest.mark.parametrize("size", [(1, 1), (33, 17), (640, 427)])
def test_avif_files_of_pillow_have_the_right_size(size: tuple[int, int]) -> None:
    target = io.BytesIO()
    Image.new("RGB", size, (90, 80, 70)).save(target, "AVIF", quality=60)
    assert decode(target.getvalue()).pixels.shape[:2] == size[::-1]


def test_a_folder_of_phone_pictures_is_cleaned(cae_run: Command, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "1.heic").write_bytes(heic(SMOOTH[..., :3], "BGR", exif=exif()))
    (photos / "2.HIF").write_bytes(heic(SMOOTH.astype(np.uint16)[..., :3] << 2, "BGR;10", bit_depth=10))
    (photos / "3.avif").write_bytes(avif(SMOOTH))
    assert cae_run(photos, "-o", tmp_path / "clean").returncode == 0
    for name, bits in (("1.heic", 0), ("2.HIF", 10), ("3.avif", 0)):
        picture = decode((tmp_path / "clean" / name).read_bytes())
        assert picture.pixels.shape[:2] == (HEIGHT, WIDTH)
        assert picture.bits == bits
    assert cae_run(photos, "-o", tmp_path / "png", "--ext", "png").returncode == 0
    assert opened((tmp_path / "png" / "1.png").read_bytes()).size == (WIDTH, HEIGHT)


def test_a_missing_extra_is_reported_with_the_install_command(
    cae_run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heic_extra, "is_installed", lambda: False)
    photo, drawing = tmp_path / "a" / "photo.heic", tmp_path / "a" / "drawing.avif"
    photo.parent.mkdir()
    photo.write_bytes(heic(SMOOTH[..., :3], "BGR"))
    drawing.write_bytes(avif(SMOOTH))
    named = cae_run(photo, "-o", tmp_path / "b")
    assert named.returncode == 2
    assert named.stderr.count(b"\n") == 1
    assert b"is a HEIC. The extra heif reads and writes it: pip install 'cae-toolkit[heif]'" in named.stderr
    mixed = cae_run(photo.parent, "-o", tmp_path / "c")
    assert mixed.returncode == 1
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["drawing.avif"]
    assert cae_run(drawing, "-o", tmp_path / "d", "--ext", "heic").returncode == 2
    assert not (tmp_path / "d").exists()
