"""JPEG 2000: depth, alpha, profile, EXIF and XMP are kept; writing is lossless."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from cae_runtime.errors import ImageError
from cae_runtime.io.encoding import encode, is_lossy
from cae_runtime.io.formats import JP2
from cae_runtime.io.headers.boxed import jp2
from cae_runtime.io.image_files import decode

Command = Callable[..., subprocess.CompletedProcess[bytes]]
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
UUID_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def picture(channels: int, dtype: type = np.uint8, bits: int = 0) -> np.ndarray:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:50, :70]
    top = 2 ** (bits or np.iinfo(dtype).bits) - 1
    planes = np.stack([x / 70, y / 50, (x + y) / 120, 1 - x / 90][:channels], -1) + rng.normal(
        0, 0.02, (50, 70, channels)
    )
    pixels = (np.clip(planes, 0, 1) * top).astype(dtype)
    return pixels[..., 0] if channels == 1 else pixels


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def encoded(pixels: np.ndarray, **options: object) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, **options))


@pytest.mark.parametrize(
    ("name", "pixels", "options"),
    [
        ("gray.jp2", picture(1), {}),
        ("color.jp2", picture(3), {}),
        ("alpha.jp2", None, {}),
        ("deep.jp2", picture(3, np.uint16), {}),
        ("deep_gray.jp2", picture(1, np.uint16), {}),
        ("twelve.jp2", picture(3, np.uint16, 12), {"bitspersample": 12}),
        ("stream.j2k", picture(3), {"codecformat": "j2k"}),
        ("stream10.j2k", picture(1, np.uint16, 10), {"codecformat": "j2k", "bitspersample": 10}),
    ],
)
def test_jpeg_2000_is_read_and_written_without_loss(
    cae_run: Command, tmp_path: Path, name: str, pixels: np.ndarray | None, options: dict[str, object]
) -> None:
    if pixels is None:
        pixels, file = picture(4), io.BytesIO()
        Image.fromarray(pixels, "RGBA").save(file, "JPEG2000", irreversible=False)
        data = file.getvalue()
    else:
        data = encoded(pixels, **options)
    (tmp_path / name).write_bytes(data)
    done = cae_run(tmp_path / name, "-o", tmp_path / "out" / name, "--strength", "0", "--json")
    assert done.returncode == 0
    (file,) = json.loads(done.stdout)["files"]
    assert (file["dropped"], file["lossy"]) == ([], False)
    written = (tmp_path / "out" / name).read_bytes()
    assert written.startswith(b"\xff\x4f\xff\x51" if name.endswith("j2k") else b"\0\0\0\x0cjP")
    after = imagecodecs.jpeg2k_decode(written)
    bits = options.get("bitspersample", 0)
    want = np.rint(pixels.astype(float) * 65535 / (2**bits - 1)) if bits else pixels
    np.testing.assert_array_equal(after, want)
    if name.endswith("jp2"):
        with Image.open(tmp_path / "out" / name) as opened:
            assert opened.size == (70, 50)


def test_opencv_prints_nothing_about_a_valid_codestream(capfd: pytest.CaptureFixture[str]) -> None:
    for channels in (1, 3):
        np.testing.assert_array_equal(
            decode(encoded(picture(channels), codecformat="j2k")).pixels, decode(encoded(picture(channels))).pixels
        )
    after = decode(encoded(picture(4), codecformat="j2k")).pixels
    np.testing.assert_array_equal(after, picture(4)[..., [2, 1, 0, 3]])
    assert capfd.readouterr().err == ""


def test_profile_exif_and_xmp_are_kept(cae_run: Command, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[271], exif[274] = "a camera", 6
    plain = encoded(picture(3))
    head, start = plain.index(b"jp2h") - 4, plain.index(b"jp2c") - 4
    inner = plain[head + 8 : plain.index(b"colr") - 4] + box(b"colr", b"\2\0\0" + profile)
    blocks = box(b"uuid", UUID_XMP + XMP) + box(b"uuid", b"JpgTiffExif->JP2" + exif.tobytes()[6:])
    resolution = box(b"xml ", b"<a/>")
    source = tmp_path / "in.jp2"
    source.write_bytes(plain[:head] + box(b"jp2h", inner) + blocks + resolution + plain[start:])
    done = cae_run(source, "-o", tmp_path / "out.jp2", "--json")
    assert done.returncode == 0
    with Image.open(tmp_path / "out.jp2") as after:
        assert after.size == (70, 50)  # the orientation of the block counts for nothing
    written = (tmp_path / "out.jp2").read_bytes()
    assert profile in written
    assert UUID_XMP + XMP in written
    kept = Image.Exif()
    kept.load(written[written.index(b"JpgTiffExif->JP2") + 16 :])
    assert (kept[271], kept.get(274, 1)) == ("a camera", 1)
    assert json.loads(done.stdout)["files"][0]["dropped"] == ["xml box"]
    assert cae_run(source, "-o", tmp_path / "out.jpg").returncode == 0
    with Image.open(tmp_path / "out.jpg") as jpeg:
        assert (jpeg.info["icc_profile"], jpeg.getexif()[271]) == (profile, "a camera")
    assert cae_run(tmp_path / "out.jpg", "-o", tmp_path / "again.jp2").returncode == 0
    assert profile in (tmp_path / "again.jp2").read_bytes()


def with_bytes(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def test_unsupported_kinds_are_refused_by_name() -> None:
    stream = encoded(picture(3), codecformat="j2k")
    style = stream.index(b"\xff\x52")
    parts = (stream[: style + 2], struct.pack(">HBBH", 15, 1, 0, 0xFFFF), stream[style + 8 : style + 14], bytes(3))
    many = b"".join(parts) + stream[style + 14 :]  # layers of tiny precincts
    palette = encoded(picture(1)).replace(b"colr", b"pclr")
    color = encoded(picture(3))
    head, model = color.index(b"jp2h") - 4, color.index(b"colr") - 4
    inner, rest = color[head + 8 : model], color[color.index(b"jp2c") - 4 :]
    profile = bytes(16) + b"CMYK" + bytes(108)
    printed = color[:head] + box(b"jp2h", inner + box(b"colr", b"\2\0\0" + profile)) + rest
    for data, reason in [
        (encoded(picture(1).astype(np.int16)), "signed values"),
        (encoded(picture(4)[..., :2]), "of 2 channels"),
        (encoded(picture(1, bits=5), bitspersample=5), "of 5-bit values: 8 to 16 bits are read"),
        (stream[: len(stream) // 2], "truncated"),
        (encoded(picture(3))[:-20], "truncated"),
        (palette, "palette colors"),
        (with_bytes(encoded(picture(3)), encoded(picture(3)).index(b"colr") + 7, b"\0\0\0\x0c"), "color space 12"),
        (with_bytes(color, model + 11, b"\0\0\0\x12"), "color space 18"),
        (printed, "a color profile of 'CMYK'"),
        (encoded(picture(4)), "does not say that the fourth is alpha"),
        (stream[:style] + stream[style : style + 14] * 2**17 + stream[style:], "more than 131072 parts"),
        (with_bytes(stream, 8, struct.pack(">II", 2**20, 2**20)), "packets, the limit"),
        (
            with_bytes(with_bytes(stream, 8, struct.pack(">II", 2**15, 2**15)), 24, struct.pack(">II", 2**15, 2**15)),
            "limit is 268435456",
        ),
        (many, "more than 4194304 packets"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "is damaged: it is a JPEG 2000 file without a picture"),
    ]:
        with pytest.raises(ImageError, match=reason):
            decode(data)


def test_a_lossy_file_is_recognized_as_lossy(tmp_path: Path) -> None:
    _, coded = cv2.imencode(
        ".jp2", picture(3), [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 50]
    )  # its wavelet is reversible
    after = decode(coded.tobytes())
    assert (after.pixels != picture(3)).any()
    assert after.lossy
    assert not is_lossy(encode(after, JP2)[0])  # we write all of it


def test_a_quality_without_effect_gives_a_note(cae_run: Command, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(3))
    told = b"quality is that of JPEG, WebP, AVIF and HEIC, and no output is one"
    for name, ignored in (("a.jp2", True), ("b.png", True), ("a.webp", False)):
        done = cae_run(tmp_path / "a.png", "-o", tmp_path / name, "--quality", "30")
        assert (done.returncode, told in done.stderr.replace(b"\n", b" ").replace(b"--", b"")) == (0, ignored)
        source = (tmp_path / "a.png").read_bytes()
        done = cae_run("-", "-o", "-", "--ext", name[2:], "--quality", "30", stdin=source)
        assert (done.returncode, told in done.stderr.replace(b"--", b"")) == (0, ignored)


def test_many_coding_styles_are_parsed_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = encoded(picture(3), codecformat="j2k")
    at = stream.index(b"\xff\x52")
    style = stream[at : at + 14]
    counted: list[int] = []
    before = jp2._packets
    monkeypatch.setattr(jp2, "_packets", lambda *each: (counted.append(1), before(*each))[1])
    np.testing.assert_array_equal(
        decode(stream[:at] + style * 20_000 + stream[at + 14 :]).pixels, decode(stream).pixels
    )
    assert len(counted) == 2
    different = b"".join(style[:6] + struct.pack(">H", 1 + number) + style[8:] for number in range(300))
    with pytest.raises(ImageError, match="more than 256 coding styles"):
        decode(stream[:at] + different + stream[at + 14 :])


@pytest.mark.skipif(sys.platform == "win32", reason="OpenCV writes its temporary file itself there")
@pytest.mark.parametrize("side", [64, 20])  # OpenCV cannot write small ones
def test_files_on_the_way_lie_in_a_private_folder_that_goes(
    side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, folders = cv2.imwrite, []

    def seen(path: str, *more: Any) -> bool:
        folders.append((Path(path).parent.parent, Path(path).parent.stat().st_mode & 0o777))
        return bool(write(path, *more))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(cv2, "imwrite", seen)
    with pytest.raises(ImageError, match="cannot be encoded as JPEG 2000 with 20x20") if side == 20 else nullcontext():
        encode(decode(cv2.imencode(".png", np.zeros((side, side, 3), np.uint8))[1].tobytes()), JP2)
    assert folders == [(tmp_path, 0o700)]
    assert not [*tmp_path.iterdir()]
