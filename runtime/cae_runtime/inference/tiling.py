"""Cuts an image into overlapping square patches and blends them without seams, in pure NumPy.

Letters in the shapes: H and W the image, P the patch, Ny and Nx the patches of a column and of a row, K the planes and
D the depth of a pixel: the values that lie side by side. Color images have K = 3 planes, or one plane with D = 3.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Planes = NDArray[Any]
Indices = NDArray[np.intp]

_BATCHES_AT_ONCE: Final = 8  # at most, of a fixed size: with more, only one in 9 or more is padded


def origins(length: int, patch: int, overlap: int) -> Indices:
    """Return the start positions of the patches along one axis.

    Neighbors overlap by `overlap` pixels; the last patch ends exactly at the edge, so it may overlap more.

    Args:
        length: pixels along the axis, at least `patch`.
        patch: side of a patch.
        overlap: pixels shared by neighbors, 0..patch-1.

    Returns:
        Increasing start positions, shape (N,), intp.

    Raises:
        ValueError: `length` is below `patch`, or `overlap` is outside 0..patch-1.
    """
    if length < patch:
        raise ValueError(f"length {length} is below the patch of {patch}: pad it first")
    if not 0 <= overlap < patch:
        raise ValueError(f"overlap {overlap} is outside 0..{patch - 1}")
    stride = patch - overlap
    count = -(-(length - patch) // stride) + 1
    return np.minimum(np.arange(count, dtype=np.intp) * stride, length - patch)


def window(starts: Indices, patch: int, overlap: int) -> Floats:
    """Return the blending weights of each patch along one axis: linear ramps as long as the overlap.

    The weights are a partition of unity: at every pixel, the weights of all patches sum to 1, even where the last patch
        overlaps more than one neighbor. So blending needs no division.

    Args:
        starts: what `origins` returned, shape (N,).
        patch: side of a patch.
        overlap: pixels shared by neighbors, 0..patch-1.

    Returns:
        Weights in 0..1, shape (N, P), float32.
    """
    ramp = (np.arange(overlap) + 0.5) / max(overlap, 1)
    profile = np.ones(patch)
    profile[:overlap] *= ramp
    profile[patch - overlap :] *= ramp[::-1]
    covered = starts[:, None] + np.arange(patch)  # (N, P): the pixel under each weight
    total = np.bincount(covered.ravel(), weights=np.tile(profile, len(starts)))
    weights: Floats = (profile / total[covered]).astype(np.float32)
    return weights


def cut(planes: Planes, ys: Indices, xs: Indices, patch: int, depth: int = 1) -> Planes:
    """Copy patches out of an image.

    Args:
        planes: shape (K, H, W * D), of any dtype.
        ys: rows where patches begin, shape (Ny,).
        xs: columns where patches begin, shape (Nx,).
        patch: side of a patch.
        depth: D.

    Returns:
        Patches of the same dtype, shape (Ny, Nx, K, P, P * D), C-contiguous.
    """
    at_each_value = sliding_window_view(planes, (patch, patch * depth), axis=(1, 2)).transpose(1, 2, 0, 3, 4)  # no copy
    return at_each_value[ys[:, None], xs * depth]


def rows_at_once(rows: int, columns: int, batch: int, least: int = 1) -> int:
    """Return how many rows of patches to take at once, so that batches of a fixed size are few: padded ones are lost.

    Args:
        rows: of patches.
        columns: patches in a row.
        batch: patches in a batch.
        least: the fewest rows.

    Returns:
        The lowest number that needs the fewest batches, of those with up to 8 batches at once; `least` or more.
    """

    def batches(count: int) -> int:
        return rows // count * -(-count * columns // batch) + -(-(rows % count) * columns // batch)

    most = min(rows, _BATCHES_AT_ONCE * batch // columns)
    return min(range(least, max(least, most) + 1), key=batches)


def columns_at_once(rows: int, batch: int, about: int) -> int:
    """Return how many columns of `rows` patches fill whole batches: about `about` patches in all."""
    step = batch // math.gcd(rows, batch)
    return max(1, -(-about // (rows * step))) * step


class OverlapAdder:
    """Sums rows of patches, first each row to a strip as wide as the image.

    Patches that do not overlap share a layer, so each is only copied, and whole layers are added. This is much less
    work than adding patch by patch. The sum does not depend on how a row is split between calls of `put`.

    Args:
        rows: number of rows of patches (Ny below).
        planes: K.
        patch: side P of a patch.
        xs: columns where the patches of a row begin, shape (Nx,), as `origins` returns them.
        depth: D.
    """

    def __init__(self, rows: int, planes: int, patch: int, xs: Indices, depth: int = 1) -> None:
        self._starts, self._height, self._width = xs * depth, patch, patch * depth
        self._stride = int(self._starts[1]) if len(xs) > 1 else self._width
        last_overlaps_more = len(xs) > 1 and self._starts[-1] - self._starts[-2] != self._stride
        self._even = len(xs) - last_overlaps_more  # the last is then added separately
        count = min(self._even, -(-self._width // self._stride))
        self._layers = np.zeros((count, rows, planes, patch, int(self._starts[-1]) + self._width), np.float32)
        self._last: Floats | None = None

    def put(self, patches: Floats, weights: Floats, first: int) -> None:
        """Add some patches of all rows.

        Args:
            patches: shape (Ny, n, K, P, P * D), float32.
            weights: of the patches along a row, shape (n, P * D), float32.
            first: index of the part's first patch in a row; each patch is put once.
        """
        count = len(self._layers)
        for index, layer in enumerate(self._layers):
            skipped = (index - first) % count
            some = slice(skipped, max(0, self._even - first), count)
            part = patches[:, some].transpose(0, 2, 3, 1, 4)  # Ny x K x P x patches x P * D
            if part.shape[3]:
                steps = (*layer.strides[:3], count * self._stride * layer.itemsize, layer.itemsize)
                places = as_strided(layer[..., self._starts[first + skipped] :], part.shape, steps)
                np.multiply(part, weights[some], out=places)
        if first + patches.shape[1] > self._even:
            self._last = patches[:, -1] * weights[-1]

    def sum(self, ys: Indices, weights: Floats) -> Floats:
        """Sum the strips where they overlap; call `put` no more after this.

        Args:
            ys: row of the result where each strip begins, shape (Ny,), the first 0.
            weights: of the strips along a column, shape (Ny, P), float32.

        Returns:
            Shape (K, H, W * D), float32, where H is the end of the last strip.
        """
        strips: Floats = self._layers[0]
        for layer in self._layers[1:]:
            strips += layer
        if self._last is not None:
            strips[..., -self._width :] += self._last
        strips *= weights[:, None, :, None]
        if len(strips) == 1:
            only: Floats = strips[0]
            return only
        total = np.zeros((strips.shape[1], int(ys[-1]) + self._height, strips.shape[3]), np.float32)
        for y, strip in zip(ys, strips, strict=True):
            total[:, y : y + self._height] += strip
        return total
