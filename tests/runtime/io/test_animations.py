"""Animated pictures compared with Pillow: frames, durations, alpha and loops."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence
from tests.runtime.conftest import Command
from tests.runtime.files import check_damaged, chunk, saved

from cae_runtime import ImageError
from cae_runtime.io.encoding import encode
from cae_runtime.io.headers import png as png_header
from cae_runtime.io.image_files import decode, header_of

HEIGHT, WIDTH = 40, 60
TIMES = [100, 50, 200, 80]
KINDS = [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("WEBP", {"quality": 90}), ("AVIF", {"quality": 90})]


def scene(alpha: bool = False) -> list[Image.Image]:
    """Return frames of a disc that moves over smooth colors."""
    base = cv2.resize(np.random.default_rng(3).integers(0, 200, (4, 6, 3), np.uint8), (WIDTH, HEIGHT))
    frames = []
    for number in range(len(TIMES)):
        frame = base.copy()
        cv2.circle(frame, (12 + 10 * number, 20), 7, (255, 240, 0), -1)
        seen = np.where(frame[..., 0] == 255, 255, 60 * number)[..., None].astype(np.uint8)
        frames.append(Image.fromarray(np.concatenate([frame, seen], axis=2) if alpha else frame))
    return frames


def animated(format: str, *, alpha: bool = False, **options: Any) -> bytes:
    first, *others = scene(alpha)
    return saved(first, format, save_all=True, append_images=others, duration=TIMES, loop=2, **options)


def frames_of(data: bytes, mode: str = "RGBA") -> list[np.ndarray[Any, Any]]:
    """Return the frames that Pillow shows, BGRA or BGR."""
    order = [2, 1, 0, 3] if mode == "RGBA" else [2, 1, 0]
    with Image.open(io.BytesIO(data)) as image:
        return [np.asarray(frame.convert(mode))[..., order] for frame in ImageSequence.Iterator(image)]


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(("format", "options"), KINDS)
def test_every_frame_equals_the_one_of_pillow(format: str, options: dict[str, Any], alpha: bool) -> None:
    data = animated(format, alpha=alpha and format != "GIF", **options)
    picture = decode(data)
    assert picture.animation is not None
    assert picture.animation.milliseconds == tuple(TIMES)
    assert header_of(data).frames == len(TIMES)
    channels = picture.pixels.shape[2]
    assert channels == (4 if alpha and format != "GIF" else 3)
    for frame, shown in zip(picture.animation.frames, frames_of(data), strict=True):
        assert np.array_equal(frame, shown[..., :channels])
    for target in ("PNG", "WebP", "AVIF"):
        again = decode(encode(picture, target)[0]).animation
        assert again is not None
        assert (again.milliseconds, len(again.frames)) == (tuple(TIMES), len(TIMES))
        assert target == "AVIF" or again.loops == picture.animation.loops
        if target == "PNG" or (target == "WebP" and picture.lossless):
            assert all(map(np.array_equal, again.frames, picture.animation.frames))


@pytest.mark.parametrize(
    ("name", "output"), [("a.gif", "a.webp"), ("a.png", "a.png"), ("a.webp", "a.webp"), ("a.avif", "a.avif")]
)
def test_an_animation_is_cleaned_frame_by_frame(cae_run: Command, tmp_path: Path, name: str, output: str) -> None:
    format = {"gif": "GIF", "png": "PNG", "webp": "WEBP", "avif": "AVIF"}[name[2:]]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(animated(format, **({"quality": 95} if format != "GIF" else {})))
    done = cae_run(tmp_path / "in", "-o", tmp_path / "out", model="half_red")
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "out" / output).read_bytes()
    sources = frames_of((tmp_path / "in" / name).read_bytes(), "RGB")
    for cleaned, frame in zip(frames_of(written, "RGB"), sources, strict=True):
        off = np.abs(cleaned.astype(int) - frame * [1, 1, 0.5])
        assert off.mean() < 6  # of the temporal filter and of lossy coding


def test_an_animation_is_written_whole_or_not_at_all(cae_run: Command, tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(animated("GIF"))
    for ext in ("jpg", "tif", "bmp", "heic"):
        done = cae_run(tmp_path / "a.gif", "-o", tmp_path / ext, "--ext", ext)
        assert done.returncode == 1
        assert b"a.gif' has 4 frames, and " in done.stderr
        assert not list((tmp_path / ext).iterdir())
    done = cae_run(tmp_path / "a.gif", "-o", tmp_path / "b.gif")
    assert done.returncode == 2
    done = cae_run(tmp_path / "a.gif", "-o", tmp_path / "codes.csv", model="encode")
    assert done.returncode == 1
    assert b"has 4 frames or pages: this needs single images" in done.stderr


def test_an_animated_webp_keeps_its_metadata() -> None:
    exif = Image.Exif()
    exif[271], exif[274] = "Maker", 6
    blocks = {"icc_profile": b"a profile", "exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}
    written, dropped = encode(decode(animated("WEBP", **blocks)), "WebP")
    assert dropped == ()
    with Image.open(io.BytesIO(written)) as again:
        assert (getattr(again, "n_frames", 1), again.size, again.info["loop"]) == (len(TIMES), (HEIGHT, WIDTH), 2)
        assert (again.getexif()[271], again.getexif()[274]) == ("Maker", 1)
        assert {name: again.info[name] for name in ("icc_profile", "xmp")} == {
            "icc_profile": b"a profile", "xmp": b"<x:xmpmeta/>"
        }  # fmt: skip


def test_a_gif_of_one_frame_is_a_still_picture() -> None:
    still = saved(scene()[0].quantize(64), "GIF", comment=b"of somebody")
    picture = decode(still)
    assert picture.animation is None
    assert np.array_equal(picture.pixels, frames_of(still, "RGB")[0])
    assert encode(picture, "WebP")[1] == ("comments",)
    assert encode(picture, "JPEG")[0]


@pytest.mark.parametrize("source", ["GIF", "PNG"])
@pytest.mark.parametrize("target", ["WebP", "PNG", "AVIF"])
def test_a_transparent_background_stays_transparent(source: str, target: str) -> None:
    frames = []
    for number in range(4):
        drawn = np.zeros((64, 64, 4), np.uint8)
        cv2.circle(drawn, (20 + 6 * number, 32), 12, (200, 40, 40, 255), -1)
        frames.append(Image.fromarray(drawn))
    data = saved(
        frames[0], source, save_all=True, append_images=frames[1:], duration=100, disposal=2 if source == "GIF" else 1
    )
    again = decode(encode(decode(data), target)[0]).animation
    assert again is not None
    for frame, drawn in zip(again.frames, frames, strict=True):
        assert np.array_equal(frame[..., 3] > 1, np.asarray(drawn)[..., 3] > 1)


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a PNG: name and content."""
    return [(each.name, data[each.start : each.end]) for each in png_header.chunks(data)]


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return png_header.SIGNATURE + b"".join(chunk(name, content) for name, content in chunks)


