"""Short lines through the pixels of a patch: how bright and how even they are, in several directions."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows

LENGTHS = (5, 7)  # of the lines, in pixels
DIRECTIONS = 8
STEP = 2  # they go through every second pixel of every second row
LOG_OFFSET = 1e-3  # added to variances before their logarithm is taken: that of 8 gray levels of 255


class Lines(nn.Module):
    """N x C x P x P in 0..1 -> N x 32 x P/2 x P/2: of lines of each length and direction the means, then the evenness.

    Evenness is the logarithm of the variance along the line. Colors count by their mean. Beyond the edges, patches are
    mirrored.
    """

    kernels: Tensor  # lines x 1 x L x L, each of sum 1

    size = 2 * len(LENGTHS) * DIRECTIONS  # numbers at each place

    def __init__(self) -> None:
        super().__init__()
        angles = [math.pi * i / DIRECTIONS for i in range(DIRECTIONS)]
        self.register_buffer("kernels", torch.stack([_line(length, angle) for length in LENGTHS for angle in angles]))

    def forward(self, x: Tensor) -> Tensor:
        """N x C x P x P -> N x K x P/2 x P/2."""
        half = max(LENGTHS) // 2
        gray = F.pad(x.mean(1, keepdim=True), (half, half, half, half), mode="reflect")
        means = F.conv2d(gray, self.kernels, stride=STEP)
        variances = F.conv2d(gray.square(), self.kernels, stride=STEP) - means.square()
        return torch.cat([means, (variances.clamp_min(0) + LOG_OFFSET).log()], 1)


def _line(length: int, angle: float) -> Tensor:
    """The weights of a line, one pixel wide, with smooth sides: 1 x L x L, of sum 1."""
    side = max(LENGTHS)
    place = torch.arange(side, dtype=torch.float64) - side // 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    weights = (1 - across.abs()).clamp(0, 1) * (length / 2 - along.abs()).clamp(0, 1)
    return (weights / weights.sum())[None].float()
