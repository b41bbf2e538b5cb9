"""CMYK files become RGB, by their color profile or by a formula, which is reported."""

from __future__ import annotations

import builtins
import io
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from skimage.color import rgb2lab
from tests.runtime.clips import lines

from cae_runtime.errors import ImageError
from cae_runtime.io.image_files import decode

Command = Callable[..., subprocess.CompletedProcess[bytes]]
GRID = 5


def profile() -> bytes:
    """A color profile of weak inks, from CMYK to Lab (ICC version 2, of 8 bits)."""
    inks = np.stack(np.meshgrid(*[np.linspace(0, 1, GRID)] * 4, indexing="ij"), -1).reshape(-1, 4)
    rgb = (1 - 0.8 * inks[:, :3]) * (1 - 0.9 * inks[:, 3:])
    lab = rgb2lab(rgb[None])[0] * [2.55, 1, 1] + [0, 128, 128]
    curve = bytes(range(256))
    identity = struct.pack(">9i", *(65536 if at % 4 == 0 else 0 for at in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, GRID, 0]) + identity + curve * 4
    table += np.clip(np.rint(lab), 0, 255).astype(np.uint8).tobytes() + curve * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"text" + bytes(4) + b"none\0\0\0\0"
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"weak\0" + bytes(78)
    tags, body = [], b""
    parts = {b"A2B0": table, b"wtpt": white, b"cprt": text, b"desc": name}
    for signature, content in parts.items():
        body += bytes(-len(body) % 4)
        tags.append(signature + struct.pack(">II", 128 + 4 + 12 * len(parts) + len(body), len(content)))
        body += content
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ") + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    whole = head.ljust(128, b"\0") + struct.pack(">I", len(parts)) + b"".join(tags) + body
    return struct.pack(">I", len(whole)) + whole[4:]


def inks(dtype: type = np.uint8) -> np.ndarray:
    y, x = np.mgrid[:64, :80]
    top = np.iinfo(dtype).max
    return (np.stack([x / 80, y / 64, (x + y) / 144, 0.3 * x * y / 5120], -1) * top).astype(dtype)


def jpeg(**options: object) -> bytes:
    target = io.BytesIO()
    Image.fromarray(inks(), "CMYK").save(target, "JPEG", quality=97, **options)
    return target.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(data))
    given = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    wanted = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(given, wanted, "CMYK", "RGB", intent, flags)
    result = Image.new("RGB", picture.size)
    transform.transform.apply(picture.getim(), result.getim())
    return np.asarray(result)


@pytest.mark.parametrize("progressive", [False, True])
def test_the_color_profile_of_a_cmyk_jpeg_is_used(cae_run: Command, tmp_path: Path, progressive: bool) -> None:
    data = jpeg(icc_profile=profile(), progressive=progressive)
    (tmp_path / "in.jpg").write_bytes(data)
    done = cae_run(tmp_path / "in.jpg", "-o", tmp_path / "out.png", "--json")
    assert done.returncode == 0
    with Image.open(tmp_path / "out.png") as after:
        assert after.mode == "RGB"
        assert "icc_profile" not in after.info
        error = np.asarray(after).astype(int) - by_pillow(data)
    assert np.abs(error).max() <= 2
    (file,) = json.loads(done.stdout)["files"]
    assert file["dropped"] == ["CMYK color profile"]
    assert [note["kind"] for note in file["notes"]] == ["inks"]
    assert any("its CMYK colors were converted to sRGB by its color profile" in line for line in lines(done))
    plain = (1 - inks() / 255)[..., :3] * (1 - inks()[..., 3:] / 255) * 255
    assert np.abs(by_pillow(data) - plain).mean() > 10  # the profile matters


@pytest.mark.parametrize("given", [b"", b"no profile", profile()[:400]])
def test_without_a_usable_profile_a_formula_is_used(cae_run: Command, tmp_path: Path, given: bytes) -> None:
    (tmp_path / "in.jpg").write_bytes(jpeg(**({"icc_profile": given} if given else {})))
    done = cae_run(tmp_path / "in.jpg", "-o", tmp_path / "out.jpg")
    assert done.returncode == 0
    assert any("by a plain formula, since it has no usable color profile" in line for line in lines(done))
    after = cv2.imread(str(tmp_path / "out.jpg"))[..., ::-1]
    plain = (1 - inks() / 255)[..., :3] * (1 - inks()[..., 3:] / 255) * 255
    assert np.abs(after - plain).mean() < 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_cmyk_tiffs_are_read(cae_run: Command, tmp_path: Path, dtype: type, planes: str) -> None:
    samples = inks(dtype) if planes == "contig" else np.moveaxis(inks(dtype), -1, 0)
    tifffile.imwrite(
        tmp_path / "in.tif", samples, photometric="separated", planarconfig=planes, iccprofile=profile(),
        compression="zlib", extratags=[(332, "H", 1, 1, True), (333, "s", 0, "C\0M\0Y\0K", True)],
    )  # fmt: skip
    done = cae_run(tmp_path / "in.tif", "-o", tmp_path / "out.tif", "--json")
    assert done.returncode == 0
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.RGB
        assert file.pages[0].dtype == np.dtype(dtype)
        assert not {34675, 332, 333} & {tag.code for tag in file.pages[0].tags}
        after = file.asarray()
    target = io.BytesIO()
    Image.fromarray(inks(), "CMYK").save(target, "TIFF", icc_profile=profile())
    error = np.abs(after / (np.iinfo(dtype).max / 255) - by_pillow(target.getvalue()))
    assert error.mean() < 1.2  # 8-bit inks are coarser
    assert error.max() < 4
    (file,) = json.loads(done.stdout)["files"]
    assert file["dropped"] == ["CMYK color profile"]


def test_without_the_extra_a_cmyk_file_fails_by_name(
    cae_run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **named: object) -> object:
        if name == "imagecodecs":
            raise ImportError(name)
        return real(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "imagecodecs", raising=False)
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.jpg").write_bytes(jpeg())
    tifffile.imwrite(source / "b.tif", inks(), photometric="separated")
    cv2.imwrite(str(source / "c.png"), inks()[..., :3])
    done = cae_run(source, "-o", tmp_path / "out")
    assert done.returncode == 1
    told = done.stderr.decode()
    assert "is a CMYK JPEG. The extra cmyk reads it: pip install 'cae-toolkit[cmyk]'" in told
    assert "(8-bit CMYK). The extra cmyk reads it: pip install 'cae-toolkit[cmyk]'" in told
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["c.png"]


def test_damage_and_unknown_inks_are_reported(tmp_path: Path) -> None:
    for data in (jpeg(), jpeg(progressive=True)):
        for part in (0.3, 0.6, 0.9):
            with pytest.raises(ImageError, match=r"truncated|missing|damaged"):
                decode(data[: int(len(data) * part)] + b"\xff\xd9")
    tifffile.imwrite(tmp_path / "a.tif", inks(), photometric="separated", extratags=[(332, "H", 1, 2, True)])
    with pytest.raises(ImageError, match="other inks than CMYK"):
        decode((tmp_path / "a.tif").read_bytes())
