"""Floating-point TIFFs of telescopes and microscopes: values of any range, NaN, and faint noise."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from tests.runtime import faint
from tests.runtime.conftest import Command

from cae_runtime import ImageError, Restorer
from cae_runtime.io.encoding import encode
from cae_runtime.io.image_files import decode
from cae_runtime.tasks import any_range

DENOISE = None  # the packaged model


def written(path: Path, values: np.ndarray[Any, Any], **options: Any) -> Path:
    tifffile.imwrite(path, values, metadata=None, **options)
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "deflate", "predictor": True}, {"compression": "lzw", "tile": (16, 16)}]
)
def test_the_values_of_a_float_tiff_are_kept(
    tmp_path: Path, noise: Any, dtype: type, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    values = (noise(shape).astype(np.float64) / 100 - 0.7).astype(dtype)
    photometric = "rgb" if len(shape) == 3 else "minisblack"
    picture = decode(written(tmp_path / "a.tif", values, photometric=photometric, **options).read_bytes())
    assert picture.pixels.dtype == np.float32
    assert np.array_equal(picture.pixels[..., ::-1] if len(shape) == 3 else picture.pixels, values.astype(np.float32))
    data, dropped = encode(picture, "TIFF")
    assert np.array_equal(decode(data).pixels, picture.pixels)
    lost = {np.float16: ("depth of 16-bit floating point (32 bits are written)",), np.float32: ()}
    assert dropped == lost.get(dtype, ("depth of 64-bit floating point (32 bits are written)",))
    with pytest.raises(ImageError, match="has floating-point values, and PNG holds integers: write a TIFF"):
        encode(picture, "PNG")


def test_a_damaged_tag_gives_an_error_in_our_own_words(
    tmp_path: Path, noise: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = noise((9, 9)).astype(np.float32)
    path = written(tmp_path / "a.tif", values)
    with tifffile.TiffFile(path) as file:
        software = file.pages.first.tags["Software"].offset
    data = bytearray(path.read_bytes())
    monkeypatch.setattr(logging.root, "handlers", [])  # those of pytest
    data[software + 2] = 99  # a type that there is not
    assert np.array_equal(decode(bytes(data)).pixels, values)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("factor", "offset"), [(1, 0), (1e-5, 0), (1e6, -3e8), (1 / 65535, 0.0)])
def test_noise_is_removed_whatever_the_unit_of_the_values(
    cae_run: Command, tmp_path: Path, factor: float, offset: float
) -> None:
    scene = faint.sky(192, np.random.default_rng(5))
    truth = scene.truth * factor + offset
    noisy = (scene.noisy * factor + offset).astype(np.float32)
    noisy[3, 4], noisy[7, 9] = np.nan, np.inf
    source = written(tmp_path / "sky.tif", noisy)
    done = cae_run(source, "-o", tmp_path / "clean.tif", model=DENOISE)
    assert done.returncode == 0, done.stderr
    clean = tifffile.imread(tmp_path / "clean.tif")
    known = np.isfinite(noisy)
    before, after = (np.sqrt(np.mean((values - truth)[known] ** 2)) for values in (noisy, clean))
    assert after < 0.6 * before
    assert abs((clean - truth)[known].mean()) < 0.1 * scene.sigma * factor
    assert np.isnan(clean[3, 4])
    assert np.isposinf(clean[7, 9])


def test_a_signaling_nan_is_kept_without_a_warning(noise: Any) -> None:
    picture = (noise((64, 64, 3)) / 255).astype(np.float32)
    picture.view(np.uint32)[5, 6, 1] = 0x7F800001
    with Restorer() as restorer:
        made = any_range.cleaned(restorer, picture, 1.0)  # a warning is an error here
    assert np.array_equal(np.isnan(made), np.isnan(picture))
    assert np.isnan(picture).sum() == 1


def test_values_above_white_keep_their_differences(noise: Any) -> None:
    with Restorer() as restorer:
        picture = (noise((64, 64, 3)) / 255).astype(np.float32) * 0.2 + 0.4
        picture[10:14, 10:14] = 900.0  # a star, a thousand times as bright
        made = any_range.cleaned(restorer, picture, 1.0)
        assert np.abs(made[10:14, 10:14] - 900).max() < 1
        assert made[20:, 20:].std() < 0.8 * picture[20:, 20:].std()
        assert np.array_equal(any_range.cleaned(restorer, picture, 0.0), picture)
        flat = np.full((40, 40), 7.5, np.float32)
        assert np.array_equal(any_range.cleaned(restorer, flat, 1.0), flat)


def test_alpha_of_a_float_tiff_is_kept(cae_run: Command, tmp_path: Path) -> None:
    colors = cv2.resize(np.random.default_rng(1).random((4, 5, 4), np.float32), (50, 40))
    colors[:10, :, 3] = 0
    source = written(tmp_path / "a.tif", colors, photometric="rgb", extrasamples=["unassalpha"])
    assert cae_run(source, "-o", tmp_path / "b.tif", "--no-stretch", model="half_red").returncode == 0
    made = tifffile.imread(tmp_path / "b.tif")
    assert np.array_equal(made[..., 3], colors[..., 3])
    assert np.array_equal(made[:10], colors[:10])
    assert np.abs(made[12:, :, 0] - colors[12:, :, 0] / 2).max() < 0.01


def test_narrow_pictures_and_huge_values_are_cleaned(noise: Any) -> None:
    with Restorer() as restorer:
        for shape in ((40, 1), (1, 1), (1, 40)):
            picture = (noise(shape) / 255).astype(np.float32)
            assert any_range.cleaned(restorer, picture, 1.0).shape == shape
        extreme = ((noise((40, 40)) / 255 - 0.5) * 6.7e38).astype(np.float32)
        assert np.isfinite(any_range.cleaned(restorer, extreme, 1.0)).all()
