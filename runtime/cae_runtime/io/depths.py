"""Values of 10 and 12 bits, which are uint16 values up to 65535 everywhere else."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_WHITE: Final = 65535


def in_sixteen_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Return values of `bits` bits, 0..2**bits - 1, as the nearest ones of 16 bits.

    Args:
        values: uint16, of any shape; larger values count as white.
        bits: 9..16.
    """
    top = 2**bits - 1
    table = (np.arange(top + 1, dtype=np.uint32) * (2 * _WHITE) + top) // (2 * top)
    scaled: NDArray[np.uint16] = table.astype(np.uint16).take(values, mode="clip")
    return scaled


def in_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Return 16-bit values as the nearest ones of `bits` bits: the inverse of `in_sixteen_bits`.

    Args:
        values: uint16, of any shape.
        bits: 9..16.
    """
    top = 2**bits - 1
    table = (np.arange(_WHITE + 1, dtype=np.uint32) * top + _WHITE // 2) // _WHITE
    scaled: NDArray[np.uint16] = table.astype(np.uint16).take(values)
    return scaled
