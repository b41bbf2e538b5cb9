"""JPEG compression of many patches at once: the steps of libjpeg, as tensor operations.

The steps are those of libjpeg with its defaults: colors to Y, Cb and Cr in 8 bits, means of 2x1 or 2x2 pixels of Cb and
Cr, cosine transform of 8x8 blocks, quantization, and all of this backwards, with triangular ("fancy") interpolation of
Cb and Cr. The results equal those of OpenCV except for the rounding in libjpeg's integer cosine transforms.

Sources: ITU-T T.81 (JPEG), annex A.3.3 for the transform and annex K.1 for the tables of quantization; the scale of the
tables by a quality, the rounding of means and the interpolation as in libjpeg (jcparam.c, jcsample.c, jdsample.c).
"""

from dataclasses import dataclass
from functools import cache
from math import cos, pi, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cae_train.degradations.jpeg import CUT, GRID, SECOND, Jpeg, JpegTwice

BLOCK = 8  # pixels along a side of a block of the cosine transform
HALVED_BOTH, HALVED_ACROSS = 0.5, 0.75  # cumulative shares of the patches with 4:2:0 and 4:2:2

LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """The position of N patches on their grids of blocks, and their color subsampling.

    Attributes:
        top: rows between the corner of the grid and the patch, N whole numbers 0..15.
        left: columns between them, N whole numbers 0..15.
        across: whether two columns share a value of Cb and Cr, N bools.
        down: whether two rows also do (4:2:0), N bools; only true if `across` is.
    """

    top: Tensor
    left: Tensor
    across: Tensor
    down: Tensor

    @classmethod
    def drawn(cls, draws: Tensor) -> "Place":
        """Make places from random numbers, N x 3 in 0..1; half are 4:2:0, a quarter 4:2:2, a quarter 4:4:4."""
        sampling, top, left = draws.unbind(1)
        return cls((top * GRID).long(), (left * GRID).long(), sampling < HALVED_ACROSS, sampling < HALVED_BOTH)


class DeviceJpeg(Jpeg):
    """`Jpeg` for all patches at once, on their device."""

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 (C 3 or 1) -> decoded, in steps of 1/255."""
        count = len(clean)
        quality = self.quality.draw(count, generator).flatten().round()
        draws = torch.rand(count, 3, generator=generator, device=clean.device)
        return coded(clean, quality, Place.drawn(draws))


class DeviceJpegTwice(JpegTwice):
    """`JpegTwice` for all patches at once, on their device."""

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W in 0..1 (C 3 or 1) -> decoded, in steps of 1/255."""
        count = len(clean)
        first = self.quality.draw(count, generator).flatten().round()
        second = SECOND.draw(count, generator).flatten().round()
        draws = torch.rand(count, 7, generator=generator, device=clean.device)
        once = coded(clean, first, Place.drawn(draws[:, :3]))
        moved = torch.where(draws[:, 3:4] < CUT, draws[:, 5:], draws[:, 1:3])
        return coded(once, second, Place.drawn(torch.cat((draws[:, 4:5], moved), 1)))


def coded(pictures: Tensor, quality: Tensor, place: Place) -> Tensor:
    """Compress pictures as JPEG and decode them again.

    Args:
        pictures: float32 N x C x H x W, RGB (C 3) or gray (C 1); clipped to 0..1 and rounded to 8 bits first.
        quality: float32 N, whole numbers from 1 to 100.
        place: the positions on the grids of blocks; the part of a grid before the picture is filled by reflection.

    Returns:
        The same shape, in steps of 1/255.
    """
    channels, height, width = pictures.shape[1:]
    rows, columns = (_places(length, begin) for length, begin in ((height, place.top), (width, place.left)))
    pixels = _gathered(pictures.mul(255).round_().clamp_(0, 255), rows, columns)
    tables = _tables(pictures.device)  # 2 x 64
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    tables = ((tables * scale[:, None, None] + 50) / 100).floor().clamp_(1, 255)  # N x 2 x 64
    if channels == 1:
        decoded = _through_blocks(pixels, tables[:, 0])
    else:
        luma, *colors = _to_luma(pixels)
        luma = _through_blocks(luma, tables[:, 0])
        decoded = _to_rgb(luma, _colors_through(torch.cat(colors, 1), tables[:, 1], place))
    inside = (torch.arange(n, device=pictures.device) + begin[:, None]
              for n, begin in ((height, place.top), (width, place.left)))  # fmt: skip
    return _gathered(decoded, *inside).div_(255)


