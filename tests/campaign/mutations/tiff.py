"""TIFFs (and camera raw files that are TIFFs) whose directories lie, go in circles or point into nothing."""

from __future__ import annotations

import struct
from typing import Final

from tests.campaign.mutations.generic import Rng, blind, number, with_number

TIFF_STARTS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TAGS: Final = (
    256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 338, 339, 347, 34665,
    34675,
    700, 33421, 33422, 50706, 50711, 50717, 50721, 50728, 530, 532, 292, 293, 270, 33723, 34377, 37724,
)  # fmt: skip
_VALUES: Final[dict[int, tuple[int, ...]]] = {
    259: (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 50000, 34925, 34712, 50001, 50002, 0, 65535),
    262: (0, 1, 2, 3, 4, 5, 6, 8, 9, 32803, 34892, 32844, 32845), 258: (1, 2, 4, 8, 10, 12, 14, 16, 24, 32, 64, 0, 255),
    277: (0, 1, 2, 3, 4, 5, 255, 65535), 284: (0, 1, 2, 3), 317: (0, 1, 2, 3, 34894), 339: (1, 2, 3, 4, 5, 6),
    274: (0, 1, 3, 6, 8, 9), 338: (0, 1, 2, 3), 278: (0, 1, 7, 2**32 - 1), 266: (1, 2),
}  # fmt: skip


class _Place:
    """Where the first directory's entries are."""

    def __init__(self, data: bytes) -> None:
        self.order = "<" if data[:1] == b"I" else ">"
        self.big = data[2:4] in (b"+\0", b"\0+")
        offset, count, self.size = ("Q", "Q", 20) if self.big else ("I", "H", 12)
        (start,) = struct.unpack_from(self.order + offset, data, 8 if self.big else 4)
        (self.entries,) = struct.unpack_from(self.order + count, data, start)
        self.first = start + struct.calcsize(self.order + count)
        self.count_at, self.count_size = start, struct.calcsize(self.order + count)
        self.entries = min(self.entries, (len(data) - self.first) // self.size)
        self.start = start

    def entry(self, number: int) -> int:
        """Return where an entry begins."""
        return self.first + self.size * number


def tiff_changed(data: bytes, rng: Rng) -> bytes:
    """Change an entry, the order of entries, the chain of directories, or bytes."""
    try:
        place = _Place(data)
    except (struct.error, OverflowError):
        return blind(data, rng)
    if place.entries < 1:
        return blind(data, rng)
    at = place.entry(int(rng.integers(place.entries)))
    wide = 8 if place.big else 4
    value_at = at + 4 + wide
    kind = int(rng.integers(9))
    if kind == 0:  # another tag
        return with_number(data, at, 2, int(rng.choice(_TAGS)), place.order)
    if kind == 1:  # another type
        return with_number(data, at + 2, 2, int(rng.integers(0, 20)), place.order)
    if kind == 2:  # another count
        return with_number(data, at + 4, wide, number(rng, wide), place.order)
    if kind in (3, 4):
        return _other_value(data, at, value_at, place, rng)
    if kind == 5:  # where the next directory is: this one, the header, far away
        target = int(rng.choice([place.start, 0, 4, 8, len(data) - 2, len(data), 2**31]))
        return with_number(data, place.entry(place.entries), wide, target, place.order)
    if kind == 6:  # two entries change places
        other = place.entry(int(rng.integers(place.entries)))
        changed = bytearray(data)
        changed[at : at + place.size], changed[other : other + place.size] = (
            data[other : other + place.size], data[at : at + place.size],
        )  # fmt: skip
        return bytes(changed)
    if kind == 7:  # more or fewer entries
        return with_number(data, place.count_at, place.count_size, number(rng, 2), place.order)
    return with_number(data, value_at, wide, int(rng.integers(len(data) + 1)), place.order)  # points somewhere


def _other_value(data: bytes, at: int, value_at: int, place: _Place, rng: Rng) -> bytes:
    tag, kind = struct.unpack_from(place.order + "HH", data, at)
    size = 2 if kind == 3 else 4
    usual = _VALUES.get(tag)
    value = int(rng.choice(usual)) if usual and rng.random() < 0.8 else number(rng, size)
    return with_number(data, value_at, size, value, place.order)
