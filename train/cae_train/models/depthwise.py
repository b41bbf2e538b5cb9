"""The depthwise block of `skip`: three thin convolutions in place of two dense ones.

    a    conv 1x1, C -> E C, ReLU               every pixel by itself: mixes channels
    d    conv 3x3 of each channel alone, ReLU   mixes pixels
    b    conv 1x1, E C -> C                     added to the block's input

With an expansion E of 2 a block has 4 C^2 + 18 C weights (5 C biases beside them), where two dense 3x3 convolutions
have 18 C^2: with 32 channels a quarter of the multiply-adds. A network can so be three times as deep at less cost, and
depth restores better than width does. 5x5 kernels have 50 C weights in place of 18 C.

Sources: the inverted residual block with a depthwise convolution between two pointwise ones, Sandler et al.
(MobileNetV2, CVPR 2018); many cheap blocks without attention for restoring pictures, Chen et al. (NAFNet, ECCV 2022);
depthwise convolutions in deep networks of today, Liu et al. (ConvNeXt, CVPR 2022).
"""

from torch import Tensor, nn


class DepthwiseBlock(nn.Module):
    """x + b(ReLU(d(ReLU(a(x))))), N x C x H x W in and out.

    Args:
        width: C.
        bias: whether the convolutions have biases.
        expansion: channels between a and b, in multiples of C.
        kernel: side of d's kernels, odd.
    """

    def __init__(self, width: int, bias: bool = True, expansion: float = 2.0, kernel: int = 3) -> None:
        super().__init__()
        inside = int(width * expansion)
        self.a = nn.Conv2d(width, inside, 1, bias=bias)
        self.relu = nn.ReLU()
        self.d = nn.Conv2d(inside, inside, kernel, padding=kernel // 2, groups=inside, bias=bias)
        self.relu2 = nn.ReLU()
        self.b = nn.Conv2d(inside, width, 1, bias=bias)

    def change(self, x: Tensor) -> Tensor:
        """What the three convolutions make of x."""
        result: Tensor = self.b(self.relu2(self.d(self.relu(self.a(x)))))
        return result

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x H x W."""
        return x + self.change(x)


class PlainDepthwiseBlock(DepthwiseBlock):
    """ReLU(b(ReLU(d(ReLU(a(x)))))), N x C x H x W in and out: nothing is added."""

    def __init__(self, width: int, bias: bool = True, expansion: float = 2.0, kernel: int = 3) -> None:
        super().__init__(width, bias, expansion, kernel)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x H x W."""
        result: Tensor = self.relu3(self.change(x))
        return result


def depthwise_kernels(network: nn.Module) -> list[Tensor]:
    """Kernels that see one channel each, of networks with such convolutions; no matrices in the sense of Muon."""
    return [
        module.weight
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
    ]
