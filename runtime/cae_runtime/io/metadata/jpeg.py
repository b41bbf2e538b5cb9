"""The metadata of JPEG files: segments, and data after the picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.jpeg import END_OF_IMAGE, JPEG_EXIF, JPEG_ICC, JPEG_XMP, JpegHeader, segments
from cae_runtime.io.headers.tiff_directory import DAMAGED, directory
from cae_runtime.io.jpeg_quality import quality_of
from cae_runtime.io.metadata import exif, xmp
from cae_runtime.io.metadata.density import from_jpeg, to_jpeg
from cae_runtime.io.metadata.record import BEHIND, Kept, Metadata, note
from cae_runtime.io.metadata.tag_names import names_of_exif

_JFIF, _JFXX, _MPF = b"JFIF\0", b"JFXX\0", b"MPF\0"
_EXTENDED_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"
_ISO_GAIN_MAP: Final = b"urn:iso:std:iso:ts:21496:-1\0"
_PHOTOSHOP: Final = b"Photoshop 3.0\0"
_IPTC: Final = 0x0404  # the Photoshop resource that holds it
_IPTC_DIGEST: Final = 0x0425
_NUMBER_OF_IMAGES: Final = 0xB001  # in an MPF index
_COMMENT, _DQT, _ADOBE = 0xFE, 0xDB, 0xEE
_APP: Final = range(0xE0, 0xF0)
_SIMPLE: Final = {  # marker, start of the payload -> name of data that is always lost
    (0xE0, _JFXX): "JFIF thumbnail",
    (0xE1, _EXTENDED_XMP): xmp.EXTENDED,
    (0xE1, b"FLIR\0"): "FLIR thermal data",
    (0xE2, _ISO_GAIN_MAP): xmp.GAIN_MAP,
}
_SEGMENT_MAX: Final = 0xFFFF - 2  # payload of one segment
_PARTS_MAX: Final = 255
_PROFILE_PART_MAX: Final = _SEGMENT_MAX - len(JPEG_ICC) - 2
_DENSITY: Final = slice(13, 18)  # after the start marker, segment marker, length, `JFIF`, NUL and version


def read(data: bytes, header: Header | None = None) -> Metadata:
    """Read the metadata of a JPEG."""
    found: set[str] = set()
    exif_block, packet, iptc = b"", b"", b""
    density = None
    profile: dict[int, bytes] = {}
    parts = 0
    comments, tables = Kept(), []
    others = 0
    end = len(data)
    known = header.segments if isinstance(header, JpegHeader) else None
    for segment in known or segments(data):
        marker, payload = segment.marker, segment.payload
        if marker == END_OF_IMAGE:
            end = segment.end
        elif marker == 0xE0 and payload.startswith(_JFIF):
            density = density or (from_jpeg(payload[7:12]) if len(payload) >= 12 else None)
            found |= {"JFIF thumbnail"} if any(payload[12:14]) else set()
        elif marker == 0xE1 and payload.startswith(JPEG_EXIF):
            found.add("further exif" if exif_block else "exif")
            exif_block = exif_block or exif.plain(payload)
        elif marker == 0xE1 and payload.startswith(JPEG_XMP):
            packet = packet or payload.removeprefix(JPEG_XMP)
        elif marker == 0xE2 and payload.startswith(JPEG_ICC) and len(payload) > len(JPEG_ICC) + 2:
            number, parts = payload[len(JPEG_ICC)], payload[len(JPEG_ICC) + 1]
            profile.setdefault(number, payload[len(JPEG_ICC) + 2 :])
        elif marker == 0xE2 and payload.startswith(_MPF):
            others = _pictures(payload[len(_MPF) :]) - 1
        elif marker == 0xED and payload.startswith(_PHOTOSHOP):
            resources = dict(_resources(payload[len(_PHOTOSHOP) :]))
            iptc = iptc or resources.get(_IPTC, b"")
            found |= {"Photoshop resources"} if not resources or resources.keys() - {_IPTC, _IPTC_DIGEST} else set()
        elif marker == _COMMENT:
            found |= set() if comments.add(b"\xfe", payload) else {"further comments"}
        elif marker == _DQT:
            tables.append(payload)
        elif marker in _APP and marker != _ADOBE:
            note(found, _name(marker, payload))
    packet, claims = xmp.without_claims(packet)
    icc = b"".join(profile[number] for number in sorted(profile)) if sorted(profile) == [*range(1, parts + 1)] else b""
    found |= claims | _behind(data, end) | ({xmp.FURTHER_PICTURES} if others > 0 else set())
    if others <= (xmp.GAIN_MAP in found) and found & {xmp.GAIN_MAP, xmp.VIDEO}:
        found.discard(xmp.FURTHER_PICTURES)  # it is the gain map or video that was counted or announced
    present = {"xmp": packet, "icc": profile, "iptc": iptc, "density": density, "comment": comments.items}
    found |= {name for name, value in present.items() if value} | exif.lost_elsewhere(exif_block)
    return Metadata(
        exif_block, packet, icc, iptc, density, tuple(comments.items),
        found=frozenset(found), in_exif=names_of_exif(exif_block), jpeg_quality=quality_of(tables),
    )  # fmt: skip


def carries_exif(block: bytes) -> bool:
    """Whether a block fits into a single segment."""
    return len(block) <= _SEGMENT_MAX - len(JPEG_EXIF)


def write(data: bytes, metadata: Metadata) -> bytes:
    """Return a JPEG that OpenCV wrote with metadata added; what does not fit is left out."""
    density = to_jpeg(metadata.density) if metadata.density else None
    if density:
        data = data[: _DENSITY.start] + density + data[_DENSITY.stop :]
    payloads = []
    if metadata.exif:
        payloads.append((0xE1, JPEG_EXIF + metadata.exif))
    if metadata.xmp:
        payloads.append((0xE1, JPEG_XMP + metadata.xmp))
    parts = [metadata.icc[at : at + _PROFILE_PART_MAX] for at in range(0, len(metadata.icc), _PROFILE_PART_MAX)]
    if len(parts) <= _PARTS_MAX:
        payloads += [
            (0xE2, JPEG_ICC + bytes([number, len(parts)]) + part) for number, part in enumerate(parts, start=1)
        ]
    if metadata.iptc:
        resource = struct.pack(">4sHHI", b"8BIM", _IPTC, 0, len(metadata.iptc)) + metadata.iptc
        payloads.append((0xED, _PHOTOSHOP + resource + bytes(len(resource) % 2)))
    payloads += [(_COMMENT, comment) for name, comment in metadata.native if name == b"\xfe"]
    inserted = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload
        for marker, payload in payloads
        if len(payload) <= _SEGMENT_MAX
    )
    place = 4 + struct.unpack_from(">H", data, 4)[0]  # after the JFIF header
    return data[:place] + inserted + data[place:]


def _pictures(index: bytes) -> int:
    """How many pictures an MPF index has; 2 if it does not say."""
    try:
        return directory(index).number(_NUMBER_OF_IMAGES, 2)
    except DAMAGED:
        return 2


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, data) of Photoshop's resources."""
    at = 0
    while block.startswith(b"8BIM", at) and at + 12 <= len(block):
        number = struct.unpack_from(">H", block, at + 4)[0]
        at += 6 + (block[at + 6] + 2) // 2 * 2  # after the name, whose length and bytes are padded to an even size
        size = int.from_bytes(block[at : at + 4], "big")
        yield number, block[at + 4 : at + 4 + size]
        at += 4 + size + size % 2


def _behind(data: bytes, end: int) -> set[str]:
    """The name of the data after the end of the picture."""
    if b"ftyp" in data[end:]:
        return {xmp.VIDEO}
    if data[end : end + 3] == b"\xff\xd8\xff":
        gain_map = any(mark in data[end:] for mark in (b"hdr-gain-map", b"HDRGainMap", _ISO_GAIN_MAP))
        return {xmp.GAIN_MAP if gain_map else xmp.FURTHER_PICTURES}
    return {BEHIND} if data[end:].strip(b"\0\r\n\t ") else set()


def _name(marker: int, payload: bytes) -> str:
    for (at, start), name in _SIMPLE.items():
        if marker == at and payload.startswith(start):
            return name
    if marker == 0xEB and payload.startswith(b"JP"):
        return xmp.C2PA if b"c2pa" in payload else "JUMBF segment"
    text = payload[:20].split(b"\0")[0].decode("ascii", "replace")
    word = f" ({text})" if text and text.isascii() and text.isprintable() else ""
    return f"APP{marker - 0xE0} segment{word}"
