"""Runs a model around given pixels only, such as those of holes: its output there, from as few patches as will do.

The picture is divided into square cells. Each cell with such pixels gets one patch, in whose middle they lie. Where
patches overlap, their outputs are blended: a pixel counts more the further it is from the edges of its patch. A patch
that would see little but unknown pixels is moved to where it sees more known ones.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import closing
from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cae_runtime.errors import ModelError
from cae_runtime.inference.model_spec import NHWC
from cae_runtime.inference.session import Session
from cae_runtime.inference.tiling import Floats, Indices
from cae_runtime.io.arrays import full_scale
from cae_runtime.io.pipeline import prefetch_map

_UNKNOWN_MOST: Final = 0.35  # share of a patch's pixels, as in the training of `fill`
_EDGE: Final = 8  # the pixels of a cell stay an eighth of a patch away from its edges

Bits = NDArray[np.bool_]  # H x W
OnBatch = Callable[[float], None]
Part = tuple[Indices, Floats, Floats]  # which pixels, what their outputs weigh (K), and the outputs (K, C)


class PatchesAt:
    """The work on one picture.

    Args:
        session: a model of task `restore` or `inpaint`.
        image: uint8, uint16, or float32 in 0..1, shape (H, W, C): C is that of the model, or 3 with a model of one
            channel, which then sees each of them as a gray picture.
        where: the pixels, bool (H, W); at least one is true.
        unknown: pixels without a value yet, bool (H, W).
        cell: side of the cells, 1..patch.
        batch: patches per call of the model.
        bgr: whether colors are in BGR order, not RGB.
    """

    def __init__(
        self,
        session: Session,
        image: NDArray[Any],
        where: Bits,
        unknown: Bits,
        *,
        cell: int,
        batch: int,
        bgr: bool,
    ) -> None:
        self._session, self._batch, self._patch = session, batch, session.spec.patch
        self._reverse, self._scale = bgr and session.spec.channels == image.shape[2], full_scale(image.dtype)
        if margin := session.spec.margin(*where.shape):
            image = np.pad(image, [*[(margin, margin)] * 2, (0, 0)])
            where, unknown = np.pad(where, margin), np.pad(unknown, margin)
        lacking = [(0, max(0, self._patch - side)) for side in where.shape]
        self._image = np.pad(image, [*lacking, (0, 0)], mode="reflect") if np.any(lacking) else image
        self._where = np.pad(where, lacking) if np.any(lacking) else where
        self._rows, self._columns = np.nonzero(self._where)
        self._flat = self._rows * self._where.shape[1] + self._columns  # increasing
        self._tops, self._lefts = self._places(cell, np.pad(unknown, lacking) if np.any(lacking) else unknown)
        tent = np.minimum(np.arange(self._patch), np.arange(self._patch)[::-1]).astype(np.float32) + 0.5
        self._weights = np.square(np.outer(tent, tent))

    def run(self, pool: Executor, on_batch: OnBatch | None = None) -> Floats:
        """Return the model's output at the pixels, (M, C) in about 0..1, in row order.

        Args:
            pool: the threads.
            on_batch: called in this thread with the share of the patches that are done, after each batch. An exception
                that it raises ends the work.

        Raises:
            ModelError: it is not finite.
            ProviderError: the provider failed while running.
        """
        total = np.zeros((1 + self._image.shape[2], len(self._flat)), np.float32)
        parts = (slice(first, first + self._batch) for first in range(0, len(self._tops), self._batch))
        with closing(prefetch_map(pool, self._one, parts, ahead=self._session.workers)) as results:
            for number, (pixels, weights, values) in enumerate(results, 1):  # in order: sums depend on no threads
                np.add.at(total[0], pixels, weights)
                for plane, value in zip(total[1:], values.T, strict=True):
                    np.add.at(plane, pixels, weights * value)
                if on_batch is not None:
                    on_batch(min(1.0, number * self._batch / len(self._tops)))
        if not np.isfinite(total.sum()):
            raise ModelError(f"model {str(self._session.path)!r} returns values that are not finite")
        return cast(Floats, (total[1:] / total[0]).T)

    def _places(self, cell: int, unknown: Bits) -> tuple[Indices, Indices]:
        """Rows and columns where the patches begin.

        The pixels of a cell are in the middle of its patch if that sees enough from there, else near the edge where it
        sees most.
        """
        height, width = self._where.shape
        cells, number = np.unique((self._rows // cell) * width + self._columns // cell, return_inverse=True)
        axes = []
        for coordinates, length in ((self._rows, height), (self._columns, width)):
            low, high = np.full(len(cells), length), np.zeros(len(cells), np.intp)
            np.minimum.at(low, number, coordinates)
            np.maximum.at(high, number, coordinates)
            middle = (low + high + 1 - self._patch) // 2
            room = np.maximum(0, (self._patch - (high + 1 - low)) // 2 - self._patch // _EDGE)
            axes.append([np.clip(middle + turn * room, 0, length - self._patch) for turn in (0, -1, 1)])
        sums = cv2.integral(unknown.astype(np.uint8))
        places = [(y, x) for y in axes[0] for x in axes[1]]  # the first is the middle
        seen = np.stack([_in_square(sums, y, x, self._patch) for y, x in places])
        best = np.where(seen[0] <= _UNKNOWN_MOST * self._patch**2, 0, seen.argmin(axis=0))
        tops, lefts = (np.stack(each)[best, np.arange(len(cells))] for each in zip(*places, strict=True))
        return tops, lefts

    def _one(self, part: slice) -> Part:
        """Run the model on some of the patches."""
        tops, lefts, side = self._tops[part], self._lefts[part], (self._patch, self._patch)
        patches = sliding_window_view(self._image, side, axis=(0, 1))[tops, lefts]  # N x C x P x P
        outputs = self._outputs(patches)
        number, y, x = np.nonzero(sliding_window_view(self._where, side)[tops, lefts])
        flat = (tops[number] + y) * self._where.shape[1] + lefts[number] + x
        return np.searchsorted(self._flat, flat), self._weights[y, x], outputs[number, :, y, x]

    def _outputs(self, patches: NDArray[Any]) -> Floats:
        """Return the model's output for N x C x P x P, float32 of the same shape."""
        session, shape = self._session, patches.shape
        given = np.divide(patches[:, ::-1] if self._reverse else patches, self._scale, dtype=np.float32)
        given = given.reshape(-1, session.spec.channels, *shape[2:])
        if session.spec.layout == NHWC:
            given = given.transpose(0, 2, 3, 1)
        count = len(given)
        if session.steady_batch and session.batch is None:
            given = np.pad(given, [(0, -count % self._batch), (0, 0), (0, 0), (0, 0)])
        made = session.run(np.ascontiguousarray(given))[:count]
        made = (made.transpose(0, 3, 1, 2) if session.spec.layout == NHWC else made).reshape(shape)
        return made[:, ::-1] if self._reverse else made


def _in_square(sums: NDArray[Any], tops: Indices, lefts: Indices, side: int) -> NDArray[Any]:
    """Sums over squares of a picture, from the integral image that `cv2.integral` makes of it."""
    below, right = tops + side, lefts + side
    result: NDArray[Any] = sums[below, right] - sums[tops, right] - sums[below, lefts] + sums[tops, lefts]
    return result
