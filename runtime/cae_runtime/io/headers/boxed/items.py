"""The items of an AVIF or HEIC: pictures, tiles and metadata, with their properties (ISO/IEC 23008-12)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.headers.boxed.boxes import Box, Fields, boxes, first

_ITEMS_MAX: Final = 2**14
_PARTS_MAX: Final = 2**16  # extents, properties of items and references of a file
_SIZES: Final = {0, 4, 8}  # bytes of the numbers that say where items are
_IN_FILE, _IN_META = 0, 1  # where the bytes of an item lie


@dataclass
class Item:
    """An item.

    Attributes:
        kind: `av01` or `hvc1` for coded pictures, `grid` for one made of tiles, `Exif`, `mime`, ...
        mime: the content type of a `mime` item.
        extents: the positions (start, end) of its bytes in the file.
        properties: its property boxes, in order.
        hidden: whether it is only a part of other items.
    """

    kind: bytes = b""
    mime: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)
    properties: list[Box] = field(default_factory=list)
    hidden: bool = False

    def property(self, name: bytes) -> Box | None:
        """Return its first property of a name."""
        return next((box for box in self.properties if box.name == name), None)


@dataclass(frozen=True)
class Items:
    """All items of a file.

    Attributes:
        primary: number of the picture that is shown.
        items: by number.
        references: (kind, from, to): `auxl` from an alpha plane to its picture, `thmb` from a thumbnail, `cdsc` from
            metadata, `dimg` from a grid to its tiles.
    """

    primary: int
    items: dict[int, Item]
    references: tuple[tuple[bytes, int, int], ...]

    def of(self, kind: bytes, to: int) -> list[int]:
        """Return the items that refer to an item in the given way."""
        return [source for each, source, target in self.references if each == kind and target == to]


def read_items(data: bytes) -> Items:
    """Read the items of a file.

    Raises:
        ImageError: the file has none, or is damaged or truncated.
        struct.error: as well.
    """
    meta = first(data, b"meta", 0, len(data))
    if meta is None:
        raise ImageError("is damaged: it has no picture")
    parts = {box.name: box for box in boxes(data, meta.start + 4, meta.end)}
    if not {b"pitm", b"iinf", b"iloc", b"iprp"} <= parts.keys():
        raise ImageError("is damaged: the position of its picture is missing")
    items = _infos(data, parts[b"iinf"])
    _locate(data, parts[b"iloc"], parts.get(b"idat"), items)
    _associate(data, parts[b"iprp"], items)
    fields = Fields(data, parts[b"pitm"].start, parts[b"pitm"].end)
    primary = fields.number(2 if fields.number(4) >> 24 == 0 else 4)
    if primary not in items:
        raise ImageError("is damaged: the position of its picture is missing")
    references = tuple(_references(data, parts[b"iref"])) if b"iref" in parts else ()
    return Items(primary, items, references)


def _infos(data: bytes, box: Box) -> dict[int, Item]:
    fields = Fields(data, box.start, box.end)
    fields.number(2 if fields.number(4) >> 24 == 0 else 4)  # how many there are
    items: dict[int, Item] = {}
    for entry in boxes(data, fields.at, box.end):
        info = Fields(data, entry.start, entry.end)
        flags = info.number(4)
        version = flags >> 24
        if version < 2:
            raise ImageError("is damaged: its list of items is of an unknown version")
        number = info.number(2 if version == 2 else 4)
        info.number(2)  # protection
        kind = info.number(4).to_bytes(4, "big")
        info.text()  # its name
        mime = info.text() if kind == b"mime" else b""
        if number in items or len(items) >= _ITEMS_MAX:
            raise ImageError("is damaged: an item occurs twice, or there are too many")
        items[number] = Item(kind, mime, hidden=bool(flags & 1))
    return items


def _locate(data: bytes, box: Box, idat: Box | None, items: dict[int, Item]) -> None:
    fields = Fields(data, box.start, box.end)
    version = fields.number(4) >> 24
    sizes, more = fields.number(1), fields.number(1)
    of_offset, of_length, of_base, of_index = sizes >> 4, sizes & 15, more >> 4, more & 15 if version else 0
    if not {of_offset, of_length, of_base, of_index} <= _SIZES:
        raise ImageError("is damaged: the position of its picture is missing")
    wide = 2 if version < 2 else 4
    count = 0
    for _ in range(fields.number(wide)):
        number = fields.number(wide)
        place = fields.number(2) & 15 if version else _IN_FILE
        external = fields.number(2)
        base = fields.number(of_base)
        extents: list[tuple[int, int]] = []
        parts = fields.number(2)
        count += parts
        if count > _PARTS_MAX or (parts > 1 and not of_offset + of_length):
            raise ImageError("is damaged: its items have too many parts")
        for _ in range(parts):
            fields.number(of_index)
            offset, length = base + fields.number(of_offset), fields.number(of_length)
            shift = idat.start if place == _IN_META and idat else 0
            extents.append((shift + offset, shift + offset + length if length else len(data)))
        if number in items and not external and place in (_IN_FILE, _IN_META):
            items[number].extents += extents
    for item in items.values():
        if sum(end - start for start, end in item.extents) > len(data):
            raise ImageError("is damaged: the parts of an item overlap")


def _associate(data: bytes, box: Box, items: dict[int, Item]) -> None:
    parts = list(boxes(data, box.start, box.end))
    properties = [each for part in parts if part.name == b"ipco" for each in boxes(data, part.start, part.end)]
    for part in parts:
        if part.name != b"ipma":
            continue
        fields = Fields(data, part.start, part.end)
        flags = fields.number(4)
        for _ in range(fields.number(4)):
            number = fields.number(2 if flags >> 24 == 0 else 4)
            for _ in range(fields.number(1)):
                index = fields.number(2) & 0x7FFF if flags & 1 else fields.number(1) & 0x7F
                if index > len(properties):
                    raise ImageError("is damaged: a property is not there")
                if index and number in items:
                    items[number].properties.append(properties[index - 1])


def _references(data: bytes, box: Box) -> list[tuple[bytes, int, int]]:
    fields = Fields(data, box.start, box.end)
    wide = 2 if fields.number(4) >> 24 == 0 else 4
    found: list[tuple[bytes, int, int]] = []
    for each in boxes(data, fields.at, box.end):
        inner = Fields(data, each.start, each.end)
        source = inner.number(wide)
        found += [(each.name, source, inner.number(wide)) for _ in range(inner.number(2))]
        if len(found) > _PARTS_MAX:
            raise ImageError("is damaged: its items have too many references")
    return found
