"""EXIF orientations: turns pixels upright and back."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from cae_runtime.io.headers.tiff_directory import DAMAGED, ORIENTATION, directory

_INVERSE: Final = {6: 8, 8: 6}  # the orientations that are not their own inverse


def exif_orientation(exif: bytes) -> int:
    """Return the orientation tag 1..8 of an EXIF block (a TIFF structure, without `Exif`); 1 if it has none."""
    try:
        value = directory(exif).number(ORIENTATION, 1)
    except DAMAGED:
        return 1
    return value if 1 <= value <= 8 else 1


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation.

    Args:
        pixels: shape (H, W) or (H, W, C).
        orientation: 1..8.

    Returns:
        The upright pixels: shape (W, H, ...) for the orientations 5..8, otherwise that of `pixels`.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def turned_back(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The inverse of `upright`: from upright to stored pixels."""
    return upright(pixels, _INVERSE.get(orientation, orientation))
