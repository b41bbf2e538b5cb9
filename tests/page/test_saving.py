"""Saved pictures: the pixels of `cae-run`, EXIF, XMP and color profile in the chosen format; strengths; the queue."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from tests.page.actions import LONG, give, hold_back, hold_back_now, let_go, message, paste, saved, wait_until_done
from tests.page.conftest import SOURCES

from cae_runtime import Restorer
from cae_runtime.io.image_files import decode

pytestmark = [pytest.mark.serial, pytest.mark.slow]
CLEANED = "worker.startsWith('network') && data.result?.data"  # what networks answer
ORIENTATION, MAKER = 0x0112, 0x010F
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
tiff:Orientation="6" dc:format="märchen"/></rdf:RDF></x:xmpmeta>"""


@pytest.fixture(scope="module")
def photo(noisy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG as a camera stores it: turned, with EXIF and a color profile."""
    path = tmp_path_factory.mktemp("photo") / "IMG 1.JPG"
    exif = Image.Exif()
    exif[MAKER], exif[ORIENTATION] = "Camera", 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(io.BytesIO(noisy.read_bytes())).save(path, "JPEG", quality=95, exif=exif, icc_profile=profile)
    return path


def test_strengths_give_the_same_pixels_as_the_command(page: Any, noisy: Path) -> None:
    give(page, noisy)
    wait_until_done(page, 1)
    page.fill("#strength", "60")
    page.fill("#color", "90")
    name, content = saved(page)
    assert (name, message(page)) == ("noisy_clean.png", "noisy_clean.png is saved.")
    made = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    with Restorer(stretch=False, threads=1) as restore:
        wanted = restore(cv2.imread(str(noisy)), strength=(0.6, 0.9))
    off = np.abs(made.astype(int) - wanted)
    assert off.max() <= 1
    assert np.mean(off > 0) < 0.001


@pytest.mark.parametrize(("choice", "kind", "name"), [
    ("same", "JPEG", "IMG 1_clean.jpg"), ("png", "PNG", "IMG 1_clean.png"), ("webp", "WEBP", "IMG 1_clean.webp"),
])  # fmt: skip
def test_exif_and_profile_are_kept(page: Any, photo: Path, choice: str, kind: str, name: str) -> None:
    give(page, photo)
    wait_until_done(page, 1)
    page.select_option("#format", choice)
    given, content = saved(page)
    assert given == name
    made, source = Image.open(io.BytesIO(content)), Image.open(io.BytesIO(photo.read_bytes()))
    made.load()
    assert made.format == kind
    assert made.size == source.size[::-1]  # upright
    assert (made.getexif()[MAKER], made.getexif()[ORIENTATION]) == ("Camera", 1)
    assert made.info["icc_profile"] == source.info["icc_profile"]
    upright = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)  # OpenCV turns it, too
    with Restorer(color="rgb", stretch=False, threads=1) as restore:
        off = np.abs(np.asarray(made.convert("RGB")).astype(int) - restore(upright))
    assert off.max() <= (1 if kind == "PNG" else 40)
    assert off.mean() < (0.01 if kind == "PNG" else 3)


@pytest.mark.parametrize("choice", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_xmp_and_profile_are_kept_between_all_formats(
    page: Any, noisy: Path, tmp_path: Path, kind: str, choice: str
) -> None:
    path = tmp_path / f"source.{kind.lower()}"
    exif, text = Image.Exif(), PngImagePlugin.PngInfo()
    exif[MAKER] = "Camera"
    text.add_itxt("XML:com.adobe.xmp", XMP, "en", "XMP", zip=True)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    told = {"pnginfo": text} if kind == "PNG" else {"xmp": XMP.encode()}
    small = Image.open(io.BytesIO(noisy.read_bytes())).crop((0, 0, 50, 40))
    small.save(path, kind, exif=exif, icc_profile=profile, **told)
    give(page, path)
    wait_until_done(page, 1)
    page.select_option("#format", choice)
    content = saved(page)[1]
    made, source = decode(content).metadata, decode(path.read_bytes()).metadata
    assert Image.open(io.BytesIO(content)).getexif()[MAKER] == "Camera"
    turned = kind in ("JPEG", "AVIF")  # by the browser, if EXIF asks for it
    assert made.xmp.decode() == (XMP.replace('Orientation="6"', 'Orientation="1"') if turned else XMP)
    assert (made.icc, source.icc) == (profile, profile)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_colors_keep_their_profile(page: Any, tmp_path: Path, kind: str) -> None:
    """The values are as stored, and not converted to sRGB: the profile goes with them."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = (profile.index(name, 128) + 4 for name in (b"rXYZ", b"gXYZ"))  # where their places are
    profile[red : red + 4], profile[green : green + 4] = profile[green : green + 4], profile[red : red + 4]
    path = tmp_path / f"flat.{kind.lower()}"
    Image.new("RGB", (64, 64), (200, 60, 30)).save(path, kind, quality=100, icc_profile=bytes(profile))
    give(page, path)
    wait_until_done(page, 1)
    page.select_option("#format", "png")
    made = Image.open(io.BytesIO(saved(page)[1]))
    assert np.abs(np.subtract(made.getpixel((32, 32)), (200, 60, 30))).max() <= 3
    assert made.info["icc_profile"] == bytes(profile)


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_xmp_statements_about_parts_of_the_source_alone_are_dropped(
    page: Any, noisy: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"source.{kind.lower()}"
    moving = XMP.replace("dc:format", 'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto')
    small = Image.open(io.BytesIO(noisy.read_bytes())).crop((0, 0, 50, 40))
    small.save(path, kind, xmp=moving.encode())
    give(page, path)
    wait_until_done(page, 1)
    assert b"xmpmeta" not in saved(page)[1]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_unrotated_pixels_keep_their_orientation_tag(page: Any, noisy: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"turned.{kind.lower()}"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.open(io.BytesIO(noisy.read_bytes())).crop((0, 0, 50, 40)).save(path, kind, exif=exif)
    give(page, path)
    wait_until_done(page, 1)
    made = Image.open(io.BytesIO(saved(page)[1]))
    assert (made.size, made.getexif()[ORIENTATION]) == ((50, 40), 6)


@pytest.mark.parametrize("turned", [3, 6])
@pytest.mark.parametrize("mode", ["RGB", "P"])  # stored pixels are read as they are; palettes by the browser
@pytest.mark.parametrize("choice", ["png", "jpeg"])
def test_rotated_png_files_look_as_before(page: Any, tmp_path: Path, turned: int, mode: str, choice: str) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[24:, 32:] = (220, 40, 40), (40, 40, 220)
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    Image.fromarray(picture).convert(mode).save(path, exif=exif)
    give(page, path)
    wait_until_done(page, 1)
    page.select_option("#format", choice)
    made = ImageOps.exif_transpose(Image.open(io.BytesIO(saved(page)[1]))).convert("RGB")
    wanted = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    assert made.size == wanted.size
    assert np.abs(np.asarray(made).astype(int) - np.asarray(wanted)).mean() < 10


@pytest.mark.parametrize(("name", "kind"), [
    ("jpeg-artifacts.png", "PNG"), ("scan.jpg.png", "PNG"), ("webp_test.png", "PNG"), ("wrongly-named.png", "JPEG"),
])  # fmt: skip
def test_the_format_is_recognized_by_content(page: Any, noisy: Path, tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    Image.open(io.BytesIO(noisy.read_bytes())).crop((0, 0, 50, 40)).save(path, kind)
    give(page, path)
    wait_until_done(page, 1)
    given, content = saved(page)
    assert given == f"{path.stem}_clean.{'jpg' if kind == 'JPEG' else 'png'}"
    assert Image.open(io.BytesIO(content)).format == kind


@pytest.mark.parametrize("kind", ["avif", "webp", "gif", "bmp"])
def test_formats_that_the_browser_decodes_are_accepted(page: Any, noisy: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"picture.{kind}"
    picture = cv2.imread(str(noisy))[:60, :70]
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_WEBP_QUALITY, 101] if kind == "webp" else [])
    give(page, path)
    wait_until_done(page, 1)
    page.select_option("#format", "png")
    made = cv2.imdecode(np.frombuffer(saved(page)[1], np.uint8), cv2.IMREAD_UNCHANGED)
    assert made.shape == picture.shape
    with Restorer(stretch=False, threads=1) as restore:
        off = np.abs(made.astype(int) - restore(cv2.imread(str(path))))
    assert off.max() <= (1 if kind in ("webp", "bmp") else 40)
    assert off.mean() < 3


def test_pasted_and_chosen_pictures_queue_up_and_are_saved_together(page: Any, noisy: Path, photo: Path) -> None:
    paste(page, noisy)
    give(page, noisy, photo)
    wait_until_done(page, 3)
    _, content = saved(page, "#save-all")
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.namelist() == ["noisy_clean.png", "noisy_clean-2.png", "IMG 1_clean.jpg"]
    assert archive.read("noisy_clean.png") == archive.read("noisy_clean-2.png")
    page.locator(".item").nth(2).click()
    page.wait_for_function("() => document.querySelector('#canvas').ariaLabel.startsWith('IMG 1.JPG')")
    page.click("#clear")
    assert page.is_visible("#choose")
    assert (page.locator(".item").count(), page.is_disabled("#save-all")) == (0, True)


def test_changing_the_model_cleans_all_pictures_again(page: Any, noisy: Path) -> None:
    hold_back(page)
    give(page, noisy)
    wait_until_done(page, 1)
    hold_back_now(page, answers=CLEANED)
    page.select_option("#model", "denoise-fast")
    let_go(page)
    wait_until_done(page, 1)
    _, content = saved(page)
    with Restorer("denoise-fast", stretch=False, threads=1) as restore:
        wanted = restore(cv2.imread(str(noisy)))
    assert np.abs(cv2.imdecode(np.frombuffer(content, np.uint8), 1).astype(int) - wanted).max() <= 1


def test_a_late_result_of_the_previous_model_is_ignored(page: Any, noisy: Path) -> None:
    hold_back(page, answers=CLEANED)
    page.wait_for_function("() => document.querySelector('#model').value === 'denoise'", timeout=LONG)
    give(page, noisy)
    page.wait_for_function("() => heldBack.length > 0", timeout=LONG)
    page.select_option("#model", "denoise-fast")
    page.wait_for_selector(".item[data-state=waiting]", timeout=LONG)
    let_go(page)
    wait_until_done(page, 1)
    with Restorer("denoise-fast", stretch=False, threads=1) as restore:
        wanted = restore(cv2.imread(str(noisy)))
    assert np.abs(cv2.imdecode(np.frombuffer(saved(page)[1], np.uint8), 1).astype(int) - wanted).max() <= 1


def test_changing_the_model_does_not_wait_for_the_previous_one(page: Any, noisy: Path) -> None:
    hold_back(page)
    give(page, noisy)
    wait_until_done(page, 1)
    hold_back_now(page, calls="['open', 'clean'].includes(data.name)")  # as if the network were busy
    page.select_option("#model", "denoise-fast")
    page.wait_for_selector(".item:not([data-state=done])", timeout=LONG)
    let_go(page)
    wait_until_done(page, 1)


def test_a_second_save_waits_for_the_first(page: Any, noisy: Path) -> None:
    hold_back(page)
    give(page, noisy)
    wait_until_done(page, 1)
    hold_back_now(page, calls="data.name === 'save'")
    page.click("#save")
    assert message(page) == "Saving noisy_clean.png …"
    page.click("#save")
    assert message(page) == "Wait until the files before are saved."
    page.click("#clear")
    with page.expect_download():
        let_go(page)
    page.wait_for_function("() => document.querySelector('#status').textContent.endsWith('is saved.')", timeout=LONG)
    assert (page.is_disabled("#save"), page.is_disabled("#save-all")) == (True, True)  # there is nothing to save


def test_a_zip_file_over_the_size_limit_is_refused(built_page: Path, tmp_path: Path) -> None:
    program = f"""import {{ build }} from "esbuild";
        const outfile = {json.dumps(str(tmp_path / "zip.mjs"))};
        await build({{ entryPoints: ["src/files/zip.ts"], bundle: true, format: "esm", outfile }});
        const {{ zipped }} = await import(outfile);
        const made = async () => new Blob([new Uint8Array(60)]);
        console.log((await zipped(["a", "b"], made)).size > 120);
        await zipped(["a", "b"], made, 100).catch((error) => console.log(error.message));"""
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program], cwd=SOURCES, check=True, capture_output=True, text=True
    )
    why = "These pictures fill more than 4 GB, the most that a zip file holds: save them one by one, or as JPEG."
    assert done.stdout.splitlines() == ["true", why]
