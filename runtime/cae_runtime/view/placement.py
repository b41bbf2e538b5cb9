"""Computes which part of a picture a window shows, at which scale, and where."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from cae_runtime.io.arrays import FrameArray
from cae_runtime.screen.drawing import Rect
from cae_runtime.view.tiles import Box

MAGNIFIED: Final = (1, 2, 4)


class Placement:
    """The position and scale of a picture in a window. Pairs are (x, y) or (width, height), in pixels.

    Args:
        picture: width and height of the picture.
        window: width and height of the window.

    Attributes:
        scale: window pixels per picture pixel: 1, 2 or 4, or less than 1 if the whole picture is shown.
    """

    def __init__(self, picture: tuple[int, int], window: tuple[int, int]) -> None:
        self.picture, self._window = picture, window
        self.scale = self.fit
        self._left = self._top = 0  # position of the window in the magnified picture
        self.move(0, 0)

    @property
    def fit(self) -> float:
        """The scale at which the whole picture fits into the window, at most 1."""
        return min(1.0, *(space / side for space, side in zip(self._window, self.picture, strict=True)))

    @property
    def whole(self) -> bool:
        """Whether the picture is shown smaller than it is."""
        return self.scale < 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole picture at this scale."""
        width, height = (max(1, round(side * self.scale)) for side in self.picture)
        return width, height

    @property
    def where(self) -> Rect:
        """The rectangle of the window that shows the picture."""
        left, top = max(0, -self._left), max(0, -self._top)
        width, height = (min(space, side) for space, side in zip(self._window, self.size, strict=True))
        return Rect(left, top, width, height)

    @property
    def state(self) -> tuple[float, int, int]:
        """Scale and position, to compare: they are equal while the window shows the same part."""
        return self.scale, self._left, self._top

    @property
    def movable(self) -> bool:
        """Whether a part of the picture is outside the window."""
        return any(side > space for side, space in zip(self.size, self._window, strict=True))

    def seen(self, divider: float = 0.0) -> Box:
        """Return the visible part of the picture right of the dividing line, which is at `divider`, 0..1 of `where`."""
        where = self.where
        width, height = self.picture
        left = max(0, self._left) + divider * where.width
        top = max(0, self._top)
        ends = (top + where.height) / self.scale, (max(0, self._left) + where.width) / self.scale
        return Box(
            int(top / self.scale), min(width - 1, int(left / self.scale)),
            min(height, -int(-ends[0] // 1)), min(width, -int(-ends[1] // 1)),
        )  # fmt: skip

    def resized(self, window: tuple[int, int]) -> None:
        """Change the size of the window; the pixel in its middle stays there."""
        was_whole, before = self.whole or self.scale == self.fit, self._window
        self._window = window
        if was_whole or self.scale < 1:
            self.scale = self.fit
        self.move((before[0] - window[0]) // 2, (before[1] - window[1]) // 2)

    def move(self, right: int, down: int) -> None:
        """Move the window over the picture by window pixels, but not beyond the edges of the picture."""
        left, top = (
            (side - space) // 2 if side <= space else min(max(0, at), side - space)
            for at, side, space in zip((self._left + right, self._top + down), self.size, self._window, strict=True)
        )
        self._left, self._top = left, top

    def zoom(self, steps: int, at: tuple[int, int]) -> None:
        """Zoom in (or out, if negative) by some steps; the pixel at position `at` of the window stays there."""
        scales = sorted({self.fit, *MAGNIFIED})
        now = min(range(len(scales)), key=lambda index: abs(scales[index] - self.scale))
        self.zoom_to(scales[min(len(scales) - 1, max(0, now + steps))], at)

    def zoom_to(self, scale: float, at: tuple[int, int]) -> None:
        """Set the scale; the pixel at position `at` of the window stays there."""
        there = [(origin + point + 0.5) / self.scale for origin, point in zip((self._left, self._top), at, strict=True)]
        self.scale = scale
        self._left, self._top = (round(side * scale - point - 0.5) for side, point in zip(there, at, strict=True))
        self.move(0, 0)

    def part(self, picture: FrameArray) -> FrameArray:
        """Return the visible pixels of a picture, (h, w, 3)."""
        box = self.seen()
        return np.ascontiguousarray(picture[box.rows, box.columns])

    def magnified(self, part: FrameArray) -> FrameArray:
        """Scale the result of `part` to the size of `where`; magnified pixels become squares."""
        if self.whole:
            return part
        factor, where, box = int(self.scale), self.where, self.seen()
        large = part if factor == 1 else cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
        top, left = max(0, self._top) - box.top * factor, max(0, self._left) - box.left * factor
        return np.asarray(large[top : top + where.height, left : left + where.width], np.uint8)
