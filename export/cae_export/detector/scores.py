"""The network of an anomaly detector: scores how much each pixel of a patch differs from good pictures.

Three things are measured. The first and the last follow a normal distribution of good pictures, by and large, which is
fitted to them: the squared Mahalanobis distances to these are the scores. For the second, the score is the squared
distance to the nearest of some examples from good pictures:

- around each pixel, over squares of 5, 15 and 31 pixels: the mean color, the contrast, what the network did not give
  back, and how badly it gave it back. This finds stains and holes: the error alone, the customary score, misses what is
  simpler than the texture that it lies on (a hole in grass is given back better than the grass);
- along short lines through every second pixel, in eight directions: how bright they are, and how even. This finds
  scratches, and whatever else has edges that the texture has not. The tenth of a patch that is farthest from good lines
  counts, since scratches are thin;
- the code of the whole patch: this tells which picture, not where in it.

The mean distance in a patch is compared with those of good patches that its distribution was not fitted to: how far it
lies above their median, as a multiple of their spread. The spread is that of the normal distribution with the same
highest hundredth, so that a measure whose good patches are now and then far off does not hide the two others. What is
above counts, smoothly (a softplus), and the three are added as fourth powers, so that the largest decides.

Sources: reconstruction error of autoencoders trained on good samples alone, Bergmann et al., "Improving Unsupervised
Defect Segmentation by Applying Structural Similarity to Autoencoders" (VISAPP 2019); the Mahalanobis distance of codes
beside it, Denouden et al., "Improving Reconstruction Autoencoder Out-of-distribution Detection with Mahalanobis
Distance" (2018); the nearest of good features, Roth et al., "PatchCore" (CVPR 2022).
"""

import math
from itertools import chain
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows

from cae_export.detector.lines import Lines
from cae_export.detector.nearest import Nearest
from cae_export.detector.normal import Normal
from cae_train.config import PATCH
from cae_train.models.base import Autoencoder

SQUARE_SIDES = (5, 15, 31)  # of the squares that statistics are taken over, in pixels
SMOOTHING_SIDE = 9  # side of the square that the distances are averaged over, in pixels
FARTHEST = 0.1  # share of the places of lines in a patch whose distances count
LOG_OFFSET = 1e-4  # added to squares before their logarithm is taken: that of 2.5 gray levels of 255
CODE_MAX = 256  # values of a code; larger codes are averaged over their positions
FIT_EVERY = 29  # only every 29th pixel, and every 29th place of lines, is fitted to
BATCH = 64
COMPARED = 1024  # patches that say how far good ones usually are
FOLDS = 8  # parts of the good pictures; each is scored by a fit to the others
HIGH = 0.99  # quantile of good patches that the spread comes from
_HIGH_OF_NORMAL = NormalDist().inv_cdf(HIGH)
_LEAST_SPREAD = 1e-3  # of the patches' mean distances, which are about 1
_TINY = 1e-12
_SEED = 0

Fit = tuple[Normal, Nearest, Normal]  # to pixels, lines and codes