def test_an_animation_larger_than_the_limit_is_refused() -> None:
    frames = [(b"fcTL", bytes(26))] * 9
    side = (2**13).to_bytes(4, "big")
    large = [
        (b"IHDR", side * 2 + b"\x08\2\0\0\0"),
        (b"acTL", (9).to_bytes(4, "big") + bytes(4)),
        *frames,
        (b"IEND", b""),
    ]
    with pytest.raises(ImageError, match=r"has 9 frames with 603979776 pixels together: the limit is 268435456"):
        decode(png_of(large))


@pytest.mark.parametrize(("frames", "lost"), [(1, "frame beside the picture"), (3, "picture beside the animation")])
def test_a_default_picture_outside_the_animation_is_reported_as_lost(frames: int, lost: str) -> None:
    """Programs that show no animation show it; of one frame beside it only it is read."""
    beside = Image.new("RGB", (WIDTH, HEIGHT), "red")
    data = saved(beside, "PNG", save_all=True, append_images=scene()[:frames], duration=100, default_image=True)
    picture = decode(data)
    assert (len(picture.animation.frames) if picture.animation else 1) == frames
    assert encode(picture, "PNG")[1] == (lost,)
    assert encode(decode(animated("PNG")), "PNG")[1] == ()


@pytest.mark.parametrize("announced", [0, 1, 3, 9])
def test_a_png_with_fewer_or_more_frames_than_announced_is_damaged(announced: int) -> None:
    chunks = [
        (name, announced.to_bytes(4, "big") + content[4:] if name == b"acTL" else content)
        for name, content in chunks_of(animated("PNG"))
    ]
    with pytest.raises(ImageError, match=rf"says {announced} frames? of an animation, but it has 4"):
        decode(png_of(chunks))


