"""Keeps examples of feature rows of good pictures, and measures how far new rows are from the nearest of them."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows

from cae_export.detector.normal import Normal

_SEED = 0


class Nearest(Normal):
    """Squared distances to the nearest of some rows: N x K x H x W -> N x H x W.

    The rows are a core set: each next one is that which is farthest from those that were taken. Distances are those
    after the correlations of all rows were removed, so that each direction counts by how much it varies.

    Source: Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (PatchCore, CVPR 2022), which takes the
    nearest of patches' features, and a core set of them.
    """

    EXAMPLES, DIRECTIONS = 400, 32  # rows that are kept; random directions in which they are compared to choose them
    examples: Tensor  # M x K, without their correlations
    squares: Tensor  # M, of their lengths

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.register_buffer("examples", torch.zeros(1, count))
        self.register_buffer("squares", torch.zeros(1))

    def fit(self, rows: Tensor, like: Normal | None = None) -> None:
        """Fit to rows, N x K; the scale is that of `like`, if it is given."""
        super().fit(rows, like)
        white = self.white(rows.float())
        self.examples = white[self._core(white)]
        self.squares = self.examples.square().sum(1)

    def _core(self, rows: Tensor) -> Tensor:
        """Choose rows: their numbers."""
        count, size = rows.shape
        if count <= self.EXAMPLES:
            return torch.arange(count)
        generator = torch.Generator().manual_seed(_SEED)
        seen = rows @ torch.randn(size, min(size, self.DIRECTIONS), generator=generator)
        chosen = [int(torch.randint(count, (), generator=generator))]
        distances = torch.full((count,), torch.inf)
        while len(chosen) < self.EXAMPLES:
            distances = torch.minimum(distances, (seen - seen[chosen[-1]]).square().sum(1))
            chosen.append(int(distances.argmax()))
        return torch.tensor(chosen)

    def forward(self, x: Tensor) -> Tensor:
        """N x K x H x W -> N x H x W."""
        white = self.white(x)
        to_each = F.conv2d(white, -2 * self.examples[..., None, None], self.squares)
        return (to_each.amin(1) + white.square().sum(1)).clamp_min(0)
