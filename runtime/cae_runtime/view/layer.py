"""A picture that is cleaned tile by tile for the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import Progress
from cae_runtime.io.arrays import HAS_ALPHA, FrameArray
from cae_runtime.io.contact_sheet import to_bgr
from cae_runtime.io.image_files import Picture
from cae_runtime.io.orientation import upright
from cae_runtime.jobs.previews.screen_colors import seen_as
from cae_runtime.tasks import any_range
from cae_runtime.tasks.notes import Note, Tell, few_values
from cae_runtime.tasks.restore import Restorer
from cae_runtime.view.tiles import Box, Grid, Tile


class Layer:
    """An 8-bit picture, and the tiles of it that are cleaned so far.

    Args:
        stored: uint8 (H, W) or (H, W, 3) BGR, in the orientation of its file.
        orientation: its EXIF orientation, 1 to 8.
        restorer: cleans the tiles.
        exact: returns the whole picture cleaned as the command cleans it, uint8 (H, W, 3) BGR; None if the tiles
            already give this result.
        notes: what a user should know about the cleaning; `exact` may add to it.

    Attributes:
        original: uint8 (h, w, 3) BGR, upright.
        cleaned: the same shape: cleaned tiles, and the original elsewhere.
        exact: the argument; None once it has been called.
        taken: whether `take` was called.
    """

    def __init__(
        self,
        stored: NDArray[np.uint8],
        orientation: int,
        restorer: Restorer,
        exact: Callable[[Progress], NDArray[np.uint8]] | None = None,
        notes: list[Note] | None = None,
    ) -> None:
        self.notes = [] if notes is None else notes
        self._stored, self._orientation, self._restorer, self.exact = stored, orientation, restorer, exact
        self._result = to_bgr(stored).copy()
        self.original: FrameArray = upright(to_bgr(stored), orientation)
        self.cleaned: FrameArray = upright(self._result, orientation)
        height, width = stored.shape[:2]
        self._grid = Grid(height, width, restorer.spec.patch, restorer.overlap)
        self._middle = height / 2, width / 2  # of the part that was visible last
        self._shape = self.original.shape[:2]
        self.taken = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright."""
        return self._shape[1], self._shape[0]

    @property
    def share(self) -> float:
        """The cleaned share, 0..1."""
        return float(self._grid.done.mean())

    @property
    def complete(self) -> bool:
        """Whether the whole picture is as the command cleans it."""
        return self.exact is None and bool(self._grid.done.all())

    def next_tile(self, seen: Box | None) -> Tile | None:
        """Return the tile to clean next, or None if the given part is done.

        Args:
            seen: a part of the upright picture; None: the whole picture, beginning near the last visible part.
        """
        if seen is None:
            return self._grid.nearest_tile(self._middle)
        box = _stored_box(seen, self._orientation, self._shape)
        self._middle = box.middle
        return self._grid.next_tile(box)

    def clean(self, tile: Tile) -> None:
        """Clean a tile."""
        around, box = tile.around, tile.box
        made = self._restorer(np.ascontiguousarray(self._stored[around.rows, around.columns]))
        rows = slice(box.top - around.top, box.bottom - around.top)
        columns = slice(box.left - around.left, box.right - around.left)
        self._result[box.rows, box.columns] = to_bgr(made[rows, columns])
        self._grid.done[tile.cells.rows, tile.cells.columns] = True

    def smaller(self, size: tuple[int, int]) -> Layer:
        """Return a smaller version of the picture, not cleaned yet, with this upright width and height."""
        stored = size[::-1] if self._orientation >= 5 else size
        return Layer(made_smaller(self._stored, stored), self._orientation, self._restorer)

    def take(self, full: Layer) -> None:
        """Replace the tiles with a complete picture, scaled down."""
        size = (self._result.shape[1], self._result.shape[0])
        self._result[:] = made_smaller(full._result, size)
        self._grid.done[:] = True
        self.taken = True

    def finish(self, progress: Progress) -> None:
        """Replace the tiles, which were cleaned in 8 bits, with the picture as the command cleans it."""
        if self.exact is not None:
            self._result[:] = self.exact(progress)
            self.exact = None


def layer_of(picture: Picture, restorer: Restorer) -> Layer:
    """Return the layer of a decoded picture; of several frames or pages, the first."""
    pixels = picture.pixels
    plain = pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] not in HAS_ALPHA)
    if plain:
        only = few_values(pixels.reshape(*pixels.shape[:2], -1))
        return Layer(pixels, picture.orientation, restorer, notes=[only] if only else [])
    notes: list[Note] = []

    def exact(progress: Progress) -> NDArray[np.uint8]:
        return seen_as(cleaned_pixels(restorer, pixels, notes.append, progress), pixels)

    return Layer(seen_as(pixels, pixels), picture.orientation, restorer, exact, notes)


def made_smaller(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale pixels, (H, W) or (H, W, 3), down to a width and height.

    A whole factor comes first, since OpenCV averages squares several times as fast as other areas.
    """
    factor = min(side // wanted for side, wanted in zip(pixels.shape[1::-1], size, strict=True))
    if factor > 1:
        whole = pixels.shape[1] // factor, pixels.shape[0] // factor
        pixels = np.asarray(
            cv2.resize(pixels[: whole[1] * factor, : whole[0] * factor], whole, interpolation=cv2.INTER_AREA), np.uint8
        )
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def cleaned_pixels(
    restorer: Restorer, pixels: NDArray[Any], tell: Tell, progress: Progress | None = None
) -> NDArray[Any]:
    """Clean pixels at full strength, as the command does; `tell` is called with each note."""
    if pixels.dtype == np.float32:
        return any_range.cleaned(restorer, pixels, 1.0, tell, progress)
    return restorer(pixels, tell=tell, progress=progress)


def _stored_box(box: Box, orientation: int, shape: tuple[int, ...]) -> Box:
    """Map a part of the upright picture of shape (h, w) to the stored one: the inverse of `upright`."""
    top, left, bottom, right = box
    if orientation in (2, 3, 6, 7):
        left, right = shape[1] - right, shape[1] - left
    if orientation in (3, 4, 7, 8):
        top, bottom = shape[0] - bottom, shape[0] - top
    return Box(left, top, right, bottom) if orientation >= 5 else Box(top, left, bottom, right)
