"""The contact sheet of heat maps, the worst first, with a legend of their colors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.io.contact_sheet import Cell, contact_sheet, thumbnail
from cae_runtime.jobs.heat_maps.table import Verdict
from cae_runtime.tasks.anomaly.detector import FULL_HEAT, heat_colors

_PICTURES, _COLUMNS = 60, 6
_LARGE = 999.5  # scores are written without an exponent
_BAD, _GOOD = (40, 40, 220), (90, 170, 60)  # of frames, BGR
_HIGH, _BAR, _MARGIN = 44, 10, 8
_ENDS = (
    ("1 in 1,000 pixels of good pictures scores so high", f"{FULL_HEAT:g} times this score, and more"),
    ("1 in 1,000 pixels", f"{FULL_HEAT:g} x"),
)
_INK, _FONT, _SIZE = (40, 40, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.42


def drawn_sheet(verdicts: Sequence[Verdict]) -> bytes | None:
    """Return the sheet as a PNG file; None if there is no heat map to show.

    Args:
        verdicts: of the pictures, worst first; their heat maps are read again.
    """
    cells = []
    for verdict in verdicts[:_PICTURES]:
        image = cv2.imdecode(np.frombuffer(Path(verdict.heat_map).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            known = f"{verdict.label}: " if verdict.label else ""
            caption = f"{known}{_shown(verdict.score or 0)} {Path(verdict.source).name}"
            cells.append(Cell(thumbnail(np.asarray(image, np.uint8)), caption, _BAD if verdict.anomaly else _GOOD))
    if not cells:
        return None
    sheet = contact_sheet(cells, _COLUMNS)
    return cv2.imencode(".png", np.vstack([sheet, _legend(sheet.shape[1])]))[1].tobytes()


def _shown(score: float) -> str:
    return f"{score:.3g}" if score < _LARGE else f"{score:.0f}"


def _legend(width: int) -> NDArray[np.uint8]:
    """The scale of colors, and what the frames mean."""
    strip = np.full((_HIGH, width, 3), 255, np.uint8)
    right = width - _MARGIN
    levels = np.linspace(0, 1, right - _MARGIN, dtype=np.float32)[None]
    strip[_MARGIN // 2 : _MARGIN // 2 + _BAR, _MARGIN:right] = heat_colors(levels)
    y = _MARGIN // 2 + _BAR + 14
    for low, high in _ENDS:  # the longest that fits
        left, across = (cv2.getTextSize(text, _FONT, _SIZE, 1)[0][0] for text in (low, high))
        if left + across + _MARGIN <= right - _MARGIN:
            cv2.putText(strip, low, (_MARGIN, y), _FONT, _SIZE, _INK, 1, cv2.LINE_AA)
            cv2.putText(strip, high, (right - across, y), _FONT, _SIZE, _INK, 1, cv2.LINE_AA)
            break
    x = _MARGIN
    for color, word in ((_BAD, "anomaly"), (_GOOD, "usual")):
        cv2.rectangle(strip, (x, y + 5), (x + 8, y + 13), color, thickness=-1)
        cv2.putText(strip, word, (x + 13, y + 13), _FONT, _SIZE, _INK, 1, cv2.LINE_AA)
        x += 24 + cv2.getTextSize(word, _FONT, _SIZE, 1)[0][0]
    return strip
