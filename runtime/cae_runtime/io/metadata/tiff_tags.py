"""The tags of TIFF files and EXIF blocks: read completely, and written back with new offsets.

An EXIF block is a small TIFF file without pixels, so both are read and written by the same code. Values are stored in
little-endian order, whatever the order of the file. Maker notes stay opaque bytes: offsets inside them are not
followed.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from cae_runtime.io.headers import tiff_directory
from cae_runtime.io.headers.tiff_directory import DAMAGED, LETTERS, RATIONALS, size_of

EXIF: Final = 34665
GPS: Final = 34853
INTEROPERABILITY: Final = 40965
XMP: Final = 700
ICC: Final = 34675
IPTC: Final = 33723
PHOTOSHOP: Final = 34377
DESCRIPTION: Final = 270
_SHAPE: Final = b'{"shape"'  # a description in which tifffile repeats how the pixels are stored
_INNER: Final = {EXIF, GPS, INTEROPERABILITY}  # tags whose value is the offset of another directory
_BLOCKS: Final = {XMP, ICC, IPTC, PHOTOSHOP}  # bytes, whatever their type in the file

BYTE: Final = 1
SHORT: Final = 3
LONG: Final = 4
RATIONAL: Final = 5
UNDEFINED: Final = 7
_BYTES: Final = {BYTE, 2, 6, UNDEFINED}  # types of text and bytes
_OFFSETS: Final = {13, 18}  # types of values that lead elsewhere
_SHORTER: Final = {16: (LONG, "<u8", "<u4"), 17: (9, "<i8", "<i4")}  # type in BigTIFF -> type in plain TIFF
_HEADER_BYTES: Final = 8


@dataclass(frozen=True)
class Value:
    """The value of a tag: TIFF type, count, and bytes in little-endian order."""

    kind: int
    count: int
    data: bytes

    def numbers(self) -> list[float]:
        """Return the value as numbers; a rational with denominator 0 is 0. Text, bytes and offsets give no numbers."""
        if self.kind in _BYTES | _OFFSETS:
            return []
        with np.errstate(invalid="ignore"):  # signaling NaNs
            values = np.frombuffer(self.data, "<" + LETTERS[self.kind]).astype(float)
        if self.kind in RATIONALS:
            top, bottom = values[::2], values[1::2]
            values = np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)
        return [float(value) for value in values]


@dataclass(frozen=True)
class Directory:
    """One directory of a TIFF file.

    Attributes:
        values: tag -> value, without those of `inner`.
        inner: tag -> the directory that it points to: `EXIF`, `GPS`, and inside `EXIF` also `INTEROPERABILITY`.
        following: offset of the next directory, 0 without one.
        damaged: some entries could not be read and are left out.
    """

    values: Mapping[int, Value] = field(default_factory=dict)
    inner: Mapping[int, Directory] = field(default_factory=dict)
    following: int = 0
    damaged: bool = False

    def without(self, tags: Collection[int]) -> Directory:
        """Return the directory without some tags."""
        return replace(self, values={tag: value for tag, value in self.values.items() if tag not in tags})


def shorts(*numbers: int) -> Value:
    """Return a value of 16-bit numbers."""
    return Value(SHORT, len(numbers), struct.pack(f"<{len(numbers)}H", *numbers))


def longs(*numbers: int) -> Value:
    """Return a value of 32-bit numbers."""
    return Value(LONG, len(numbers), struct.pack(f"<{len(numbers)}I", *numbers))


def rational(number: float) -> Value:
    """Return a positive number, or infinity, as a fraction of numbers up to 2^32 - 1; integers stay exact."""
    whole = round(min(number, 2**32 - 1))
    near = abs(number - whole) < 0.002 or number > 2**32 / 10_000
    fraction = (whole, 1) if near else (round(number * 10_000), 10_000)
    return Value(RATIONAL, 1, struct.pack("<2I", *fraction))


def block(data: bytes, kind: int = UNDEFINED) -> Value:
    """Return a value of bytes."""
    return Value(kind, len(data), data)


def read(data: bytes, offset: int | None = None, *, raw: tiff_directory.Directory | None = None) -> Directory:
    """Read a directory of a TIFF file or EXIF block, with the directories that it points to.

    Args:
        data: the whole file.
        offset: where the directory is; None takes the first one.
        raw: its entries, if they are known.

    Raises:
        struct.error, IndexError, OverflowError, ValueError, KeyError: (DAMAGED) it is missing or incomplete.
    """
    return _read(data, raw or tiff_directory.directory(data, offset), depth=2)


def _read(data: bytes, raw: tiff_directory.Directory, depth: int) -> Directory:
    values: dict[int, Value] = {}
    inner: dict[int, Directory] = {}
    damaged, budget = False, len(data)  # values do not overlap, so together they are not longer than the file
    for entry in raw.entries:
        if entry.tag == DESCRIPTION and bytes(entry.data[: len(_SHAPE)]) == _SHAPE:
            continue
        size = entry.count * size_of(entry.kind)
        budget -= size
        if (
            entry.kind not in LETTERS
            or len(entry.data) < size
            or budget < 0
            or entry.tag in values
            or entry.tag in inner
        ):
            damaged = True
            continue
        value = Value(entry.kind, entry.count, bytes(entry.data))
        if entry.tag in _BLOCKS:
            value = block(value.data)
        elif entry.order == ">":
            value = replace(value, data=_turned(value))
        if entry.tag not in _INNER:
            values[entry.tag] = value
        elif depth:
            try:
                inner[entry.tag] = _read(
                    data, tiff_directory.directory(data, int.from_bytes(value.data, "little")), depth - 1
                )
            except DAMAGED:
                damaged = True
    return Directory(values, inner, raw.following, damaged or any(each.damaged for each in inner.values()))


def exif_block(directory: Directory, order: str = "<") -> bytes:
    """Return a directory as an EXIF block of its own."""
    mark = {"<": b"II", ">": b"MM"}[order]
    return mark + struct.pack(order + "HI", 42, _HEADER_BYTES) + written(directory, _HEADER_BYTES, order)


def with_tags(tiff: bytes, added: Directory) -> bytes:
    """Return a little-endian TIFF file of one page with more tags.

    Args:
        tiff: the file; not a BigTIFF.
        added: tags to add; tags that the file already has stay as they are.

    Returns:
        The file, with a new directory after its end.
    """
    page = read(tiff)
    whole = Directory({**added.values, **page.values}, {**added.inner, **page.inner})
    offset = len(tiff) + len(tiff) % 2
    view = memoryview(tiff)  # one copy is made
    start = view[:4], struct.pack("<I", offset), view[_HEADER_BYTES:]
    return b"".join((*start, bytes(offset - len(tiff)), written(whole, offset, "<")))


def written(directory: Directory, offset: int, order: str = "<") -> bytes:
    """Return a directory's bytes for an offset: entries, the offset of the next one (0), values, inner directories."""
    values = {tag: shorter for tag, value in directory.values.items() if (shorter := _shorter(value))}
    tags = sorted({*values, *directory.inner})
    behind = offset + 2 + 12 * len(tags) + 4
    entries, body = bytearray(), bytearray()
    for tag in tags:
        if tag in directory.inner:
            entries += struct.pack(order + "HHII", tag, LONG, 1, behind + len(body))
            body += written(directory.inner[tag], behind + len(body), order)
            continue
        value = values[tag]
        data = _turned(value) if order == ">" else value.data
        entries += struct.pack(order + "HHI", tag, value.kind, value.count)
        entries += data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "I", behind + len(body))
        body += b"" if len(data) <= 4 else data + bytes(len(data) % 2)
    return b"".join((struct.pack(order + "H", len(tags)), entries, bytes(4), body))


def _shorter(value: Value) -> Value | None:
    """A value as a plain TIFF stores it; None if it cannot, or if it is an offset."""
    if value.kind in _OFFSETS:
        return None
    if value.kind not in _SHORTER:
        return value
    kind, long, short = _SHORTER[value.kind]
    numbers = np.frombuffer(value.data, long)
    fits = numbers.astype(short)
    return Value(kind, value.count, fits.tobytes()) if (fits == numbers).all() else None


def _turned(value: Value) -> bytes:
    """The bytes of a value in the other byte order."""
    return np.frombuffer(value.data, f"u{struct.calcsize('<' + LETTERS[value.kind])}").byteswap().tobytes()
