"""Estimates the quality that a JPEG was written with, from its quantization tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

# The tables of the JPEG standard (Annex K), row by row. The quality scale of libjpeg, and so of OpenCV, scales them; 50
# stands for themselves.
_LUMA: Final = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA: Final = (17, 18, 24, 47, 18, 21, 26, 66, 24, 26, 56, 99, 47, 66) + 50 * (99,)


def quality_of(segments: Sequence[bytes]) -> int | None:
    """Return the lowest libjpeg quality whose tables are, on the whole, as fine as those of a file.

    Args:
        segments: the payloads of the file's DQT segments.

    Returns:
        1..100, or None if the segments have no table.
    """
    sums: dict[bool, int] = {}
    for segment in segments:
        at = 0
        while at < len(segment):
            wide, number = segment[at] >> 4, segment[at] & 15
            table = segment[at + 1 : at + 65 + 64 * wide]
            if wide > 1 or len(table) != 64 * (1 + wide):
                break
            chroma, total = number > 0, int(np.frombuffer(table, ">u2" if wide else "u1").sum())
            sums[chroma] = min(sums.get(chroma, total), total)
            at += 65 + 64 * wide
    if not sums:
        return None
    return max(_least(_CHROMA if chroma else _LUMA, total) for chroma, total in sums.items())


def _least(table: Sequence[int], total: int) -> int:
    return next((quality for quality in range(1, 100) if _sum(table, quality) <= total), 100)


def _sum(table: Sequence[int], quality: int) -> int:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return int(np.clip((np.array(table) * scale + 50) // 100, 1, 255).sum())
