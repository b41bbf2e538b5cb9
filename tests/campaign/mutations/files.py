"""A file changed by someone who knows its format: parts moved, repeated, exchanged, sizes that lie, bombs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

from tests.campaign.mutations.generic import GROWN_MAX, Rng, blind, number, spliced, surely, with_number
from tests.campaign.mutations.parts import Layout, Part, layout_of
from tests.campaign.mutations.tiff import TIFF_STARTS, tiff_changed

# Where parts hold sizes, counts and depths: name -> place, bytes; big-endian unless the file is a RIFF or a GIF.
_LIES: Final[dict[bytes, tuple[tuple[int, int], ...]]] = {
    b"IHDR": ((0, 4), (4, 4), (8, 1), (9, 1), (12, 1)), b"acTL": ((0, 4), (4, 4)),
    b"fcTL": ((0, 4), (4, 4), (8, 4), (12, 4), (16, 4), (20, 2), (22, 2), (24, 1), (25, 1)),
    b"fdAT": ((0, 4),), b"PLTE": ((0, 1),), b"pHYs": ((0, 4), (8, 1)),
    b"VP8X": ((0, 1), (4, 3), (7, 3)), b"ANIM": ((4, 2),), b"ANMF": ((0, 3), (3, 3), (6, 3), (9, 3), (12, 3), (15, 1)),
    b"VP8 ": ((0, 1), (6, 2), (8, 2)), b"VP8L": ((1, 4),), b"avih": ((0, 4), (16, 4), (24, 4), (32, 4), (36, 4)),
    b"ispe": ((4, 4), (8, 4)), b"ihdr": ((0, 4), (4, 4), (8, 2), (10, 1), (11, 1)), b"pixi": ((4, 1), (5, 1)),
    b"iloc": ((4, 1), (5, 1), (6, 2), (8, 2), (12, 2), (14, 4), (18, 4)), b"irot": ((0, 1),), b"clap": ((0, 4), (4, 4)),
    b"ipma": ((4, 4), (8, 2), (10, 1)), b"pitm": ((4, 2),), b"stsz": ((4, 4), (8, 4)), b"stts": ((4, 4), (8, 4), (12,
    4)),
    b"stsc": ((4, 4), (8, 4), (12, 4)), b"stco": ((4, 4), (8, 4)), b"ctts": ((4, 4), (8, 4)), b"elst": ((4, 4), (8, 4)),
    b"tkhd": ((76, 4), (80, 4), (20, 4)), b"mvhd": ((12, 4), (16, 4)), b"mdhd": ((12, 4), (16, 4)),
    b"colr": ((0, 4), (4, 2)), b"tenc": ((0, 4),), b"pclr": ((0, 2), (2, 1)), b"cdef": ((0, 2), (2, 2)),
    b"\xff\xc0": ((0, 1), (1, 2), (3, 2), (5, 1), (7, 1)), b"\xff\xc1": ((1, 2), (3, 2)),
    b"\xff\xc2": ((0, 1), (1, 2), (3, 2), (5, 1), (7, 1)), b"\xff\xdd": ((0, 2),), b"\xff\xda": ((0, 1), (1, 1)),
    b"\xff\xc4": ((0, 1), (1, 1)), b"\xff\xdb": ((0, 1),),
    b"\xff\x51": ((2, 4), (6, 4), (10, 4), (14, 4), (18, 4), (22, 4), (34, 2), (36, 1), (37, 1), (38, 1)),
    b"\xff\x52": ((0, 1), (1, 1), (2, 2), (4, 1), (5, 1), (6, 1), (7, 1)), b"\xff\x90": ((0, 2), (2, 4), (7, 1)),
    b"\xb0": ((0, 1), (0, 2)), b"\xba": ((0, 1), (0, 2)), b"\xd7": ((0, 1),), b"\x2a\xd7\xb1": ((0, 3),),
    b",": ((1, 2), (3, 2), (5, 2), (7, 2), (9, 1)), b"head": ((6, 2), (8, 2), (10, 1)), b"!": ((2, 1), (4, 2)),
}  # fmt: skip
_LITTLE: Final = {b"VP8X", b"ANIM", b"ANMF", b"VP8 ", b"VP8L", b"avih", b",", b"head", b"!"}
_BOMB: Final = zlib.compress(bytes(2**26), 9)  # 64 MiB of zeros in 64 KiB
_BMP_FIELDS: Final = ((2, 4), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4), (46, 4))
_SIZES: Final = (b"0", b"-1", b"1", b"65536", b"268435457", b"99999999999999999999", b"#", b"1e9", b"\0", b"4294967297")
_NESTED: Final = 3000


def mutated(data: bytes, others: Sequence[bytes], rng: Rng) -> bytes:
    """Return a file that was changed once or several times, and is not what it was.

    Args:
        data: a whole file.
        others: other files, mostly of the same format: parts are taken from them.
        rng: decides everything.
    """
    return surely(lambda: _several(data, others, rng), data)


def _several(data: bytes, others: Sequence[bytes], rng: Rng) -> bytes:
    for _ in range(int(rng.choice([1, 1, 1, 1, 2, 4]))):
        data = _changed(data, others, rng)[:GROWN_MAX]
    return data


def _changed(data: bytes, others: Sequence[bytes], rng: Rng) -> bytes:
    if rng.random() < 0.25:
        return blind(data, rng)
    other = others[int(rng.integers(len(others)))]
    if rng.random() < 0.05:
        return spliced(data, other, rng)
    if data.startswith(TIFF_STARTS):
        return tiff_changed(data, rng)
    if data.startswith(b"BM"):
        at, size = _BMP_FIELDS[int(rng.integers(len(_BMP_FIELDS)))]
        return with_number(data, at, size, number(rng, size), "<")
    layout = layout_of(data)
    if layout is None:
        return blind(data, rng)
    try:
        return _rearranged(layout, data, other, rng)
    except (IndexError, struct.error):  # an earlier change left no whole parts
        return blind(data, rng)


def _rearranged(layout: Layout, data: bytes, other: bytes, rng: Rng, depth: int = 0) -> bytes:
    """Change the list of parts, or that within one of them."""
    parts = layout.split(data)
    inside = [(at, skip) for at, (name, _) in enumerate(parts) for outer, skip in layout.deeper if name == outer]
    if inside and depth < 8 and rng.random() < 0.8:
        at, skip = inside[int(rng.integers(len(inside)))]
        name, content = parts[at]
        parts[at] = (name, content[:skip] + _rearranged(layout, content[skip:], other, rng, depth + 1))
        return layout.join(parts)
    if not parts:
        return blind(data, rng)
    at = int(rng.integers(len(parts)))
    lying = [place for place, (name, _) in enumerate(parts) if name in _LIES]
    if lying and rng.random() < 0.35:
        at = lying[int(rng.integers(len(lying)))]
        parts[at] = _lied(parts[at], rng)
        return layout.join(parts)
    move = _MOVES[int(rng.integers(len(_MOVES)))]
    parts = move(parts, at, layout.split(other) if other[:2] == data[:2] else parts, rng)
    return layout.join(parts)


def _lied(part: Part, rng: Rng) -> Part:
    name, content = part
    places = _LIES[name]
    at, size = places[int(rng.integers(len(places)))]
    order = "<" if name in _LITTLE else ">"
    if rng.random() < 0.3:  # a little more or less than the truth
        true = int.from_bytes(content[at : at + size], "little" if order == "<" else "big")
        return name, with_number(content, at, size, true + int(rng.choice([-1, 1, 7, 64])), order)
    return name, with_number(content, at, size, number(rng, size), order)


def _dropped(parts: list[Part], at: int, _: list[Part], __: Rng) -> list[Part]:
    return parts[:at] + parts[at + 1 :]


def _multiplied(parts: list[Part], at: int, _: list[Part], rng: Rng) -> list[Part]:
    times = int(rng.choice([2, 2, 3, 50, 5000]))
    times = max(2, min(times, GROWN_MAX // (len(parts[at][1]) + 12)))
    return parts[:at] + [parts[at]] * times + parts[at + 1 :]


def _swapped(parts: list[Part], at: int, _: list[Part], rng: Rng) -> list[Part]:
    to, swapped = int(rng.integers(len(parts))), list(parts)
    swapped[at], swapped[to] = swapped[to], swapped[at]
    return swapped


def _borrowed(parts: list[Part], at: int, others: list[Part], rng: Rng) -> list[Part]:
    taken = others[int(rng.integers(len(others)))] if others else parts[at]
    return [*parts[: at + int(rng.integers(2))], taken, *parts[at + 1 :]]


def _content_changed(parts: list[Part], at: int, _: list[Part], rng: Rng) -> list[Part]:
    name, content = parts[at]
    return [*parts[:at], (name, blind(content, rng)), *parts[at + 1 :]]


def _renamed(parts: list[Part], at: int, others: list[Part], rng: Rng) -> list[Part]:
    names = [name for name, _ in (*parts, *others)] + [*_LIES]
    fitting = [name for name in names if len(name) == len(parts[at][0])]
    return [*parts[:at], (fitting[int(rng.integers(len(fitting)))], parts[at][1]), *parts[at + 1 :]]


def _decompressed(parts: list[Part], at: int, _: list[Part], rng: Rng) -> list[Part]:
    """Change what is compressed inside a part."""
    for place in (at, *range(len(parts))):
        name, content = parts[place]
        start = next((s for s in range(min(len(content), 90)) if content[s : s + 1] == b"x"), None)
        if start is None:
            continue
        try:
            inner = zlib.decompressobj().decompress(content[start:], 2**20)
        except zlib.error:
            continue
        return [*parts[:place], (name, content[:start] + zlib.compress(blind(inner, rng))), *parts[place + 1 :]]
    return _content_changed(parts, at, [], rng)


def _bombed(parts: list[Part], at: int, _: list[Part], rng: Rng) -> list[Part]:
    """Add what unpacks to very much, or a part within a part within a part."""
    kind = int(rng.integers(4))
    if kind == 0:
        names = (b"zTXt", b"iCCP", b"iTXt", b"IDAT")
        name = names[int(rng.integers(len(names)))]
        before = {b"zTXt": b"Comment\0\0", b"iCCP": b"icc\0\0", b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0", b"IDAT": b""}[
            name
        ]
        return [*parts[: max(at, 1)], (name, before + _BOMB), *parts[max(at, 1) :]]
    name, content = parts[at]
    if kind == 1:
        for _ in range(_NESTED):
            content = struct.pack(">I4s", (len(content) + 8) % 2**32, name[:4].ljust(4)) + content
        return [*parts[:at], (name, content), *parts[at + 1 :]]
    if kind == 2:
        return [*parts[:at], (name, bytes(2**16 - 3)), *parts[at + 1 :]]
    return [*parts[:at], (name, _SIZES[int(rng.integers(len(_SIZES)))] + b"\n"), *parts[at + 1 :]]


_MOVES: Final = (
    _dropped, _multiplied, _swapped, _borrowed, _content_changed, _content_changed, _content_changed, _renamed,
    _decompressed, _decompressed, _bombed,
)  # fmt: skip