def test_a_png_without_an_animation_chunk_is_a_still_picture() -> None:
    whole = animated("PNG")
    chunks = [each for each in chunks_of(whole) if each[0] != b"acTL"]
    first = decode(whole).pixels
    for kept in (chunks, [each for each in chunks if each[0] != b"fdAT"]):
        picture = decode(png_of(kept))
        assert picture.animation is None
        np.testing.assert_array_equal(picture.pixels, first[..., : picture.pixels.shape[-1]])
        written, _ = encode(picture, "PNG")
        np.testing.assert_array_equal(decode(written).pixels, picture.pixels)
        assert b"fcTL" not in written


@pytest.mark.parametrize("name", [b"fcTL", b"fdAT"])
def test_a_png_that_lacks_frames_is_damaged(name: bytes) -> None:
    chunks = chunks_of(animated("PNG"))
    places = [at for at, each in enumerate(chunks) if each[0] == name]
    for at in places[1], places[-1]:
        with pytest.raises(ImageError, match="damaged"):
            decode(png_of(chunks[:at] + chunks[at + 1 :]))
        half = (name, chunks[at][1][: len(chunks[at][1]) // 2])
        with pytest.raises(ImageError, match="damaged"):
            decode(png_of([*chunks[:at], half, *chunks[at + 1 :]]))


@pytest.mark.parametrize(("format", "options"), KINDS[1:])
def test_an_animation_with_missing_bytes_is_damaged(format: str, options: dict[str, Any]) -> None:
    data = animated(format, **options)
    for share in (0.4, 0.6, 0.8):
        at = int(share * len(data))
        with pytest.raises(ImageError, match=r"damaged|truncated"):
            decode(data[:at] + bytes(60) + data[at + 60 :])


@pytest.mark.parametrize(("format", "options"), KINDS)
def test_damaged_animations_are_refused_or_read_but_never_crash(format: str, options: dict[str, Any]) -> None:
    data = animated(format, **options)
    check_damaged(data, ends=range(0, len(data), max(1, len(data) // 30)))


def test_the_last_frame_does_not_decide_whether_a_gif_is_transparent() -> None:
    frames = []
    for number in range(3):
        drawn = np.zeros((40, 60, 4), np.uint8)
        cv2.circle(drawn, (15 + 12 * number, 20), 9, (200, 40, 40, 255), -1)
        frames.append(Image.fromarray(drawn))
    data = bytearray(saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100, disposal=2))
    data[data.rindex(b"!\xf9\x04") + 3] &= 0xFE  # nothing of the last frame is transparent
    animation = decode(bytes(data)).animation
    assert animation is not None
    for frame, drawn in zip(animation.frames[:2], frames, strict=False):
        assert np.array_equal(frame[..., 3], np.asarray(drawn)[..., 3])


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_png_areas_that_no_frame_covers_are_transparent(mode: str) -> None:
    first, *others = (frame.convert(mode) for frame in scene())
    chunks = chunks_of(saved(first, "PNG", save_all=True, append_images=others, duration=TIMES))
    cleared = [(name, content[:24] + b"\1" + content[25:] if name == b"fcTL" else content) for name, content in chunks]
    animation = decode(png_of(cleared)).animation
    assert animation is not None
    places = [struct.unpack_from(">4I", content, 4) for name, content in chunks if name == b"fcTL"]
    assert any((width, height) != (WIDTH, HEIGHT) for width, height, _, _ in places)
    for frame, (width, height, left, top) in zip(animation.frames, places, strict=True):
        covered = np.zeros((HEIGHT, WIDTH), np.uint8)
        covered[top : top + height, left : left + width] = 255
        assert np.array_equal(frame[..., 3], covered)