def _places(length: int, begin: Tensor) -> Tensor:
    """The indices into lines of `length` pixels that fill the grids: N x S, with S a multiple of 16 for all N.

    Lines are reflected before their beginning. After their end, the last pixel is repeated, as libjpeg does.
    """
    side = -(-(length + GRID - 1) // GRID) * GRID
    place = torch.arange(side, device=begin.device) - begin[:, None]
    return place.abs().clamp_max(length - 1)


def _gathered(pictures: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Select rows N x I and columns N x J of N x C x H x W; returns N x C x I x J."""
    places = (rows[:, :, None] * pictures.shape[3] + columns[:, None]).flatten(1)
    taken = pictures.flatten(2).gather(2, places[:, None].expand(-1, pictures.shape[1], -1))
    return taken.view(*pictures.shape[:2], rows.shape[1], columns.shape[1])


def _to_luma(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """RGB, N x 3 x H x W in 0..255 -> Y, Cb and Cr, N x 1 x H x W each, in 8 bits."""
    red, green, blue = (pixels[:, i : i + 1] for i in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    cb = 128 - 0.168735892 * red - 0.331264108 * green + 0.5 * blue
    cr = 128 + 0.5 * red - 0.418687589 * green - 0.081312411 * blue
    return luma.round_(), cb.round_().clamp_max_(255), cr.round_().clamp_max_(255)


def _to_rgb(luma: Tensor, colors: Tensor) -> Tensor:
    """Y, N x 1 x H x W, and Cb and Cr, N x 2 x H x W, in 8 bits -> RGB in 8 bits."""
    cb, cr = colors[:, :1] - 128, colors[:, 1:] - 128
    green = luma + (-0.344136286 * cb - 0.714136286 * cr).round_()
    return torch.cat((luma + (1.402 * cr).round_(), green, luma + (1.772 * cb).round_()), 1).clamp_(0, 255)


def _colors_through(colors: Tensor, table: Tensor, place: Place) -> Tensor:
    """Cb and Cr, N x 2 x H x W in 8 bits, after subsampling, quantization and interpolation; the same shape."""
    result = torch.empty_like(colors)
    for across, down in ((True, True), (True, False), (False, False)):
        chosen = torch.nonzero((place.across == across) & (place.down == down))[:, 0]
        if len(chosen):
            smaller = _through_blocks(_smaller(colors[chosen], across, down), table[chosen])
            result[chosen] = _larger(smaller, across, down)
    return result


def _smaller(colors: Tensor, across: bool, down: bool) -> Tensor:
    """Means of two or four pixels, rounded alternately up and down as in libjpeg."""
    if not across:
        return colors
    begin = 1 if down else 0
    bias = torch.arange(colors.shape[3] // 2, device=colors.device).remainder(2) + begin
    total = colors[:, :, :, ::2] + colors[:, :, :, 1::2]
    if down:
        total = total[:, :, ::2] + total[:, :, 1::2]
    return ((total + bias) / (4 if down else 2)).floor_()


def _larger(colors: Tensor, across: bool, down: bool) -> Tensor:
    """The inverse of `_smaller`, with interpolation: 3/4 of the nearest value plus 1/4 of the next one."""
    if not across:
        return colors
    if down:
        colors = _interpolated(colors.mT).mT
    doubled = _interpolated(colors)
    odd = torch.arange(doubled.shape[3], device=colors.device).remainder(2)
    return ((doubled + (8 - odd)) / 16).floor_() if down else ((doubled + 1 + odd) / 4).floor_()


def _interpolated(values: Tensor) -> Tensor:
    """N x C x H x W -> N x C x H x 2W, with values multiplied by four."""
    wide = F.pad(values, (1, 1, 0, 0), mode="replicate")
    pairs = torch.stack((3 * values + wide[..., :-2], 3 * values + wide[..., 2:]), -1)
    return pairs.flatten(3)


def _through_blocks(plane: Tensor, table: Tensor) -> Tensor:
    """Quantize 8x8 blocks of N x C x H x W in 8 bits with tables N x 64, and decode them; the same shape."""
    count, channels, height, width = plane.shape
    cells = (count, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    transform = _cosines(plane.device)
    blocks = plane.view(cells).transpose(3, 4).reshape(count, -1, BLOCK**2)
    coefficients = torch.matmul(blocks - 128, transform.mT)
    eighths = coefficients.mul_(8).round_()  # scaled as in libjpeg's transform; halves are rounded away from zero
    steps = (eighths.abs() / (8 * table[:, None]) + 0.5).floor_().copysign_(eighths)
    coefficients = steps.mul_(table[:, None])
    pixels = torch.matmul(coefficients, transform).add_(128).round_().clamp_(0, 255)
    return pixels.view(*cells[:3], cells[4], BLOCK, BLOCK).transpose(3, 4).reshape(plane.shape)


@cache
def _cosines(device: torch.device) -> Tensor:
    """The two-dimensional cosine transform of 8x8 pixels as an orthogonal 64 x 64 matrix, one coefficient per row."""
    line = torch.tensor(
        [
            [(sqrt(0.5) if not u else 1.0) / 2 * cos((2 * x + 1) * u * pi / 16) for x in range(BLOCK)]
            for u in range(BLOCK)
        ],
        dtype=torch.float64,
    )
    return torch.kron(line, line).float().to(device)


@cache
def _tables(device: torch.device) -> Tensor:
    """The quantization tables of brightness and colors at quality 50: float32 2 x 64."""
    return torch.tensor((LUMINANCE, CHROMINANCE), dtype=torch.float32).to(device)
