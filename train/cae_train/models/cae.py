"""`cae`: the reference convolutional autoencoder, layer by layer.

    stage      layer                             output (C x H x W for a 32x32 patch)
    encoder    conv 3x3, ReLU                     32 x 32 x 32
               max pool 2x2                       32 x 16 x 16
               conv 3x3, ReLU                     64 x 16 x 16
               max pool 2x2                       64 x  8 x  8
               conv 3x3, ReLU                    128 x  8 x  8
               max pool 2x2                      128 x  4 x  4
               conv 3x3, ReLU                    128 x  4 x  4    the latent code
    decoder    upsample x2, conv 3x3, ReLU        64 x  8 x  8
               upsample x2, conv 3x3, ReLU        32 x 16 x 16
               upsample x2, conv 3x3, sigmoid      3 x 32 x 32

333,955 weights, 22.5 thousand multiply-adds a pixel. Everything passes through the 4x4 code, so the picture is
blurred: the network is the textbook's reference, and not meant for photographs. The options are the choices
that the texts give for going down and up.

Sources: the undercomplete convolutional autoencoder of Goodfellow, Bengio and Courville, "Deep Learning" (2016),
chapter 14, trained as a denoising autoencoder after Vincent et al. (ICML 2008); strided convolution in place of
pooling, Springenberg et al. (ICLR 2015 workshop); upsampling before a convolution, rather than a transposed one, Odena
et al. ("Deconvolution and Checkerboard Artifacts", Distill 2016); batch normalization, Ioffe and Szegedy (ICML 2015).
"""

from dataclasses import dataclass
from itertools import chain

from torch import Tensor, nn

from cae_train.models.base import Autoencoder, Loss, Step, require, weighed

WIDTHS = (32, 64, 128)  # channels of the three levels, from the picture inwards
TINY = 1e-12  # mean square of a code that is zero throughout
DOWN, UP = ("max", "average", "stride"), ("nearest", "bilinear", "transposed")


@dataclass(frozen=True)
class CaeOptions:
    """What the reference leaves open; the defaults are the reference itself.

    Attributes:
        down: "max" or "average" pooling, or "stride": 4x4 convolutions of stride 2.
        up: "nearest" or "bilinear" upsampling before each convolution, or "transposed": 4x4 transposed convolutions.
        batch_norm: batch normalization after each convolution; folded into it at inference.
        code: channels of the latent code, 1 to 512; fewer make a narrower bottleneck.

    Raises:
        ConfigError: a value that is none of these.
    """

    down: str = "max"
    up: str = "nearest"
    batch_norm: bool = False
    code: int = 128

    def __post_init__(self) -> None:
        require(self.down in DOWN, "down", self.down, " or ".join(DOWN))
        require(self.up in UP, "up", self.up, " or ".join(UP))
        require(type(self.batch_norm) is bool, "batch_norm", self.batch_norm, "true or false")
        require(type(self.code) is int and 1 <= self.code <= 512, "code", self.code, "a whole number from 1 to 512")


class Cae(Autoencoder):
    """The reference autoencoder: float32 N x C x H x W in 0..1 in, the same shape in 0..1 out; H, W multiples of 8."""

    stride = 8
    options: CaeOptions

    def __init__(self, options: CaeOptions | None = None, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        if channels == 1:  # gray sets are mostly black, where a squared error dies in the sigmoid: all becomes black
            self.loss = "bce"
        self.options = o = options or CaeOptions()
        self.rounds = o == CaeOptions(code=o.code)
        a, b, c = WIDTHS
        code = self._convolution(c, o.code, self._code_activation())
        self.downs = [self._down(channels, a), self._down(a, b), [*self._down(b, c), *code]]
        self.ups = [self._up(o.code, b, nn.ReLU()), self._up(b, a, nn.ReLU()), self._up(a, channels, nn.Sigmoid())]
        self.encoder = nn.Sequential(*chain(*self.downs))
        self.decoder = nn.Sequential(*chain(*self.ups))

    def _code_activation(self) -> nn.Module:
        """The penalty on the code."""
        return nn.ReLU()

    def _convolution(self, inputs: int, outputs: int, activation: nn.Module) -> list[nn.Module]:
        """A 3x3 convolution at one size."""
        return [nn.Conv2d(inputs, outputs, 3, padding=1), *self._normalized(outputs, activation)]

    def _down(self, inputs: int, outputs: int) -> list[nn.Module]:
        """A convolution and half the height and width."""
        if self.options.down == "stride":
            return [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), *self._normalized(outputs, nn.ReLU())]
        pool = nn.MaxPool2d(2) if self.options.down == "max" else nn.AvgPool2d(2)
        return [*self._convolution(inputs, outputs, nn.ReLU()), pool]

    def _up(self, inputs: int, outputs: int, activation: nn.Module) -> list[nn.Module]:
        """Twice the height and width and a convolution; the sigmoid of the picture is never normalized."""
        if self.options.up == "transposed":
            enlarging = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
            return [enlarging, *self._normalized(outputs, activation)]
        upsample = nn.Upsample(scale_factor=2, mode=self.options.up)
        return [upsample, *self._convolution(inputs, outputs, activation)]

    def _normalized(self, width: int, activation: nn.Module) -> list[nn.Module]:
        inside = self.options.batch_norm and not isinstance(activation, nn.Sigmoid)
        return [nn.BatchNorm2d(width), activation] if inside else [activation]

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> code N x 128 x H/8 x W/8 -> N x C x H x W."""
        restored: Tensor = self.decoder(self.encoder(x))
        return restored

    def part(self, name: str) -> nn.Module:
        """The encoder: N x C x H x W -> N x 128 x H/8 x W/8."""
        return self.encoder if name == "encoder" else super().part(name)

    def step(self, degraded: Tensor, clean: Tensor, loss: Loss) -> Step:
        """Restore and compute the loss; `active` is the share of active units of the code."""
        code = self.encoder(degraded)
        output = self.decoder(code).float()
        return Step(output, weighed(loss, output, clean, degraded), {"active": active_share(code)})


def active_share(code: Tensor) -> Tensor:
    """Share of a code's units, none below zero, that carry it: mean^2 / mean of squares, averaged over N of N x ...

    1 where all are equally active, k / n where k of n are and the others rest; it needs no threshold. Source: Treves
    and Rolls, "What determines the capacity of autoassociative memories in the brain?" (Network 2, 1991).
    """
    units = code.detach().float().flatten(1)
    return (units.mean(1).square() / units.square().mean(1).clamp_min(TINY)).mean()
