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
blurred: the network is the textbook's reference, not the one to clean photographs with.

Source: the undercomplete convolutional autoencoder of Goodfellow, Bengio and Courville, "Deep Learning" (2016),
chapter 14, trained as a denoising autoencoder after Vincent et al. (ICML 2008).
"""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class CaeOptions:
    """The reference has nothing to choose."""


class Cae(nn.Module):
    """The reference autoencoder: float32 N x 3 x H x W in 0..1 in, the same shape in 0..1 out; H, W multiples of 8."""

    stride = 8
    bounded = True

    def __init__(self, options: CaeOptions | None = None, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.options = options or CaeOptions()
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(128, 64, 3, padding=1), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(64, 32, 3, padding=1), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(32, channels, 3, padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """N x 3 x H x W -> code N x 128 x H/8 x W/8 -> N x 3 x H x W."""
        restored: Tensor = self.decoder(self.encoder(x))
        return restored
