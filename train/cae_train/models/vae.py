"""`vae`: a variational autoencoder, whose code is a distribution that new pictures can be drawn from.

    stage      layer                                        output (C x 32 x 32 patches only)
    encoder    3 x (conv 3x3, ReLU, max pool 2x2)            128 x 4 x 4
               two linear layers                             mean and log variance, `latent` each
    code       mean + exp(log variance / 2) * noise          the reparameterization; at inference the mean alone
    decoder    linear, ReLU                                  128 x 4 x 4
               3 x (upsample x2, conv 3x3, ReLU), sigmoid    C x 32 x 32

    loss = reconstruction + kl_weight * warm-up * KL(code || standard normal) / (C * 32 * 32)

The reconstruction is a mean over the patch's values, so the KL is divided by their number: with `--loss bce` (what
`auto` takes) and a weight of 1 this is the customary negative evidence lower bound, a value of the patch (of gray
values cross-entropy is no normalized likelihood: Loaiza-Ganem and Cunningham, NeurIPS 2019). With `mse` a weight of w
says that the decoder's picture has a variance of w / 2. The weight rises from 0 over the first part of the training,
so that the network first learns to use the code.

Trained with `--degrade none` it models the pictures themselves; otherwise it is a denoising variational autoencoder,
which restores through a code of `latent` numbers and blurs accordingly.

Sources: Kingma and Welling, "Auto-Encoding Variational Bayes" (ICLR 2014); the weight, Higgins et al. (beta-VAE, ICLR
2017); its warm-up, Bowman et al. (CoNLL 2016); corrupted input, Im et al. (AAAI 2017).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cae_train.models.base import Autoencoder, Loss, Step, require, weighed

SIDE, WIDTHS = 32, (32, 64, 128)
CELLS = SIDE // 2 ** len(WIDTHS)
LOG_VARIANCE = 12.0  # the log variance is held within -12..12, which keeps its exponential in range


@dataclass(frozen=True)
class VaeOptions:
    """The size of the code, and the weight of its KL divergence.

    Attributes:
        latent: numbers in the code, 1 to 1024.
        kl_weight: weight of the KL divergence, 0 to 1000; 1 with `bce` is the usual bound.
        warmup: share of the training, 0 to 1, over which the weight rises linearly from 0.

    Raises:
        ConfigError: a value that is none of these.
    """

    latent: int = 128
    kl_weight: float = 1.0
    warmup: float = 0.25

    def __post_init__(self) -> None:
        require(
            type(self.latent) is int and 1 <= self.latent <= 1024,
            "latent",
            self.latent,
            "a whole number from 1 to 1024",
        )
        for name in ("kl_weight", "warmup"):
            require(type(getattr(self, name)) in (int, float), name, getattr(self, name), "a number")
        require(0 <= self.kl_weight <= 1000, "kl_weight", self.kl_weight, "0 to 1000")
        require(0 <= self.warmup <= 1, "warmup", self.warmup, "0 to 1")


class Vae(Autoencoder):
    """The variational autoencoder: float32 N x C x 32 x 32 in 0..1 in, the same shape in 0..1 out."""

    stride, side = SIDE, SIDE
    loss = "bce"
    training_options = frozenset({"kl_weight", "warmup"})
    options: VaeOptions

    def __init__(self, options: VaeOptions | None = None, channels: int = 3) -> None:
        super().__init__()
        self.options, self.channels = options or VaeOptions(), channels
        a, b, c = WIDTHS
        inside, latent = c * CELLS**2, self.options.latent
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, a, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(b, c, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
        )  # fmt: skip
        self.mean, self.log_variance = nn.Linear(inside, latent), nn.Linear(inside, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, inside), nn.ReLU(), nn.Unflatten(1, (c, CELLS, CELLS)),
            nn.Upsample(scale_factor=2), nn.Conv2d(c, b, 3, padding=1), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(b, a, 3, padding=1), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(a, channels, 3, padding=1), nn.Sigmoid(),
        )  # fmt: skip
        self.kl_share = 1.0  # share of `kl_weight` that counts now
        self.generator: torch.Generator | None = None  # of the codes that are drawn

    def begin_step(self, progress: float, generator: torch.Generator) -> None:
        """Raise the weight of the divergence a little."""
        warmup = self.options.warmup
        self.kl_share = min(1.0, progress / warmup) if warmup else 1.0
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """N x C x 32 x 32 -> means of the codes, N x latent -> N x C x 32 x 32."""
        restored: Tensor = self.decoder(self.mean(self.encoder(x)))
        return restored

    def part(self, name: str) -> nn.Module:
        """The encoder, N x C x 32 x 32 -> the means of the codes, N x latent, or the decoder, the other way."""
        return nn.Sequential(self.encoder, self.mean) if name == "encoder" else self.decoder

    def step(self, degraded: Tensor, clean: Tensor, loss: Loss) -> Step:
        """Restore through a drawn code (the mean in evaluation mode); `kl` is the divergence, nats a patch."""
        features = self.encoder(degraded)
        mean, log_variance = self.mean(features).float(), self.log_variance(features).float()
        log_variance = log_variance.clamp(-LOG_VARIANCE, LOG_VARIANCE)
        code = mean
        if self.training:
            noise = torch.randn(mean.shape, generator=self.generator).to(mean.device)
            code = mean + noise * (log_variance / 2).exp()
        output = self.decoder(code).float()
        kl = divergence(mean, log_variance)
        price = self.options.kl_weight * self.kl_share * kl / clean[0].numel()
        return Step(output, weighed(loss, output, clean, degraded) + price, {"kl": kl.detach()})

    def samples(self, count: int, generator: torch.Generator) -> Tensor:
        """Pictures decoded from codes of the standard normal distribution, N x C x 32 x 32 in 0..1."""
        weight = self.mean.weight
        codes = torch.randn(count, self.options.latent, generator=generator).to(weight.device)
        pictures: Tensor = self.decoder(codes).float()
        return pictures


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of normal distributions, N x latent each, from the standard one: nats a patch, averaged over N, a scalar."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
