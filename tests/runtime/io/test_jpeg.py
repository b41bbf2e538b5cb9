"""JPEGs with missing data, false sizes, or of unsupported kinds."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image
from tests.runtime.files import saved
from tests.runtime.tiffs import BLACK_ZERO, JPEG, picture

from cae_runtime import ImageError
from cae_runtime.io import image_files as images
from cae_runtime.io.decoding import tiff as tiff_data
from cae_runtime.io.headers.inspect import inspect
from cae_runtime.io.headers.jpeg import END_OF_IMAGE, START_OF_SCAN, Segment, segments
from cae_runtime.io.image_files import decode

END = b"\xff\xd9"
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "full color": {"subsampling": 0},
    "half color": {"subsampling": 1},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "restart rows": {"restart_marker_rows": 1},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 2},
}


def jpeg(mode: str = "RGB", size: tuple[int, int] = (150, 90), **options: Any) -> bytes:
    noise = np.random.default_rng(5).integers(0, 255, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(cv2.GaussianBlur(noise, (0, 0), 0.8)).convert(mode)
    return saved(image, "JPEG", quality=90, **options)


def scans_of(data: bytes) -> list[Segment]:
    return [segment for segment in segments(data) if segment.marker == START_OF_SCAN]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_jpeg_that_ends_early_is_damaged_even_with_an_end_marker(kind: str, mode: str) -> None:
    for size in ((150, 90), (40, 56), (161, 97)):
        data = jpeg(mode, size, **KINDS[kind])
        plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(decode(data).pixels, plain)
        begin = scans_of(data)[0].end
        for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
            cut = begin + int((len(data) - 2 - begin) * share)
            with pytest.raises(ImageError, match=r"damaged|truncated|missing"):
                decode(data[:cut] + END)


@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_a_few_missing_bytes_are_noticed(kind: str) -> None:
    data = jpeg(**KINDS[kind])
    with pytest.raises(ImageError, match="damaged"):
        decode(data[:-20] + END)


def test_missing_scans_and_restarts_are_noticed() -> None:
    data = jpeg(progressive=True)
    for scan in scans_of(data)[1:]:  # nothing is cut inside a scan
        with pytest.raises(ImageError, match="scans of the JPEG are missing"):
            decode(data[: scan.start] + END)
    restarts = jpeg(restart_marker_blocks=3)
    first, second = (restarts.index(bytes([0xFF, 0xD0 + at])) for at in (2, 4))
    with pytest.raises(ImageError, match="between its restart markers are missing"):
        decode(restarts[:first] + restarts[second:])


def apart() -> bytes:
    """Return a JPEG that is not progressive, with a scan for each color."""
    planes = [jpeg("L"), jpeg("L"), jpeg("L")]
    head, start = planes[0], next(segment for segment in segments(planes[0]) if segment.marker == 0xC0)
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    frame = b"\xff\xc0" + struct.pack(">HB", 17, 8) + start.payload[1:5] + b"\x03" + components
    scan = scans_of(head)[0]
    out = head[: start.start] + frame + head[start.end : scan.start]
    for number, plane in enumerate(planes, start=1):
        header = b"\xff\xda\x00\x08\x01" + bytes([number, 0, 0, 63, 0])
        out += header + plane[scans_of(plane)[0].end : -2]
    return out + END


def test_color_scans_of_their_own_are_read_and_checked() -> None:
    data = apart()
    plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert plain.shape == (90, 150, 3)
    np.testing.assert_array_equal(decode(data).pixels, plain)
    scans = scans_of(data)
    for scan, end in zip(scans, [*(scan.start for scan in scans[1:]), len(data) - 2], strict=True):
        with pytest.raises(ImageError, match=r"damaged"):
            decode(data[: (scan.end + end) // 2] + data[end:])
    with pytest.raises(ImageError, match="scans of the JPEG are missing"):
        decode(data[: scans[2].start] + END)


def test_bytes_between_data_and_end_are_tolerated() -> None:
    for kind in ("baseline", "progressive", "restarts"):
        data = jpeg(**KINDS[kind])
        pixels = decode(data).pixels
        for more in (bytes(20), b"\xff" * 3, b"\xff\xfe\x00\x04hi"):
            np.testing.assert_array_equal(decode(data[:-2] + more + END).pixels, pixels)
    last = max(data.rindex(bytes([0xFF, 0xD0 + at])) for at in range(8) if bytes([0xFF, 0xD0 + at]) in data)
    following = bytes([0xFF, 0xD0 + (data[last + 1] + 1) % 8])
    np.testing.assert_array_equal(decode(data[:-2] + following + END).pixels, pixels)


@pytest.mark.parametrize("before", [START_OF_SCAN, END_OF_IMAGE])
def test_a_second_size_is_refused_before_decoding(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg()
    frame = next(segment for segment in segments(data) if segment.marker == 0xC0)
    place = next(segment for segment in segments(data) if segment.marker == before).start
    monkeypatch.setattr(images, "decoded", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(ImageError, match="it gives its size twice"):
        decode(data[:place] + data[frame.start : frame.end] + data[place:])


def with_hidden_size(data: bytes) -> bytes:
    """Hide the size of a JPEG in what looks like a segment but is none, and say another size behind the picture."""
    size = next(segment for segment in segments(data) if segment.marker == 0xC0)
    small = data[size.start : size.start + 5] + struct.pack(">HH", 8, 8) + data[size.start + 9 : size.end]
    hiding = b"\xff\x01" + struct.pack(">H", 2 + size.end - size.start)
    return data[: size.start] + hiding + data[size.start : -2] + small + END


@pytest.mark.parametrize("marker", [0x01, 0x02, 0xBF])
def test_a_marker_without_a_length_cannot_hide_a_size(marker: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg()
    monkeypatch.setattr(images, "decoded", lambda *_: pytest.fail("was decoded"))
    inside = data[:-40] + bytes([0xFF, marker, 0, 2]) + data[-40:]
    for spoiled in (with_hidden_size(data).replace(b"\xff\x01", bytes([0xFF, marker]), 1), inside):
        with pytest.raises(ImageError, match=f"marker 0x{marker:02X}"):
            decode(spoiled)


def test_a_jpeg_in_a_tiff_cannot_hide_a_size_either(monkeypatch: pytest.MonkeyPatch) -> None:
    hiding = with_hidden_size(jpeg("L"))
    data = picture(np.zeros((8, 8, 1), np.uint8), BLACK_ZERO, 8, compression=JPEG, change=lambda _: [hiding])
    monkeypatch.setattr(tiff_data, "_decodes", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(ImageError, match="damaged"):
        decode(data)


def test_many_scans_are_refused() -> None:
    data = jpeg(progressive=True)
    scan = scans_of(data)[-1]
    with pytest.raises(ImageError, match="more than 100 scans"):
        decode(data[:-2] + (data[scan.start : scan.end] + b"\0") * 100 + END)


def test_many_scans_of_many_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg("L", progressive=True)
    size = next(segment for segment in segments(data) if segment.marker == 0xC2)
    scan = scans_of(data)[-1]

    def with_scans(number: int, side: int) -> bytes:
        whole = data[:-2] + (data[scan.start : scan.end] + b"\0") * (number - len(scans_of(data))) + END
        return whole[: size.start + 5] + struct.pack(">HH", side, side) + whole[size.start + 9 :]

    inspect(with_scans(16, 2**14))
    inspect(with_scans(100, 4096))
    monkeypatch.setattr(images, "decoded", lambda *_: pytest.fail("was decoded"))
    for number, side in ((17, 2**14), (100, 2**13)):
        with pytest.raises(ImageError, match=f"{side}x{side} pixels in {number} scans.* the limit is"):
            decode(with_scans(number, side))


def test_the_scans_of_all_jpegs_in_a_tiff_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    strip = jpeg("L", (64, 8), progressive=True)
    data = picture(
        np.zeros((80, 64, 1), np.uint8), BLACK_ZERO, 8, rows=8, compression=JPEG, change=lambda strips: [strip] * 10
    )
    pixels = len(scans_of(strip)) * 64 * 80
    monkeypatch.setattr(tiff_data, "PIXELS_OF_SCANS_MAX", pixels)
    assert decode(data).pixels.shape == (80, 64)
    monkeypatch.setattr(tiff_data, "PIXELS_OF_SCANS_MAX", pixels - 1)
    with pytest.raises(ImageError, match="TIFF of JPEGs whose scans have more than"):
        decode(data)


def test_jpeg_types_that_opencv_cannot_decode_are_named() -> None:
    gray = np.random.default_rng(1).integers(0, 4096, (32, 32), np.uint16)
    for data, reason in [
        (imagecodecs.jpeg8_encode(gray, bitspersample=12), "a JPEG of 12 bits per channel"),
        (imagecodecs.ljpeg_encode(gray, bitspersample=12), "a lossless JPEG"),
        (imagecodecs.jpegls_encode(gray), "JPEG-LS"),
    ]:
        with pytest.raises(ImageError, match=reason):
            decode(data)


def test_a_header_gives_the_position_of_the_coded_data() -> None:
    data = jpeg(restart_marker_rows=1)
    scan = inspect(data).scans[0]  # type: ignore[attr-defined]
    assert (scan.components, scan.restart_interval) == ((1, 2, 3), 10)
    assert data[scan.end :] == END
    assert struct.unpack_from(">BB", data, scan.start - 10)[0] == 3
