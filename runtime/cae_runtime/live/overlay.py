"""Draws the live view at the window's resolution: the picture, the dividing line, text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from cae_runtime.io.arrays import FrameArray
from cae_runtime.screen.drawing import draw_box, draw_divider, draw_keys, fitted, place, text_scale
from cae_runtime.screen.viewer import WindowState, stepped

_RED: Final = (60, 60, 255)


@dataclass
class ViewState(WindowState):
    """The state of the view.

    Attributes:
        frozen: whether the picture is frozen.
        recording: whether a recording is in progress.
        strength: of the cleaning, 0..1.
    """

    frozen: bool = False
    recording: bool = False
    strength: float = 1.0

    def stronger(self, steps: int) -> None:
        """Change the strength by some steps, within 0..1."""
        self.strength = stepped(self.strength, steps)


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
    scale = text_scale(window)
    if view.compare:
        draw_divider(canvas, where, view.divider, scale)
    if view.figures:
        draw_box(canvas, lines, scale, top=True)
    if view.help:
        draw_keys(canvas, keys, scale)
    if view.message:
        draw_box(canvas, [view.message], scale, top=False)
    if view.recording:
        radius = round(12 * scale)
        cv2.circle(canvas, (window[0] - 3 * radius, 3 * radius), radius, _RED, cv2.FILLED, cv2.LINE_AA)
    return canvas
