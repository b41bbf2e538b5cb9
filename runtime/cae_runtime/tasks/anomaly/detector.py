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

from cae_runtime.arguments import check_image
from cae_runtime.inference.patch_model import PatchModel
from cae_runtime.inference.tiling import Floats, OverlapAdder, window
from cae_runtime.io.contact_sheet import to_bgr

_FULL_HEAT: Final = 3.0  # times `threshold_pixel`: the upper end of the color scale
_OPACITY: Final = 0.65
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

    def __call__(self, image: NDArray[Any]) -> Detection:
        """Score a picture.

        Args:
            image: as `cae_runtime.inference.patch_model.Grid` takes it.

        Raises:
            ImageError, ProviderError: as there.
        """
        grid, patch = self._grid(image), self.session.spec.patch
        weights_y, weights_x = (window(starts, patch, grid.overlap) for starts in (grid.ys, grid.xs))
        heat = np.zeros((int(grid.ys[-1]) + patch, int(grid.xs[-1]) + patch), np.float32)
        score = 0.0
        strips: OverlapAdder | None = None
        with self._over(grid) as parts:
            for rows, columns, scores in parts:  # (ny, nx, 1, P, P)
                score = max(score, float(scores.mean(axis=(2, 3, 4), dtype=np.float64).max()))
                strips = strips or OverlapAdder(len(scores), 1, patch, grid.xs)
                strips.put(scores, weights_x[columns], columns.start)
                if columns.stop == len(grid.xs):
                    ys = grid.ys[rows]
                    heat[ys[0] : ys[-1] + patch] += strips.sum(ys - ys[0], weights_y[rows])[0]
                    strips = None
        (height, width), margin = grid.size, grid.margin
        threshold = self.session.spec.threshold or 0.0
        return Detection(score, heat[margin : margin + height, margin : margin + width], score > threshold)

    def overlay(self, image: NDArray[Any], heat: Floats) -> NDArray[np.uint8]:
        """Return a picture in gray with its heat in colors over it, uint8 (H, W, 3) in the order of `color`.

        Pixels that are usual in good pictures stay gray. Red begins at three times the score that one in a thousand of
        their pixels exceeds.
        """
        check_image(image)
        unit = self.session.spec.threshold_pixel or 1.0
        to_gray = cv2.COLOR_BGR2GRAY if self._bgr else cv2.COLOR_RGB2GRAY
        result = np.empty((*image.shape[:2], 3), np.uint8)
        for top in range(0, len(image), _BAND):  # temporary arrays are as small as a band
            rows = slice(top, top + _BAND)
            gray = cv2.cvtColor(cv2.cvtColor(to_bgr(image[rows]), to_gray), cv2.COLOR_GRAY2BGR)
            level = ((heat[rows] / unit - 1) / (_FULL_HEAT - 1)).clip(0, 1)
            colors = cv2.applyColorMap(np.rint((1 - level) * 255).astype(np.uint8), cv2.COLORMAP_AUTUMN)
            colors = colors if self._bgr else cv2.cvtColor(colors, cv2.COLOR_BGR2RGB)
            share = (level > 0)[..., None] * np.float32(_OPACITY)
            result[rows] = np.rint(gray * (1 - share) + colors * share)  # yellow to red
        return result
