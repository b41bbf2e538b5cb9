"""`stacked`: the reference autoencoder, its layers trained one after the other before all of them together.

    stage          trained (its input)                        to give back
    layer 1        conv 32, pool -> up, conv C  (degraded)     the clean patch
    layer 2        conv 64, pool -> up, conv 32 (layer 1's)    layer 1 of the clean patch
    layer 3        conv 128, pool, conv 128 -> up, conv 64     layer 2 of the clean patch
    fine-tuning    everything                   (degraded)     the clean patch

Each layer is a denoising autoencoder of the features below it, which stay as they are meanwhile; the noise is that of
the picture, carried upwards, where Vincent et al. corrupt each layer's input anew. When all have been trained, the
stack is `cae`; the learning rate falls over all stages as one cosine. Before ReLUs, good initialization and good
optimizers, this was how deep networks were trained at all; the table in train/README.md shows what it is worth today.

Sources: Bengio et al., "Greedy Layer-Wise Training of Deep Networks" (NIPS 2006); stacked denoising autoencoders,
Vincent et al. (JMLR 2010); stacked convolutional autoencoders, Masci et al. (ICANN 2011).
"""

from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows

from cae_train.errors import ConfigError
from cae_train.models.base import Loss, Step, require, weighed
from cae_train.models.cae import Cae, CaeOptions, active_share

LAYERS = 3


@dataclass(frozen=True)
class StackedOptions(CaeOptions):
    """The options of `cae`, and how the epochs are shared out.

    Attributes:
        greedy: share of the epochs, above 0 and below 1, for training layer by layer, in equal parts.

    Raises:
        ConfigError: a value that is none of these.
    """

    greedy: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(type(self.greedy) in (int, float), "greedy", self.greedy, "a number")
        require(0 < self.greedy < 1, "greedy", self.greedy, "above 0 and below 1")


class Stacked(Cae):
    """`cae`, trained layer by layer: float32 N x C x H x W in 0..1 in, the same shape in 0..1 out.

    Attributes:
        depth: layers in use, 1..3: a run that is stopped early leaves a shallow network, not a broken one.
    """

    freezes = True
    training_options = frozenset({"greedy"})
    options: StackedOptions

    def __init__(self, options: StackedOptions | None = None, channels: int = 3) -> None:
        super().__init__(options or StackedOptions(), channels)
        self.depth, self.greedy = LAYERS, False

    @property
    def stage(self) -> str:  # type: ignore[override]
        """The layer that is being trained, or fine-tuning."""
        return f"layer {self.depth}" if self.greedy else "fine-tuning"

    @property
    def last_stage(self) -> bool:  # type: ignore[override]
        """Whether all layers are trained together."""
        return not self.greedy

    def train(self, mode: bool = True) -> "Stacked":
        """Set the mode as for every module, but keep the batch statistics of frozen layers unchanged."""
        super().train(mode)
        if mode and self.greedy:
            trained = {id(module) for module in self._trained()}
            for module in (*self.encoder, *self.decoder):
                module.train(id(module) in trained)
        return self

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Choose the stage, and freeze what it does not train.

        Raises:
            ConfigError: there are fewer epochs than stages.
        """
        if epochs <= LAYERS:
            raise ConfigError(f"epochs is {epochs}: stacked needs {LAYERS + 1} or more, one a layer and one for all")
        greedy = min(max(LAYERS, round(self.options.greedy * epochs)), epochs - 1)
        self.greedy = epoch < greedy
        self.depth = 1 + epoch * LAYERS // greedy if self.greedy else LAYERS
        self.requires_grad_(not self.greedy)
        for module in self._trained() if self.greedy else ():
            module.requires_grad_(True)
        self.train(self.training)

    def _trained(self) -> list[nn.Module]:
        return [*self.downs[self.depth - 1], *self.ups[-self.depth]]

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> through the layers in use -> N x C x H x W."""
        return through(self.ups[-self.depth :], through(self.downs[: self.depth], x))

    def part(self, name: str) -> nn.Module:
        """The encoder's layers in use: N x C x H x W -> N x 128 x H/8 x W/8 with all of them."""
        return nn.Sequential(*chain(*self.downs[: self.depth])) if name == "encoder" else super().part(name)

    def step(self, degraded: Tensor, clean: Tensor, loss: Loss) -> Step:
        """Restore and weigh: the picture in the first and the last stage, the features below between them."""
        if not self.greedy or self.depth == 1:
            code = through(self.downs[: self.depth], degraded)
            output = through(self.ups[-self.depth :], code).float()
            return Step(output, weighed(loss, output, clean, degraded), {"active": active_share(code)})
        with torch.no_grad():
            below = self.downs[: self.depth - 1]
            given, wanted = through(below, degraded), through(below, clean)
        code = through(self.downs[self.depth - 1 : self.depth], given)
        features = through(self.ups[-self.depth : 1 - self.depth], code)
        with torch.no_grad():
            output = through(self.ups[1 - self.depth :], features).float()
        return Step(output, weighed(mean_squares, features, wanted, given), {"active": active_share(code)})

    def get_extra_state(self) -> Tensor:
        """The layers in use, beside the weights."""
        return torch.tensor(self.depth)

    def set_extra_state(self, state: Tensor) -> None:
        """The inverse of `get_extra_state`.

        Raises:
            ConfigError: no such number of layers.
        """
        depth = int(state)
        if not 1 <= depth <= LAYERS:
            raise ConfigError(f"{depth} layers are in use: 1 to {LAYERS} are needed")
        self.depth, self.greedy = depth, False


def through(layers: list[list[nn.Module]], x: Tensor) -> Tensor:
    """Run layers, each a list of modules, one after the other."""
    for module in chain(*layers):
        x = module(x)
    return x


def mean_squares(output: Tensor, wanted: Tensor, _given: Tensor) -> Tensor:
    """Mean squared error of features, whatever the loss of pictures is."""
    return F.mse_loss(output, wanted)
