"""The metadata of WebP files: their chunks. OpenCV writes them."""

from __future__ import annotations

from typing import Final

from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.webp import chunks
from cae_runtime.io.metadata import exif, xmp
from cae_runtime.io.metadata.record import BEHIND, Metadata, note
from cae_runtime.io.metadata.tag_names import names_of_exif

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
