"""AVI: RIFF chunks, each preceded by its length."""

from __future__ import annotations

from typing import BinaryIO, Final

from cae_runtime.video.integrity.parts import PARTS_MAX, is_name

SIGNATURE: Final = b"RIFF"
_SLACK: Final = 8  # bytes: some programs count the header twice
_LISTS: Final = {b"RIFF", b"LIST"}


def is_cut_off(file: BinaryIO, size: int) -> bool | None:
    """Return whether the file ends before its last RIFF part does; None if no part has a length."""
    position, known = 0, False
    for _ in range(PARTS_MAX):
        if position + 8 > size:
            return False if known else None
        file.seek(position)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != SIGNATURE or not length:  # not filled in if the recorder lost power
            return False if known else None
        position += 8 + length + length % 2
        known = True
        if position > size + _SLACK:
            return True
    return None


def holes_in(file: BinaryIO, size: int, parts_max: int) -> list[int]:
    """Return the first position where a chunk should begin and none does, as a list; empty if there is none."""
    position = 0
    for _ in range(parts_max):
        if position + 8 > size:
            break
        file.seek(position)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if not is_name(head[:4]):
            return [position]
        position += 12 if head[:4] in _LISTS else 8 + length + length % 2
    return []
