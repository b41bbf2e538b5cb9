"""The network of an anomaly detector: scores how much each pixel of a patch differs from good pictures.

Around each pixel, over squares of 5, 15 and 31 pixels, four things are measured: the mean color, the contrast, what
the network did not give back, and how badly it gave it back. Of good pictures these follow a normal distribution, by
and large, and so do the codes of whole patches; both are fitted to the training images. The score is the squared
Mahalanobis distance of a pixel's measurements and of its patch's code, each as a multiple of what good ones have on
average, and the mean of the two, the code's with half the weight: it tells which picture, not where in it. The error
alone, the customary score, misses what is simpler than the texture that it lies on (a hole in grass is given back
better than the grass), and what the network gives back though it has never seen it; in a distribution of errors one
that is smaller than usual is a sign as well as a larger one.

Sources: reconstruction error of autoencoders trained on good samples alone, Bergmann et al., "Improving Unsupervised
Defect Segmentation by Applying Structural Similarity to Autoencoders" (VISAPP 2019); the Mahalanobis distance of codes
beside it, Denouden et al., "Improving Reconstruction Autoencoder Out-of-distribution Detection with Mahalanobis
Distance" (2018); a normal distribution of local features, Defard et al., "PaDiM" (ICPR 2021).
"""

import math
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows

from cae_train.config import PATCH
from cae_train.models.base import Autoencoder

SQUARE_SIDES = (5, 15, 31)  # of the squares that statistics are taken over, in pixels
SMOOTHING_SIDE = 9  # side of the square that the distances are averaged over, in pixels
LOG_OFFSET = 1e-4  # added to squares before their logarithm is taken: that of 2.5 gray levels of 255
CODE_WEIGHT = 0.5  # weight of the code's distance; the pixels' distance has weight 1
CODE_MAX = 256  # values of a code; larger codes are averaged over their positions
FIT_EVERY = 7  # only every 7th pixel is fitted to
BATCH = 64
_SEED = 0


class Normal(nn.Module):
    """A normal distribution: N x K -> N, squared Mahalanobis distances, scaled to about 1 on average for new samples.

    The correlations are shrunk toward 0, more so for fewer rows. Source: the oracle approximating shrinkage of
    Chen, Wiesel, Eldar and Hero (IEEE TSP 2010).
    """

    RIDGE, LEAST = 1e-2, 1e-5  # added to the variances: a share of each, and a least one
    mean: Tensor
    whitening: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("whitening", torch.eye(count))

    def fit(self, rows: Tensor) -> None:
        """Fit to rows, N x K; the scale comes from the distances of one half to a fit of the other."""
        rows = rows.double()
        half = len(rows) // 2
        mean, whitening = self._of(rows[:half] if half > 1 else rows)
        usual = ((rows[half:] - mean) @ whitening.T).square().sum(1).mean().clamp_min(0.01)  # 0 where all are equal
        mean, whitening = self._of(rows)
        self.mean, self.whitening = mean.float(), (whitening / usual.sqrt()).float()

    def _of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean (K) and the whitening matrix (K x K) of rows, N x K."""
        count, size = rows.shape
        mean, spread = rows.mean(0), (rows.var(0, correction=0) * (1 + self.RIDGE) + self.LEAST).sqrt()
        scaled = (rows - mean) / spread
        correlation = scaled.T @ scaled / count
        own, squares = correlation.trace(), correlation.square().sum()
        above = (1 - 2 / size) * squares + own**2
        below = (count + 1 - 2 / size) * (squares - own**2 / size)
        shrinkage = float((above / below).clamp(0, 1)) if float(below) > 0 else 1.0
        shrunk = (1 - shrinkage) * correlation + torch.diag(
            torch.full_like(mean, shrinkage * float(own / size) + self.RIDGE)
        )
        return mean, torch.linalg.inv(torch.linalg.cholesky(shrunk)) / spread

    def forward(self, x: Tensor) -> Tensor:
        """N x K -> N, or N x K x H x W -> N x H x W."""
        places = (1,) * (x.dim() - 2)
        centered = x - self.mean.view(-1, *places)
        white = F.conv2d(centered, self.whitening[..., None, None]) if places else F.linear(centered, self.whitening)
        return white.square().sum(1)


class Scores(nn.Module):
    """N x C x P x P in 0..1 -> scores, N x 1 x P x P, 0 or more; after `fit`, good pixels have 1 on average."""

    def __init__(self, network: Autoencoder) -> None:
        super().__init__()
        self.network, self.channels, self.encoder = network, network.channels, network.part("encoder")
        with torch.inference_mode():
            code = self.code(torch.zeros(1, self.channels, PATCH, PATCH))
        self.pixels = Normal(len(SQUARE_SIDES) * 2 * (self.channels + 1))
        self.codes = Normal(code.shape[1])

    def code(self, x: Tensor) -> Tensor:
        """The codes of patches: N x C x P x P -> N x K."""
        code: Tensor = self.encoder(x)
        return code.flatten(1) if math.prod(code.shape[1:]) <= CODE_MAX else code.flatten(2).mean(2)

    def statistics(self, x: Tensor) -> Tensor:
        """Statistics of the surroundings of each pixel: N x C x P x P -> N x K x P x P."""
        missed = x - self.network(x).clamp(0, 1)
        squares = torch.cat([missed.square().mean(1, keepdim=True), x.square().mean(1, keepdim=True)], 1)
        return torch.cat(list(chain.from_iterable(self._around(x, missed, squares, size) for size in SQUARE_SIDES)), 1)

    @staticmethod
    def _around(x: Tensor, missed: Tensor, squares: Tensor, size: int) -> list[Tensor]:
        means, missing = _average(x, size), _average(missed, size)
        error, power = _average(squares, size).chunk(2, 1)
        variance = (power - means.square().mean(1, keepdim=True)).clamp_min(0)
        return [means, missing, (error + LOG_OFFSET).log(), (variance + LOG_OFFSET).log()]

    def fit(self, patches: Tensor) -> "Scores":
        """Fit the distributions to patches of good pictures, N x C x P x P."""
        order = torch.randperm(len(patches), generator=torch.Generator().manual_seed(_SEED))
        pixels, codes = [], []
        with torch.inference_mode():
            for part in torch.split(patches[order], BATCH):
                pixels.append(self.statistics(part).permute(0, 2, 3, 1).flatten(0, 2)[::FIT_EVERY])
                codes.append(self.code(part))
        self.pixels.fit(torch.cat(pixels))
        self.codes.fit(torch.cat(codes))
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted mean of both distances; those of pixels are first averaged over 9x9 pixels."""
        near = _average(self.pixels(self.statistics(x))[:, None], SMOOTHING_SIDE)
        whole: Tensor = self.codes(self.code(x))
        return (near + CODE_WEIGHT * whole[:, None, None, None]) / (1 + CODE_WEIGHT)


def _average(x: Tensor, size: int) -> Tensor:
    """Means over size x size pixels; at edges, over the pixels inside. Separable: rows first, then columns."""
    half = size // 2
    rows = F.avg_pool2d(x, (1, size), 1, (0, half), count_include_pad=False)
    return F.avg_pool2d(rows, (size, 1), 1, (half, 0), count_include_pad=False)
