"""The metadata of TIFF files: their tags."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from cae_runtime.errors import ImageError
from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.tiff import TiffHeader
from cae_runtime.io.headers.tiff_directory import DAMAGED, ORIENTATION, byte_order, directory
from cae_runtime.io.metadata import exif, imagej, tiff_tags, xmp
from cae_runtime.io.metadata.density import Density, from_tiff, to_tiff
from cae_runtime.io.metadata.record import PALETTE, Metadata, bits_name
from cae_runtime.io.metadata.tag_names import (
    DENSITY,
    OF_EXIF,
    PALETTE_COLORS,
    STORAGE,
    UNTRUE,
    name_of,
    program_of,
)
from cae_runtime.io.metadata.tiff_tags import Directory, Value, block, rational, shorts

_BITS, _COLORS, _SAMPLES, _EXTRA_SAMPLES = 258, 262, 277, 338
_BLOCKS = {tiff_tags.XMP, tiff_tags.ICC, tiff_tags.IPTC}
_NOT_FROM_EXIF = STORAGE | UNTRUE.keys() | _BLOCKS
_BYTES = {tiff_tags.BYTE, tiff_tags.UNDEFINED}
_STRIPS, _STRIP_BYTES = 273, 279
# Of the tags on how pixels are stored, those that are kept with such a value: a smaller version of another page; a
# fourth channel that is no alpha, such as the infrared one of film scanners.
_KEPT = {254: [1.0], _EXTRA_SAMPLES: [0.0]}
_NO_ALPHA = "meaning of the fourth channel (written as alpha)"
_LARGEST = 2**32 - 1  # bytes of a plain TIFF
_ALPHA = 2  # not multiplied into the colors


def read(data: bytes, header: Header | None = None) -> Metadata:
    """Read the metadata of a TIFF of one page."""
    page = tiff_tags.read(data, raw=header.directory if isinstance(header, TiffHeader) else None)
    found = {exif.DAMAGED_TAGS} if page.damaged else set[str]()
    of_exif: dict[int, Value] = {}
    tags: dict[int, Value] = {}
    blocks: dict[int, bytes] = {}
    for tag, value in page.values.items():
        if tag in _KEPT and value.numbers() == _KEPT[tag]:
            tags[tag] = value
            found |= {_NO_ALPHA} if tag == _EXTRA_SAMPLES else set()
        if tag in STORAGE:
            continue
        if tag in _BLOCKS:
            blocks[tag] = value.data
            continue
        found.add(name_of(tag, value))
        if tag not in UNTRUE:
            for_program = tag == tiff_tags.DESCRIPTION and program_of(value)
            (of_exif if tag in OF_EXIF and not for_program else tags)[tag] = value
    order = byte_order(data)[0]
    if order == ">":
        tags = _in_little_endian(tags)
    packet, claims = xmp.without_claims(blocks.get(tiff_tags.XMP, b"").rstrip(b"\0"))
    icc, iptc = blocks.get(tiff_tags.ICC, b""), blocks.get(tiff_tags.IPTC, b"")
    block_of_its_own = b""
    if page.inner or of_exif.keys() - {*DENSITY, ORIENTATION} or _turned(of_exif):
        block_of_its_own = tiff_tags.exif_block(Directory(of_exif, page.inner), order)
    if _says_no_density(of_exif):
        found.discard("density")
    found |= claims | exif.lost_elsewhere(block_of_its_own) | _layout(page)
    found |= {name for name, value in (("exif", page.inner), ("xmp", packet), ("icc", icc), ("iptc", iptc)) if value}
    return Metadata(
        block_of_its_own, packet, icc, iptc, _density(of_exif), tags=tags,
        found=frozenset(found - {""}), in_exif=frozenset({"exif"} if of_exif or page.inner else ()),
    )  # fmt: skip


def carries_exif(exif_block: bytes) -> bool:
    """Whether a block is one whose tags can be read."""
    try:
        directory = tiff_tags.read(exif_block)
    except DAMAGED:
        return False
    return bool(directory.values or directory.inner)


def write(data: bytes, metadata: Metadata) -> bytes:
    """Return a TIFF that OpenCV wrote with metadata added."""
    values = dict(metadata.tags)
    inner = {}
    if tiff_tags.read(data).values[_SAMPLES].numbers() == [4]:  # OpenCV does not declare the fourth channel
        values.setdefault(_EXTRA_SAMPLES, shorts(_ALPHA))
    if metadata.exif and carries_exif(metadata.exif):
        directory = tiff_tags.read(metadata.exif)
        values |= {tag: value for tag, value in directory.values.items() if tag not in _NOT_FROM_EXIF}
        inner = dict(directory.inner)
    if metadata.density:
        x, y, unit = to_tiff(metadata.density)
        values |= dict(zip(DENSITY, (rational(x), rational(y), shorts(unit)), strict=True))
    if metadata.xmp:
        values[tiff_tags.XMP] = block(metadata.xmp, tiff_tags.BYTE)
    if metadata.icc:
        values[tiff_tags.ICC] = block(metadata.icc)
    if metadata.iptc:
        values[tiff_tags.IPTC] = block(metadata.iptc)
    return tiff_tags.with_tags(data, Directory(values, inner)) if values or inner else data


def joined(files: Sequence[bytes]) -> bytes:
    """Return one TIFF with the pages of several.

    Args:
        files: little-endian TIFFs of one page of strips, as `cae_runtime.io.encoding` writes them.

    Raises:
        ImageError: together they have more than 4 GiB.
    """
    body = [b"II*\0" + bytes(4)]
    size, links = 8, [4]  # where the offset of the next directory goes
    for file in files:
        page = tiff_tags.read(file)
        raw = directory(file)
        offsets = []
        for start, count in zip(raw.array(_STRIPS).tolist(), raw.array(_STRIP_BYTES).tolist(), strict=True):
            offsets.append(size)
            body.append(file[start : start + count])
            size += count
        if size % 2:
            body.append(b"\0")
            size += 1
        if size + len(file) > _LARGEST:
            raise ImageError("cannot be encoded as TIFF: its pages have more than 4 GiB together")
        values = {**page.values, _STRIPS: tiff_tags.longs(*offsets)}
        written = tiff_tags.written(Directory(values, page.inner), size)
        links.append(size + 2 + 12 * len({*values, *page.inner}))
        body.append(written)
        _link(body, links[-2], size)
        size += len(written)
    return b"".join(body)


def _link(body: list[bytes], place: int, offset: int) -> None:
    """Store the offset of a directory at a position of the file that the parts make."""
    for index, part in enumerate(body):
        if place < len(part):
            body[index] = b"".join((part[:place], struct.pack("<I", offset), part[place + 4 :]))
            return
        place -= len(part)


def _in_little_endian(tags: dict[int, Value]) -> dict[int, Value]:
    """Return the tags of a big-endian file without those whose bytes would have another meaning in a little-endian one.

    The numbers of a tag are converted already. Bytes that are not text may be numbers of unknown size.
    """
    kept = {tag: value for tag, value in tags.items() if value.kind not in _BYTES or _is_text(value.data)}
    if imagej.METADATA in tags:
        lengths = kept.pop(imagej.LENGTHS, None)
        kept.pop(imagej.METADATA, None)
        own = tags[imagej.METADATA]
        numbers = tuple(map(int, lengths.numbers())) if lengths and lengths.kind == tiff_tags.LONG else ()
        turned = imagej.in_little_endian(own.data, numbers)
        if lengths and turned is not None:
            kept |= {imagej.LENGTHS: lengths, imagej.METADATA: block(turned, own.kind)}
    return kept


def _is_text(data: bytes) -> bool:
    """Return whether bytes are UTF-8 without control characters, or a single byte."""
    try:
        text = data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return len(data) == 1
    return len(data) == 1 or all(letter.isprintable() or letter in "\t\r\n" for letter in text)


def _turned(values: dict[int, Value]) -> bool:
    orientation = values.get(ORIENTATION)
    return orientation is not None and orientation.data != struct.pack("<H", 1)


def _density(values: dict[int, Value]) -> Density | None:
    x, y = (values[tag].numbers() if tag in values else [] for tag in DENSITY[:2])
    unit = values[DENSITY[2]].numbers() if DENSITY[2] in values else [2.0]
    return from_tiff(x[0], y[0], unit[0]) if x and y and unit else None


def _says_no_density(values: dict[int, Value]) -> bool:
    """Return whether the tags only say that pixels are square, as in pages of programs that know no density."""
    x, y, unit = (values[tag].numbers() if tag in values else [] for tag in DENSITY)
    square = unit[:1] == [1] and x[:1] == y[:1]
    return square or not (any(x) or any(y))


def _layout(page: Directory) -> set[str]:
    """Names of properties of the color storage that the output does not keep."""
    colors = page.values[_COLORS].numbers() if _COLORS in page.values else []
    if colors[:1] == [PALETTE_COLORS]:
        return {PALETTE}
    bits = page.values[_BITS].numbers() if _BITS in page.values else [1.0]
    return {bits_name(int(bits[0]))} if bits and 0 < bits[0] < 8 else set()
