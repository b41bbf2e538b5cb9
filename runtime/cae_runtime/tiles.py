"""Cuts an image into overlapping square patches and blends them back without a seam: pure NumPy.

Letters in the shapes: C channels, H and W the image, P the patch, Ny and Nx the patches of a column and of a row.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


def origins(length: int, patch: int, overlap: int) -> Indices:
    """Return where the patches along one axis begin.

    Neighbours overlap by `overlap` pixels; the last patch ends exactly at the edge, so it may overlap by more.

    Args:
        length: pixels along the axis, at least `patch`.
        patch: side of a patch.
        overlap: pixels shared by neighbours, 0..patch-1.

    Returns:
        Rising start positions, shape (N,), intp.

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
    """Return each patch's blending weights along one axis: raised-cosine ramps as long as the overlap.

    The weights are a partition of unity: at every pixel those of all patches over it sum to 1, also where the last
    patch overlaps more than one neighbour, so that blending needs no division.

    Args:
        starts: what `origins` returned, shape (N,).
        patch: side of a patch.
        overlap: pixels shared by neighbours, 0..patch-1.

    Returns:
        Weights in 0..1, shape (N, P), float32.
    """
    ramp = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)) ** 2
    profile = np.ones(patch)
    profile[:overlap] *= ramp
    profile[patch - overlap :] *= ramp[::-1]
    covered = starts[:, None] + np.arange(patch)  # (N, P): the pixel under each weight
    total = np.bincount(covered.ravel(), weights=np.tile(profile, len(starts)))
    weights: Floats = (profile / total[covered]).astype(np.float32)
    return weights


def split(image: Floats, ys: Indices, xs: Indices, patch: int) -> Floats:
    """Copy the patches that begin at every (y, x) out of an image.

    Args:
        image: shape (C, H, W), float32.
        ys: rows where patches begin, shape (Ny,).
        xs: columns where patches begin, shape (Nx,).
        patch: side of a patch.

    Returns:
        Patches, rows first: shape (Ny * Nx, C, P, P), float32, C-contiguous.
    """
    channels = image.shape[0]
    views = sliding_window_view(image, (patch, patch), axis=(1, 2))  # (C, H-P+1, W-P+1, P, P), no copy
    patches = np.empty((len(ys), len(xs), channels, patch, patch), np.float32)
    for row, y in enumerate(ys):
        patches[row] = views[:, y, xs].swapaxes(0, 1)  # (C, Nx, P, P) -> (Nx, C, P, P)
    return patches.reshape(-1, channels, patch, patch)


def blend(patches: Floats, xs: Indices, rows: Indices, weights_y: Floats, weights_x: Floats, out: Floats) -> None:
    """Add weighted patches into an image, in place.

    Rows are added from top to bottom, one by one, so an image that is blended in several calls is equal bit for bit
    to one that is blended in a single call.

    Args:
        patches: shape (Ny * Nx, C, P, P), float32, in the order of `split`.
        xs: columns where patches begin, shape (Nx,).
        rows: rows of `out` where patches begin, shape (Ny,).
        weights_y: vertical weights of these rows of patches, shape (Ny, P).
        weights_x: horizontal weights, shape (Nx, P).
        out: what is added to, shape (C, H, W), float32.
    """
    channels, patch = patches.shape[1], patches.shape[3]
    grid = patches.reshape(len(rows), len(xs), channels, patch, patch)
    strips = np.zeros((len(rows), channels, patch, out.shape[2]), np.float32)  # patches joined from left to right
    for column, x in enumerate(xs):
        strips[..., x : x + patch] += grid[:, column] * weights_x[column]
    for strip, y, weights in zip(strips, rows, weights_y, strict=True):
        out[:, y : y + patch] += strip * weights[:, None]
