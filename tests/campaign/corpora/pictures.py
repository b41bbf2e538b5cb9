"""A small honest file of every kind of picture that is read, all made here."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable
from typing import Any, Final

import cv2
import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image, ImageCms
from tests.runtime import tiffs
from tests.runtime.files import chunk, saved, segment
from tests.runtime.io.test_cmyk import profile as ink_profile
from tests.runtime.io.test_raw import dng

WIDTH, HEIGHT = 26, 20
_XMP: Final = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:d="http://purl.org/dc/elements/1.1/" d:title="a"/></rdf:RDF></x:xmpmeta>'
)
_PROFILE: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def scene(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """Return smooth colors with a little noise, (H, W) or (H, W, channels)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = np.stack([x / WIDTH, y / HEIGHT, (x + y) / (WIDTH + HEIGHT), 0.3 + 0.7 * x / WIDTH][:channels], -1)
    noisy = np.clip(planes + np.random.default_rng(1).normal(0, 0.03, planes.shape), 0, 1)
    pixels: np.ndarray = (noisy * np.iinfo(dtype).max).astype(dtype)
    return pixels[..., 0] if channels == 1 else pixels


def _image(channels: int = 3) -> Image.Image:
    return Image.fromarray(scene(channels))


def _exif() -> Image.Exif:
    block = Image.Exif()
    block[271], block[274], block[270] = "a camera", 6, "words"
    block.get_ifd(0x8769)[37386] = 35.0
    block.get_ifd(0x8825)[1] = "N"
    return block


def _cv(suffix: str, pixels: np.ndarray, *settings: int) -> bytes:
    return cv2.imencode(suffix, pixels, settings)[1].tobytes()


def _moving(format: str, alpha: bool = False, **options: Any) -> bytes:
    frames = [Image.fromarray(np.roll(scene(4 if alpha else 3), 3 * number, axis=1)) for number in range(4)]
    return saved(
        frames[0], format, save_all=True, append_images=frames[1:], duration=[90, 50, 70, 80], loop=2, **options
    )


def _heic(mode: str, pixels: np.ndarray, **options: Any) -> bytes:
    target = io.BytesIO()
    pillow_heif.encode(mode, (WIDTH, HEIGHT), pixels.tobytes(), target, quality=80, chroma=444, **options)
    return target.getvalue()


def _tifffile(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def _pages() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as pages:
        pages.write(scene(1), photometric="minisblack")
        pages.write(scene(3, np.uint16)[:14], photometric="rgb", compression="zlib")
        pages.write(scene(3)[:11], photometric="rgb")
    return file.getvalue()


def _inks(dtype: type = np.uint8) -> np.ndarray:
    return scene(4, dtype)


def _told_png() -> bytes:
    plain = saved(_image(), "PNG", icc_profile=_PROFILE, exif=_exif(), dpi=(72, 72))
    texts = chunk(b"tEXt", b"Comment\0words") + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP)
    more = chunk(b"cICP", bytes([9, 16, 0, 1])) + chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"tIME", bytes(7))
    return plain[:33] + more + texts + plain[33:]


def _told_jpeg(**options: Any) -> bytes:
    plain = saved(_image(), "JPEG", icc_profile=_PROFILE, exif=_exif(), comment=b"words", dpi=(72, 72), **options)
    more = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _XMP)
    more += segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\x03abc")
    return plain[:2] + more + plain[2:]


def _told_webp(**options: Any) -> bytes:
    return saved(_image(), "WEBP", icc_profile=_PROFILE, exif=_exif(), xmp=_XMP, **options)


def _j2k(dtype: type = np.uint8, channels: int = 3, **options: Any) -> bytes:
    pixels = np.tile(scene(channels, dtype), (2, 2, 1)[: 2 + (channels > 1)])  # OpenCV writes no smaller ones
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, **options))


def _tiff(pixels: np.ndarray, colors: int, bits: int, **options: Any) -> bytes:
    return tiffs.picture(pixels.reshape(HEIGHT, WIDTH, -1), colors, bits, **options)


def _told_tiff() -> bytes:
    return saved(
        _image(), "TIFF", compression="tiff_lzw", tiffinfo={270: "words", 700: _XMP, 34675: _PROFILE, 305: "a"}
    )


