"""Matroska and WebM: elements, each preceded by its length.

Source: RFC 8794 (EBML) and RFC 9559 (Matroska).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import BinaryIO, Final

from cae_runtime.video.integrity.parts import PARTS_MAX

SIGNATURE: Final = b"\x1a\x45\xdf\xa3"
_EBML: Final = int.from_bytes(SIGNATURE, "big")
_CLUSTER: Final = 0x1F43B675
_ENTERED: Final = {0x18538067, _CLUSTER, 0xA0}  # Segment, Cluster, BlockGroup
_OF_A_SEGMENT: Final = {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469}
_OF_A_CLUSTER: Final = {0xE7, 0xA3, 0xA7, 0xAB, 0x5854, 0xAF}
_OF_A_GROUP: Final = {0xA1, 0x9B, 0xFB, 0x75A2, 0x75A1, 0xA4, 0xFA, 0xA2, 0x8E, 0xFD, 0xC8}
_BLOCKS: Final = {0xA3, 0xA1}  # SimpleBlock, Block
_LACING: Final = 0x06
_LACED_SHARE: Final = 10  # if fewer than one block in so many is laced, its flags count as damaged
_ANYWHERE: Final = {_EBML, 0xEC, 0xBF}  # Void, CRC-32
_SKIPPED: Final = _OF_A_SEGMENT | _OF_A_CLUSTER | _OF_A_GROUP | _ANYWHERE
_HOLES_MAX: Final = 1_000
_PIECE: Final = 1 << 20


def is_cut_off(file: BinaryIO, size: int) -> bool | None:
    """Return whether the file ends before its last element does; None if no element has a length.

    Elements of unknown length, as in live recordings, are searched for the elements inside.
    """
    position, known = 0, False
    for _ in range(PARTS_MAX):
        if position >= size:
            return False if known else None
        file.seek(position)
        head = file.read(12)
        identity, used = ebml_number(head, keep_marker=True)
        length, more = ebml_number(head[used:])
        if not used or not more:  # the header itself is cut off
            return True
        unknown = length == (1 << 7 * more) - 1
        position += used + more
        if unknown:
            continue
        known |= identity != _EBML
        position += length
        if position > size:
            return True
    return None


def holes_in(file: BinaryIO, size: int, parts_max: int) -> list[int]:
    """Return the sorted positions where an element should begin and none does, and of blocks with damaged flags."""
    position, end, holes = 0, size, list[int]()
    laced: dict[int, list[int]] = defaultdict(list)  # track -> positions of blocks with several frames
    blocks: Counter[int] = Counter()
    for _ in range(parts_max):
        if position >= end or len(holes) == _HOLES_MAX:
            break
        file.seek(position)
        head = file.read(16)
        identity, used = ebml_number(head, keep_marker=True)
        length, more = ebml_number(head[used:])
        body = position + used + more
        if identity in _BLOCKS and len(head) == 16:
            track = head[used + more]
            blocks[track] += 1
            if head[used + more + 3] & _LACING:
                laced[track].append(position)
        if used and more and identity in _ENTERED:
            if identity not in (_CLUSTER, 0xA0) and length != (1 << 7 * more) - 1:
                end = min(end, body + length)
            position = body
        elif used and more and identity in _SKIPPED and body + length <= end:
            position = body + length
        else:
            holes.append(position)
            position = _next_cluster(file, position + 1, end)
    for track, positions in laced.items():  # if only few blocks are laced, their flags are damaged
        if len(positions) * _LACED_SHARE < blocks[track]:
            holes += positions
    return sorted(holes)


def _next_cluster(file: BinaryIO, position: int, end: int) -> int:
    """Return the position of the next cluster, or `end` if there is none."""
    sign = _CLUSTER.to_bytes(4, "big")
    while position < end:
        file.seek(position)
        piece = file.read(_PIECE)
        found = piece.find(sign)
        if found >= 0:
            return position + found
        if len(piece) < _PIECE:
            break
        position += len(piece) - len(sign) + 1
    return end


def ebml_number(data: bytes, keep_marker: bool = False) -> tuple[int, int]:
    """Decode a number of variable length; return it and its length in bytes, 0 if the data are too short."""
    if not data or not data[0]:
        return 0, 0
    count = 9 - data[0].bit_length()
    if len(data) < count:
        return 0, 0
    value = int.from_bytes(data[:count], "big")
    return (value if keep_marker else value & ((1 << 7 * count) - 1)), count
