"""Camera raw files: mosaics written as DNG, developed by LibRaw, cleaned and written in every format."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.runtime.conftest import Command
from tests.runtime.files import check_damaged, opened

from cae_runtime import ImageError
from cae_runtime.io import raw_exif, raw_extra
from cae_runtime.io.image_files import decode
from cae_runtime.io.metadata import tiff_tags
from cae_runtime.io.metadata.tiff_tags import shorts

HEIGHT, WIDTH = 64, 96
WHITE = 16383
XYZ_TO_CAMERA = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570]  # a camera that sees sRGB


def dng(orientation: int = 1, neutral: tuple[int, int, int] = (1, 1, 1)) -> bytes:
    """Return a DNG of 14 bits: a linear scene of smooth colors behind a Bayer filter (red first)."""
    light = scene() * np.array(neutral) / max(neutral)
    mosaic = np.empty((HEIGHT, WIDTH), np.uint16)
    for y, x, color in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[y::2, x::2] = np.rint(light[y::2, x::2, color] * WHITE)
    matrix = [part for number in XYZ_TO_CAMERA for part in (round(number * 10000), 10000)]
    tags: list[Any] = [
        ("Make", "s", 0, "Maker", True), ("Model", "s", 0, "Model 1", True), ("Orientation", "H", 1, orientation, True),
        (33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes([0, 1, 1, 2]), True),
        (50706, "B", 4, bytes([1, 4, 0, 0]), True), (50708, "s", 0, "Maker Model 1", True),
        (50717, "H", 1, WHITE, True), (50721, "2i", 9, matrix, True), (50778, "H", 1, 21, True),
        (50728, "2I", 3, [part for number in neutral for part in (number, max(neutral))], True),
    ]  # fmt: skip
    file = io.BytesIO()
    tifffile.imwrite(file, mosaic, photometric=32803, extratags=tags, metadata=None, software=False)
    return file.getvalue()


def scene() -> np.ndarray[Any, Any]:
    y, x = np.mgrid[:HEIGHT, :WIDTH] / (HEIGHT, WIDTH)[1]
    return np.stack([0.15 + 0.5 * x, 0.2 + 0.4 * y, 0.6 - 0.4 * x], axis=-1)


def test_a_raw_file_is_developed_with_the_cameras_white_balance() -> None:
    for neutral in ((1, 1, 1), (5, 10, 6)):
        picture = decode(dng(neutral=neutral))
        assert picture.pixels.dtype == np.uint16
        assert picture.pixels.shape == (HEIGHT, WIDTH, 3)
        seen = picture.pixels[8:-8, 8:-8, ::-1] / 65535
        wanted = scene()[8:-8, 8:-8]
        linear = ((seen + 0.099) / 1.099) ** (1 / 0.45)
        gain = (linear / wanted).mean()  # how much brighter LibRaw made it
        assert np.abs(linear / gain - wanted).max() < 0.03
    assert picture.metadata.exif


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_raw_file_comes_out_upright(orientation: int) -> None:
    picture = decode(dng(orientation))
    assert picture.pixels.shape == ((WIDTH, HEIGHT, 3) if orientation in (6, 8) else (HEIGHT, WIDTH, 3))
    assert picture.orientation == 1
    corner = {1: (0, 0), 3: (-1, -1), 6: (0, -1), 8: (-1, 0)}[orientation]  # where the scene's first pixel is shown
    blue, _, red = picture.pixels[corner].astype(int)
    assert blue > red + 10000


@pytest.mark.parametrize(
    ("ext", "depth"), [(None, np.uint16), ("png", np.uint16), ("jpg", np.uint8), ("webp", np.uint8)]
)
def test_a_folder_of_raw_files_is_cleaned(cae_run: Command, tmp_path: Path, ext: str | None, depth: type) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "photo.dng").write_bytes(dng())
    done = cae_run(tmp_path / "card", "-o", tmp_path / "out", "--json", *(["--ext", ext] if ext else []))
    assert done.returncode == 0, done.stderr
    assert b"photo.dng': it was developed from the camera's raw data" in done.stderr
    assert json.loads(done.stdout)["files"][0]["notes"][0]["kind"] == "developed"
    written = tmp_path / "out" / f"photo.{ext or 'tif'}"
    pixels = cv2.imread(str(written), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels.dtype == depth
    block = Image.Exif()
    if ext is None:
        with tifffile.TiffFile(written) as tiff:
            assert tiff.series[0].pages[0].tags["Model"].value == "Model 1"
    else:
        block.load(opened(written.read_bytes()).info["exif"])
        assert block[0x0110] == "Model 1"


def test_metadata_about_the_cameras_jpeg_is_dropped() -> None:
    of_camera = {40961: shorts(65535), 40962: shorts(9999), 40963: shorts(9999), 37121: shorts(7)}  # Adobe RGB
    tags = tiff_tags.read(dng())
    name = tiff_tags.Directory({1: tiff_tags.block(b"R03\0", 2)})
    block = tiff_tags.Directory(of_camera, {tiff_tags.INTEROPERABILITY: name})
    kept = tiff_tags.read(raw_exif.read(tiff_tags.exif_block(replace(tags, inner={tiff_tags.EXIF: block}))).exif)
    assert kept.inner == {tiff_tags.EXIF: tiff_tags.Directory({37121: shorts(7), 40961: shorts(1)})}


def test_a_raw_format_is_never_written(cae_run: Command, tmp_path: Path) -> None:
    (tmp_path / "photo.dng").write_bytes(dng())
    done = cae_run(tmp_path / "photo.dng", "-o", tmp_path / "clean.dng")
    assert done.returncode == 2
    assert b"images are written as" in done.stderr
    assert cae_run("-", "-o", tmp_path / "clean.png", stdin=dng()).returncode == 0


def test_a_missing_extra_is_reported_with_the_install_command(
    cae_run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_extra, "is_installed", lambda: False)
    (tmp_path / "photo.dng").write_bytes(dng())
    done = cae_run(tmp_path / "photo.dng", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert (
        b"photo.dng' is a camera's raw file. The extra raw develops it: pip install 'cae-toolkit[raw]'" in done.stderr
    )


def test_damaged_raw_files_are_refused_or_read_but_never_crash() -> None:
    data = dng()
    check_damaged(data, ends=range(0, len(data) - HEIGHT * WIDTH, 997), places=1000, values=2**22)


def test_a_preview_is_not_mistaken_for_the_photograph() -> None:
    small = io.BytesIO()
    tags: list[Any] = [(50706, "B", 4, bytes([1, 4, 0, 0]), True), ("Make", "s", 0, "Maker", True)]
    tifffile.imwrite(small, np.zeros((10, 16, 3), np.uint8), photometric="rgb", extratags=tags, metadata=None)
    with pytest.raises(ImageError, match=r"LibRaw does not know|cannot be developed"):
        decode(small.getvalue())
