"""`skip`: a convolutional autoencoder with skip connections around its code, predicting the residual.

    stage      layer                                       output (default widths 32, 48, 96; a 32x32 patch)
    stem       conv 6x6, stride 2                            32 x 16 x 16
    down 1     1 residual block -> skip 1                    32 x 16 x 16
               conv 2x2, stride 2                            48 x  8 x  8
    down 2     1 residual block -> skip 2                    48 x  8 x  8
               conv 2x2, stride 2                            96 x  4 x  4
    code       2 residual blocks                             96 x  4 x  4    the latent code
    up 2       conv 1x1, nearest x2, + skip 2, 1 block       48 x  8 x  8
    up 1       conv 1x1, nearest x2, + skip 1, 1 block       32 x 16 x 16
    head       conv 3x3, depth-to-space x2                    3 x 32 x 32    minus this = the restored patch

22.2 thousand multiply-adds a pixel. A block is x + conv3x3(ReLU(conv3x3(x))). Everything here keeps its speed in
int8 and in onnxruntime's blocked layout: channels in multiples of 16, no transposed convolution, no normalisation,
nearest upsampling by 2 inside, depth-to-space only at the very end.

Sources: symmetric skip connections around an autoencoder's code, Mao et al. (RED-Net, NeurIPS 2016); residual
learning of the noise, Zhang et al. (DnCNN, TIP 2017); residual blocks without normalisation, Lim et al. (EDSR, CVPRW
2017); sub-pixel convolution, Shi et al. (ESPCN, CVPR 2016).
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows

from cae_train.errors import ConfigError


@dataclass(frozen=True)
class SkipOptions:
    """Widths of the levels at 1/2, 1/4, 1/8 ... of the patch, and residual blocks of each on the way down and up.

    Raises:
        ConfigError: a width that is no multiple of 16, or lists of different lengths.
    """

    widths: tuple[int, ...] = (32, 48, 96)
    down_blocks: tuple[int, ...] = (1, 1, 2)
    up_blocks: tuple[int, ...] = (1, 1)

    def __post_init__(self) -> None:
        for name in ("widths", "down_blocks", "up_blocks"):
            values = getattr(self, name)
            if not isinstance(values, (list, tuple)) or not all(type(value) is int for value in values):
                raise ConfigError(f"model option {name} is {values!r}: a list of whole numbers is needed")
            object.__setattr__(self, name, tuple(values))
        if not 2 <= len(self.widths) <= 4 or any(not 16 <= width <= 1024 or width % 16 for width in self.widths):
            raise ConfigError(f"model option widths is {self.widths}: 2 to 4 multiples of 16, up to 1024, are needed")
        if len(self.down_blocks) != len(self.widths) or len(self.up_blocks) != len(self.widths) - 1:
            raise ConfigError(
                f"model options down_blocks {self.down_blocks} and up_blocks {self.up_blocks} do not fit "
                f"widths {self.widths}: one number a level down, one fewer up"
            )
        if any(not 0 <= count <= 16 for count in self.down_blocks + self.up_blocks):
            raise ConfigError("model options down_blocks and up_blocks: 0 to 16 blocks a level")


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x))), N x C x H x W in and out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x H x W."""
        change: Tensor = self.conv2(self.relu(self.conv1(x)))
        return x + change


def blocks(width: int, count: int) -> nn.Sequential:
    """`count` residual blocks of `width` channels in a row."""
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


class Skip(nn.Module):
    """The skip autoencoder: float32 N x 3 x H x W in 0..1 in, the same shape (about 0..1, not clipped) out.

    H and W are multiples of `stride` (8 with three levels).
    """

    bounded = False

    def __init__(self, options: SkipOptions | None = None) -> None:
        super().__init__()
        self.options = options or SkipOptions()
        widths = self.options.widths
        self.stride = 2 ** len(widths)
        self.stem = nn.Conv2d(3, widths[0], 6, stride=2, padding=2)
        self.down = nn.ModuleList(blocks(w, n) for w, n in zip(widths, self.options.down_blocks, strict=True))
        self.reduce = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.expand = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(blocks(w, n) for w, n in zip(widths, self.options.up_blocks, strict=False))
        self.head = nn.Conv2d(widths[0], 12, 3, padding=1)
        self.depth_to_space = nn.PixelShuffle(2)
        self._initialise()

    def _initialise(self) -> None:
        """He initialisation; each block and the head start near zero, so that the network starts as the identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None  # noqa: S101 - every convolution here has one
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, ResidualBlock):
                    module.conv2.weight.mul_(0.1)
            self.head.weight.mul_(0.01)

    def forward(self, x: Tensor) -> Tensor:
        """N x 3 x H x W -> N x 3 x H x W."""
        features = self.stem(x)  # N x widths[0] x H/2 x W/2
        skips: list[Tensor] = []
        for level, down in enumerate(self.down):
            features = down(features)  # N x widths[level] x H/2^(level+1) x ...
            if level < len(self.reduce):
                skips.append(features)
                features = self.reduce[level](features)
        for level in reversed(range(len(self.up))):
            features = F.interpolate(self.expand[level](features), scale_factor=2.0, mode="nearest")
            features = self.up[level](features + skips[level])
        noise: Tensor = self.depth_to_space(self.head(features))  # N x 12 x H/2 x W/2 -> N x 3 x H x W
        return x - noise