class Scores(nn.Module):
    """N x C x P x P in 0..1 -> scores, N x 1 x P x P, 0 or more; after `fit`, new good patches have 1 on average.

    Attributes:
        folds: the distributions fitted to all good pictures but those of one part, for each of the parts; see
            `without`.
    """

    center: Tensor
    spread: Tensor
    usual: Tensor

    def __init__(self, network: Autoencoder) -> None:
        super().__init__()
        self.network, self.channels, self.encoder = network, network.channels, network.part("encoder")
        self.lines = Lines()
        with torch.inference_mode():
            black = torch.zeros(1, self.channels, PATCH, PATCH)
            sizes = (
                len(SQUARE_SIDES) * 2 * (self.channels + 1),
                self.lines.size,
                self.code(black).shape[1],
            )
        self.pixels, self.along, self.codes = Normal(sizes[0]), Nearest(sizes[1]), Normal(sizes[2])
        self.register_buffer("center", torch.zeros(3))
        self.register_buffer("spread", torch.ones(3))
        self.register_buffer("usual", torch.ones(()))
        self.folds: tuple[Fit, ...] = ()

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

    def fit(self, patches: Tensor, pictures: Tensor | None = None) -> "Scores":
        """Fit to patches of good pictures.

        Args:
            patches: N x C x P x P in 0..1, two or more.
            pictures: number of the picture that each comes from, N integers; None: each is a picture of its own.
        """
        order = torch.randperm(len(patches), generator=torch.Generator().manual_seed(_SEED))
        part_of = (torch.arange(len(patches)) if pictures is None else pictures)[order] % FOLDS
        measured: list[list[Tensor]] = [[], [], []]
        owners: list[list[Tensor]] = [[], [], []]
        with torch.inference_mode():
            for some, parts in zip(torch.split(patches[order], BATCH), torch.split(part_of, BATCH), strict=True):
                for rows, owner, maps in zip(measured, owners, self._measured(some), strict=True):
                    each = len(maps) // len(some)
                    every = FIT_EVERY if each > 1 else 1
                    rows.append(maps[::every].clone())
                    owner.append(parts.repeat_interleave(each)[::every])
            values = [torch.cat(rows) for rows in measured]
            owned = [torch.cat(owner) for owner in owners]
            whole = self._fitted(values)
            self.pixels, self.along, self.codes = whole
            present = set(part_of.tolist())
            self.folds = tuple(
                self._fitted([rows[owner != part] for rows, owner in zip(values, owned, strict=True)], whole)
                if part in present and len(present) > 1
                else whole
                for part in range(FOLDS)
            )
            self._compare(patches[order][:COMPARED], part_of[:COMPARED])
        return self

    def _measured(self, x: Tensor) -> list[Tensor]:
        """What is measured of patches: rows (N times places) x K."""
        at_pixels, along = (maps.permute(0, 2, 3, 1).flatten(0, 2) for maps in (self.statistics(x), self.lines(x)))
        return [at_pixels, along, self.code(x)]

    @staticmethod
    def _fitted(values: list[Tensor], whole: Fit | None = None) -> Fit:
        """Fit to rows, with the scales of the fit to all rows, since fits to more rows are closer."""
        pixels, along, codes = values
        fit = Normal(pixels.shape[1]), Nearest(along.shape[1]), Normal(codes.shape[1])
        fit[0].fit(pixels, whole and whole[0])
        fit[1].fit(along, whole and whole[1])
        fit[2].fit(codes, whole and whole[2])
        return fit

    def _compare(self, patches: Tensor, part_of: Tensor) -> None:
        """Measure the mean distances of good patches by fits to the others."""
        distances = []
        for part in sorted(set(part_of.tolist())):
            network = self.without(part)
            for some in torch.split(patches[part_of == part], BATCH):
                distances.append(self._of_patches(*network.distances(some)))
        rows = torch.cat(distances)
        self.center = rows.median(0).values
        self.spread = ((rows.quantile(HIGH, 0) - self.center) / _HIGH_OF_NORMAL).clamp_min(_LEAST_SPREAD)
        self.usual = self._patch_scores(self._above(rows)).mean()

    def without(self, part: int) -> "Scores":
        """The same detector, fitted to all good pictures except those with number modulo `FOLDS` equal to `part`."""
        other = Scores.__new__(Scores)
        nn.Module.__init__(other)
        other.network, other.channels = self.network, self.channels
        other.encoder, other.lines = self.encoder, self.lines
        other.pixels, other.along, other.codes = self.folds[part]
        for name in ("center", "spread", "usual"):
            other.register_buffer(name, getattr(self, name))
        other.folds = ()
        return other

    def distances(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distances of pixels N x 1 x P x P (smooth), of lines N x 1 x P/2 x P/2, and of codes N x 1 x 1 x 1."""
        near = _average(self.pixels(self.statistics(x))[:, None], SMOOTHING_SIDE)
        return near, self.along(self.lines(x))[:, None], self.codes(self.code(x))[:, None, None, None]

    @staticmethod
    def _of_patches(near: Tensor, along: Tensor, whole: Tensor) -> Tensor:
        """The three distances of each patch, N x 3: means, of lines that of the farthest."""
        some = along.flatten(1)
        farthest = some.topk(int(FARTHEST * some.shape[1]), 1).values
        return torch.stack([near.mean((1, 2, 3)), farthest.mean(1), whole.flatten()], 1)

    def _above(self, means: Tensor) -> Tensor:
        """Distances of patches, N x 3, as multiples of their spread above the usual, smoothly 0 below it."""
        return F.softplus((means - self.center) / self.spread)

    @staticmethod
    def _patch_scores(above: Tensor) -> Tensor:
        return above.square().square().sum(1).sqrt().sqrt()

    def forward(self, x: Tensor) -> Tensor:
        """Return maps whose mean is the score of the patch, in which the distances say where.

        Of the lines only what is farther than usual counts there: the score is high where few of them are.
        """
        near, along, whole = self.distances(x)
        above = self._above(self._of_patches(near, along, whole))
        shares = (above / self.center.clamp_min(_LEAST_SPREAD))[..., None, None]
        beyond = (_average(along, SMOOTHING_SIDE // 2 + 1) - self.center[1]).clamp_min(0)
        along = F.interpolate(beyond, scale_factor=2.0, mode="nearest")
        where = near * shares[:, :1] + along * shares[:, 1:2] + whole * shares[:, 2:]
        scores = self._patch_scores(above)[:, None, None, None] / self.usual
        return where * (scores / where.mean((2, 3), keepdim=True).clamp_min(_TINY))


def _average(x: Tensor, size: int) -> Tensor:
    """Means over size x size pixels; at edges, over the pixels inside. Separable: rows first, then columns."""
    half = size // 2
    rows = F.avg_pool2d(x, (1, size), 1, (0, half), count_include_pad=False)
    return F.avg_pool2d(rows, (size, 1), 1, (half, 0), count_include_pad=False)
