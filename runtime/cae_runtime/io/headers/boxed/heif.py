"""The header of AVIF and HEIC files: their main picture (ISO/IEC 23008-12, AV1 Image File Format)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.formats import AVIF, HEIC
from cae_runtime.io.headers.boxed import samples
from cae_runtime.io.headers.boxed.av1 import CodedSizes
from cae_runtime.io.headers.boxed.boxes import Box, Fields, boxes
from cae_runtime.io.headers.boxed.items import Item, Items, read_items
from cae_runtime.io.headers.header import Header

_OF_BRAND: Final = {
    b"avif": AVIF, b"avis": AVIF, b"heic": HEIC, b"heix": HEIC, b"heim": HEIC, b"heis": HEIC, b"hevc": HEIC,
    b"hevx": HEIC, b"msf1": HEIC,
}  # fmt: skip
_ANY_CODING: Final = b"mif1"  # says nothing about the coding: the other brands do
_SEQUENCES: Final = {b"avis", b"hevc", b"hevx", b"msf1"}
_CODINGS: Final = {AVIF: b"av01", HEIC: b"hvc1"}
_GRID: Final = b"grid"
_FULL_RANGE: Final = 0x80
_CHROMA: Final = {2: 422, 3: 444}  # chroma_format_idc of HEVC; 1 is 420, 0 gray
# Quarter turns against the clock, and whether a mirror (by `imir`: upside down, left for right) follows -> EXIF.
_TURNED: Final = {0: 1, 1: 8, 2: 3, 3: 6}
_THEN_UPSIDE_DOWN: Final = {0: 4, 1: 5, 2: 2, 3: 7}
_THEN_MIRRORED: Final = {0: 2, 1: 7, 2: 4, 3: 5}


@dataclass(frozen=True)
class HeifHeader(Header):
    """The header of an AVIF or HEIC.

    Attributes:
        orientation: how the file says that its pixels are to be turned, as an EXIF orientation 1..8.
        cicp: color primaries and transfer characteristics (ITU-T H.273); None if the file does not say.
        items: everything in the file.
        chroma: color resolution of a HEIC: 420, 422 or 444; 420 also for gray.
        limited: it is a gray AVIF in which black is 16 and white 235 of 255: OpenCV leaves these values as they are.
    """

    orientation: int = 1
    cicp: tuple[int, int] | None = None
    items: Items | None = None
    chroma: int = 420
    limited: bool = False

    @property
    def main(self) -> Item:
        """The picture that is shown."""
        assert self.items is not None  # noqa: S101 - `read` has set it
        return self.items.items[self.items.primary]


def coding_of(data: bytes) -> str:
    """Return `AVIF` or `HEIC` by the brands of a file; empty if it is neither."""
    if data[4:8] != b"ftyp":
        return ""
    major = data[8:12]
    if major in _OF_BRAND:
        return _OF_BRAND[major]
    end = min(int.from_bytes(data[:4], "big"), 4096, len(data))
    brands = [data[at : at + 4] for at in range(16, end - 3, 4)]
    return next((_OF_BRAND[brand] for brand in brands if brand in _OF_BRAND), "") if major == _ANY_CODING else ""


def read(data: bytes) -> Header:
    """Read the header of an AVIF or HEIC; see `cae_runtime.io.headers.inspect.inspect`."""
    format = coding_of(data)
    if data[8:12] in _SEQUENCES and format == HEIC:
        raise ImageError("is an animated HEIC, which is not read: convert it to a video first")
    for box in boxes(data, 0, len(data)):  # to the end: nothing is missing
        if box.name == b"mdat" and box.start == box.end:
            raise ImageError(f"is truncated: the end of the {format} is missing")
    items = read_items(data)
    main = items.items[items.primary]
    coded = _coded(items, main)
    if coded is None or coded.kind != _CODINGS[format]:
        kind = "unknown" if coded is None else coded.kind.decode("latin-1")
        raise ImageError(f"has a main picture in a format that is not read ({kind!r}): convert it to PNG first")
    if any(start > end or end > len(data) for item in items.items.values() for start, end in item.extents):
        raise ImageError(f"is truncated: the end of the {format} is missing")
    if format == AVIF and main.property(b"clap") is not None:
        raise ImageError("is an AVIF with a clean aperture, which is not read: convert it to PNG first")
    sizes = {_size(data, box) for box in main.properties if box.name == b"ispe"}
    if len(sizes) != 1:
        raise ImageError("is damaged: it gives its size more than once, or not at all")
    stored = sizes.pop()
    coded_sizes = CodedSizes(data)
    if format == AVIF:
        _check_coded_sizes(data, items, coded_sizes)
    frames = _frames(data, stored, coded_sizes) if data[8:12] in _SEQUENCES else 1
    width, height = _shown(data, main, *stored)
    bits, gray, chroma = _depth(data, coded, format)
    gray_alpha = gray and _has_alpha(data, items)
    limited = format == AVIF and gray and _is_limited(data, main, coded)
    if format == AVIF and gray_alpha:
        raise ImageError("is a gray AVIF with alpha, which OpenCV does not read: convert it to PNG first")
    return HeifHeader(
        format, width, height, gray_alpha=gray_alpha, limited=limited,
        part_pixels=max(_pixels(data, item) for item in items.items.values()),
        bits=bits if bits > 8 else 0, frames=frames, orientation=_orientation(data, main),
        cicp=_cicp(data, main, coded), items=items, chroma=chroma,
    )  # fmt: skip


def _frames(data: bytes, size: tuple[int, int], coded_sizes: CodedSizes) -> int:
    """Return how many frames the first track of an image sequence has.

    Raises:
        ImageError: it does not say, its frames do not have the size of the main picture, or those of a track are larger
            than it says.
    """
    tables = list(samples.tables(data))
    if samples.frame_size(data, tables[0]) != size:
        raise ImageError("is damaged: it gives its size more than once, or not at all")
    for table in tables:
        announced = samples.frame_size(data, table)
        for place in samples.places(data, table):
            _check_size(announced, coded_sizes.of([place]))
    return samples.count(data, tables[0])


def _check_coded_sizes(data: bytes, items: Items, coded_sizes: CodedSizes) -> None:
    """Refuse pictures that are larger than the file says: a decoder would need memory for the coded size.

    Raises:
        ImageError: there is one, or its data is damaged.
    """
    for item in items.items.values():
        announced = next((_size(data, box) for box in item.properties if box.name == b"ispe"), None)
        if item.kind == _CODINGS[AVIF] and announced:
            _check_size(announced, coded_sizes.of(item.extents))


def _check_size(announced: tuple[int, int], coded: tuple[int, int]) -> None:
    (width, height), (wide, high) = announced, coded
    if wide > width or high > height:
        raise ImageError(f"is damaged: its header says {width}x{height} pixels, but its data has {wide}x{high}")


def _coded(items: Items, main: Item) -> Item | None:
    """Return the item that shows how the main picture is coded: the picture itself, or the first tile of a grid."""
    if main.kind != _GRID:
        return main
    tiles = [to for kind, source, to in items.references if kind == b"dimg" and source == items.primary]
    return items.items.get(tiles[0]) if tiles else None


def _size(data: bytes, box: Box) -> tuple[int, int]:
    fields = Fields(data, box.start + 4, box.end)
    return fields.number(4), fields.number(4)


def _shown(data: bytes, main: Item, width: int, height: int) -> tuple[int, int]:
    """Return the size of the main picture as shown: cut by its clean aperture, and turned."""
    cut = main.property(b"clap")
    if cut is not None:
        fields = Fields(data, cut.start, cut.end)
        (wide, parts), (high, parts_down) = ((fields.number(4), fields.number(4)) for _ in range(2))
        if not parts or not parts_down or wide > width * parts or high > height * parts_down:
            raise ImageError("is damaged: its clean aperture is larger than the picture")
        width, height = wide // parts, high // parts_down
    return (height, width) if _orientation(data, main) >= 5 else (width, height)


def _pixels(data: bytes, item: Item) -> int:
    sizes = [_size(data, box) for box in item.properties if box.name == b"ispe"]
    return max((width * height for width, height in sizes), default=0)


def _depth(data: bytes, coded: Item, format: str) -> tuple[int, bool, int]:
    """Return bits of each value, whether it is gray, and `chroma` of a picture, by the configuration of its coding."""
    box = coded.property(b"av1C" if format == AVIF else b"hvcC")
    if box is None:
        raise ImageError("is damaged: its codec is missing")
    fields = Fields(data, box.start, box.end)
    if format == AVIF:
        flags = fields.number(3) & 0xFF
        return (12 if flags & 0x20 else 10) if flags & 0x40 else 8, bool(flags & 0x10), 420
    fields.at += 16
    chroma, luma = fields.number(1) & 3, fields.number(1) & 7
    return 8 + luma, chroma == 0, _CHROMA.get(chroma, 420)


def _has_alpha(data: bytes, items: Items) -> bool:
    planes = [items.items[number] for number in items.of(b"auxl", items.primary) if number in items.items]
    return any(is_alpha(kind_of_auxiliary(data, plane)) for plane in planes)


def is_alpha(address: bytes) -> bool:
    """Return whether the address of an auxiliary picture says that it is an alpha plane."""
    return b"alpha" in address or address.endswith(b"auxid:1")


def kind_of_auxiliary(data: bytes, item: Item) -> bytes:
    """Return the address that says what an auxiliary picture is; empty if the file does not say."""
    box = item.property(b"auxC")
    return Fields(data, box.start + 4, box.end).text() if box else b""


def _orientation(data: bytes, main: Item) -> int:
    turn = main.property(b"irot")
    quarters = data[turn.start] & 3 if turn else 0
    mirror = main.property(b"imir")
    if mirror is None:
        return _TURNED[quarters]
    return (_THEN_MIRRORED if data[mirror.start] & 1 else _THEN_UPSIDE_DOWN)[quarters]


def _cicp(data: bytes, *items: Item) -> tuple[int, int] | None:
    fields = _color_codes(data, *items)
    return (fields.number(2), fields.number(2)) if fields else None


def _is_limited(data: bytes, *items: Item) -> bool:
    """Return whether a file says that its values are those of video: not all of 0..255 are used."""
    fields = _color_codes(data, *items)
    if fields is None:
        return False
    fields.number(6)
    return not fields.number(1) & _FULL_RANGE


def _color_codes(data: bytes, *items: Item) -> Fields | None:
    """Return the numbers for primaries, transfer, matrix and range of the first item that has them."""
    for item in items:
        for box in item.properties:
            if box.name == b"colr" and data[box.start : box.start + 4] == b"nclx":
                return Fields(data, box.start + 4, box.end)
    return None
