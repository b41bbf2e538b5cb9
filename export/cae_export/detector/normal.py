"""A normal distribution of many numbers, fitted to rows of them, and how far new rows are from it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows


class Normal(nn.Module):
    """A normal distribution: N x K -> N, squared Mahalanobis distances, scaled to about 1 on average for new samples.

    The correlations are shrunk toward 0, more so for fewer rows. Source: the oracle approximating shrinkage of
    Chen, Wiesel, Eldar and Hero (IEEE TSP 2010).
    """

    RIDGE, LEAST = 1e-2, 1e-5  # added to the variances: a share of each, and a least one
    mean: Tensor
    whitening: Tensor
    usual: Tensor | None = None  # the mean distance that the scale comes from

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("whitening", torch.eye(count))

    def fit(self, rows: Tensor, like: "Normal | None" = None) -> None:
        """Fit to rows, N x K; the scale comes from the distances of one half to a fit of the other, or from `like`."""
        rows = rows.double()
        self.usual = self._usual(rows) if like is None else like.usual
        mean, whitening = self._of(rows)
        scale = 1 if self.usual is None else self.usual.sqrt()
        self.mean, self.whitening = mean.float(), (whitening / scale).float()

    def _usual(self, rows: Tensor) -> Tensor:
        half = len(rows) // 2
        mean, whitening = self._of(rows[:half] if half > 1 else rows)
        distances = ((rows[half:] - mean) @ whitening.T).square().sum(1)
        return distances.mean().clamp_min(0.01)  # 0 where all are equal

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
        return self.white(x).square().sum(1)

    def white(self, x: Tensor) -> Tensor:
        """Return rows without the correlations, each direction scaled to about the same spread; of the same shape."""
        places = (1,) * (x.dim() - 2)
        centered = x - self.mean.view(-1, *places)
        return F.conv2d(centered, self.whitening[..., None, None]) if places else F.linear(centered, self.whitening)
