"""Task `encode`: converts pictures into rows of features for scikit-learn.

One row per picture is the mean of its codes over patches and positions, so that pictures of any size have rows of equal
length. One row per patch is the whole code, flattened, with the position of the patch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import Progress
from cae_runtime.inference.patch_model import PatchModel
from cae_runtime.inference.tiling import Floats


class Encoder(PatchModel):
    """Computes the latent codes of pictures with a model of task `encode`.

    Made of a file that `cae-export --part encoder` wrote, with the arguments, attributes and errors of `PatchModel`;
    `session.code_shape` is the shape of one code.
    """

    task = "encode"

    def patches(self, image: NDArray[Any], *, progress: Progress | None = None) -> tuple[NDArray[np.int32], Floats]:
        """Return the corners of a picture's patches, (N, 2) as x and y, and their codes, (N, D) float32.

        Args:
            image: uint8, uint16, or float32 in 0..1; (H, W), (H, W, 3), or with alpha, which is ignored.
            progress: called with how many patches are done and how many there are. An exception that it raises stops
                the work and comes out of this call.

        Raises:
            ImageError: the array's dtype or shape is none of the above.
            ProviderError: the provider failed while running.
        """
        grid = self._grid(image)
        rows, columns = len(grid.ys), len(grid.xs)
        codes = np.empty((rows, columns, math.prod(self.session.code_shape)), np.float32)
        with self._over(grid, progress) as parts:
            for y, x, part in parts:
                codes[y, x] = part.reshape(*part.shape[:2], -1)
        places = np.empty((rows, columns, 2), np.int32)
        places[..., 0], places[..., 1] = grid.xs - grid.margin, grid.ys[:, None] - grid.margin
        return places.reshape(-1, 2), codes.reshape(rows * columns, -1)

    def __call__(self, image: NDArray[Any], *, progress: Progress | None = None) -> Floats:
        """Return one row of features for a picture, (F,) float32: the mean over its patches and positions.

        Args:
            image: uint8, uint16, or float32 in 0..1; (H, W), (H, W, 3), or with alpha, which is ignored.
            progress: called with how many patches are done and how many there are. An exception that it raises stops
                the work and comes out of this call.

        Raises:
            ImageError: the array's dtype or shape is none of the above.
            ProviderError: the provider failed while running.
        """
        grid = self._grid(image)
        total = np.zeros(self.session.code_shape[0])
        count = 0
        with self._over(grid, progress) as parts:
            for *_, codes in parts:  # (ny, nx, F, ...)
                codes = codes.reshape(-1, codes.shape[2], math.prod(codes.shape[3:]))
                total += codes.mean(axis=2, dtype=np.float64).sum(axis=0)
                count += len(codes)
        mean: Floats = (total / count).astype(np.float32)
        return mean
