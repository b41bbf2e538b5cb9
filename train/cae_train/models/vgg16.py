"""`vgg16`: transfer learning. The encoder is VGG16's convolutional part as ImageNet has taught it; the decoder learns.

    block    layers                       output (64 channels at the size of the patch P)
    1        conv, conv                     64 x P    x P
    2        pool, conv, conv              128 x P/2  x P/2
    3        pool, conv, conv, conv        256 x P/4  x P/4
    4        pool, conv, conv, conv        512 x P/8  x P/8
    5        pool, conv, conv, conv        512 x P/16 x P/16    the latent code
    decoder  per block upwards: conv to 256, 128, 64, 32, ReLU, upsample x2 (plus a 1x1 conv of the block of that size,
             with `skips`); at last conv to C, sigmoid

All convolutions are 3x3 with a ReLU behind them, all pooling is 2x2 maximum. `layers` takes fewer of the 13. Inputs are
0..1 and are normalized by ImageNet's means and deviations inside; gray pictures are seen as three equal channels.

The weights (`pretrained`) are those of torchvision's VGG16_Weights.IMAGENET1K_V1, from their official address with its
checksum, or from a file (`weights`). The encoder is frozen; after `unfreeze_after` epochs it learns too. What it
has learned tells objects apart and forgets where an edge was: without skips a picture does not come back from its code.

Sources: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (ICLR 2015),
configuration D; skips from a pretrained VGG encoder, Iglovikov and Shvets (TernausNet, 2018).
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from cae_train.download import fetched, reason
from cae_train.errors import CheckpointError, ConfigError
from cae_train.models.base import Autoencoder, require
from cae_train.tensor_files import read_tensors

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
ENDS = (2, 4, 7, 10, 13)  # convolutions up to the end of each block
DECODER = (32, 64, 128, 256)  # channels on the way up, from the picture inwards
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB
URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
MAX_BYTES = 1024 * 2**20


@dataclass(frozen=True)
class Vgg16Options:
    """Which part of VGG16, and whether it is pretrained.

    Attributes:
        layers: number of its convolutions: 2, 4, 7, 10 or 13 (whole blocks).
        skips: skip connections from each block of the encoder to the decoder; false sends everything through the code.
        pretrained: start from ImageNet's weights; false keeps a random frozen encoder, for comparison.
        unfreeze_after: epochs after which the encoder is trained too; 0 keeps it frozen.
        weights: file of VGG16's weights, as torchvision publishes them; empty looks for it in the run's `data_dir`, and
            downloads it there if missing.

    Raises:
        ConfigError: a value that is none of these.
    """

    layers: int = 13
    skips: bool = True
    pretrained: bool = True
    unfreeze_after: int = 0
    weights: str = ""

    def __post_init__(self) -> None:
        require(
            type(self.layers) is int and self.layers in ENDS,
            "layers",
            self.layers,
            f"one of {', '.join(map(str, ENDS))}",
        )
        for name in ("skips", "pretrained"):
            require(type(getattr(self, name)) is bool, name, getattr(self, name), "true or false")
        require(type(self.weights) is str, "weights", self.weights, "the path of a file")
        require(self.pretrained or not self.weights, "weights", self.weights, "empty with pretrained = false")
        epochs = self.unfreeze_after
        require(type(epochs) is int and 0 <= epochs <= 100_000, "unfreeze_after", epochs, "0 (never) or more epochs")


class Vgg16(Autoencoder):
    """VGG16's encoder and a decoder: float32 N x C x H x W in 0..1 in, the same shape in 0..1 out.

    H and W are multiples of `stride` (16 with all layers).
    """

    loss = "charbonnier"
    training_options = frozenset({"pretrained", "unfreeze_after", "weights"})
    options: Vgg16Options
    mean: Tensor
    deviation: Tensor

    def __init__(self, options: Vgg16Options | None = None, channels: int = 3) -> None:
        super().__init__()
        self.options, self.channels = options or Vgg16Options(), channels
        self.freezes = self.options.unfreeze_after > 0
        self.weights_file = self.options.weights
        self.bottleneck = not self.options.skips
        blocks = BLOCKS[: ENDS.index(self.options.layers) + 1]
        self.stride = 2 ** (len(blocks) - 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))
        layers: list[nn.Module] = []
        width = 3
        for number, block in enumerate(blocks):
            layers += [nn.MaxPool2d(2)] if number else []
            for outputs in block:
                layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.ReLU()]
                width = outputs
        self.encoder = nn.Sequential(*layers)
        up: list[nn.Module] = []
        for inputs, outputs in pairwise((width, *reversed(DECODER[: len(blocks) - 1]))):
            up += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)]
            width = outputs
        self.decoder = nn.Sequential(*up, nn.Conv2d(width, channels, 3, padding=1), nn.Sigmoid())
        found = zip(blocks[:-1], DECODER, strict=False) if self.options.skips else ()
        self.sideways = nn.ModuleList(nn.Conv2d(block[-1], outputs, 1) for block, outputs in found)
        for module in self.encoder:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None  # noqa: S101 - each has one
                nn.init.zeros_(module.bias)
        self.encoder.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> code N x 512 x H/16 x W/16 -> N x C x H x W."""
        x = self.seen(x)
        found: list[Tensor] = []  # by each block but the last: N x 64 x H x W, N x 128 x H/2 x W/2, ...
        for layer in self.encoder:
            if isinstance(layer, nn.MaxPool2d):
                found.append(x)
            x = layer(x)
        for layer in self.decoder:
            x = layer(x)
            if isinstance(layer, nn.Upsample) and self.options.skips:
                block = found.pop()
                x = x + self.sideways[len(found)](block)
        return x

    def seen(self, x: Tensor) -> Tensor:
        """The scale of VGG16's training: N x C x H x W in 0..1 -> N x 3 x H x W, also of one channel."""
        return (x - self.mean) / self.deviation

    def part(self, name: str) -> nn.Module:
        """The encoder: N x C x H x W -> N x 512 x H/16 x W/16 with all layers."""
        return _Encoder(self) if name == "encoder" else super().part(name)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Train the encoder too, from the epoch on that the options name.

        Raises:
            ConfigError: the training ends before it.
        """
        after = self.options.unfreeze_after
        if after >= epochs:
            raise ConfigError(
                f"model option unfreeze_after is {after}: 0 (never) or less than the epochs ({epochs}) is needed"
            )
        self.encoder.requires_grad_(bool(after) and epoch >= after)

    def pretrain(self, data_dir: str) -> None:
        """Load ImageNet's weights: from the file that the options name, or from `data_dir`, downloaded if missing.

        Raises:
            CheckpointError: the file cannot be read, is not VGG16's, or cannot be downloaded.
        """
        if not self.options.pretrained:
            return
        weights = self.options.weights
        kernels = read_weights(Path(weights) if weights else fetch_weights(Path(data_dir)))
        with torch.no_grad():
            for (name, parameter), value in zip(self.encoder.named_parameters(), kernels, strict=False):
                if parameter.shape != value.shape:
                    shapes = f"{tuple(value.shape)}, not {tuple(parameter.shape)}"
                    raise CheckpointError(f"{weights or URL} is not VGG16: its layer of encoder.{name} is {shapes}")
                parameter.copy_(value)


class _Encoder(nn.Module):
    """VGG16's layers with the scaling that they expect."""

    def __init__(self, network: Vgg16) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W in 0..1 -> features."""
        features: Tensor = self.network.encoder(self.network.seen(x))
        return features


def read_weights(path: Path) -> list[Tensor]:
    """The weights and biases of VGG16's convolutions, in their order, from a state dictionary of torchvision's names.

    Raises:
        CheckpointError: no such file, one too large or damaged, or without `features.N.weight` and `features.N.bias`.
    """
    state = read_tensors(path, MAX_BYTES, "file of VGG16's weights", legacy=True)
    found: dict[tuple[int, int], Tensor] = {}
    for key, value in state.items() if isinstance(state, dict) else ():
        part, _, rest = str(key).partition(".")
        number, _, kind = rest.partition(".")
        named = part == "features" and number.isdecimal() and len(number) < 3 and kind in ("weight", "bias")
        if named and isinstance(value, Tensor):
            found[int(number), kind == "bias"] = value.float()
    if not all(bool(value.isfinite().all()) for value in found.values()):
        raise CheckpointError(f"{path} holds values that are not finite")
    if len(found) != 2 * ENDS[-1]:
        raise CheckpointError(
            f"{path} is not VGG16: a state dictionary with the weights and biases of its "
            f"{ENDS[-1]} convolutions, features.0.weight to features.28.bias, is needed"
        )
    return [found[key] for key in sorted(found)]


def fetch_weights(data_dir: Path) -> Path:
    """The file of the weights in `data_dir`, downloaded (528 MiB) if it is not there.

    Raises:
        CheckpointError: it cannot be downloaded, or is not what it should be.
    """
    try:
        return fetched(URL, f"sha256:{SHA256}", data_dir)
    except (OSError, ValueError) as e:
        raise CheckpointError(
            f"VGG16's weights are not in {data_dir} and could not be downloaded from {URL}: {reason(e)}; "
            "give their file in the model option weights"
        ) from e
