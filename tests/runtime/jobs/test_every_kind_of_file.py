"""A folder with a file of every kind, cleaned by the command with and without the extras."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from av.sidedata.sidedata import Type
from PIL import Image
from tests.runtime.clips import make_clip, same
from tests.runtime.io.test_animations import animated
from tests.runtime.io.test_cmyk import inks, jpeg, profile
from tests.runtime.io.test_raw import dng
from tests.runtime.video.test_deep_video import HDR, captioned_clip, captions_of, deep_clip, dressed_clip, timecode

from cae_runtime.errors import ImageError, VideoError
from cae_runtime.io.image_files import decode
from cae_runtime.video.clean_video import clean_video

Command = Callable[..., subprocess.CompletedProcess[bytes]]
EXTRAS = {"av": "video", "pillow_heif": "heif", "rawpy": "raw", "tifffile": "tiff", "imagecodecs": "tiff"}
# What needs an extra -> which one.
NEEDS = {
    "cmyk.jpg": "cmyk", "cmyk.tif": "cmyk", "float.tif": "tiff", "half.tif": "tiff", "phone.heic": "heif",
    "camera.dng": "raw", "hdr.mkv": "video", "captions.mkv": "video", "streams.mp4": "video", "plain.webm": "video",
    "streams.mov": "video",
}  # fmt: skip
WITHOUT = [
    "photo.jpg", "gray.png", "alpha.png", "deep.png", "bits.png", "palette.png", "photo.bmp", "photo.ppm", "photo.webp",
    "photo.avif", "deep.avif", "photo.jp2", "stream.j2k", "moving.gif", "moving.webp", "moving.png", "pages.tif",
    "alpha.tif",
]  # fmt: skip


def scene(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    y, x = np.mgrid[:60, :80]
    planes = np.stack([x / 80, y / 60, (x + y) / 140, 0.3 + 0.7 * x / 80][:channels], -1)
    pixels: np.ndarray = (planes * np.iinfo(dtype).max).astype(dtype)
    return pixels[..., 0] if channels == 1 else pixels


def make_folder(folder: Path) -> None:
    """Write a file of every kind."""
    folder.mkdir()
    color = Image.fromarray(scene())
    exif = Image.Exif()
    exif[271], exif[274] = "a camera", 6
    color.save(folder / "photo.jpg", exif=exif, quality=90)
    Image.fromarray(scene(1)).save(folder / "gray.png")
    Image.fromarray(scene(4)).save(folder / "alpha.png")
    cv2.imwrite(str(folder / "deep.png"), scene(3, np.uint16))
    color.convert("1").save(folder / "bits.png")
    color.quantize(32).save(folder / "palette.png")
    for name in ("photo.bmp", "photo.ppm", "photo.webp"):
        color.save(folder / name)
    color.save(folder / "photo.avif", exif=exif)
    cv2.imwrite(str(folder / "deep.avif"), scene(3, np.uint16) >> 6, [cv2.IMWRITE_AVIF_DEPTH, 10])
    pillow_heif.from_pillow(color).save(folder / "phone.heic", quality=90)
    (folder / "camera.dng").write_bytes(dng())
    (folder / "cmyk.jpg").write_bytes(jpeg(icc_profile=profile()))
    tifffile.imwrite(folder / "cmyk.tif", inks(np.uint16), photometric="separated", iccprofile=profile())
    tifffile.imwrite(folder / "float.tif", scene().astype(np.float32) / 100 - 0.5, photometric="rgb")
    tifffile.imwrite(folder / "half.tif", (scene(1) / 100).astype(np.float16))
    tifffile.imwrite(folder / "alpha.tif", scene(4), photometric="rgb", extrasamples=["unassalpha"])
    with tifffile.TiffWriter(folder / "pages.tif") as pages:
        pages.write(scene(1), photometric="minisblack")
        pages.write(scene(3, np.uint16)[:40], photometric="rgb")
    (folder / "photo.jp2").write_bytes(imagecodecs.jpeg2k_encode(scene(3, np.uint16), level=0, reversible=True))
    (folder / "stream.j2k").write_bytes(imagecodecs.jpeg2k_encode(scene(), level=0, reversible=True, codecformat="j2k"))
    for name, format in (("moving.gif", "GIF"), ("moving.webp", "WEBP"), ("moving.png", "PNG")):
        (folder / name).write_bytes(animated(format))
    deep_clip(folder / "hdr.mkv", options=HDR)
    captioned_clip(folder / "captions.mkv")
    dressed_clip(folder / "streams.mp4")
    dressed_clip(folder / "streams.mov")
    make_clip(folder / "plain.webm", codec="libvpx-vp9", sound="libopus", frames=4)


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def check_images(out: Path) -> None:
    """Open each output with another library."""
    modes = {}
    for name in ("photo.jpg", "gray.png", "alpha.png", "bits.png", "palette.png", "photo.bmp", "photo.ppm",
                 "photo.webp", "photo.avif", "photo.jp2", "cmyk.jpg"):  # fmt: skip
        with Image.open(out / name) as picture:
            picture.load()
            modes[name] = (picture.mode, picture.size)
    size = (80, 60)
    assert modes == {
        "photo.jpg": ("RGB", size), "gray.png": ("L", size), "alpha.png": ("RGBA", size), "bits.png": ("L", size),
        "palette.png": ("RGB", size), "photo.bmp": ("RGB", size), "photo.ppm": ("RGB", size),
        "photo.webp": ("RGB", size), "photo.avif": ("RGB", size[::-1]), "photo.jp2": ("RGB", size),
        "cmyk.jpg": ("RGB", (80, 64)),
    }  # fmt: skip
    with Image.open(out / "photo.jpg") as picture:
        assert (picture.getexif()[271], picture.getexif()[274]) == ("a camera", 6)
    assert cv2.imread(str(out / "deep.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    assert pillow_heif.open_heif(out / "phone.heic").size == size
    assert pillow_heif.open_heif(out / "phone.heic").info["bit_depth"] == 8
    np.testing.assert_array_equal(imagecodecs.jpeg2k_decode((out / "photo.jp2").read_bytes()), scene(3, np.uint16))
    np.testing.assert_array_equal(imagecodecs.jpeg2k_decode((out / "stream.j2k").read_bytes()), scene())
    assert imagecodecs.avif_decode((out / "deep.avif").read_bytes()).dtype == np.uint16
    for name, shape, dtype in (
        ("cmyk.tif", (64, 80, 3), "uint16"), ("float.tif", (60, 80, 3), "float32"), ("half.tif", (60, 80), "float32"),
        ("alpha.tif", (60, 80, 4), "uint8"), ("camera.tif", (64, 96, 3), "uint16"),
    ):  # fmt: skip
        with tifffile.TiffFile(out / name) as file:
            assert (file.pages[0].shape, str(file.pages[0].dtype)) == (shape, dtype), name
    assert tifffile.imread(out / "float.tif").min() < -0.4
    with tifffile.TiffFile(out / "pages.tif") as file:
        assert [(page.shape, str(page.dtype)) for page in file.pages] == [((60, 80), "uint8"), ((40, 80, 3), "uint16")]
    for name in ("moving.gif.webp", "moving.webp.webp", "moving.png"):
        with Image.open(out / name) as picture:
            assert getattr(picture, "n_frames", 1) > 1


def check_videos(out: Path) -> None:
    hdr = frames_of(out / "hdr.mkv")
    assert (hdr[0].format.name, hdr[0].color_trc, len(hdr)) == ("yuv420p10le", 16, 6)
    assert Type.MASTERING_DISPLAY_METADATA in hdr[0].side_data
    assert len(captions_of(out / "captions.mkv")) == 5
    assert timecode(out / "streams.mov") == "01:02:03:04"
    with av.open(str(out / "streams.mp4")) as container:
        assert len(container.streams.video) == 3
    with av.open(str(out / "plain.webm")) as container:
        assert len(container.streams.audio) == 1


@pytest.mark.slow
def test_a_folder_of_every_kind_of_file_is_cleaned(cae_run: Command, tmp_path: Path) -> None:
    make_folder(tmp_path / "in")
    done = cae_run(tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    files = {Path(file["source"]).name: file for file in report["files"]}
    assert set(files) == set(WITHOUT) | set(NEEDS)
    assert {file["status"] for file in files.values()} == {"done"}
    assert len([*(tmp_path / "out").iterdir()]) == len(files)
    check_images(tmp_path / "out")
    check_videos(tmp_path / "out")
    lost = {name: file["dropped"] for name, file in files.items() if file["dropped"]}
    assert lost == {
        "bits.png": ["depth of 1 bit (8 are written)"], "palette.png": ["palette (written as colors)"],
        "half.tif": ["depth of 16-bit floating point (32 bits are written)"],
        "cmyk.jpg": ["CMYK color profile"], "cmyk.tif": ["CMYK color profile"],
    } | {name: lost[name] for name in ("moving.gif", "camera.dng") if name in lost}  # fmt: skip
    notes = {name: {note["kind"] for note in file["notes"]} for name, file in files.items()}
    assert notes["cmyk.jpg"] == {"inks"}
    assert notes["cmyk.tif"] >= {"inks"}
    assert notes["moving.gif"] == notes["moving.webp"] == {"renamed"}
    assert notes["camera.dng"] >= {"developed"}
    assert notes["streams.mp4"] == {"copied"}


@pytest.mark.slow
def test_without_the_extras_each_file_that_needs_one_is_reported(
    cae_run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "in")
    for module in EXTRAS:
        monkeypatch.setitem(sys.modules, module, None)
    done = cae_run(tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert done.returncode == 1
    files = {Path(file["source"]).name: file for file in json.loads(done.stdout)["files"]}
    assert {name for name, file in files.items() if file["status"] == "done"} == set(WITHOUT)
    for name, extra in NEEDS.items():
        assert f"pip install 'cae-toolkit[{extra}]'" in files[name]["reason"], name
        assert "\n" not in files[name]["reason"]
    for name, code in (("phone.heic", 2), ("camera.dng", 2), ("hdr.mkv", 2), ("cmyk.jpg", 1), ("float.tif", 1)):
        alone = cae_run(tmp_path / "in" / name, "-o", tmp_path / "alone")
        assert alone.returncode == code, name
        (told,) = [line for line in alone.stderr.decode().splitlines() if "pip install" in line]
        assert f"cae-toolkit[{NEEDS[name]}]" in told


def mutated(data: bytes, number: int) -> bytes:
    """Return a file of which some bytes are others, a part is missing, or a part is there twice."""
    numbers = np.random.default_rng(number)
    changed = bytearray(data)
    if number % 4 == 3:
        start, length = int(numbers.integers(len(data))), int(numbers.integers(1, 200))
        changed[start : start + length] = b"" if number % 8 == 3 else bytes(changed[start : start + length]) * 2
        return bytes(changed)
    reach = min(len(data), 400) if number % 2 else len(data)  # half of them in the header
    for _ in range(numbers.integers(1, 6)):
        changed[numbers.integers(reach)] = numbers.integers(256)
    return bytes(changed)


def tiff_of_inks() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, inks(), photometric="separated", compression="zlib", iccprofile=profile())
    return file.getvalue()


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a.jpg": lambda: jpeg(icc_profile=profile()),
    "a.tif": tiff_of_inks,
    "a.jp2": lambda: bytes(imagecodecs.jpeg2k_encode(scene(3, np.uint16), level=0, reversible=True)),
    "a.j2k": lambda: bytes(imagecodecs.jpeg2k_encode(scene(), level=0, reversible=True, codecformat="j2k")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_two_hundred_damaged_images_of_each_kind_give_one_line_each(
    cae_run: Command, tmp_path: Path, name: str
) -> None:
    data = HOSTILE[name]()
    refused: dict[int, bytes] = {}
    told: list[str] = []
    for number in range(200):
        file = mutated(data, number)
        try:
            assert decode(file).pixels.size < 2**22
        except ImageError as e:
            told.append(str(e))
            refused[number] = file
    assert not [line for line in told if "\n" in line]
    assert len(refused) > 20
    folder = tmp_path / "in"
    folder.mkdir()
    for number, file in [*refused.items()][:12]:
        (folder / f"{number}_{name}").write_bytes(file)
    cv2.imwrite(str(folder / "good.png"), scene())
    done = cae_run(folder, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


@pytest.mark.slow
def test_two_hundred_damaged_10_bit_videos_give_one_line_each(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    deep_clip(source, options=HDR, frames=2)
    data = source.read_bytes()
    told: list[str] = []
    for number in range(200):
        source.write_bytes(mutated(data, number))
        try:
            clean_video(source, tmp_path / "out.mp4", same)
        except VideoError as e:
            told.append(str(e))
    assert 20 < len(told) < 190
    assert not [line for line in told if "\n" in line]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
