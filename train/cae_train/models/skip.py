"""`skip`: a convolutional autoencoder with skip connections around its code, predicting the residual.

    stage      layer                                       output (default widths 32, 64; a 32x32 patch)
    stem       conv 4x4, stride 2                            32 x 16 x 16
    down 1     1 residual block -> skip 1                    32 x 16 x 16
               conv 2x2, stride 2                            64 x  8 x  8
    code       2 residual blocks                             64 x  8 x  8    the latent code
    up 1       conv 1x1 to 4 x 32, sub-pixels, + skip 1      32 x 16 x 16
               1 residual block, 1 plain block               32 x 16 x 16
    head       transposed conv 2x2, stride 2                  3 x 32 x 32    minus this = the restored patch

24.5 thousand multiply-adds a pixel. A residual block is x + conv3x3(ReLU(conv3x3(x))), a plain one
ReLU(conv3x3(ReLU(conv3x3(x)))). With `block = "depthwise"` (`cae_train.models.depthwise`) both are made of three thin
convolutions instead, so that many more of them fit the same cost, at all levels or only around the code (`code_block`):

    options (last = "residual" in all)                           KMAC/px   weights
    widths 32, 64; down_blocks 3, 6; up_blocks 6                    18.6   169,155
    widths 32, 32; down_blocks 0, 5; up_blocks 3; stem 2             5.7    47,811
    widths 48, 96; down_blocks 4, 8; up_blocks 8                    52.6   476,499

Everything here keeps its speed in int8 in onnxruntime: channels in multiples of 16,
no normalization, and sub-pixels whose order of channels makes the move along a row free (`SubPixels`), so that
nothing is transposed between two convolutions. `tests/benchmarks/training/models.py` compares the variants.

Sources: symmetric skip connections around an autoencoder's code, Mao et al. (RED-Net, NeurIPS 2016); residual
learning of the noise, Zhang et al. (DnCNN, TIP 2017); residual blocks without normalization, Lim et al. (EDSR, CVPRW
2017); sub-pixel convolution, Shi et al. (ESPCN, CVPR 2016); branches that fold into one convolution, Ding et al.
(RepVGG, CVPR 2021) and Zhang et al. (ECBSR, ACM MM 2021); no biases, Mohan et al. (ICLR 2020).
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from cae_train.errors import ConfigError
from cae_train.models.base import Autoencoder
from cae_train.models.depthwise import DepthwiseBlock, PlainDepthwiseBlock
from cae_train.models.skip_blocks import Block, Branches, Join, PlainBlock, ResidualBlock, SubPixels


@dataclass(frozen=True)
class SkipOptions:
    """The options of a network of this family.

    Attributes:
        widths: channels of the levels at 1/2, 1/4, 1/8 ... of the patch size (1/4, 1/8 ... with an entry of 4): 2 to 4
            multiples of 16, up to 1024.
        down_blocks: blocks per level on the way down, 0 to 16 each, the code's last.
        up_blocks: blocks per level on the way up, 0 to 16 each, without the code's; in the order of `widths`.
        block: "residual" (x + conv(ReLU(conv(x)))), "plain" (ReLU(conv(ReLU(conv(x))))) or "depthwise"
            (x + conv1x1(ReLU(depthwise 3x3(ReLU(conv1x1(x))))), which makes deep networks cheap).
        code_block: kind of the blocks at the lowest level, around the code: "residual", "plain", "depthwise", or "same"
            (as `block`).
        code_kernel: side of the depthwise kernels at the lowest level, 3 or 5.
        last: the last block before the head: "residual" adds its input, "plain" ends in a ReLU, which saves an addition
            in int8.
        expansion: inner channels of depthwise blocks, as a multiple of the level's: 1 to 4.
        entry: stride of the first convolution and of the head, 2 or 4.
        stem: kernel size of the first convolution: 2, 4, 6 or 8, at least `entry`.
        up: "subpixel" (a 1x1 convolution makes four sub-pixels) or "nearest" (it makes one, which is repeated).
        head: "transposed" (convolution with kernel = stride) or "conv" (3x3, then depth-to-space).
        branches: train each dense 3x3 convolution as a sum of branches, which are folded into one afterwards.
        bias: whether convolutions have biases; without them, the output scales with the input.

    Raises:
        ConfigError: a width that is no multiple of 16, lists of different lengths, an unknown block, stem, way up or
            head; branches, an expansion or a code_kernel of 5 for blocks that have none.
    """

    widths: tuple[int, ...] = (32, 64)
    down_blocks: tuple[int, ...] = (1, 2)
    up_blocks: tuple[int, ...] = (2,)
    block: str = "residual"
    code_block: str = "same"
    code_kernel: int = 3
    last: str = "plain"
    expansion: float = 2.0
    entry: int = 2
    stem: int = 4
    up: str = "subpixel"
    head: str = "transposed"
    branches: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        for name in ("widths", "down_blocks", "up_blocks"):
            values = getattr(self, name)
            if not isinstance(values, (list, tuple)) or not all(type(value) is int for value in values):
                raise ConfigError(
                    f"model option {name} is {values!r}: a list of whole numbers is needed, such as [32, 64]"
                )
            object.__setattr__(self, name, tuple(values))
        if not 2 <= len(self.widths) <= 4 or any(not 16 <= width <= 1024 or width % 16 for width in self.widths):
            raise ConfigError(f"model option widths is {self.widths}: 2 to 4 multiples of 16, up to 1024, are needed")
        if len(self.down_blocks) != len(self.widths) or len(self.up_blocks) != len(self.widths) - 1:
            raise ConfigError(
                f"model options down_blocks {self.down_blocks} and up_blocks {self.up_blocks} do not fit "
                f"widths {self.widths}: one number a level down, one fewer up"
            )
        if any(not 0 <= count <= 16 for count in self.down_blocks + self.up_blocks):
            raise ConfigError(
                f"model options down_blocks {self.down_blocks}, up_blocks {self.up_blocks}: 0 to 16 a level are needed"
            )
        for name, valid in CHOICES.items():
            value = getattr(self, name)
            if type(value) is not type(valid[0]) or value not in valid:
                raise ConfigError(f"model option {name} is {value!r}: choose from {', '.join(map(str, valid))}")
        self._check_block()
        if self.stem < self.entry:
            raise ConfigError(
                f"model option stem is {self.stem}: {self.entry} or more are needed with entry {self.entry}"
            )

    def _check_block(self) -> None:
        if isinstance(self.expansion, bool) or not isinstance(self.expansion, (int, float)):
            raise ConfigError(f"model option expansion is {self.expansion!r}: a number from 1 to 4 is needed")
        object.__setattr__(self, "expansion", float(self.expansion))
        kinds = [*[self.block] * (len(self.widths) - 1), self.code_kind]
        expanded = [width for width, kind in zip(self.widths, kinds, strict=True) if kind == "depthwise"]
        if not 1 <= self.expansion <= 4 or any(width * self.expansion % 16 for width in expanded):
            raise ConfigError(
                f"model option expansion is {self.expansion:g}: 1 to 4 is needed, and multiples of 16 channels for "
                f"widths {', '.join(map(str, expanded))}"
            )
        if not expanded and self.expansion != SkipOptions.expansion:
            raise ConfigError(f"model option expansion is {self.expansion:g}: it needs depthwise blocks")
        if self.code_kernel != SkipOptions.code_kernel and self.code_kind != "depthwise":
            raise ConfigError(
                f"model option code_kernel is {self.code_kernel}: it needs depthwise blocks around the code"
            )
        if self.branches and len(expanded) == len(self.widths):
            raise ConfigError("model option branches is True: it needs dense blocks at one level or more")

    @property
    def code_kind(self) -> str:
        """The kind of the blocks around the code: "residual", "plain" or "depthwise"."""
        return self.block if self.code_block == "same" else self.code_block


CHOICES: dict[str, tuple[object, ...]] = {
    "block": ("residual", "plain", "depthwise"),
    "code_block": ("same", "residual", "plain", "depthwise"),
    "code_kernel": (3, 5),
    "last": ("plain", "residual"),
    "entry": (2, 4),
    "stem": (2, 4, 6, 8),
    "up": ("subpixel", "nearest"),
    "head": ("transposed", "conv"),
    "branches": (False, True),
    "bias": (True, False),
}


def block_of(options: SkipOptions, width: int, *, code: bool = False, last: bool = False) -> nn.Module:
    """A block of the kind that the options name: around the `code`, or the `last` before the head, or any other."""
    kind = options.code_kind if code else options.block
    residual = (options.last if last else kind) != "plain"
    if kind == "depthwise":
        kernel = options.code_kernel if code else SkipOptions.code_kernel
        return (DepthwiseBlock if residual else PlainDepthwiseBlock)(width, options.bias, options.expansion, kernel)
    return (ResidualBlock if residual else PlainBlock)(width, options.bias)


def fold(network: "Skip") -> "Skip":
    """The same network with the branches of each kernel folded into one, so that it has none to train."""
    folded = Skip(replace(network.options, branches=False), network.channels)
    with torch.no_grad():
        trained = dict(network.named_modules())
        for name, module in folded.named_modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                module.weight.copy_(trained[name].weight)
                if module.bias is not None:
                    module.bias.copy_(trained[name].bias)
    return folded.train(network.training)


class Skip(Autoencoder):
    """The skip autoencoder: float32 N x C x H x W in 0..1 in, the same shape (about 0..1, not clipped) out.

    C is `channels`, 3 or 1. H and W are multiples of `stride` (4 with two levels).
    """

    bounded = False
    bottleneck = False
    rounds = True
    options: SkipOptions

    def __init__(self, options: SkipOptions | None = None, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.options = o = options or SkipOptions()
        self.stride = o.entry * 2 ** (len(o.widths) - 1)

        def blocks(level: int, count: int, last: bool = False) -> nn.Sequential:
            code = level == len(o.widths) - 1
            return nn.Sequential(
                *(block_of(o, o.widths[level], code=code, last=last and left == 1) for left in range(count, 0, -1))
            )

        self.stem = nn.Conv2d(
            channels, o.widths[0], o.stem, stride=o.entry, padding=(o.stem - o.entry) // 2, bias=o.bias
        )
        self.down = nn.ModuleList(blocks(level, count) for level, count in enumerate(o.down_blocks))
        self.reduce = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2, bias=o.bias) for a, b in pairwise(o.widths))
        sub = 4 if o.up == "subpixel" else 1
        self.expand = nn.ModuleList(nn.Conv2d(b, a * sub, 1, bias=o.bias) for a, b in pairwise(o.widths))
        self.up = nn.ModuleList(blocks(level, count, last=level == 0) for level, count in enumerate(o.up_blocks))
        self.join = nn.ModuleList(Join() for _ in self.up)
        self.larger = SubPixels() if o.up == "subpixel" else nn.Upsample(scale_factor=2.0, mode="nearest")
        self.head: nn.Module
        if o.head == "transposed":
            self.head = nn.ConvTranspose2d(o.widths[0], channels, o.entry, stride=o.entry, bias=o.bias)
        else:
            convolution = nn.Conv2d(o.widths[0], channels * o.entry**2, 3, padding=1, bias=o.bias)
            self.head = nn.Sequential(convolution, nn.PixelShuffle(o.entry))
        self._initialize()

    def _initialize(self) -> None:
        """He initialization; what blocks add and the head start near zero: the network starts as the identity."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            for module in self.expand if self.options.up == "subpixel" else ():
                assert isinstance(module, nn.Conv2d)  # noqa: S101 - nothing else is in there
                quarter = module.weight[: len(module.weight) // 4]  # all four sub-pixels start equal: as nearest
                module.weight.copy_(quarter.repeat(4, 1, 1, 1))
            for module in self.modules():
                if isinstance(module, ResidualBlock):
                    module.conv2.weight.mul_(0.1)
                elif isinstance(module, DepthwiseBlock) and not isinstance(module, PlainDepthwiseBlock):
                    module.b.weight.mul_(0.1)
            for parameter in self.head.parameters():
                parameter.mul_(0.01)
        if self.options.branches:
            for module in list(self.modules()):
                if isinstance(module, Block):
                    for conv in (module.conv1, module.conv2):
                        register_parametrization(conv, "weight", Branches(conv.in_channels))

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x H x W."""
        noise: Tensor = self.head(self.body(self.stem(x)))
        return x - noise

    def body(self, features: Tensor) -> Tensor:
        """From stem to head: down to the code and up again, N x widths[0] x H/entry x W/entry in and out."""
        skips: list[Tensor] = []
        for level, down in enumerate(self.down):
            features = down(features)  # N x widths[level] x H/(entry 2^level) x ...
            if level < len(self.reduce):
                skips.append(features)
                features = self.reduce[level](features)
        for level in reversed(range(len(self.up))):
            features = self.larger(self.expand[level](features))
            features = self.up[level](self.join[level](features, skips[level]))
        return features

    def folded(self) -> "Skip":
        """The same function with the branches of each kernel folded into one."""
        return fold(self)

    def readers_of_sums(self) -> list[nn.Module]:
        """The convolutions whose input is a sum: of a residual block, or of a skip connection and the level below."""
        readers: list[nn.Module] = []
        is_sum = False

        def walk(stage: nn.Module) -> None:
            nonlocal is_sum
            for block in stage.children():
                if is_sum:
                    readers.append(block.a if isinstance(block, DepthwiseBlock) else cast(Block, block).conv1)
                is_sum = not isinstance(block, (PlainBlock, PlainDepthwiseBlock))

        for level, down in enumerate(self.down):
            walk(down)
            if level < len(self.reduce):
                readers += [self.reduce[level]] * is_sum
                is_sum = False
        for level in reversed(range(len(self.up))):
            readers += [self.expand[level]] * is_sum
            is_sum = True
            walk(self.up[level])
        last = self.head if isinstance(self.head, nn.ConvTranspose2d) else next(self.head.children())
        return readers + [last] * is_sum
