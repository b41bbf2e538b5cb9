"""The metadata of PNG files: their chunks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.png import PNG_XMP, chunks
from cae_runtime.io.metadata import exif, xmp
from cae_runtime.io.metadata.density import from_png, to_png
from cae_runtime.io.metadata.record import BEHIND, PALETTE, SRGB, Kept, Metadata, bits_name, note
from cae_runtime.io.metadata.tag_names import names_of_exif

_NATIVE: Final = {  # name -> length (None: any) and description; only other PNGs can hold them
    b"gAMA": (4, "gamma"),
    b"cHRM": (32, "chromaticities"),
    b"sRGB": (1, "srgb"),
    b"cICP": (4, "cicp"),
    b"mDCV": (24, "mastering display (mDCV)"),
    b"cLLI": (8, "content light level (cLLI)"),
    b"bKGD": (None, "background color (bKGD)"),
    b"oFFs": (9, "offset (oFFs)"),
    b"pHYs": (9, "density"),
}
_SAME_LAYOUT: Final = {b"bKGD"}  # stored as pixel values
_UNTRUE: Final = {b"sBIT": "significant bits (sBIT)", b"tIME": "time of the last change (tIME)", b"caBX": xmp.C2PA}
_PIXELS: Final = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"iDOT"}
_TEXTS: Final = {b"tEXt", b"zTXt", b"iTXt"}
_HIDDEN: Final = b"Raw profile type "  # EXIF and other blocks, packed as text
_BEHIND_IHDR: Final = 8 + 4 + 4 + 13 + 4  # signature, then length, name, content and checksum of the first chunk
_LAYOUT: Final = slice(24, 26)  # bit depth and color type
_PALETTE: Final = 3
_PROFILE_BYTES_MAX: Final = 2**24


def read(data: bytes, header: Header | None = None) -> Metadata:
    """Read the metadata of a PNG."""
    found: set[str] = set()
    native: dict[bytes, bytes] = {}
    texts = Kept()
    exif_block, packet, icc = b"", b"", b""
    end, frames, beside = len(data), 0, False
    for chunk in (header and header.chunks) or chunks(data):
        name, content, end = chunk.name, data[chunk.start : chunk.end] if chunk.name != b"IDAT" else b"", chunk.end + 4
        if name in _PIXELS:
            beside |= name == b"IDAT" and frames == 0  # otherwise it is the first frame
            frames += name == b"fcTL"
            continue
        if name == b"eXIf":
            found.add("exif")
            exif_block = exif_block or exif.plain(content)
        elif name == b"iCCP":
            found.add("icc")
            icc = icc or _profile(content)
        elif name in _NATIVE:
            if _NATIVE[name][0] in (None, len(content)):
                native.setdefault(name, content)
        elif name == b"iTXt" and content.startswith(PNG_XMP):
            found.add("xmp")
            packet = packet or _packet(content[len(PNG_XMP) :])
        elif name in _TEXTS:
            word = content.split(b"\0")[0]
            if word.startswith((_HIDDEN, PNG_XMP[:-1])) or texts.add(name, content):
                note(found, _text_name(word))
            else:
                found.add("further texts")
        else:
            note(found, _UNTRUE.get(name) or f"chunk {name.decode('latin-1')!r}")
    if beside and frames:
        found.add("picture beside the animation" if frames > 1 else "frame beside the picture")
    packet, claims = xmp.without_claims(packet)
    found |= claims | {_NATIVE[name][1] for name in native} | exif.lost_elsewhere(exif_block)
    found |= {BEHIND} if data[end:].strip(b"\0\r\n\t ") else set()
    bits, color = data[_LAYOUT]
    if color == _PALETTE:
        found.add(PALETTE)
    elif bits < 8:
        found.add(bits_name(bits))
    density = from_png(native[b"pHYs"]) if b"pHYs" in native else None
    return Metadata(
        exif_block, packet, icc, density=density, native=(*native.items(), *texts.items),
        layout=data[_LAYOUT], cicp=_cicp(native.get(b"cICP", b"")), found=frozenset(found),
        in_exif=names_of_exif(exif_block),
    )  # fmt: skip


def write(data: bytes, metadata: Metadata) -> bytes:
    """Return a PNG that OpenCV wrote with metadata added."""
    there = {chunk.name for chunk in chunks(data)}
    added = [
        (name, content)
        for name, content in metadata.native
        if name not in there and (name not in _SAME_LAYOUT or metadata.layout == data[_LAYOUT])
    ]
    density = to_png(metadata.density) if metadata.density else None
    if density and b"pHYs" not in {name for name, _ in added}:
        added.append((b"pHYs", density))
    if metadata.cicp and b"cICP" not in {*there, *(name for name, _ in added)}:
        added.append((b"cICP", bytes((*metadata.cicp, 0, 1))))  # RGB of full range
    if metadata.icc:
        added.append((b"iCCP", b"profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.exif:
        added.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        added.append((b"iTXt", PNG_XMP + bytes(4) + metadata.xmp))  # uncompressed, without language and translation
    # All of them belong after IHDR and before PLTE and IDAT.
    return data[:_BEHIND_IHDR] + b"".join(_chunks(added)) + data[_BEHIND_IHDR:]


def _cicp(content: bytes) -> tuple[int, int] | None:
    """Return color primaries and transfer of a cICP chunk; None if there is no chunk, or if it means sRGB."""
    found = tuple(content[:2])
    return (found[0], found[1]) if len(found) == 2 and found != SRGB else None


def _chunks(added: list[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for name, content in added:
        yield struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _profile(content: bytes) -> bytes:
    return _inflated(content.partition(b"\0")[2][1:])


def _packet(content: bytes) -> bytes:
    """The packet of an iTXt chunk: flag, method, language, translated name, text."""
    text = content[2:].partition(b"\0")[2].partition(b"\0")[2]
    return _inflated(text) if content[:1] == b"\1" else text


def _inflated(packed: bytes) -> bytes:
    """Decompress; empty if that fails or gives more than 16 MiB."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, _PROFILE_BYTES_MAX)
    except zlib.error:
        return b""
    return data if unpacker.eof else b""


def _text_name(word: bytes) -> str:
    text = word[:40].decode("latin-1")
    return f"text ({text})" if text.isascii() and text.isprintable() and text else "text"