_DEEP, _RGB, _GRAY = scene(3, np.uint16), scene(), scene(1)
PICTURES: Final[dict[str, Callable[[], bytes]]] = {
    "gray.png": lambda: saved(_image(1), "PNG"),
    "alpha.png": lambda: saved(_image(4), "PNG"),
    "graya.png": lambda: saved(_image(4).convert("LA"), "PNG"),
    "deep.png": lambda: _cv(".png", _DEEP),
    "bits.png": lambda: saved(_image().convert("1"), "PNG"),
    "palette.png": lambda: saved(_image().quantize(9), "PNG"),
    "told.png": _told_png,
    "moving.png": lambda: _moving("PNG"),
    "movingalpha.png": lambda: _moving("PNG", alpha=True),
    "plain.jpg": lambda: saved(_image(), "JPEG", quality=90, subsampling=2),
    "gray.jpg": lambda: saved(_image(1), "JPEG"),
    "told.jpg": _told_jpeg,
    "progressive.jpg": lambda: _told_jpeg(progressive=True),
    "restarts.jpg": lambda: saved(_image(), "JPEG", subsampling=0, restart_marker_blocks=2),
    "cmyk.jpg": lambda: saved(Image.fromarray(_inks(), "CMYK"), "JPEG", icc_profile=ink_profile()),
    "plaincmyk.jpg": lambda: saved(Image.fromarray(_inks(), "CMYK"), "JPEG"),
    "lossy.webp": lambda: _told_webp(quality=80),
    "lossless.webp": lambda: _told_webp(lossless=True),
    "alpha.webp": lambda: saved(_image(4), "WEBP", quality=70),
    "alphaless.webp": lambda: saved(_image(4), "WEBP", lossless=True),
    "moving.webp": lambda: _moving("WEBP", quality=80),
    "movingalpha.webp": lambda: _moving("WEBP", alpha=True, lossless=True),
    "plain.bmp": lambda: saved(_image(), "BMP"),
    "alpha.bmp": lambda: _cv(".bmp", scene(4)),
    "palette.bmp": lambda: saved(_image().quantize(200), "BMP"),
    "bits.bmp": lambda: saved(_image().convert("1"), "BMP"),
    "color.ppm": lambda: saved(_image(), "PPM"),
    "deep.ppm": lambda: _cv(".ppm", _DEEP),
    "gray.pgm": lambda: saved(_image(1), "PPM"),
    "bits.pbm": lambda: saved(_image().convert("1"), "PPM"),
    "words.ppm": lambda: b"P3 # words\n%d %d\n255\n" % (WIDTH, HEIGHT) + " ".join(map(str,
    _RGB.ravel())).encode() + b"\n",
    "words.pgm": lambda: b"P2\n%d %d\n255\n" % (WIDTH, HEIGHT) + " ".join(map(str, _GRAY.ravel())).encode() + b"\n",
    "moving.gif": lambda: _moving("GIF"),
    "still.gif": lambda: saved(_image().quantize(30), "GIF"),
    "photo.avif": lambda: saved(_image(), "AVIF", quality=80, exif=_exif(), icc_profile=_PROFILE, xmp=_XMP),
    "alpha.avif": lambda: saved(_image(4), "AVIF", quality=80),
    "deep.avif": lambda: _cv(".avif", _DEEP >> 6, cv2.IMWRITE_AVIF_DEPTH, 10),
    "moving.avif": lambda: _moving("AVIF"),
    "phone.heic": lambda: _heic("BGR", _RGB, exif=_exif().tobytes(), xmp=_XMP, icc_profile=_PROFILE),
    "alpha.heic": lambda: _heic("BGRA", scene(4)),
    "deep.heic": lambda: _heic("BGR;10", _DEEP >> 6, bit_depth=10),
    "photo.jp2": lambda: _j2k(np.uint16),
    "alpha.jp2": lambda: _cv(".jp2", np.tile(scene(4), (2, 2, 1))),
    "gray.jp2": lambda: _j2k(channels=1),
    "stream.j2k": lambda: _j2k(codecformat="j2k"),
    "camera.dng": dng,
    "turned.dng": lambda: dng(6, (5, 10, 6)),
    "raw.tif": lambda: _tiff(_RGB, tiffs.RGB, 8, rows=7),
    "lzw.tif": lambda: _tiff(_DEEP, tiffs.RGB, 16, compression=tiffs.LZW, predictor=2),
    "packbits.tif": lambda: _tiff(_GRAY, tiffs.BLACK_ZERO, 8, compression=tiffs.PACKBITS),
    "deflate.tif": lambda: _tiff(_RGB, tiffs.RGB, 8, compression=tiffs.DEFLATE, rows=5, predictor=2),
    "tiles.tif": lambda: _tiff(_RGB, tiffs.RGB, 8, compression=tiffs.DEFLATE, tile=16),
    "lzwtiles.tif": lambda: _tiff(_RGB, tiffs.RGB, 8, compression=tiffs.LZW, tile=16),
    "planes.tif": lambda: _tiff(_DEEP, tiffs.RGB, 16, planes=True, order=">"),
    "big.tif": lambda: _tiff(_RGB, tiffs.RGB, 8, big=True, order=">", compression=tiffs.DEFLATE),
    "twelve.tif": lambda: _tiff(_DEEP[..., 0] >> 4, tiffs.BLACK_ZERO, 12),
    "zstd.tif": lambda: _tiff(_DEEP, tiffs.RGB, 16, compression=tiffs.ZSTD),
    "jpeg.tif": lambda: saved(_image(), "TIFF", compression="jpeg"),
    "fax.tif": lambda: saved(_image().convert("1"), "TIFF", compression="group4"),
    "palette.tif": lambda: saved(_image().quantize(30), "TIFF"),
    "told.tif": _told_tiff,
    "ycbcr.tif": lambda: saved(_image().convert("YCbCr"), "TIFF"),
    "alpha.tif": lambda: _tifffile(scene(4), photometric="rgb", extrasamples=["unassalpha"]),
    "cmyk.tif": lambda: _tifffile(_inks(np.uint16), photometric="separated", iccprofile=ink_profile()),
    "float.tif": lambda: _tifffile(_RGB.astype(np.float32) / 100 - 0.5, photometric="rgb"),
    "half.tif": lambda: _tifffile((_GRAY / 100).astype(np.float16), compression="zlib", predictor=True),
    "imagej.tif": lambda: _tifffile(_GRAY, imagej=True),
    "pages.tif": _pages,
}  # fmt: skip


@functools.cache
def picture(name: str) -> bytes:
    """Return one of them, made once."""
    return PICTURES[name]()


def family_of(name: str) -> str:
    """Return the kind of a file that is counted together, such as `png`."""
    ending = name.rpartition(".")[2]
    return {"pgm": "pnm", "ppm": "pnm", "pbm": "pnm"}.get(ending, ending)
