"""Holes for inpainting in many patches at once: each step adds a shape, or a piece of one, to unfinished masks."""

from math import log, pi

import torch
from torch import Tensor

from cae_train.degradations.mask import RECTANGLE_SHARE, STEPS, TOLERANCE, TURN, WIDTHS, Mask, fill_color

ELONGATED = log(3.0) / 2  # of rectangles: half the logarithm of their largest ratio of sides
WALK = 10  # steps of a stroke
SLANTED = 0.8  # pixels by which OpenCV's lines of even width are too wide, on average


class DeviceMask(Mask):
    """`Mask` for all patches at once, on their device."""

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W (C 1 or 3) -> the same shape, with holes of the value `FILL`."""
        count, channels, height, width = clean.shape
        share = self.share.draw(count, generator).flatten()
        strokes = torch.rand(count, generator=generator, device=clean.device) < 0.5
        missing = torch.zeros(count, height, width, dtype=torch.bool, device=clean.device)
        wanted = share * (height * width)
        for chosen, cover in ((~strokes, _rectangles), (strokes, _strokes)):
            which = torch.nonzero(chosen)[:, 0]
            missing[which] = cover(missing[which], wanted[which], generator)
        return torch.where(missing[:, None], fill_color(channels).to(clean.device), clean)


def _lacking(missing: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The number of pixels that each mask of N x H x W still needs, and the indices of the unfinished masks."""
    size = missing.shape[1] * missing.shape[2]
    lacking = wanted - missing.sum((1, 2))
    spare = torch.minimum(TOLERANCE[1] * wanted, size - wanted).clamp_max(TOLERANCE[0] * size)
    return lacking, torch.nonzero(lacking > spare)[:, 0]


def _free_places(missing: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The row and column of a random pixel outside the holes, for each mask of N x H x W; N each."""
    draws = torch.rand(missing.shape, generator=generator, device=missing.device)
    place = draws.masked_fill_(missing, -1).flatten(1).argmax(1)
    return place // missing.shape[2], place % missing.shape[2]


def _rectangles(missing: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """Add rectangles to the masks N x H x W until each covers about `wanted` pixels."""
    height, width = missing.shape[1:]
    rows, columns = (torch.arange(side, device=missing.device) for side in (height, width))
    while True:
        lacking, left = _lacking(missing, wanted)
        if not len(left):
            return missing
        y, x = _free_places(missing[left], generator)
        area, aspect, up, back = torch.rand(4, len(left), generator=generator, device=missing.device)
        area = lacking[left] * (RECTANGLE_SHARE[0] + area * (RECTANGLE_SHARE[1] - RECTANGLE_SHARE[0]))
        tall = torch.exp((2 * aspect - 1) * ELONGATED)
        tall = (area.sqrt() * tall).long().clamp(1, height)
        long = (area / tall).long().clamp(1, width)
        top = torch.minimum((y - (up * tall).long()).clamp_min(0), height - tall)
        begin = torch.minimum((x - (back * long).long()).clamp_min(0), width - long)
        in_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        in_columns = (columns >= begin[:, None]) & (columns < (begin + long)[:, None])
        missing[left] |= in_rows[:, :, None] & in_columns[:, None]


def _strokes(missing: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """Add strokes, which turn a little at each step, to the masks N x H x W until each covers about `wanted` pixels."""
    count, height, width = missing.shape
    place = torch.zeros(count, 2, device=missing.device)  # current row and column of each stroke
    heading, thickness, steps = torch.zeros(3, count, device=missing.device)
    while True:
        lacking, left = _lacking(missing, wanted)
        if not len(left):
            return missing
        begins = left[steps[left] == 0]
        y, x = _free_places(missing[begins], generator)
        missing[begins, y, x] = True  # at least this pixel, so that the loop ends
        place[begins] = torch.stack((y, x), 1).float()
        first = torch.rand(2, len(begins), generator=generator, device=missing.device)
        thickness[begins] = WIDTHS[0] + (first[0] * (WIDTHS[1] - WIDTHS[0])).floor()
        heading[begins], steps[begins] = 2 * pi * first[1], float(WALK)
        lacking = wanted[left] - missing[left].sum((1, 2))
        turn, step = torch.rand(2, len(left), generator=generator, device=missing.device)
        heading[left] += (2 * turn - 1) * TURN
        step = STEPS[0] + step * (STEPS[1] - STEPS[0])
        thick = torch.minimum(thickness[left], (lacking / (step + 2)).trunc() - 1).clamp_min(WIDTHS[0])
        ahead = torch.stack((heading[left].sin(), heading[left].cos()), 1) * step[:, None]
        end = (place[left] + ahead).round()
        missing[left] |= _lines(place[left], end, thick, height, width)
        place[left] = end
        outside = (end < 0).any(1) | (end[:, 0] >= height) | (end[:, 1] >= width)
        steps[left] = torch.where(outside, 0.0, steps[left] - 1)


def _lines(begin: Tensor, end: Tensor, thick: Tensor, height: int, width: int) -> Tensor:
    """Thick lines with round ends, as masks bool N x H x W; `begin` and `end` are N x 2, row and column."""
    rows = torch.arange(height, device=begin.device)[:, None] - begin[:, 0, None, None]
    columns = torch.arange(width, device=begin.device)[None] - begin[:, 1, None, None]
    down, right = (end - begin)[:, :, None, None].unbind(1)
    along = (rows * down + columns * right) / (down.square() + right.square()).clamp_min(1e-6)
    along = along.clamp(0, 1)
    distance = (rows - along * down).square() + (columns - along * right).square()
    wide = torch.where(thick > 1, 2 * (thick / 2).ceil() + SLANTED, thick)
    return distance <= (wide / 2).square()[:, None, None]
