"""Where a picture differs from the good pictures that a model was trained on, and by how much.

The model scores how unusual each pixel of a patch is. Scores of overlapping patches are blended like cleaned patches.
The score of a picture is that of its worst patch: the largest mean over a patch. The picture is an anomaly if its score
exceeds the threshold in the model's file, which a known share of good pictures exceeds too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import Progress, check_function, check_image
from cae_runtime.errors import ImageError, ImageTypeError
from cae_runtime.inference.patch_model import Grid, PatchModel
from cae_runtime.inference.tiling import Floats, OverlapAdder, cut, window
from cae_runtime.io.contact_sheet import to_bgr

FULL_HEAT: Final = 3.0  # times `threshold_pixel`: the upper end of the color scale
_OPACITY: Final = 0.65
_COUNTS: Final = 0.25  # share of a patch that has to count, where only a region of the picture does
_TINY: Final = 1e-9
_BAND: Final = 256  # rows that are drawn at once


@dataclass(frozen=True)
class Detection:
    """The detector's result for one picture.

    Attributes:
        score: of the picture, 0 or more.
        heat: score of each pixel, (H, W) float32, 0 or more.
        anomaly: whether `score` exceeds the model's `threshold`.
    """

    score: float
    heat: Floats
    anomaly: bool


class Detector(PatchModel):
    """Finds anomalies: what differs from the good pictures that a model was trained on.

    Made of a file that `cae-export --anomaly` wrote, with the arguments, attributes and errors of `PatchModel`; the
    threshold of `score`, `session.spec.threshold`, was found for the recommended overlap.
    """

    task = "anomaly"

    def __call__(
        self, image: NDArray[Any], *, region: NDArray[np.bool_] | None = None, progress: Progress | None = None
    ) -> Detection:
        """Score a picture.

        Args:
            image: uint8, uint16, or float32 in 0..1; (H, W), (H, W, 3), or with alpha, which is ignored.
            region: the pixels to judge, bool (H, W); None: all. Other pixels get no heat. Patches with less than a
                quarter of their pixels in the region are left out, unless all patches are like this. The model sees
                whole patches: what is unusual less than a patch outside the region can raise the score too.
            progress: called in this thread with how many patches are done and how many there are. An exception that it
                raises stops the work and comes out of this call.

        Raises:
            ImageError: `image` or `region` is not as above (also a TypeError if the type of `region` is wrong).
            ProviderError: the provider failed while running.
        """
        check_image(image)
        check_function("progress", progress)
        if region is not None:
            _check_region(region, image.shape[:2])
        grid, patch = self._grid(image), self.session.spec.patch
        weights_y, weights_x = (window(starts, patch, grid.overlap) for starts in (grid.ys, grid.xs))
        heat = np.zeros((int(grid.ys[-1]) + patch, int(grid.xs[-1]) + patch), np.float32)
        score = _Worst(grid, region, patch)
        strips: OverlapAdder | None = None
        with self._over(grid, progress) as parts:
            for rows, columns, scores in parts:  # (ny, nx, 1, P, P)
                score.add(rows, columns, scores)
                strips = strips or OverlapAdder(len(scores), 1, patch, grid.xs)
                strips.put(scores, weights_x[columns], columns.start)
                if columns.stop == len(grid.xs):
                    ys = grid.ys[rows]
                    heat[ys[0] : ys[-1] + patch] += strips.sum(ys - ys[0], weights_y[rows])[0]
                    strips = None
        (height, width), margin = grid.size, grid.margin
        heat = heat[margin : margin + height, margin : margin + width]
        if region is not None:
            heat = np.where(region, heat, np.float32(0))
        return Detection(score.value, heat, score.value > (self.session.spec.threshold or 0.0))

    def overlay(self, image: NDArray[Any], heat: Floats) -> NDArray[np.uint8]:
        """Return a picture in gray with its heat in colors over it, uint8 (H, W, 3) in the order of `color`.

        Pixels that are usual in good pictures stay gray. Red begins at three times the score that one in a thousand of
        their pixels exceeds.

        Args:
            image: as in a call.
            heat: that of its `Detection`, float32 (H, W).

        Raises:
            ImageError: one of them is not as above (where its type is another, a TypeError too).
        """
        check_image(image)
        if not isinstance(heat, np.ndarray) or heat.dtype != np.float32:
            raise ImageTypeError(f"heat is {_described(heat)}: it must be a float32 array, as `Detection.heat` is")
        if heat.shape != image.shape[:2]:
            raise ImageError(f"heat has the shape {heat.shape}, the image {image.shape[:2]}: they must be of one size")
        unit = self.session.spec.threshold_pixel or 1.0
        to_gray = cv2.COLOR_BGR2GRAY if self._bgr else cv2.COLOR_RGB2GRAY
        result = np.empty((*image.shape[:2], 3), np.uint8)
        for top in range(0, len(image), _BAND):  # temporary arrays are as small as a band
            rows = slice(top, top + _BAND)
            gray = cv2.cvtColor(cv2.cvtColor(to_bgr(image[rows]), to_gray), cv2.COLOR_GRAY2BGR)
            level = ((heat[rows] / unit - 1) / (FULL_HEAT - 1)).clip(0, 1)
            colors = heat_colors(level)[..., :: 1 if self._bgr else -1]
            share = (level > 0)[..., None] * np.float32(_OPACITY)
            result[rows] = np.rint(gray * (1 - share) + colors * share)  # yellow to red
        return result


def _check_region(region: Any, shape: tuple[int, ...]) -> None:
    """Refuse a `region` that does not fit an image of a shape.

    Raises:
        ImageError: it is no bool array of that shape (of another type: a TypeError too), or True nowhere.
    """
    if not isinstance(region, np.ndarray) or region.dtype != np.bool_:
        raise ImageTypeError(f"region is {_described(region)}: it must be a bool array")
    if region.shape != shape or not region.any():
        raise ImageError(f"region has the shape {region.shape}: it must have {shape}, and be True somewhere")


def _described(value: Any) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def heat_colors(level: Floats) -> NDArray[np.uint8]:
    """Return colors from yellow (0) to red (1), (H, W, 3) BGR, of levels (H, W)."""
    return np.asarray(cv2.applyColorMap(np.rint((1 - level) * 255).astype(np.uint8), cv2.COLORMAP_AUTUMN), np.uint8)


class _Worst:
    """The largest mean score of a patch, over those of its pixels that count."""

    def __init__(self, grid: Grid, region: NDArray[np.bool_] | None, patch: int) -> None:
        self._grid, self._patch, self._region = grid, patch, None
        self._inside: float | None = None
        self._outside = 0.0
        if region is not None:
            (height, width), margin = grid.size, grid.margin
            plane = np.zeros((int(grid.ys[-1]) + patch, int(grid.xs[-1]) + patch), np.float32)
            plane[margin : margin + height, margin : margin + width] = region
            self._region = plane

    def add(self, rows: slice, columns: slice, scores: Floats) -> None:
        """Add patches: (ny, nx, 1, P, P)."""
        if self._region is None:
            self._keep(scores.mean(axis=(2, 3, 4), dtype=np.float64).ravel())
            return
        patches = cut(self._region[None], self._grid.ys[rows], self._grid.xs[columns], self._patch)
        counted = patches.mean(axis=(2, 3, 4), dtype=np.float64)
        means = (scores * patches).mean(axis=(2, 3, 4), dtype=np.float64) / np.maximum(counted, _TINY)
        self._keep(means[counted >= _COUNTS])
        self._outside = max(self._outside, float(means[counted > 0].max(initial=0)))

    def _keep(self, means: NDArray[np.float64]) -> None:
        if means.size:
            self._inside = max(self._inside or 0.0, float(means.max()))

    @property
    def value(self) -> float:
        """The score of the picture; of patches that hardly count where there are no others."""
        return self._outside if self._inside is None else self._inside
