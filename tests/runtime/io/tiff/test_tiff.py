"""Which TIFFs are read, compared with the written pixels, tifffile and Pillow."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.pages.documented import pages
from tests.runtime.files import opened, saved
from tests.runtime.tiffs import (
    BLACK_ZERO,
    COMPRESS,
    DEFLATE,
    JPEG,
    LZW,
    OLD_DEFLATE,
    PACKBITS,
    PALETTE,
    RAW,
    RGB,
    WHITE_ZERO,
    YCBCR,
    ZSTD,
    picture,
)  # fmt: skip

from cae_runtime import ImageError
from cae_runtime.io import image_files as images
from cae_runtime.io.decoding import messages, tiff_extra, tiff_tiles
from cae_runtime.io.decoding import tiff as tiff_data
from cae_runtime.io.decoding.decode import decoded
from cae_runtime.io.headers.inspect import inspect
from cae_runtime.io.headers.tiff_kinds import READ_BY_OPENCV, read_by_opencv, summary
from cae_runtime.io.image_files import decode
from cae_runtime.io.orientation import upright

HEIGHT, WIDTH = 37, 53
LAYOUTS: dict[str, dict[str, int]] = {"one strip": {}, "strips": {"rows": 8}, "tiles": {"tile": 16}}
RNG = np.random.default_rng(3)


def pixels_of(bits: int, samples: int) -> np.ndarray:
    return RNG.integers(0, 2**bits, (HEIGHT, WIDTH, samples)).astype(np.uint8 if bits <= 8 else np.uint16)


def expected(pixels: np.ndarray, colors: int, bits: int, palette: np.ndarray | None, orientation: int) -> np.ndarray:
    """Return what is to be seen, as `decode` gives it."""
    if palette is not None:
        seen = (palette.T[pixels[..., 0]] >> 8).astype(np.uint8)
    else:
        seen = 2**bits - 1 - pixels if colors == WHITE_ZERO else pixels
        seen = np.round(seen * (255 / (2**bits - 1))).astype(np.uint8) if bits < 8 else seen
        seen = seen << (16 - bits) if 8 < bits < 16 else seen
    seen = seen[..., [2, 1, 0, 3][: seen.shape[2]]] if seen.shape[2] >= 3 else seen
    return upright(seen[..., 0] if seen.shape[2] == 1 else seen, orientation)


def every_kind() -> Iterator[tuple[bytes, np.ndarray, np.ndarray]]:
    """Yield files, their samples and what is to be seen, of all combinations; orientations and sizes go round."""
    number = 0
    for colors, bits_of, samples_of in [
        (WHITE_ZERO, (1, 2, 4, 8, 12, 16), (1,)),
        (BLACK_ZERO, (1, 2, 4, 8, 10, 12, 14, 16), (1,)),
        (RGB, (4, 8, 12, 16), (3, 4)),
        (PALETTE, (1, 2, 4, 8), (1,)),
    ]:
        for bits in bits_of:
            for samples in samples_of:
                for planes in (False, True)[: 1 + (samples > 1)]:
                    for layout in LAYOUTS.values():
                        for compression in (RAW, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, ZSTD):
                            number += 1
                            order = "<>"[number // 2 % 2]
                            orientation = number % 8 + 1
                            predictor = 1 + (number % 3 == 0 and bits in (8, 16) and compression in (LZW, DEFLATE))
                            palette, more = None, {274: (3, [orientation])}
                            if colors == PALETTE:
                                palette = RNG.integers(0, 2**16, (3, 2**bits)).astype(np.uint16)
                                more[320] = (3, palette.reshape(-1).tolist())
                            pixels = pixels_of(bits, samples)
                            data = picture(
                                pixels, colors, bits, compression=compression, planes=planes, order=order,
                                predictor=predictor, big=number % 5 == 0, more=more, **layout,
                            )  # fmt: skip
                            yield data, pixels, expected(pixels, colors, bits, palette, orientation)


@pytest.mark.slow
def test_every_kind_of_tiff_is_decoded_correctly_or_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    read, by_extra = set(), 0
    for data, samples, seen in every_kind():
        header = inspect(data)
        kind = header.kind  # type: ignore[attr-defined]
        found = decode(data)
        np.testing.assert_array_equal(upright(found.pixels, found.orientation), seen, err_msg=str(kind))
        if header.refusal:
            by_extra += 1
            monkeypatch.setattr(tiff_extra, "is_installed", lambda: False)
            with pytest.raises(
                ImageError, match=r"TIFF that OpenCV would decode wrong \(\d+-bit .*cae-toolkit\[tiff\]"
            ):
                decode(data)
            monkeypatch.undo()
        else:
            read.add((kind.colors, kind.bits, kind.samples, kind.planes, kind.compression))
            if kind.tile_bytes:
                continue
            written = tifffile.imread(io.BytesIO(data))
            written = np.moveaxis(written, 0, -1) if kind.planes == 2 and kind.samples > 1 else written
            np.testing.assert_array_equal(written.reshape(samples.shape), samples)
    assert by_extra > 100
    for row in READ_BY_OPENCV:  # every row of the table is one that was seen here, or below
        for compression in row.compressions & {RAW, LZW, DEFLATE, OLD_DEFLATE, PACKBITS}:
            if YCBCR not in row.colors:
                for colors in row.colors:
                    for bits in row.bits & {1, 4, 8, 12, 16}:
                        for samples in row.samples:
                            for planes in row.planes if samples > 1 else {1}:
                                assert (colors, bits, samples, planes, compression) in read


@pytest.mark.parametrize("tile", [(16, 16), (16, 32), (32, 48), (48, 32), (48, 48), (112, 112), (240, 240)])
def test_uncompressed_tiles_are_read_without_an_extra(tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_extra, "is_installed", lambda: False)
    monkeypatch.setattr(tiff_tiles, "_STRIP_BYTES", 10_000)  # several strips
    pixels = RNG.integers(0, 256, (131, 157, 4)).astype(np.uint8)
    for number, order in enumerate("<>"):
        for samples, photometric in ((1, "minisblack"), (1, "miniswhite"), (3, "rgb"), (4, "rgb")):
            for planes in ("contig", "separate")[: 1 + (samples > 1)]:
                shown = pixels[..., :samples]
                file = io.BytesIO()
                stored = shown.squeeze() if planes == "contig" else np.moveaxis(shown, -1, 0)
                tifffile.imwrite(
                    file, stored, tile=tile, byteorder=order,
                    bigtiff=bool(number), photometric=photometric, planarconfig=planes if samples > 1 else None,
                    metadata=None, extrasamples=["unassalpha"][: samples - 3], extratags=[(274, 3, 1, 3, True)],
                )  # fmt: skip
                seen = expected(shown, WHITE_ZERO if photometric == "miniswhite" else RGB, 8, None, 3)
                found = decode(file.getvalue())
                np.testing.assert_array_equal(upright(found.pixels, found.orientation), seen)


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_alpha_is_read(bits: int, planes: bool) -> None:
    pixels = pixels_of(bits, 4)
    data = picture(pixels, RGB, bits, planes=planes and bits == 8, more={338: (3, [2])})
    np.testing.assert_array_equal(decode(data).pixels, pixels[..., [2, 1, 0, 3]])


def reversed_bits(strips: list[bytes]) -> list[bytes]:
    return [np.packbits(np.unpackbits(np.frombuffer(s, np.uint8)), bitorder="little").tobytes() for s in strips]


@pytest.mark.parametrize("bits", [8, 16])
def test_reversed_bits_are_read(bits: int) -> None:
    pixels = pixels_of(bits, 1)
    for compression in (RAW, LZW, DEFLATE, PACKBITS):
        data = picture(
            pixels, BLACK_ZERO, bits, rows=8, compression=compression, more={266: (3, [2])}, change=reversed_bits
        )
        np.testing.assert_array_equal(decode(data).pixels, pixels[..., 0])


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits", "tiff_lzw"])
def test_black_and_white_tiffs_equal_pillow(compression: str) -> None:
    image = Image.fromarray(pixels_of(8, 1)[..., 0] > 90)
    np.testing.assert_array_equal(decode(saved(image, "TIFF", compression=compression)).pixels, np.asarray(image) * 255)


@pytest.mark.parametrize(
    ("mode", "compression"), [("L", "jpeg"), ("RGB", "jpeg"), ("YCbCr", "raw"), ("YCbCr", "tiff_lzw")]
)
def test_jpeg_and_ycbcr_tiffs_equal_pillow(mode: str, compression: str) -> None:
    data = saved(Image.fromarray(pixels_of(8, 3)).convert(mode), "TIFF", compression=compression)
    seen = np.asarray(opened(data).convert("L" if mode == "L" else "RGB")).astype(int)
    pixels = decode(data).pixels
    assert np.abs(pixels - (seen if mode == "L" else seen[..., ::-1])).max() <= 1


@pytest.mark.parametrize("compression", [RAW, LZW])
@pytest.mark.parametrize("subsampling", [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)])
def test_subsampled_ycbcr_is_read(subsampling: tuple[int, int], compression: int) -> None:
    wide, high = subsampling
    down, across = -(-HEIGHT // high), -(-WIDTH // wide)
    luma = RNG.integers(16, 235, (down * high, across * wide))
    chroma = RNG.integers(100, 156, (down, across, 2))
    blocks = luma.reshape(down, high, across, wide).transpose(0, 2, 1, 3).reshape(down, across, -1)
    coded = np.concatenate([blocks, chroma], axis=2).astype(np.uint8)
    strips = [COMPRESS[compression](coded[at : at + 8 // high].tobytes()) for at in range(0, down, 8 // high)]
    blue, red = (np.kron(chroma[..., i], np.ones((high, wide))) - 128 for i in (0, 1))
    seen = np.dstack([luma + 1.772 * blue, luma - 0.344136 * blue - 0.714136 * red, luma + 1.402 * red])
    more = {530: (3, subsampling)}
    for short in (False, True):
        kept = halves(strips) if short else strips
        plain = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        data = picture(plain, YCBCR, 8, rows=8, compression=compression, more=more, change=lambda _, kept=kept: kept)
        if short:
            with pytest.raises(ImageError, match="damaged"):
                decode(data)
        else:
            assert np.abs(decode(data).pixels - seen.clip(0, 255)[:HEIGHT, :WIDTH]).max() <= 1


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_ycbcr_in_jpeg_equals_tifffile(subsampling: tuple[int, int], tile: tuple[int, int] | None) -> None:
    file = io.BytesIO()
    pixels = pixels_of(8, 3)
    tifffile.imwrite(file, pixels, photometric="ycbcr", compression="jpeg", subsampling=subsampling, tile=tile)
    np.testing.assert_array_equal(
        decode(file.getvalue()).pixels, tifffile.imread(io.BytesIO(file.getvalue()))[..., ::-1]
    )


def halves(strips: list[bytes]) -> list[bytes]:
    return [strip[: len(strip) // 2] for strip in strips]


def last_half(strips: list[bytes]) -> list[bytes]:
    return [*strips[:-1], *halves(strips[-1:])]


def damaged_inside(strips: list[bytes]) -> list[bytes]:
    middle = len(strips) // 2
    strip = strips[middle]
    return [*strips[:middle], strip[: len(strip) // 3] + strip[len(strip) // 2 :], *strips[middle + 1 :]]


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize(
    ("compression", "change"),
    [
        *product((RAW, LZW, DEFLATE, PACKBITS, ZSTD), (halves, last_half)),
        *product((RAW, LZW, DEFLATE, ZSTD), [damaged_inside]),  # runs (PackBits) that begin elsewhere are still runs
    ],
)
def test_a_tiff_with_too_little_data_is_damaged(compression: int, layout: str, change: Callable[[Any], Any]) -> None:
    for colors, bits, samples in ((BLACK_ZERO, 8, 1), (RGB, 8, 3), (BLACK_ZERO, 16, 1), (WHITE_ZERO, 16, 1)):
        pixels = pixels_of(bits, samples)
        data = picture(pixels, colors, bits, compression=compression, **LAYOUTS[layout], change=change)
        with pytest.raises(ImageError, match=r"damaged|truncated"):
            decode(data)
        whole = picture(pixels, colors, bits, compression=compression, **LAYOUTS[layout])
        with pytest.raises(ImageError, match=r"damaged|truncated"):
            decode(whole[: len(whole) * 3 // 4])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("compression", [DEFLATE, OLD_DEFLATE, PACKBITS])
def test_a_tiff_that_decodes_to_too_many_bytes_is_damaged(compression: int, layout: str, bits: int) -> None:
    pixels = pixels_of(bits, 3)
    decoder = imagecodecs.packbits_decode if compression == PACKBITS else imagecodecs.zlib_decode

    def longer(strips: list[bytes]) -> list[bytes]:
        return [COMPRESS[compression](decoder(strips[0]) + bytes(57)), *strips[1:]]

    def zeros(strips: list[bytes]) -> list[bytes]:
        middle = len(strips[0]) // 2
        return [strips[0][:middle] + bytes(40) + strips[0][middle + 40 :], *strips[1:]]

    for change in (longer, zeros):
        for more in ({}, {266: (3, [2])}):
            data = picture(
                pixels, RGB, bits, compression=compression, **LAYOUTS[layout], more=more,
                change=lambda strips, more=more, change=change: (reversed_bits if more else list)(change(strips)),
            )  # fmt: skip
            with pytest.raises(ImageError, match="damaged"):
                decode(data)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_lzw_data_beyond_the_last_row_is_ignored(layout: str, bits: int) -> None:
    pixels = pixels_of(bits, 3)
    for more in (1, 57, 5000):
        data = picture(
            pixels, RGB, bits, compression=LZW, **LAYOUTS[layout],
            change=lambda strips, more=more: [
                imagecodecs.lzw_encode(imagecodecs.lzw_decode(strip) + bytes(more)) for strip in strips
            ],
        )  # fmt: skip
        np.testing.assert_array_equal(decode(data).pixels, pixels[..., ::-1])


@pytest.mark.parametrize("compression", [DEFLATE, PACKBITS])
def test_a_full_last_strip_and_padding_are_not_damage(compression: int) -> None:
    pixels = pixels_of(8, 1)
    for rows in (8, 64):
        full = np.pad(pixels, ((0, -HEIGHT % rows), (0, 0), (0, 0)))
        strips = [COMPRESS[compression](full[y : y + rows].tobytes()) + b"\0" for y in range(0, HEIGHT, rows)]
        data = picture(pixels, BLACK_ZERO, 8, rows=rows, compression=compression, change=lambda _, s=strips: s)
        np.testing.assert_array_equal(decode(data).pixels, pixels[..., 0])


def test_a_tiff_with_half_a_jpeg_is_damaged() -> None:
    data = saved(Image.fromarray(pixels_of(8, 3)), "TIFF", compression="jpeg")
    start, count = (int(getattr(inspect(data), name)[0]) for name in ("starts", "counts"))
    half = data[: start + count // 2] + b"\xff\xd9" + bytes(count - count // 2 - 2) + data[start + count :]
    with pytest.raises(ImageError, match="damaged"):
        decode(half)
    frame = data.index(b"\xff\xc0", start)
    larger = data[: frame + 5] + b"\xff\x00\xff\x00" + data[frame + 9 :]  # a JPEG larger than the TIFF it is in
    with pytest.raises(ImageError, match="damaged"):
        decode(larger)


def shared(data: bytes, start: int, count: int, number: int) -> bytes:
    """Return a TIFF whose strips all lie at one place."""
    header = inspect(data)
    for before, value in ((header.starts, start), (header.counts, count)):  # type: ignore[attr-defined]
        old = struct.pack(f"<{number}I", *before.tolist())
        assert data.count(old) == 1
        data = data.replace(old, struct.pack(f"<{number}I", *[value] * number))
    return data


@pytest.mark.parametrize("compression", [RAW, PACKBITS, JPEG])
def test_strips_that_share_most_of_their_bytes_are_refused(compression: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(strips: list[bytes]) -> list[bytes]:
        return [strip + bytes(i) for i, strip in enumerate(strips)]

    data = picture(np.zeros((64, 8, 1), np.uint8), BLACK_ZERO, 8, rows=1, compression=compression, change=change)
    start = int(inspect(data).starts[0])  # type: ignore[attr-defined]
    monkeypatch.setattr(tiff_data, "_decodes", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(ImageError, match="strips or tiles overlap"):
        decode(shared(data, start, len(data) - start, 64))


def test_equal_strips_may_share_their_bytes() -> None:
    pixels = np.tile(pixels_of(8, 1)[:1], (640, 1, 1))
    data = picture(pixels, BLACK_ZERO, 8, rows=1, change=lambda strips: [s + bytes(i) for i, s in enumerate(strips)])
    start = int(inspect(data).starts[0])  # type: ignore[attr-defined]
    data = shared(data, start, WIDTH, 640)[: start + WIDTH]
    assert len(data) < pixels.size
    np.testing.assert_array_equal(decode(data).pixels, pixels[..., 0])


def test_coded_data_is_checked_in_limited_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = pixels_of(8, 1)
    data = picture(
        pixels, BLACK_ZERO, 8, rows=1, compression=LZW, change=lambda strips: [s + bytes(2000) for s in strips]
    )
    monkeypatch.setattr(messages, "_hears", lambda: False)  # then all is decoded once more
    lengths, before = [], tiff_data._decodes
    monkeypatch.setattr(tiff_data, "_AT_ONCE", 10_000)
    monkeypatch.setattr(tiff_data, "_decodes", lambda file, flags: lengths.append(len(file)) or before(file, flags))
    np.testing.assert_array_equal(decode(data).pixels, pixels[..., 0])
    assert max(lengths) < 12_000


@pytest.mark.parametrize("tag", [256, 257, 258, 262, 277, 278])
def test_a_duplicate_size_tag_is_damage(tag: int) -> None:
    data = picture(pixels_of(8, 1), BLACK_ZERO, 8, again={tag: (4, [20_000])})
    with pytest.raises(ImageError, match=f"tag {tag} occurs twice"):
        decode(data)


def test_an_oversized_strip_counts_against_the_pixel_limit() -> None:
    data = picture(pixels_of(8, 1), BLACK_ZERO, 8, more={278: (4, [2**24])})
    with pytest.raises(ImageError, match=r"strip of .* pixels: the limit is"):
        images.header_of(data)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({330: (4, [8])}, "further images behind its first"),
        ({50706: (3, [1, 4])}, "raw file.*develop it"),
        ({33421: (3, [2, 2])}, "raw file"),
        ({262: (3, [32803])}, "raw file"),
        ({262: (3, [34892])}, "raw file"),
        ({262: (3, [8])}, "8-bit CIELAB"),
        ({339: (3, [2])}, "signed 8-bit"),
        ({339: (3, [3])}, "floating-point"),
        ({258: (3, [32])}, "32-bit gray"),
        ({317: (3, [3])}, "predictor 3"),
        ({259: (3, [6])}, "old-style JPEG compression"),
        ({259: (3, [34712])}, "JPEG 2000 compression"),
        ({259: (3, [1234])}, "compression 1234"),
        ({32997: (4, [2])}, "volume"),
    ],
)
def test_unsupported_tiffs_are_refused_by_name(more: dict[int, tuple[int, list[int]]], reason: str) -> None:
    data = picture(pixels_of(8, 1), BLACK_ZERO, 8, more=more)
    with pytest.raises(ImageError, match=reason):
        decoded(data, inspect(data))


def test_alpha_that_would_change_the_colors_is_refused() -> None:
    with pytest.raises(ImageError, match="multiplied into the colors"):
        decode(picture(pixels_of(8, 4), RGB, 8, more={338: (3, [1])}))


def test_the_documentation_lists_the_supported_tiffs() -> None:
    sentence = f"`cae-run` reads these TIFFs: {summary()}."
    assert [page for page in pages() if sentence in " ".join(page.read_text(encoding="utf-8").split())]


def test_the_table_of_supported_tiffs_decides() -> None:
    assert not read_by_opencv(inspect(picture(pixels_of(16, 3), RGB, 16, planes=True)).kind)  # type: ignore[attr-defined]
    assert JPEG in {each for row in READ_BY_OPENCV for each in row.compressions}
