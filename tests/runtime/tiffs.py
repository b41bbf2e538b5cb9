"""Writes TIFFs of every kind, right ones and damaged ones, tag by tag."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import imagecodecs
import numpy as np

RAW, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE, ZSTD = 1, 5, 7, 8, 32773, 32946, 50000
WHITE_ZERO, BLACK_ZERO, RGB, PALETTE, CMYK, YCBCR, CFA = 0, 1, 2, 3, 5, 6, 32803
COMPRESS: dict[int, Callable[[bytes], Any]] = {
    RAW: bytes,
    JPEG: bytes,  # to be replaced by `change`
    LZW: imagecodecs.lzw_encode,
    DEFLATE: zlib.compress,
    OLD_DEFLATE: zlib.compress,
    PACKBITS: imagecodecs.packbits_encode,
    ZSTD: imagecodecs.zstd_encode,
}
LETTERS = {1: "B", 2: "B", 3: "H", 4: "I", 11: "f", 12: "d"}
Tags = dict[int, tuple[int, Sequence[float]]]  # tag -> type (3 SHORT, 4 LONG, 11 FLOAT, 12 DOUBLE), values


def tiff(tags: Tags, order: str = "<", big: bool = False, again: Tags | None = None) -> tuple[bytes, bytes]:
    """Return a header and a directory, to be followed by the data at the offset that is the length of both.

    Args:
        tags: the entries.
        order: `<` or `>`.
        big: write a BigTIFF.
        again: entries that stand there a second time, behind those of the same tag.
    """
    entries = sorted([*tags.items(), *(again or {}).items()], key=lambda entry: entry[0])
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(
        order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8))
    )
    room, entry_size, count_size = (8, 20, 8) if big else (4, 12, 2)
    behind = len(head) + count_size + entry_size * len(entries) + room
    body, further = struct.pack(order + ("Q" if big else "H"), len(entries)), b""
    for tag, (kind, values) in entries:
        packed = struct.pack(f"{order}{len(values)}{LETTERS.get(kind, 'Q')}", *values)
        if len(packed) > room:
            place, further = (
                struct.pack(order + "QI"[not big], behind + len(further)),
                further + packed + b"\0" * (len(packed) % 2),
            )
            packed = place
        body += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, len(values)) + packed.ljust(room, b"\0")
    return head, body + b"\0" * room + further


def packed(values: np.ndarray, bits: int, order: str) -> bytes:
    """Return rows of values, shape (rows, values), as a TIFF stores them: each row begins at a byte."""
    if bits % 8 == 0:
        return values.astype(np.dtype(f"{values.dtype.kind}{bits // 8}").newbyteorder(order)).tobytes()
    shifts = np.arange(bits - 1, -1, -1)
    return np.packbits(
        (values[..., None].astype(np.int64) >> shifts & 1).astype(np.uint8).reshape(len(values), -1), axis=1
    ).tobytes()


def predicted(values: np.ndarray, samples: int) -> np.ndarray:
    """Return the differences to the pixel on the left, shape (rows, width * samples)."""
    done = values.copy()
    done[:, samples:] -= values[:, :-samples]
    return done


def picture(
    pixels: np.ndarray,
    colors: int,
    bits: int,
    *,
    compression: int = RAW,
    rows: int | None = None,
    tile: int | None = None,
    planes: bool = False,
    predictor: int = 1,
    order: str = "<",
    big: bool = False,
    more: Tags | None = None,
    again: Tags | None = None,
    change: Callable[[list[bytes]], list[bytes]] = list,
) -> bytes:
    """Return a TIFF of pixels of shape (H, W, samples); `change` may spoil the coded strips or tiles."""
    height, width, samples = pixels.shape
    side = tile or (rows or height)
    across = tile or width
    padded = np.pad(pixels, ((0, -height % side if tile else 0), (0, -width % across), (0, 0)))
    strips = []
    for plane in [padded[..., i : i + 1] for i in range(samples)] if planes else [padded]:
        for y in range(0, plane.shape[0], side):
            for x in range(0, plane.shape[1], across):
                part = plane[y : y + side, x : x + across]
                flat = part.reshape(len(part), -1)
                flat = predicted(flat, part.shape[2]) if predictor == 2 else flat
                strips.append(COMPRESS[compression](packed(flat, bits, order)))
    strips = change(strips)
    long = 16 if big else 4
    places = {True: (324, 325), False: (273, 279)}[tile is not None]
    tags: Tags = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * samples), 259: (3, [compression]), 262: (3, [colors]),
        277: (3, [samples]), 284: (3, [2 if planes else 1]), 317: (3, [predictor]),
        places[0]: (long, [0] * len(strips)), places[1]: (4, [len(strip) for strip in strips]),
        **({322: (4, [tile]), 323: (4, [tile])} if tile else {278: (4, [side])}), **(more or {}),
    }  # fmt: skip
    start = len(b"".join(tiff(tags, order, big, again)))
    ends = np.cumsum([start, *map(len, strips)])
    tags[places[0]] = (long, ends[:-1].tolist())
    return b"".join([*tiff(tags, order, big, again), *strips])
