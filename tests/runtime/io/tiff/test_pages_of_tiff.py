"""TIFFs of several pages compared with tifffile: sizes, depths, tags and order of the pages."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.runtime.conftest import Command

from cae_runtime import ImageError
from cae_runtime.io.encoding import encode
from cae_runtime.io.image_files import decode

KINDS: Any = [((30, 40, 3), np.uint8), ((20, 50), np.uint8), ((33, 17, 3), np.uint16), ((64, 48), np.float32)]


def scan(path: Path, noise: Any, *, kinds: Any = KINDS, **options: Any) -> list[np.ndarray[Any, Any]]:
    """Write a page of each kind; return their values."""
    pages = [
        (noise(shape).astype(np.float64) / 255 * (1 if t == np.float32 else np.iinfo(t).max)).astype(t)
        for shape, t in kinds
    ]
    with tifffile.TiffWriter(path, **options) as file:
        for number, page in enumerate(pages):
            colors = "rgb" if page.ndim == 3 else "minisblack"
            file.write(page, photometric=colors, metadata=None, description=f"page {number}", resolution=(300, 300))
    return pages


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_every_page_is_kept(cae_run: Command, tmp_path: Path, noise: Any, options: Any) -> None:
    pages = scan(tmp_path / "a.tif", noise, **options)
    done = cae_run(tmp_path / "a.tif", "-o", tmp_path / "b.tif", "--no-stretch", "--json")
    assert done.returncode == 0, done.stderr
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert len(file.pages) == len(pages)
        for number, (page, values) in enumerate(zip(file.pages, pages, strict=True)):
            assert isinstance(page, tifffile.TiffPage)
            assert page.description == f"page {number}"
            assert page.tags["XResolution"].value == (300, 1)
            made = page.asarray()
            assert made.dtype == values.dtype
            assert np.abs(made.astype(float) - values).max() <= (1e-4 if values.dtype == np.float32 else 1)


def test_square_pixels_without_a_unit_are_no_lost_density() -> None:
    pages = [Image.new("RGB", (20, 20), (9, 9, number)) for number in range(3)]
    for tags, lost in (({282: 300.0, 283: 300.0, 296: 1}, ()), ({282: 0.0, 283: 0.0, 296: 2}, ()), ({296: 2}, ()),
                       ({282: 300.0}, ("density",)), ({282: 300.0, 283: 300.0, 296: 2}, ())):  # fmt: skip
        file = io.BytesIO()
        pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], tiffinfo=tags)
        assert encode(decode(file.getvalue()), "TIFF")[1] == lost


def test_a_reduced_size_page_is_still_marked_as_one(noise: Any) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as pages:
        pages.write(noise((40, 60, 3)), photometric="rgb")
        pages.write(noise((20, 30, 3)), photometric="rgb", subfiletype=1)
    written, _ = encode(decode(file.getvalue()), "TIFF")
    with tifffile.TiffFile(io.BytesIO(written)) as again:
        assert [int(page.aspage().subfiletype) for page in again.pages] == [0, 1]


def test_a_fourth_channel_that_is_not_alpha_stays_so(noise: Any) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, noise((20, 30, 4), np.uint16), photometric="rgb", extrasamples=["unspecified"])
    picture = decode(file.getvalue())
    written, dropped = encode(picture, "TIFF")
    assert dropped == ()
    with tifffile.TiffFile(io.BytesIO(written)) as again:
        assert again.pages.first.extrasamples == (0,)
        np.testing.assert_array_equal(again.asarray()[..., [2, 1, 0, 3]], picture.pixels)
    assert encode(picture, "PNG")[1] == ("meaning of the fourth channel (written as alpha)",)


def test_every_page_is_cleaned(cae_run: Command, tmp_path: Path, noise: Any) -> None:
    pages = scan(tmp_path / "a.tif", noise, kinds=[((40, 50, 3), np.uint8)] * 3)
    assert cae_run(tmp_path / "a.tif", "-o", tmp_path / "b.tif", model="half_red").returncode == 0
    for made, values in zip(tifffile.imread(tmp_path / "b.tif"), pages, strict=True):
        assert np.abs(made - values * [0.5, 1, 1]).max() <= 1


def test_several_pages_are_only_written_to_tiff(cae_run: Command, tmp_path: Path, noise: Any) -> None:
    scan(tmp_path / "a.tif", noise)
    picture = decode((tmp_path / "a.tif").read_bytes())
    assert [page.pixels.dtype for page in (picture, *picture.pages)] == [t for _, t in KINDS]
    with pytest.raises(ImageError, match="has 4 pages, and PNG holds one: write a TIFF"):
        encode(picture, "PNG")
    done = cae_run(tmp_path / "a.tif", "-o", tmp_path / "codes.csv", model="encode")
    assert done.returncode == 1
    assert b"has 4 frames or pages: this needs single images" in done.stderr


def test_a_damaged_page_is_reported_by_number(tmp_path: Path, noise: Any) -> None:
    scan(tmp_path / "a.tif", noise)
    data = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        second = file.pages[1]
        assert isinstance(second, tifffile.TiffPage)
        place, last = second.tags["StripByteCounts"].valueoffset, second.offset
    damaged = data[:place] + (10**6).to_bytes(4, "little") + data[place + 4 :]
    with pytest.raises(ImageError, match="cannot be read: page 2 is truncated"):
        decode(damaged)
    circle = bytearray(data)
    at = last + 2 + 12 * int.from_bytes(data[last : last + 2], "little")
    circle[at : at + 4] = data[4:8]
    with pytest.raises(ImageError, match="its pages go in a circle"):
        decode(bytes(circle))
