"""Changes of bytes that know nothing of their meaning: flipped, cut, repeated, replaced by numbers that overflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]

GROWN_MAX: Final = 2**22  # bytes of a mutated file
_TRIES: Final = 20  # to change a file
_EDGES: Final = (
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    31,
    32,
    63,
    64,
    100,
    127,
    128,
    255,
    256,
    1000,
    4095,
    4096,
    16384,
    32767,
    32768,
)
_WIDE: Final = (65535, 65536, 100_000, 2**20, 2**20 + 1, 2**24, 2**28, 2**28 + 1, 2**30, 2**31 - 1, 2**31, 2**32 - 1)


def surely(change: Callable[[], bytes], data: bytes) -> bytes:
    """Return what a change makes of data: drawn again while that is the same, and with a zero appended in the end.

    Args:
        change: draws and makes a change.
        data: what it changes.
    """
    made = next((made for made in (change() for _ in range(_TRIES)) if made != data), data)
    return made if made != data else data + b"\0"


def number(rng: Rng, size: int) -> int:
    """Return an integer of so many bytes near which programs go wrong, or any."""
    top = 2 ** (8 * size)
    if rng.random() < 0.2:
        return int.from_bytes(rng.bytes(size), "big")
    edges = [*_EDGES, *_WIDE, top - 1, top - 2, top // 2, top // 2 - 1]
    return int(edges[rng.integers(len(edges))]) % top


def with_number(data: bytes, at: int, size: int, value: int, order: str) -> bytes:
    """Return data with an integer written over its bytes."""
    packed = (value % 2 ** (8 * size)).to_bytes(size, "little" if order == "<" else "big")
    return (data[:at] + packed + data[at + size :])[: max(len(data), at + size)]


def _place(data: bytes, rng: Rng) -> int:
    """Return a place, half of the time near the start, where headers are."""
    reach = min(len(data), 256) if rng.random() < 0.5 else len(data)
    return int(rng.integers(max(reach, 1)))


def flipped(data: bytes, rng: Rng) -> bytes:
    """Change single bits and bytes."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6)) if data else 0):
        at = _place(data, rng)
        changed[at] = int(rng.integers(256)) if rng.random() < 0.5 else changed[at] ^ (1 << int(rng.integers(8)))
    return bytes(changed)


def numbered(data: bytes, rng: Rng) -> bytes:
    """Write an integer of 1, 2, 4 or 8 bytes in either order."""
    size = int(rng.choice([1, 2, 2, 4, 4, 4, 8]))
    at = _place(data, rng)
    if rng.random() < 0.5:
        at -= at % size
    return with_number(data, at, size, number(rng, size), "<>"[int(rng.integers(2))])


def shifted(data: bytes, rng: Rng) -> bytes:
    """Add a little to an integer that is there."""
    size, order = int(rng.choice([1, 2, 4])), "<>"[int(rng.integers(2))]
    at = _place(data, rng)
    value = int.from_bytes(data[at : at + size], "little" if order == "<" else "big")
    return with_number(data, at, size, value + int(rng.choice([-256, -2, -1, 1, 2, 256])), order)


def cut(data: bytes, rng: Rng) -> bytes:
    """Cut the end off."""
    return data[: int(rng.integers(len(data) + 1))]


def removed(data: bytes, rng: Rng) -> bytes:
    """Take a part out."""
    at = _place(data, rng)
    return data[:at] + data[at + int(rng.integers(1, 200)) :]


def repeated(data: bytes, rng: Rng) -> bytes:
    """Repeat a part, up to many times."""
    at, length = _place(data, rng), int(rng.integers(1, 200))
    times = int(rng.choice([2, 2, 3, 10, 300]))
    return (data[:at] + data[at : at + length] * times + data[at + length :])[:GROWN_MAX]


def zeroed(data: bytes, rng: Rng) -> bytes:
    """Overwrite a part with zeros or with ones."""
    at, length = _place(data, rng), int(rng.integers(1, 400))
    return data[:at] + (b"\0" if rng.random() < 0.7 else b"\xff") * len(data[at : at + length]) + data[at + length :]


def followed(data: bytes, rng: Rng) -> bytes:
    """Append something: nonsense, or the same file again."""
    return data + (data if rng.random() < 0.3 else rng.bytes(int(rng.integers(1, 3000))))


BLIND: Final[tuple[Mutation, ...]] = (
    flipped, flipped, numbered, numbered, numbered, shifted, cut, removed, repeated, zeroed, followed,
)  # fmt: skip


def blind(data: bytes, rng: Rng) -> bytes:
    """Change data in one of these ways."""
    return BLIND[int(rng.integers(len(BLIND)))](data, rng)


def spliced(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Begin as one file and go on as another."""
    at = int(rng.integers(len(data) + 1))
    return data[:at] + other[int(rng.integers(len(other) + 1)) if rng.random() < 0.5 else at :]
