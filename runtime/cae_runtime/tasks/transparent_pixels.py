"""Fully transparent pixels: their hidden colors must not affect the cleaning of visible neighbors."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.io.arrays import Image


def hidden_pixels(alpha: Image) -> NDArray[np.bool_] | None:
    """Find the fully transparent pixels of a picture.

    Args:
        alpha: uint8, uint16 or float32, shape (H, W), 0 where the picture is invisible.

    Returns:
        bool (H, W), or None if every pixel is visible.
    """
    hidden: NDArray[np.bool_] = np.equal(alpha, 0)
    return hidden if hidden.any() else None


def filled(image: Image, hidden: NDArray[np.bool_], first: int, end: int, reach: int) -> Image:
    """Return rows of a picture whose hidden pixels are filled by mirroring visible ones.

    A hidden pixel gets the value that lies equally far on the other side of the nearest visible pixel. This gives it
    realistic noise; copies of one pixel would be streaks, which a model mistakes for a pattern. If that pixel is hidden
    too, the nearest visible pixel is used.

    Args:
        image: uint8, uint16 or float32, shape (H, W, C).
        hidden: bool (H, W).
        first: the first row.
        end: the row after the last.
        reach: pixels; this many further rows above and below are searched too.

    Returns:
        Shape (end - first, W, C), read only. Pixels far from all visible ones are returned unchanged.
    """
    if not hidden[first:end].any():
        return image[first:end]
    top = max(0, first - reach)
    near, unseen = image[top : end + reach], hidden[top : end + reach]
    if unseen.all():
        return image[first:end]
    _, labels = cv2.distanceTransformWithLabels(  # each visible pixel has its own label; 0: 65,535 pixels away or more
        unseen.view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    height, width = unseen.shape
    visible = np.flatnonzero(~unseen)
    place = np.empty(len(visible) + 1, np.intp)
    place[labels.ravel()[visible]] = visible
    result = near[first - top : end - top].copy()
    rows, columns = np.nonzero(hidden[first:end] & (labels[first - top : end - top] > 0))
    edge_rows, edge_columns = np.divmod(place[labels[rows + first - top, columns]], width)
    mirrored_rows = np.clip(2 * edge_rows - rows - (first - top), 0, height - 1)
    mirrored_columns = np.clip(2 * edge_columns - columns, 0, width - 1)
    missed = unseen[mirrored_rows, mirrored_columns]
    mirrored_rows[missed], mirrored_columns[missed] = edge_rows[missed], edge_columns[missed]
    result[rows, columns] = near[mirrored_rows, mirrored_columns]
    return result
