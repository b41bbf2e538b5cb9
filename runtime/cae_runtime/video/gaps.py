"""Where the parts of a video file do not follow each other: bytes that are zeroed or overwritten.

Only the headers are read: of the blocks of Matroska and WebM, the chunks of AVI, the outermost boxes of MP4 and MOV.
Damage inside a frame's data is not seen here: its decoder finds it.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import BinaryIO, Final

from cae_runtime.video.end import ebml_number

_EBML: Final = 0x1A45DFA3
_CLUSTER: Final = 0x1F43B675
_ENTERED: Final = {0x18538067, _CLUSTER, 0xA0}  # Segment, Cluster, BlockGroup
_OF_A_SEGMENT: Final = {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469}
_OF_A_CLUSTER: Final = {0xE7, 0xA3, 0xA7, 0xAB, 0x5854, 0xAF}
_OF_A_GROUP: Final = {0xA1, 0x9B, 0xFB, 0x75A2, 0x75A1, 0xA4, 0xFA, 0xA2, 0x8E, 0xFD, 0xC8}
_BLOCKS: Final = {0xA3, 0xA1}  # SimpleBlock, Block
_LACING: Final = 0x06
_LACED_SHARE: Final = 10  # one in so many
_ANYWHERE: Final = {_EBML, 0xEC, 0xBF}  # Void, CRC-32
_SKIPPED: Final = _OF_A_SEGMENT | _OF_A_CLUSTER | _OF_A_GROUP | _ANYWHERE
_LISTS: Final = {b"RIFF", b"LIST"}
_HOLES_MAX: Final = 1_000
_PIECE: Final = 1 << 20


def holes_in(path: Path, parts_max: int) -> list[int]:
    """Return the positions where a part should begin and none does, in rising order.

    In Matroska these are all, and the blocks whose flags are damaged; in the other formats it is the first one. MP4 and
    MOV have one table of all frames: holes between their boxes matter only where the file is fragmented.

    Args:
        path: the file.
        parts_max: how many parts are looked at; each is a seek and a read.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(12)
        if start[:4] == _EBML.to_bytes(4, "big"):
            return _matroska(file, size, parts_max)
        if start[:4] == b"RIFF":
            return _riff(file, size, parts_max)
        return _mp4(file, size, parts_max)


def _matroska(file: BinaryIO, size: int, parts_max: int) -> list[int]:
    position, end, holes = 0, size, list[int]()
    laced: dict[int, list[int]] = defaultdict(list)  # positions of blocks with several frames, of each track
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
    for track, positions in laced.items():  # where few are laced, their flags are damaged
        if len(positions) * _LACED_SHARE < blocks[track]:
            holes += positions
    return sorted(holes)


def _next_cluster(file: BinaryIO, position: int, end: int) -> int:
    """Return where the next cluster begins, `end` where none does."""
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


def _riff(file: BinaryIO, size: int, parts_max: int) -> list[int]:
    position = 0
    for _ in range(parts_max):
        if position + 8 > size:
            break
        file.seek(position)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if not _is_name(head[:4]):
            return [position]
        position += 12 if head[:4] in _LISTS else 8 + length + length % 2
    return []


def _mp4(file: BinaryIO, size: int, parts_max: int) -> list[int]:
    position, fragmented = 0, False
    for _ in range(parts_max):
        if position + 8 > size:
            break
        file.seek(position)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        fragmented |= kind == b"moof"
        if not _is_name(kind) or 0 < length < 8:
            return [position] if fragmented else []
        if not length or kind == b"mfra":  # up to the end of the file; the last box of a fragmented one
            break
        position += length
    return []


def _is_name(name: bytes) -> bool:
    return all(32 <= byte < 127 for byte in name)
