"""The metadata of AVIF and HEIC files: items and properties. Encoders write them."""

from __future__ import annotations

import struct
from typing import Final

from cae_runtime.io.headers.boxed.boxes import boxes
from cae_runtime.io.headers.boxed.heif import HeifHeader, is_alpha, kind_of_auxiliary
from cae_runtime.io.headers.boxed.heif import read as read_header
from cae_runtime.io.headers.boxed.items import Item
from cae_runtime.io.headers.header import Header
from cae_runtime.io.metadata import exif, xmp
from cae_runtime.io.metadata.record import SRGB, Metadata, note
from cae_runtime.io.metadata.tag_names import names_of_exif

_COLORS: Final = "cicp"  # as of PNGs
_XMP: Final = b"application/rdf+xml"
_ICC: Final = (b"prof", b"rICC")
_PICTURES: Final = {b"av01", b"hvc1", b"grid", b"iden", b"iovl"}
_AUXILIARY: Final = ((b"hdrgainmap", xmp.GAIN_MAP), (b"depth", xmp.DEPTH_MAP))
# Properties, by the names that they have in PNGs.
_OF_HDR: Final = {b"clli": "content light level (cLLI)", b"mdcv": "mastering display (mDCV)"}
_KNOWN_BOXES: Final = {b"ftyp", b"meta", b"mdat", b"free", b"skip", b"pdin"}
_BOX_NAMES: Final = {b"mpvd": xmp.VIDEO, b"moov": "image sequence"}


def read(data: bytes, header: Header | None = None) -> Metadata:
    """Read the metadata of an AVIF or HEIC."""
    header = header if isinstance(header, HeifHeader) else read_header(data)
    assert isinstance(header, HeifHeader)  # noqa: S101 - what the reader returns
    assert header.items is not None  # noqa: S101 - as above
    block, packet, icc = b"", b"", b""
    found: set[str] = set()
    for item in header.items.items.values():
        if item.kind == b"Exif":
            block = block or _exif(_content(data, item))
        elif item.kind == b"mime" and item.mime == _XMP:
            packet = packet or _content(data, item).rstrip(b"\0")
        elif item.kind == b"tmap":
            found.add(xmp.GAIN_MAP)
        elif item.kind not in _PICTURES:
            note(found, f"item {(item.mime or item.kind)[:60].decode('latin-1')!r}")
    for box in header.main.properties:
        if box.name == b"colr" and data[box.start : box.start + 4] in _ICC:
            icc = icc or data[box.start + 4 : box.end]
        elif box.name in _OF_HDR:
            found.add(_OF_HDR[box.name])
    for box in boxes(data, 0, len(data)):
        if box.name not in _KNOWN_BOXES:
            name = xmp.C2PA if box.name == b"uuid" else f"box {box.name.decode('latin-1')!r}"
            note(found, _BOX_NAMES.get(box.name, name))
    found |= _further_pictures(data, header)
    packet, claims = xmp.without_claims(packet)
    packet = xmp.upright(packet)  # the pixels are: readers take their orientation from elsewhere
    cicp = None if header.cicp == SRGB or icc else header.cicp
    found |= claims | exif.lost_elsewhere(block)
    found |= {name for name, value in (("exif", block), ("xmp", packet), ("icc", icc), (_COLORS, cicp)) if value}
    return Metadata(
        block, packet, icc, chroma=header.chroma, cicp=cicp, found=frozenset(found), in_exif=names_of_exif(block)
    )


def _content(data: bytes, item: Item) -> bytes:
    return b"".join(data[start:end] for start, end in item.extents)


def _exif(content: bytes) -> bytes:
    """Return the block of an Exif item, which begins with the distance to it, for pixels that are upright."""
    return exif.upright(exif.plain(content[4 + struct.unpack_from(">I", content)[0] :]) if len(content) > 4 else b"")


def _further_pictures(data: bytes, header: HeifHeader) -> set[str]:
    """Return the names of pictures besides the main one, its tiles and its alpha plane."""
    items = header.items
    assert items is not None  # noqa: S101 - `read` has set it
    found = set()
    parts = {to for kind, _, to in items.references if kind == b"dimg"}
    kinds_of: dict[int, set[bytes]] = {}
    for kind, source, _ in items.references:
        kinds_of.setdefault(source, set()).add(kind)
    for number, item in items.items.items():
        if item.kind not in _PICTURES or number == items.primary or number in parts or item.hidden:
            continue
        kinds = kinds_of.get(number, set())
        if b"thmb" in kinds:
            found.add("thumbnail")
        elif b"auxl" in kinds:
            found |= _auxiliary(kind_of_auxiliary(data, item))
        else:
            found.add(xmp.FURTHER_PICTURES)
    return found


def _auxiliary(address: bytes) -> set[str]:
    if is_alpha(address):
        return set()
    return {next((name for part, name in _AUXILIARY if part in address), "auxiliary picture")}


def write(data: bytes, metadata: Metadata) -> bytes:
    """Return an AVIF that OpenCV wrote, with all blocks, with its color primaries and transfer characteristics.

    The matrix between RGB and YCbCr stays that of the encoder.
    """
    if metadata.cicp is None:
        return data
    header = read_header(data)
    assert isinstance(header, HeifHeader)  # noqa: S101 - what the reader returns
    changed = bytearray(data)
    for box in header.main.properties:
        if box.name == b"colr" and data[box.start : box.start + 4] == b"nclx":
            struct.pack_into(">HH", changed, box.start + 4, *metadata.cicp)
    return bytes(changed)
