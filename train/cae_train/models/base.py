"""The base class of all networks, as the training loop and the exporter use them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cae_train.errors import ConfigError

PARTS = {
    "encoder": "its picture does not go through a code; train cae, sparse, stacked, vae or vgg16",
    "decoder": "its codes follow no known distribution to draw from; train vae",
}

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # output, clean, degraded -> scalar


@dataclass(frozen=True)
class Step:
    """The output of a network for a batch.

    Attributes:
        output: the restored patches, float32 N x C x H x W.
        loss: the scalar to minimize.
        figures: further means of the batch by name, such as the share of active units.
    """

    output: Tensor
    loss: Tensor
    figures: Mapping[str, Tensor] = field(default_factory=dict)


class Autoencoder(nn.Module):
    """A network that restores patches: float32 N x C x H x W in 0..1 in, the same shape out.

    A network of a new kind needs `options`, `forward` and what differs from the defaults here.

    Attributes:
        options: the frozen dataclass that rebuilds it.
        channels: C, 3 (RGB) or 1 (gray).
        stride: height and width must be multiples of it.
        side: the only height and width that it takes; None where any multiple of `stride` will do.
        bounded: whether the output is held inside 0..1 by the network itself.
        loss: the loss that `--loss auto` takes.
        training_options: names of options that decide how it is trained, not what it is: `--start` may change them.
        rounds: whether quantization-aware training knows where inference in int8 rounds.
        stage: the part of the training that it is in, for networks that are trained in parts; what is measured in one
            is not compared with what was measured in another.
        last_stage: whether no stage follows: a run is stopped early in this one alone.
        bottleneck: whether all of the picture goes through a code that is smaller than it.
        weights_file: of weights from elsewhere that a new training begins with, where the options name one.
        freezes: whether what is trained changes during a run, which several processes at once do not take note of.
    """

    options: Any
    channels: int
    stride: int
    side: int | None = None
    bounded: bool = True
    loss: str = "mse"
    training_options: ClassVar[frozenset[str]] = frozenset()
    rounds: bool = False
    stage: str = ""
    last_stage: bool = True
    bottleneck: bool = True
    freezes: bool = False
    weights_file: str = ""

    def pretrain(self, data_dir: str) -> None:
        """Load pretrained weights before a new training; most networks have none.

        Args:
            data_dir: where files are looked for and downloaded to.
        """

    def folded(self) -> "Autoencoder":
        """The same function without what serves training alone, such as branches that add up to one kernel."""
        return self

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Prepare for an epoch, counted from 0, out of `epochs`.

        Raises:
            ConfigError: so many are too few.
        """

    def begin_step(self, progress: float, generator: torch.Generator) -> None:
        """Get ready for a step, such a share (0..1) of all of them being done; what it draws, `generator` gives."""

    def step(self, degraded: Tensor, clean: Tensor, loss: Loss) -> Step:
        """Restore a batch and compute its loss: float32 N x C x H x W each. In training mode, the loss to minimize."""
        output = self(degraded).float()
        return Step(output, weighed(loss, output, clean, degraded))

    def part(self, name: str) -> nn.Module:
        """The `encoder`, patches to codes, or the `decoder`, codes to patches, to be used alone; most have none.

        Raises:
            ConfigError: the network has no such part that is of use alone.
        """
        raise ConfigError(f"{type(self).__name__.lower()} has no {name} that is of use alone: {PARTS[name]}")

    def samples(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Random samples of the network, float32 N x C x H x W; None if it cannot generate any."""
        return None


def weighed(loss: Loss, output: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
    """The loss in float32, whatever the precision around it."""
    with torch.autocast(output.device.type, enabled=False):
        return loss(output.float(), clean.float(), degraded.float())


def require(holds: bool, name: str, value: object, valid: str) -> None:
    """Refuse a model option.

    Raises:
        ConfigError: `holds` is false; names the option, the value and the valid ones.
    """
    if not holds:
        raise ConfigError(f"model option {name} is {value!r}: it must be {valid}")
