"""Draws the live view at the window's resolution: the picture, the dividing line, text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import cv2
import numpy as np

from cae_runtime.io.arrays import FrameArray

STEP: Final = 0.1  # change of the strength per key press
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _RED, _GRAY = (255, 255, 255), (60, 60, 255), (190, 190, 190)


@dataclass
class ViewState:
    """The state of the view.

    Attributes:
        compare: original on the left of the line, cleaned on the right.
        divider: position of the line, 0..1 of the picture's width.
        figures: whether the overlay with figures is shown.
        help: whether the keys are shown.
        frozen: whether the picture is frozen.
        recording: whether a recording is in progress.
        strength: of the cleaning, 0..1.
        message: a line to show for a while, or empty.
    """

    compare: bool = False
    divider: float = 0.5
    figures: bool = False
    help: bool = False
    frozen: bool = False
    recording: bool = False
    strength: float = 1.0
    message: str = ""

    def stronger(self, steps: int) -> None:
        """Change the strength by some steps, within 0..1."""
        self.strength = min(1.0, max(0.0, round(self.strength + steps * STEP, 6)))


@dataclass(frozen=True)
class Rect:
    """The position of the picture in the window, in pixels."""

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


def compose(
    original: FrameArray,
    cleaned: FrameArray,
    window: tuple[int, int],
    view: ViewState,
    lines: Sequence[str],
    keys: Sequence[tuple[str, str]],
) -> FrameArray:
    """Draw what the window shows.

    Args:
        original: uint8 (H, W, 3), BGR.
        cleaned: the same, cleaned.
        window: width and height of the result.
        view: what to show.
        lines: the overlay's figures.
        keys: each key and what it does, for the view's help.

    Returns:
        uint8 (window height, window width, 3), BGR.
    """
    frame = (cleaned.shape[1], cleaned.shape[0])
    where = place(frame, window)
    shown = cleaned
    line = round(view.divider * frame[0])
    if view.compare:
        shown = np.concatenate((original[:, :line], cleaned[:, line:]), axis=1)
    canvas = fitted(shown, window)
    if canvas is cleaned:
        canvas = cleaned.copy()
    scale = max(0.65, min(window) / 900)
    if view.compare:
        _draw_divider(canvas, where, view, scale)
    if view.figures:
        _draw_box(canvas, lines, scale, top=True)
    if view.help:
        _draw_keys(canvas, keys, scale)
    if view.message:
        _draw_box(canvas, [view.message], scale, top=False)
    if view.recording:
        radius = round(12 * scale)
        cv2.circle(canvas, (window[0] - 3 * radius, 3 * radius), radius, _RED, cv2.FILLED, cv2.LINE_AA)
    return canvas


def _draw_divider(canvas: FrameArray, where: Rect, view: ViewState, scale: float) -> None:
    x = where.left + round(view.divider * where.width)
    cv2.line(canvas, (x, where.top), (x, where.top + where.height - 1), _WHITE, max(1, round(2 * scale)))
    baseline = where.top + where.height - round(16 * scale)
    for text, side in (("original", -1), ("cleaned", 1)):
        width = cv2.getTextSize(text, _FONT, 0.7 * scale, 1)[0][0]
        start = x + round(12 * scale) if side > 0 else x - round(12 * scale) - width
        if where.left <= start and start + width <= where.left + where.width:
            _draw_text(canvas, text, (start, baseline), 0.7 * scale, _WHITE)


def _draw_keys(canvas: FrameArray, keys: Sequence[tuple[str, str]], scale: float) -> None:
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


def _draw_box(canvas: FrameArray, lines: Sequence[str], scale: float, *, top: bool) -> None:
    size, line, margin = 0.65 * scale, round(30 * scale), round(12 * scale)
    width = max(cv2.getTextSize(text, _FONT, size, 1)[0][0] for text in lines) + 2 * margin
    height = line * len(lines) + margin
    y = margin if top else canvas.shape[0] - height - margin - line
    _darken(canvas, margin, y, width, height)
    for number, text in enumerate(lines):
        _draw_text(canvas, text, (2 * margin, y + line * (number + 1) - round(5 * scale)), size, _WHITE)


def _darken(canvas: FrameArray, left: int, top: int, width: int, height: int) -> None:
    area = canvas[max(0, top) : max(0, top + height), left : left + width]
    area //= 4


def _draw_text(canvas: FrameArray, text: str, at: tuple[int, int], size: float, color: tuple[int, int, int]) -> None:
    weight = max(1, round(1.6 * size))
    for (x, y), ink in (((at[0] + 1, at[1] + 1), (0, 0, 0)), (at, color)):
        cv2.putText(canvas, text, (x, y), _FONT, size, ink, weight, cv2.LINE_AA)
