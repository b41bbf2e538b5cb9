"""The building blocks of `skip`: residual and plain blocks, joins of skips, branches of kernels, sub-pixels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows


class Branches(nn.Module):
    """A 3x3 kernel as the sum of itself, a 1x1 one and a 1x1 followed by a 3x3: one convolution at any time.

    The branches are folded in the space of the weights (convolution is linear), so training costs what it costs
    without them; only the path of the optimizer changes.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.zeros(width, width, 1, 1))
        self.first = nn.Parameter(torch.empty(2 * width, width))
        self.second = nn.Parameter(torch.zeros(width, 2 * width, 3, 3))
        nn.init.orthogonal_(self.first)

    def forward(self, weight: Tensor) -> Tensor:
        """A kernel, width x width x 3 x 3 -> the same with all branches folded in."""
        sequence = torch.einsum("omyx,mi->oiyx", self.second, self.first)
        return weight + F.pad(self.point, (1, 1, 1, 1)) + sequence


class Join(nn.Module):
    """The addition of a skip to what comes up from below: a module, so that it can be found and hooked."""

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """N x C x H x W each, and out."""
        return features + skip


class Block(nn.Module):
    """Two 3x3 convolutions with a ReLU between them; subclasses define how their result is used."""

    def __init__(self, width: int, bias: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=bias)


class ResidualBlock(Block):
    """x + conv(ReLU(conv(x))), N x C x H x W in and out."""

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x H x W."""
        change: Tensor = self.conv2(self.relu(self.conv1(x)))
        return x + change


class PlainBlock(Block):
    """ReLU(conv(ReLU(conv(x)))), N x C x H x W in and out."""

    def __init__(self, width: int, bias: bool = True) -> None:
        super().__init__(width, bias)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x H x W."""
        result: Tensor = self.relu2(self.conv2(self.relu(self.conv1(x))))
        return result


class SubPixels(nn.Module):
    """Sub-pixels to their places: a module, so that an export can put another way of saying it in its place.

    This way is free where channels are last in memory: the columns are in their places already, and each row moves as a
    whole.
    """

    def forward(self, x: Tensor) -> Tensor:
        """N x 4C x H x W -> N x C x 2H x 2W, channels ordered (row, column, C)."""
        _, channels, height, width = x.shape
        x = x.permute(0, 2, 3, 1).reshape(-1, height, width, 2, channels // 2)  # N x H x W x row x (column, C)
        x = x.permute(0, 1, 3, 2, 4).reshape(-1, 2 * height, 2 * width, channels // 4)
        return x.permute(0, 3, 1, 2)
