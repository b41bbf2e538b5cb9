"""MP4 and MOV: boxes, each preceded by its length.

Source: ISO/IEC 14496-12, ISO base media file format.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from cae_runtime.video.integrity.parts import PARTS_MAX, is_name

_NEEDED: Final = {b"moov", b"mdat", b"moof"}  # without these boxes, pictures and sound are lost


def is_cut_off(file: BinaryIO, size: int) -> bool | None:
    """Return whether the file ends inside a box that it needs; None if this cannot be told."""
    position, known = 0, False
    for _ in range(PARTS_MAX):
        if position + 8 > size:
            return False if known else None
        length, kind = _box(file, position)
        if length < 8:  # 0: up to the end of the file
            return False if known else None
        position += length
        known |= kind in _NEEDED
        if position > size:
            return kind in _NEEDED or None
    return None


def holes_in(file: BinaryIO, size: int, parts_max: int) -> list[int]:
    """Return the first position where a box should begin and none does, as a list; empty if there is none.

    Only fragmented files are checked. Others have one table of all frames, so holes between their boxes do no harm.
    """
    position, fragmented = 0, False
    for _ in range(parts_max):
        if position + 8 > size:
            break
        length, kind = _box(file, position)
        fragmented |= kind == b"moof"
        if not is_name(kind) or 0 < length < 8:
            return [position] if fragmented else []
        if not length or kind == b"mfra":  # up to the end of the file; the last box of a fragmented one
            break
        position += length
    return []


def _box(file: BinaryIO, position: int) -> tuple[int, bytes]:
    """Return the length in bytes (0: up to the end of the file) and the name of the box at a position."""
    file.seek(position)
    head = file.read(16)
    length = int.from_bytes(head[:4], "big")
    return int.from_bytes(head[8:16], "big") if length == 1 else length, head[4:8]
