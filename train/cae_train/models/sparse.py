"""`sparse`: the reference autoencoder with a penalty that keeps most units of its code at rest.

    loss = reconstruction + weight * penalty(code)

    l1    mean |code|: most of a ReLU's units are driven to exact zeros, some channels for good
    kl    mean over the code's channels of KL(Bernoulli(target) || Bernoulli(mean activation)), the code a sigmoid: the
          mean of each channel is held at `target`. Nothing stops the decoder from reading values that vary little:
          with one as deep as this the means fall and the code stays dense. It is here because the texts have it.

Which units are active then says more of a patch than how strongly: the code as features, not the picture, is what a
sparse autoencoder is for. The share of active units (`active_share`) is reported in each epoch, and for `cae` too.

Sources: L1, Goodfellow, Bengio and Courville, "Deep Learning" (2016), section 14.2.1; KL, Ng, "Sparse autoencoder"
(CS294A lecture notes, 2011).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cae_train.models.base import Loss, Step, require, weighed
from cae_train.models.cae import Cae, CaeOptions, active_share

PENALTIES = ("l1", "kl")
EPSILON = 1e-6


@dataclass(frozen=True)
class SparseOptions(CaeOptions):
    """The options of `cae`, and the penalty's.

    Attributes:
        penalty: "l1" or "kl".
        weight: weight of the penalty; 0 is `cae` (with l1).
        target: target mean activation of each channel of the code, above 0 and below 1; only for kl.

    Raises:
        ConfigError: a value that is none of these.
    """

    penalty: str = "l1"
    weight: float = 0.05
    target: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.penalty in PENALTIES, "penalty", self.penalty, " or ".join(PENALTIES))
        for name in ("weight", "target"):
            require(type(getattr(self, name)) in (int, float), name, getattr(self, name), "a number")
        require(0 <= self.weight <= 1000, "weight", self.weight, "0 to 1000")
        require(0 < self.target < 1, "target", self.target, "above 0 and below 1")


class Sparse(Cae):
    """`cae` with a penalty on its code: float32 N x C x H x W in 0..1 in, the same shape in 0..1 out."""

    loss = "charbonnier"  # the scale that the default weight is chosen for
    training_options = frozenset({"weight", "target"})
    options: SparseOptions

    def __init__(self, options: SparseOptions | None = None, channels: int = 3) -> None:
        super().__init__(options or SparseOptions(), channels)

    def _code_activation(self) -> nn.Module:
        return nn.Sigmoid() if self.options.penalty == "kl" else nn.ReLU()

    def step(self, degraded: Tensor, clean: Tensor, loss: Loss) -> Step:
        """Restore and compute the loss, including the penalty."""
        code = self.encoder(degraded)
        output = self.decoder(code).float()
        if self.options.penalty == "kl":
            penalty = divergence(code.float(), self.options.target)
        else:
            penalty = code.float().abs().mean()
        total = weighed(loss, output, clean, degraded) + self.options.weight * penalty
        return Step(output, total, {"active": active_share(code)})


def divergence(code: Tensor, target: float) -> Tensor:
    """Mean over the channels of N x C x H x W in 0..1 of KL(target || mean activation), a scalar in nats."""
    mean = code.mean((0, 2, 3)).clamp(EPSILON, 1 - EPSILON)
    wanted = torch.tensor(target)
    return (wanted * (wanted / mean).log() + (1 - wanted) * ((1 - wanted) / (1 - mean)).log()).mean()
