"""PPM and PGM are read and written; PBM becomes PGM."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.files import opened

from cae_runtime import ImageError, UsageError, clean_folder, clean_image
from cae_runtime.io.encoding import encode
from cae_runtime.io.formats import format_written
from cae_runtime.io.image_files import decode

RNG = np.random.default_rng(2)
GRAY, COLOR = RNG.integers(0, 256, (7, 13), np.uint8), RNG.integers(0, 256, (7, 13, 3), np.uint8)
DEEP = RNG.integers(0, 2**16, (7, 13, 3), np.uint16)
BITS = RNG.integers(0, 2, (7, 13), np.uint8)


def text(values: np.ndarray) -> bytes:
    return "\n".join(" ".join(map(str, row.ravel())) for row in values).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "format", "pixels"),
    [
        (b"P5\n# a comment\n13 7\n255\n" + GRAY.tobytes(), "PGM", GRAY),
        (b"P2 13 7\n# 1 2 3\n255\n" + text(GRAY), "PGM", GRAY),
        (b"P5\n13 7\n65535\n" + DEEP[..., 0].astype(">u2").tobytes(), "PGM", DEEP[..., 0]),
        (b"P6\n13 7\n255\n" + COLOR.tobytes(), "PPM", COLOR[..., ::-1]),
        (b"P3\n13 7\n255\n" + text(COLOR), "PPM", COLOR[..., ::-1]),
        (b"P6\n13 7\n65535\n" + DEEP.astype(">u2").tobytes(), "PPM", DEEP[..., ::-1]),
        (b"P4\n13 7\n" + np.packbits(BITS, axis=1).tobytes(), "PBM", (1 - BITS) * 255),
        (b"P1\n13 7\n" + text(BITS), "PBM", (1 - BITS) * 255),
    ],
)
def test_a_pnm_is_read_and_written(data: bytes, format: str, pixels: np.ndarray) -> None:
    picture = decode(data)
    assert picture.format == format
    np.testing.assert_array_equal(picture.pixels, pixels)
    written, dropped = encode(picture, format_written(format))
    assert written[:2] == {"PGM": b"P5", "PPM": b"P6", "PBM": b"P5"}[format]
    assert dropped == (("depth of 1 bit (8 are written)",) if format == "PBM" else ())
    np.testing.assert_array_equal(decode(written).pixels, pixels)
    if pixels.dtype == np.uint8:
        seen = np.asarray(opened(written).convert("RGB"))
        np.testing.assert_array_equal(seen[..., ::-1], cv2.cvtColor(pixels, 8) if pixels.ndim == 2 else pixels)


def test_content_that_pnm_cannot_hold_is_refused() -> None:
    color, gray = (decode(cv2.imencode(".png", pixels)[1].tobytes()) for pixels in (COLOR, GRAY))
    with pytest.raises(ImageError, match="has colors, which PGM cannot hold"):
        encode(color, "PGM")
    assert decode(encode(gray, "PPM")[0]).pixels.shape == (7, 13, 3)
    alpha = decode(cv2.imencode(".png", np.dstack([COLOR, GRAY]))[1].tobytes())
    for format in ("PPM", "PGM"):
        with pytest.raises(ImageError, match=f"alpha channel, which {format} cannot hold"):
            encode(alpha, format)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"P5\n13 7\n0\n" + GRAY.tobytes(), r"values up to 0: it must be 1\.\.65535"),
        (b"P5\n13 7\n255\n" + GRAY.tobytes()[:-1], "damaged"),
        (b"P4\n13", "truncated"),
        (b"P5\n99999 99999\n255\n", "the limit is"),
        (b"P5\n0 7\n255\n", "a size of 0x7"),
    ],
)
def test_unsupported_pnms_are_refused_by_name(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data)


@pytest.mark.parametrize("white", [1, 100, 1023, 4095])
def test_values_are_scaled_to_the_full_range(white: int) -> None:
    values = RNG.integers(0, white, (7, 13), endpoint=True)
    picture = decode(b"P5 13 7 %d\n" % white + values.astype("u1" if white < 256 else ">u2").tobytes())
    top = 255 if white < 256 else 65535
    assert picture.pixels.dtype == (np.uint8 if white < 256 else np.uint16)
    np.testing.assert_allclose(picture.pixels, values * (top / white), atol=0.51)


def test_further_pictures_in_a_pnm_are_reported_as_lost() -> None:
    one = b"P5\n13 7\n255\n" + GRAY.tobytes()
    for data, lost in ((one, ()), (one + b"\n", ()), (one + one, ("further pictures",)),
                       (one + b"rest", ("data behind the picture",))):  # fmt: skip
        assert encode(decode(data), "PGM")[1] == lost


def test_a_1_bit_picture_is_written_with_gray_levels(tmp_path: Path) -> None:
    source = tmp_path / "dithered.pbm"
    source.write_bytes(b"P4\n64 48\n" + np.packbits(RNG.integers(0, 2, (48, 64), np.uint8), axis=1).tobytes())
    (result,) = clean_folder(tmp_path, tmp_path / "clean")
    assert (Path(result.output).name, result.dropped) == ("dithered.pgm", ("depth of 1 bit (8 are written)",))
    pixels = cv2.imread(result.output, cv2.IMREAD_UNCHANGED)
    assert len(np.unique(pixels)) > 10
    with pytest.raises(UsageError, match="name must end in one of"):
        clean_image(source, tmp_path / "clean.pbm")
