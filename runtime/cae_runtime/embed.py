"""Puts metadata into encoded files where OpenCV's writers fall short.

In JPEG they stop at colour profiles of more than one segment; in PNG they write XMP as Latin-1 text, which no reader
looks for. Neither keeps the density of the pixels, nor PNG what says its colours without a profile.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final

from cae_runtime.container import inspect
from cae_runtime.formats import JPEG, PNG
from cae_runtime.jpeg_header import JPEG_EXIF, JPEG_ICC, JPEG_XMP
from cae_runtime.png_header import PNG_BLOCKS, PNG_XMP

_SEGMENT_MAX: Final = 0xFFFF - 2  # payload of one JPEG segment
_SEGMENTS_MAX: Final = 255
_PROFILE_PART_MAX: Final = _SEGMENT_MAX - len(JPEG_ICC) - 2
_JFIF_DENSITY: Final = slice(13, 18)  # behind start marker, segment marker, length, `JFIF`, NUL and version
_BEHIND_IHDR: Final = 8 + 4 + 4 + 13 + 4  # signature, then length, name, content and checksum of the first chunk


def embeddable(format: str, metadata: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the blocks of `metadata` that this module, rather than OpenCV, has to put into `format`, and that fit."""
    if format == PNG:
        return {kind: block for kind, block in metadata.items() if kind == "xmp"}
    if format != JPEG:
        return {}
    limits = {
        "exif": _SEGMENT_MAX - len(JPEG_EXIF),
        "xmp": _SEGMENT_MAX - len(JPEG_XMP),
        "icc": _SEGMENTS_MAX * _PROFILE_PART_MAX,
    }
    return {kind: block for kind, block in metadata.items() if len(block) <= limits.get(kind, -1)}


def embed(format: str, data: bytes, metadata: Mapping[str, bytes]) -> bytes:
    """Insert blocks into an encoded file.

    Args:
        format: `JPEG` or `PNG`; others are returned as they are.
        data: the file, as OpenCV wrote it.
        metadata: what `embeddable` returned, and the `blocks` of a header of the same format.

    Returns:
        The file with the blocks; those of a header's that it has already stay as they are.
    """
    if format == JPEG:
        if "density" in metadata:
            data = data[: _JFIF_DENSITY.start] + metadata["density"] + data[_JFIF_DENSITY.stop :]
        place, inserted = 4 + struct.unpack_from(">H", data, 4)[0], _jpeg_segments(metadata)  # behind the JFIF header
    elif format == PNG:
        there = inspect(data).blocks
        place, inserted = _BEHIND_IHDR, _png_chunks({k: v for k, v in metadata.items() if k not in there})
    else:
        return data
    return data[:place] + inserted + data[place:]


def _jpeg_segments(metadata: Mapping[str, bytes]) -> bytes:
    payloads = []
    if "exif" in metadata:
        payloads.append((0xE1, JPEG_EXIF + metadata["exif"]))
    if "xmp" in metadata:
        payloads.append((0xE1, JPEG_XMP + metadata["xmp"]))
    profile = metadata.get("icc", b"")
    parts = [profile[start : start + _PROFILE_PART_MAX] for start in range(0, len(profile), _PROFILE_PART_MAX)]
    payloads += [(0xE2, JPEG_ICC + bytes([number, len(parts)]) + part) for number, part in enumerate(parts, start=1)]
    return b"".join(struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload for marker, payload in payloads)


def _png_chunks(metadata: Mapping[str, bytes]) -> bytes:
    """Return chunks that belong between IHDR and whichever of PLTE and IDAT comes first."""
    chunks = [name + metadata[kind] for name, kind in PNG_BLOCKS.items() if kind in metadata]
    if "xmp" in metadata:
        chunks.append(b"iTXt" + PNG_XMP + bytes(4) + metadata["xmp"])  # not compressed, no language, no translation
    return b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
