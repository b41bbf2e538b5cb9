"""A `skip` network with channels-last input and output and rearranged ends for int8 inference; the same function.

onnxruntime's int8 convolutions on a CPU keep channels last, gather 3 channels slowly (their fast kernels take multiples
of 4), and have no transposed convolution. So, for a 32x32 patch of N x 32 x 32 x 3 and a stride of 2:

    stem    4 neighboring pixels are 12 channels already, without moving a byte: N x 32 x 8 x 12
            one convolution, stride 2 down and 1 along, makes 2 neighboring outputs at once: N x 16 x 8 x (2 x 32)
    head    4 neighboring pixels of features are a row of a matrix, 2048 x (4 x 32) for 32 patches
            one matrix product makes the 2 x 8 x 3 values over them, ordered (row, column, color), and rows move apart

The new kernels hold the old weights and zeros. For int8 the last convolution of each depthwise block, 1x1, is a matrix
product, too: that of onnxruntime returns float32, so what a block adds is not rounded.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows

from cae_train.models.depthwise import DepthwiseBlock, PlainDepthwiseBlock
from cae_train.models.skip import Skip
from cae_train.training.optimization.qat import round_weights, steps_of

PIXELS = 4  # pixels per group along a row
COLORS = 3


class _PixelProduct(nn.Module):
    """A 1x1 convolution as a matrix product of pixels: N x A x H x W -> N x B x H x W."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        """N x A x H x W -> N x B x H x W."""
        _, channels, height, width = x.shape
        pixels = F.linear(x.permute(0, 2, 3, 1).reshape(-1, channels), self.weight.flatten(1), self.bias)
        return pixels.reshape(-1, height, width, len(self.weight)).permute(0, 3, 1, 2)


class ChannelsLast(nn.Module):
    """The rearranged network: float32 N x H x W x 3 in 0..1 in, the same shape (about 0..1, not clipped) out.

    Args:
        network: one that `fits`, its head thus a transposed convolution. It is not changed.
        rounded: for int8: let depthwise blocks end in matrix products, and put the stem's kernels on int8's grid before
            they are rearranged: `round_weights` keeps the sum of each as it was trained. The attribute `stem_steps`
            holds the steps of that grid.
    """

    def __init__(self, network: Skip, rounded: bool = False) -> None:
        super().__init__()
        self.network, self.channels = _ending_in_products(network) if rounded else network, COLORS
        entry, kernel = network.options.entry, network.options.stem
        self.entry, self.width = entry, network.options.widths[0]
        self.rows_around = (kernel - entry) // 2
        self.cells_around = -(-self.rows_around // PIXELS)
        outputs, cells = PIXELS // entry, 1 + 2 * self.cells_around
        stem, head = network.stem, network.head
        assert isinstance(head, nn.ConvTranspose2d)  # noqa: S101 - `fits` says so
        kernels, steps = stem.weight.detach(), steps_of(stem.weight.detach())
        self.stem_steps = steps.repeat(outputs, 1, 1, 1)
        kernels = round_weights(kernels, steps) if rounded else kernels
        weight = torch.zeros(outputs, self.width, PIXELS, COLORS, kernel, cells)
        for output in range(outputs):
            for column in range(kernel):
                place = self.cells_around * PIXELS + output * entry - self.rows_around + column
                weight[output, :, place % PIXELS, :, :, place // PIXELS] = kernels[..., column]
        self.stem_weight = nn.Parameter(weight.reshape(outputs * self.width, PIXELS * COLORS, kernel, cells))
        self.stem_bias = None if stem.bias is None else nn.Parameter(stem.bias.detach().repeat(outputs))
        kernels = head.weight.detach().permute(2, 3, 1, 0)  # row x column x color x features
        weight = torch.zeros(entry, PIXELS, entry, COLORS, PIXELS, self.width)
        for pixel in range(PIXELS):
            weight[:, pixel, :, :, pixel] = kernels
        self.head_weight = nn.Parameter(weight.reshape(entry * PIXELS * entry * COLORS, PIXELS * self.width))
        self.head_bias = None if head.bias is None else nn.Parameter(head.bias.detach().repeat(entry * PIXELS * entry))

    @staticmethod
    def fits(network: Skip, patch: int) -> bool:
        """Whether a network can be rearranged: it needs a transposed convolution as head, and long enough rows."""
        transposed = isinstance(network.head, nn.ConvTranspose2d)
        return transposed and network.channels == COLORS and patch % (PIXELS * network.options.entry) == 0

    def forward(self, x: Tensor) -> Tensor:
        """N x H x W x 3 -> N x H x W x 3."""
        _, height, width, _ = x.shape
        rows, columns = height // self.entry, width // self.entry
        cells = x.reshape(-1, height, width // PIXELS, PIXELS * COLORS).permute(0, 3, 1, 2)
        features = F.conv2d(
            cells, self.stem_weight, self.stem_bias, (self.entry, 1), (self.rows_around, self.cells_around)
        )  # N x (outputs, features) x rows x cells
        features = features.permute(0, 2, 3, 1).reshape(-1, rows, columns, self.width).permute(0, 3, 1, 2)
        features = self.network.body(features).permute(0, 2, 3, 1)  # N x rows x columns x features
        noise = F.linear(features.reshape(-1, PIXELS * self.width), self.head_weight, self.head_bias)
        noise = noise.reshape(-1, rows, columns // PIXELS, self.entry, PIXELS * self.entry * COLORS)
        return x - noise.permute(0, 1, 3, 2, 4).reshape(x.shape)


def _ending_in_products(network: Skip) -> Skip:
    changed = copy.deepcopy(network)
    for name, block in list(changed.named_modules()):
        if isinstance(block, DepthwiseBlock) and not isinstance(block, PlainDepthwiseBlock):
            changed.set_submodule(f"{name}.b", _PixelProduct(block.b))
    return changed
