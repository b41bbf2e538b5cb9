"""The metadata of WebP files: their chunks. OpenCV writes those of still pictures."""

from __future__ import annotations

import struct
from typing import Final

from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.webp import chunks
from cae_runtime.io.metadata import exif, xmp
from cae_runtime.io.metadata.record import BEHIND, Metadata, note
from cae_runtime.io.metadata.tag_names import names_of_exif

_FLAGS: Final = 20  # where a WebP with a VP8X chunk has its flags
_HAS: Final = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
_PIXELS: Final = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}


def read(data: bytes, header: Header | None = None) -> Metadata:
    """Read the metadata of a WebP."""
    blocks: dict[bytes, bytes] = {}
    found: set[str] = set()
    end = len(data)
    for chunk in (header and header.chunks) or chunks(data):
        end = chunk.end + (chunk.end - chunk.start) % 2
        if chunk.name in (b"EXIF", b"XMP ", b"ICCP"):
            blocks.setdefault(chunk.name, data[chunk.start : chunk.end])
        elif chunk.name not in _PIXELS:
            note(found, xmp.C2PA if chunk.name == b"C2PA" else f"chunk {chunk.name.decode('latin-1')!r}")
    block = exif.plain(blocks.get(b"EXIF", b""))
    packet, claims = xmp.without_claims(blocks.get(b"XMP ", b"").rstrip(b"\0"))
    icc = blocks.get(b"ICCP", b"")
    found |= claims | exif.lost_elsewhere(block) | ({BEHIND} if data[end:].strip(b"\0\r\n\t ") else set())
    found |= {name for name, value in (("exif", block), ("xmp", packet), ("icc", icc)) if value}
    return Metadata(block, packet, icc, found=frozenset(found), in_exif=names_of_exif(block))


def write(data: bytes, metadata: Metadata) -> bytes:
    """Return a WebP that OpenCV wrote; an animated one with its color profile, EXIF block and XMP."""
    parts = {part.name: part for part in chunks(data)}
    if b"ANIM" not in parts:
        return data
    blocks = {b"ICCP": metadata.icc, b"EXIF": metadata.exif, b"XMP ": metadata.xmp}
    added = {name: block for name, block in blocks.items() if block and name not in parts}
    place = parts[b"VP8X"].end  # the profile belongs behind it, the others at the end
    profile = _chunk(b"ICCP", added.pop(b"ICCP")) if b"ICCP" in added else b""
    file = bytearray(b"".join((data[:place], profile, data[place:], *(_chunk(*each) for each in added.items()))))
    file[_FLAGS] |= sum(_HAS[name] for name, block in blocks.items() if block)
    struct.pack_into("<I", file, 4, len(file) - 8)
    return bytes(file)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
