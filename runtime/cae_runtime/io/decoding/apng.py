"""Makes transparent what no frame of an animated PNG covers: where a PNG has no alpha, OpenCV shows it black.

Source: the PNG specification, third edition, 11.3.6.2: what becomes of a frame's rectangle behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.io.headers.png import chunks

_COLOR_TYPE: Final = 25  # where a PNG has it
_WITH_ALPHA: Final = {4, 6}
_FRAME: Final = struct.Struct(">4x4I4xB")  # of an fcTL chunk: width, height, left, top, disposal
_CLEARED, _AS_BEFORE = 1, 2


def with_uncovered(frames: Sequence[NDArray[Any]], data: bytes) -> list[NDArray[Any]]:
    """Return the frames of an animated PNG, with alpha where they show parts that are cleared or were never drawn.

    Args:
        frames: uint8 (H, W), (H, W, 3) BGR or (H, W, 4) BGRA, as OpenCV decodes them.
        data: the whole file.
    """
    if data[_COLOR_TYPE] in _WITH_ALPHA or any(chunk.name == b"tRNS" for chunk in chunks(data)):
        return list(frames)
    return [
        frame if covered.all() else np.dstack((_colored(frame), np.where(covered, 255, 0).astype(np.uint8)))
        for frame, covered in zip(frames, _covered(data, frames[0].shape[:2]), strict=True)
    ]


def _covered(data: bytes, shape: tuple[int, ...]) -> Iterator[NDArray[np.bool_]]:
    """Yield for each frame, in order, which pixels are drawn when it is shown; each array is changed for the next."""
    drawn = np.zeros(shape, np.bool_)
    for number, chunk in enumerate(each for each in chunks(data) if each.name == b"fcTL"):
        width, height, left, top, disposal = _FRAME.unpack_from(data, chunk.start)
        place = drawn[top : top + height, left : left + width]
        before = place.copy()
        place[:] = True
        yield drawn
        if disposal == _CLEARED or (disposal == _AS_BEFORE and number == 0):
            place[:] = False
        elif disposal == _AS_BEFORE:
            place[:] = before


def _colored(frame: NDArray[Any]) -> NDArray[Any]:
    return cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) if frame.ndim == 2 else frame[..., :3]
