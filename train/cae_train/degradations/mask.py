"""Holes for inpainting: missing pixels, as under scratches, stamps and text.

Missing pixels have the color `FILL`, so that a network needs no second input: magenta, the rarest strong color in
pictures, and mid-gray in gray pictures, where flat areas of it are rarer than black or white ones. Pictures to be
filled by such a network must mark their holes in the same way.
"""

from dataclasses import dataclass
from math import cos, exp, pi, sin, sqrt

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cae_train.degradations.noise import Level

FILL = {3: (1.0, 0.0, 1.0), 1: (128 / 255,)}  # by the number of channels
TOLERANCE = (0.01, 0.1)  # shares of the pixels and of the level that may be missing when a patch is done
WIDTHS, STEPS, TURN = (1, 8), (4, 9), 0.9  # of strokes: width in pixels, to below 8; length of a step; largest turn
RECTANGLE_SHARE = (0.3, 1.0)  # range of a rectangle's area, as a share of the pixels still to cover


@dataclass(frozen=True)
class Mask:
    """Rectangles in one half of the patches and free-hand strokes in the other, over the given share of the pixels."""

    share: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W -> the same, with the holes `FILL`; C is 1 or 3."""
        count, channels, height, width = clean.shape
        shares = self.share.draw(count, generator).flatten().tolist()
        strokes = (torch.rand(count, generator=generator) < 0.5).tolist()
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        drawn = np.zeros((count, height, width), np.uint8)
        for picture, share, stroke in zip(drawn, shares, strokes, strict=True):
            _cover(picture, share, stroke, rng)
        return torch.where(torch.from_numpy(drawn)[:, None] > 0, fill_color(channels), clean)


def holes(degraded: Tensor) -> Tensor:
    """Where pixels are missing: bool N x 1 x H x W of N x C x H x W, true where all channels are `FILL` in 8 bits."""
    missing = fill_color(degraded.shape[1]).to(degraded.device)
    return (degraded.mul(255).round() == missing.mul(255).round()).all(1, keepdim=True)


def fill_color(channels: int) -> Tensor:
    """`FILL` for a number of channels, C x 1 x 1."""
    return torch.tensor(FILL[channels]).view(-1, 1, 1)


def _cover(drawn: NDArray[np.uint8], share: float, stroke: bool, rng: np.random.Generator) -> None:
    """Set a share of about `share` of H x W zeros to 1; each shape begins at a pixel that is still 0."""
    wanted = share * drawn.size
    spare = min(TOLERANCE[0] * drawn.size, TOLERANCE[1] * wanted, drawn.size - wanted)
    while (missing := wanted - cv2.countNonZero(drawn)) > spare:
        free = np.flatnonzero(drawn == 0)
        y, x = divmod(int(free[int(rng.random() * len(free))]), drawn.shape[1])
        if stroke:
            _stroke(drawn, y, x, wanted, spare, rng)
        else:
            _rectangle(drawn, y, x, missing, rng)


def _rectangle(drawn: NDArray[np.uint8], y: int, x: int, missing: float, rng: np.random.Generator) -> None:
    """One over (y, x) of about the share RECTANGLE_SHARE of `missing` pixels, up to three times as long as wide."""
    area, aspect, up, left = rng.random(4).tolist()
    area = missing * (RECTANGLE_SHARE[0] + area * (RECTANGLE_SHARE[1] - RECTANGLE_SHARE[0]))
    tall = sqrt(exp((2 * aspect - 1) * 1.1))
    height = max(1, min(int(sqrt(area) * tall), drawn.shape[0]))
    width = max(1, min(int(area / height), drawn.shape[1]))
    top = min(max(0, y - int(up * height)), drawn.shape[0] - height)
    begin = min(max(0, x - int(left * width)), drawn.shape[1] - width)
    drawn[top : top + height, begin : begin + width] = 1


def _stroke(drawn: NDArray[np.uint8], y: int, x: int, wanted: float, spare: float, rng: np.random.Generator) -> None:
    """A walk from (y, x) that turns a little at every step, until enough is covered or it leaves the picture."""
    (width, heading), *walk = rng.random((11, 2)).tolist()
    heading *= 2 * pi
    width = WIDTHS[0] + int(width * (WIDTHS[1] - WIDTHS[0]))
    drawn[y, x] = 1  # whatever the line becomes, there is progress
    for turn, step in walk:
        missing = wanted - cv2.countNonZero(drawn)
        heading += (2 * turn - 1) * TURN
        step = STEPS[0] + step * (STEPS[1] - STEPS[0])
        thick = max(WIDTHS[0], min(width, int(missing / (step + 2)) - 1))  # the last are narrow: not to cover too much
        to_y, to_x = round(y + step * sin(heading)), round(x + step * cos(heading))
        cv2.line(drawn, (x, y), (to_x, to_y), 1, thick)
        y, x = to_y, to_x
        inside = 0 <= y < drawn.shape[0] and 0 <= x < drawn.shape[1]
        if not inside or wanted - cv2.countNonZero(drawn) <= spare:
            return
