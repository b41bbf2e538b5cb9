"""A contact sheet: thumbnails in rows, each with a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.io.arrays import colors_of, full_scale

CELL: Final = 192  # side of a thumbnail, in pixels
_MARGIN, _CAPTION, _FRAME = 8, 20, 3
_INK: Final = (40, 40, 40)
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
Color = tuple[int, int, int]


@dataclass(frozen=True)
class Cell:
    """A thumbnail, (h, w, 3) uint8 BGR of at most `CELL` pixels per side, its caption, and its frame's color (BGR)."""

    picture: NDArray[np.uint8]
    caption: str = ""
    frame: Color | None = None


def thumbnail(image: NDArray[Any], side: int = CELL) -> NDArray[np.uint8]:
    """Return a picture (H, W), (H, W, 1..4), uint8 or uint16, as (h, w, 3) uint8 BGR that fits into a cell.

    Small pictures are enlarged by integer factors, so that their pixels stay square.
    """
    height, width = image.shape[:2]
    if max(height, width) > side:
        scale = side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    elif factor := side // max(height, width):
        image = np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)
    return to_bgr(image)


def to_bgr(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture (H, W), (H, W, 1..4), of any dtype that images have, as (H, W, 3) uint8 BGR, without alpha."""
    colors = colors_of(image)
    eight = colors if colors.dtype == np.uint8 else cv2.convertScaleAbs(colors, alpha=255 / full_scale(colors.dtype))
    return np.ascontiguousarray(np.broadcast_to(eight.reshape(*image.shape[:2], -1), (*image.shape[:2], 3)))


def contact_sheet(cells: Sequence[Cell], columns: int) -> NDArray[np.uint8]:
    """Return the sheet, (H, W, 3) uint8 BGR; captions show ASCII characters, and `?` for all others."""
    across = max(1, min(columns, len(cells)))
    rows = -(-len(cells) // across)
    captions = _CAPTION if any(cell.caption for cell in cells) else 0
    high, wide = CELL + captions + 2 * _MARGIN, CELL + 2 * _MARGIN
    sheet = np.full((max(1, rows) * high, across * wide, 3), 255, np.uint8)
    for index, cell in enumerate(cells):
        top, left = index // across * high + _MARGIN, index % across * wide + _MARGIN
        h, w = cell.picture.shape[:2]
        y, x = top + (CELL - h) // 2, left + (CELL - w) // 2
        if cell.frame is not None:
            corners = (x - _FRAME, y - _FRAME), (x + w + _FRAME - 1, y + h + _FRAME - 1)
            cv2.rectangle(sheet, *corners, cell.frame, thickness=-1)
        sheet[y : y + h, x : x + w] = cell.picture
        text = _shortened(cell.caption.encode("ascii", "replace").decode())
        at = left, top + CELL + captions - 4
        cv2.putText(sheet, text, at, _FONT, _SIZE, _INK, 1, cv2.LINE_AA)
    return sheet


def _shortened(text: str) -> str:
    """The text, shortened to what fits below a thumbnail."""
    kept = text
    while cv2.getTextSize(kept, _FONT, _SIZE, 1)[0][0] > CELL:
        text = text[:-1]
        kept = f"{text}..."
    return kept
