"""Helpers of the readers of all containers."""

from __future__ import annotations

from typing import Final

PARTS_MAX: Final = 100_000  # each is a seek and a read; recordings have a few thousand


def is_name(name: bytes) -> bool:
    """Return whether four bytes can be the name of a box or a chunk."""
    return all(32 <= byte < 127 for byte in name)
