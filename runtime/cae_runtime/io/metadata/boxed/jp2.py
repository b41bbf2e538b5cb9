"""The metadata of JPEG 2000 files: boxes."""

from __future__ import annotations

import struct
from typing import Final

from cae_runtime.io.headers.boxed import jp2
from cae_runtime.io.headers.boxed.boxes import boxes
from cae_runtime.io.headers.header import Header
from cae_runtime.io.metadata import exif, xmp
from cae_runtime.io.metadata.record import Metadata, note
from cae_runtime.io.metadata.tag_names import names_of_exif

_XMP: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF: Final = b"JpgTiffExif->JP2"
_UUIDS: Final = {
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
    bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03"): "GeoTIFF tags",
}
_UUID_BYTES: Final = 16
_PROFILES: Final = {2, 3}  # methods of a color specification: a restricted and any profile
_KNOWN: Final = {b"jP  ", b"ftyp", b"jp2h", b"jp2c", b"free"}
_OF_COLORS: Final = {b"ihdr", b"bpcc", b"colr", b"cdef"}
_NAMES: Final = {b"res ": "density", b"xml ": "xml box", b"jumb": xmp.C2PA}


def read(data: bytes, header: Header | None = None) -> Metadata:
    """Read the metadata of a JPEG 2000."""
    header = header if isinstance(header, jp2.Jp2Header) else jp2.read(data)
    block, packet, icc = b"", b"", b""
    found: set[str] = set()
    for box in header.of_colors:
        if box.name == b"colr" and data[box.start] in _PROFILES:
            icc = icc or data[box.start + 3 : box.end]
        elif box.name not in _OF_COLORS:
            note(found, _NAMES.get(box.name, f"box {box.name.decode('latin-1')!r}"))
    for box in header.boxes:
        kind, content = data[box.start : box.start + _UUID_BYTES], data[box.start + _UUID_BYTES : box.end]
        if box.name == b"uuid" and kind == _XMP:
            packet = packet or content.rstrip(b"\0")
        elif box.name == b"uuid" and kind == _EXIF:
            block = block or exif.upright(exif.plain(content))
        elif box.name not in _KNOWN:
            named = _UUIDS.get(kind, "uuid box") if box.name == b"uuid" else f"box {box.name.decode('latin-1')!r}"
            note(found, _NAMES.get(box.name, named))
    packet, claims = xmp.without_claims(packet)
    packet = xmp.upright(packet)  # readers show the pixels as they are
    found |= claims | exif.lost_elsewhere(block)
    found |= {name for name, value in (("exif", block), ("xmp", packet), ("icc", icc)) if value}
    return Metadata(block, packet, icc, found=frozenset(found), in_exif=names_of_exif(block))


def write(data: bytes, metadata: Metadata) -> bytes:
    """Return a JP2 that OpenCV wrote with its color profile, EXIF block and XMP."""
    parts = []
    for box in boxes(data, 0, len(data)):
        content = data[box.start : box.end]
        if box.name == b"jp2c":
            parts += [
                _box(b"uuid", kind + each) for kind, each in ((_EXIF, metadata.exif), (_XMP, metadata.xmp)) if each
            ]
        if box.name == b"jp2h" and metadata.icc:
            inner = boxes(data, box.start, box.end)
            content = b"".join(
                _box(b"colr", b"\2\0\0" + metadata.icc) if each.name == b"colr"
                else _box(each.name, data[each.start : each.end])
                for each in inner
            )  # fmt: skip
        parts.append(_box(box.name, content))
    return b"".join(parts)


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content
