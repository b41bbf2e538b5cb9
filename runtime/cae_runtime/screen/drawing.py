"""Draws over pictures at the window's resolution: the dividing line, keys, boxes of text, sliders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

import cv2
import numpy as np

from cae_runtime.io.arrays import FrameArray

_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _GRAY = (255, 255, 255), (190, 190, 190)


@dataclass(frozen=True)
class Rect:
    """A rectangle of the window in pixels, such as the one that shows the picture."""

    left: int
    top: int
    width: int
    height: int

    def divider_at(self, x: int) -> float:
        """Convert a column of the window to a position in the picture, 0..1 of its width."""
        return min(1.0, max(0.0, (x - self.left) / max(1, self.width)))


def place(frame: tuple[int, int], window: tuple[int, int]) -> Rect:
    """Return the centered position of the largest picture that fits into a window.

    Args:
        frame: width and height of the picture.
        window: width and height of the window.
    """
    scale = min(window[0] / frame[0], window[1] / frame[1])
    width, height = (max(1, min(limit, round(side * scale))) for side, limit in zip(frame, window, strict=True))
    return Rect((window[0] - width) // 2, (window[1] - height) // 2, width, height)


def fitted(frame: FrameArray, size: tuple[int, int]) -> FrameArray:
    """Return a frame scaled to fit a size, with black bars; the frame itself if it has that size.

    Args:
        frame: uint8 (H, W, 3), BGR.
        size: width and height.
    """
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    where = place((frame.shape[1], frame.shape[0]), size)
    scaled = frame
    if (where.width, where.height) != (frame.shape[1], frame.shape[0]):
        way = cv2.INTER_AREA if where.width < frame.shape[1] else cv2.INTER_CUBIC
        scaled = cast(FrameArray, cv2.resize(frame, (where.width, where.height), interpolation=way))
    if (where.width, where.height) == size:
        return scaled
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    canvas[where.top : where.top + where.height, where.left : where.left + where.width] = scaled
    return canvas


def text_scale(window: tuple[int, int]) -> float:
    """Return the factor by which texts in a window of this size are scaled."""
    return max(0.65, min(window) / 900)


@lru_cache(maxsize=64)  # a window asks for the same again and again
def wrapped(text: str, window: tuple[int, int]) -> tuple[str, ...]:
    """Return a text as lines that fit into a box or panel of a window, broken between words; none if it is empty."""
    scale = text_scale(window)
    room = window[0] - 5 * round(12 * scale)
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and cv2.getTextSize(longer, _FONT, 0.65 * scale, 1)[0][0] <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return tuple(lines) if text else ()


def draw_divider(canvas: FrameArray, where: Rect, divider: float, scale: float) -> None:
    """Draw the line between original and cleaned at `divider`, 0..1 of the width of `where`, and name both sides."""
    x = where.left + round(divider * where.width)
    cv2.line(canvas, (x, where.top), (x, where.top + where.height - 1), _WHITE, max(1, round(2 * scale)))
    baseline = where.top + where.height - round(16 * scale)
    for text, side in (("original", -1), ("cleaned", 1)):
        width = cv2.getTextSize(text, _FONT, 0.7 * scale, 1)[0][0]
        start = x + round(12 * scale) if side > 0 else x - round(12 * scale) - width
        if where.left <= start and start + width <= where.left + where.width:
            _draw_text(canvas, text, (start, baseline), 0.7 * scale, _WHITE)


def draw_keys(canvas: FrameArray, keys: Sequence[tuple[str, str]], scale: float) -> None:
    """Draw a list of each key and what it does in the middle."""
    size = 0.7 * scale
    line = round(34 * scale)
    first = max(cv2.getTextSize(key, _FONT, size, 1)[0][0] for key, _ in keys) + round(24 * scale)
    width = first + max(cv2.getTextSize(text, _FONT, size, 1)[0][0] for _, text in keys) + round(48 * scale)
    height = line * len(keys) + round(32 * scale)
    left, top = max(0, (canvas.shape[1] - width) // 2), max(0, (canvas.shape[0] - height) // 2)
    _darken(canvas, left, top, width, height)
    for number, (key, text) in enumerate(keys):
        y = top + round(16 * scale) + line * number + round(24 * scale)
        _draw_text(canvas, key, (left + round(24 * scale), y), size, _WHITE)
        _draw_text(canvas, text, (left + round(24 * scale) + first, y), size, _GRAY)


def draw_box(canvas: FrameArray, lines: Sequence[str], scale: float, *, top: bool) -> None:
    """Draw lines of text in a box in the upper or lower left corner."""
    size, line, margin = 0.65 * scale, round(30 * scale), round(12 * scale)
    width = max(cv2.getTextSize(text, _FONT, size, 1)[0][0] for text in lines) + 2 * margin
    height = line * len(lines) + margin
    y = margin if top else canvas.shape[0] - height - margin - line
    _darken(canvas, margin, y, width, height)
    for number, text in enumerate(lines):
        _draw_text(canvas, text, (2 * margin, y + line * (number + 1) - round(5 * scale)), size, _WHITE)


def slider_places(window: tuple[int, int], count: int, above: int) -> list[Rect]:
    """Return the rectangles of sliders in the upper left corner, below some lines of text.

    A rectangle is as wide as the slider's range; the mouse can grab the slider anywhere in it.
    """
    scale = text_scale(window)
    line, margin = round(30 * scale), round(12 * scale)
    left, width = 2 * margin + round(110 * scale), max(20, min(round(220 * scale), window[0] // 3))
    return [Rect(left, margin + line * (above + number) + round(4 * scale), width, line) for number in range(count)]


def draw_panel(canvas: FrameArray, lines: Sequence[str], sliders: Sequence[tuple[str, float]]) -> None:
    """Draw lines of text, and below them sliders: each a name and a value 0..1."""
    window = (canvas.shape[1], canvas.shape[0])
    scale = text_scale(window)
    size, line, margin = 0.65 * scale, round(30 * scale), round(12 * scale)
    places = slider_places(window, len(sliders), len(lines))
    ends = [cv2.getTextSize(text, _FONT, size, 1)[0][0] + 3 * margin for text in lines]
    ends += [place.left + place.width + round(84 * scale) for place in places]
    _darken(canvas, margin, margin, max(ends) - margin, line * (len(lines) + len(sliders)) + margin)
    for number, text in enumerate(lines):
        _draw_text(canvas, text, (2 * margin, margin + line * (number + 1) - round(5 * scale)), size, _WHITE)
    for (name, value), place in zip(sliders, places, strict=True):
        middle, knob = place.top + place.height // 2, place.left + round(value * place.width)
        baseline = middle + round(7 * scale)
        _draw_text(canvas, name, (2 * margin, baseline), size, _GRAY)
        cv2.line(canvas, (place.left, middle), (place.left + place.width, middle), _GRAY, max(1, round(2 * scale)))
        cv2.circle(canvas, (knob, middle), round(8 * scale), _WHITE, cv2.FILLED, cv2.LINE_AA)
        _draw_text(canvas, f"{value:.0%}", (place.left + place.width + round(20 * scale), baseline), size, _WHITE)


def _darken(canvas: FrameArray, left: int, top: int, width: int, height: int) -> None:
    area = canvas[max(0, top) : max(0, top + height), left : left + width]
    area //= 4


def _draw_text(canvas: FrameArray, text: str, at: tuple[int, int], size: float, color: tuple[int, int, int]) -> None:
    weight = max(1, round(1.6 * size))
    for (x, y), ink in (((at[0] + 1, at[1] + 1), (0, 0, 0)), (at, color)):
        cv2.putText(canvas, text, (x, y), _FONT, size, ink, weight, cv2.LINE_AA)
