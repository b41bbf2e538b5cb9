"""Divides a picture into tiles that can be cleaned one by one, with the same result as for the whole picture.

A model sees only patches. So a tile comes out as in the whole picture if it is cleaned together with all patches that
reach into it. Tiles begin where patches begin, and are cut out with up to one patch more on each side.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cae_runtime.inference.tiling import origins

_STEP: Final = 16  # cells per side of a tile in the invisible part
_WIDEST, _MOST = 64, 512  # cells across and in all of a visible tile; large tiles overlap less


class Box(NamedTuple):
    """A part of a picture, in pixels: rows top..bottom-1, columns left..right-1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """Its columns."""
        return slice(self.left, self.right)

    @property
    def middle(self) -> tuple[float, float]:
        """Row and column of the center."""
        return (self.top + self.bottom) / 2, (self.left + self.right) / 2


class Tile(NamedTuple):
    """A part of a picture that is cleaned in one call.

    Attributes:
        box: the part, in pixels.
        around: the part together with all patches that reach into it, in pixels.
        cells: the part, in cells of the grid.
    """

    box: Box
    around: Box
    cells: Box


class Grid:
    """A picture divided into cells that begin where patches begin; records which cells are done.

    Args:
        height: height of the picture in pixels.
        width: width of the picture in pixels.
        patch: side of the model's patches in pixels.
        overlap: pixels that neighboring patches share.
    """

    def __init__(self, height: int, width: int, patch: int, overlap: int) -> None:
        self._patch = patch
        self._edges = _edges(height, patch, overlap), _edges(width, patch, overlap)
        self.done = np.zeros((len(self._edges[0]) - 1, len(self._edges[1]) - 1), np.bool_)

    def next_tile(self, seen: Box) -> Tile | None:
        """Return the next tile of a part of the picture, or None if that part is done."""
        top, bottom = _cells(self._edges[0], seen.top, seen.bottom)
        left, right = _cells(self._edges[1], seen.left, seen.right)
        missing = np.logical_not(self.done[top:bottom, left:right])
        if not missing.any():
            return None
        rows, columns = np.flatnonzero(missing.any(axis=1)), np.flatnonzero(missing.any(axis=0))
        row, column = int(rows[0]), int(missing[rows[0]].argmax())
        width = min(int(columns[-1]) + 1 - column, _WIDEST)
        height = min(int(rows[-1]) + 1 - row, max(1, _MOST // width))
        return self._tile(Box(top + row, left + column, top + row + height, left + column + width))

    def nearest_tile(self, middle: tuple[float, float]) -> Tile | None:
        """Return the next tile of the whole picture, close to a row and column, or None if all is done."""
        rows, columns = np.nonzero(np.logical_not(self.done[::_STEP, ::_STEP]))
        if len(rows) == 0:
            return self.next_tile(Box(0, 0, int(self._edges[0][-1]), int(self._edges[1][-1])))
        rows, columns = rows * _STEP, columns * _STEP
        distance = (self._edges[0][rows] - middle[0]) ** 2 + (self._edges[1][columns] - middle[1]) ** 2
        top, left = int(rows[distance.argmin()]), int(columns[distance.argmin()])
        return self._tile(Box(top, left, min(top + _STEP, len(self.done)), min(left + _STEP, self.done.shape[1])))

    def _tile(self, cells: Box) -> Tile:
        (top, bottom), (first, end) = self._span(0, cells.top, cells.bottom)
        (left, right), (start, stop) = self._span(1, cells.left, cells.right)
        return Tile(Box(top, left, bottom, right), Box(first, start, end, stop), cells)

    def _span(self, axis: int, first: int, end: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return begin and end of some cells along an axis, and begin and end of the part to cut out for them."""
        edges = self._edges[axis]
        before = int(np.searchsorted(edges, edges[first] - self._patch, side="right")) if first else 0
        stop = min(int(edges[-1]), int(edges[end - 1]) + self._patch)
        return (int(edges[first]), int(edges[end])), (int(edges[before]), stop)


def _edges(length: int, patch: int, overlap: int) -> NDArray[np.intp]:
    """Return the positions along an axis where cells begin, and the end of the last cell."""
    starts = origins(length, patch, overlap) if length > patch else np.zeros(1, np.intp)
    return np.append(starts, length)


def _cells(edges: NDArray[np.intp], first: int, end: int) -> tuple[int, int]:
    """Return the range of cells that contain pixels first..end-1 of an axis."""
    return int(np.searchsorted(edges, first, side="right")) - 1, int(np.searchsorted(edges, end, side="left"))
