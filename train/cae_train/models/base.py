"""The base class of all networks, as the training loop and the exporter use them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cae_train.errors import ConfigError

PARTS = {
    "encoder": "its skip connections bypass the code; train cae, sparse, stacked, vae or vgg16",
    "decoder": "its codes follow no known distribution to sample from; train vae",
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
        encoder: the layers from the picture to its code, of networks that have a `bottleneck`.
        stride: height and width must be multiples of it.
        side: the only height and width that the network accepts; None: any multiple of `stride`.
        bounded: whether the network itself keeps its output in 0..1.
        loss: the loss that the setting `auto` chooses.
        training_options: names of options that affect only training; a run from given weights may change them.
        rounds: whether the network supports quantization-aware training.
        stage: name of the current stage, for networks that are trained in stages. Figures of different stages are not
            compared.
        last_stage: whether this is the last stage; early stopping acts only there.
        bottleneck: whether the whole picture passes through a code that is smaller than the picture.
        weights_file: file of pretrained weights to start from, if the options name one; otherwise empty.
        freezes: whether parameters are frozen or unfrozen during a run; such networks train in one process only.
    """

    options: Any
    channels: int
    encoder: nn.Sequential
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
        """Return the same function without parts that only training needs, such as branches that sum to one kernel."""
        return self

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Prepare for an epoch, counted from 0, out of `epochs`.

        Raises:
            ConfigError: there are too few epochs.
        """

    def begin_step(self, progress: float, generator: torch.Generator) -> None:
        """Prepare for a step. `progress` is the share of steps done, 0..1; random draws come from `generator`."""

    def step(self, degraded: Tensor, clean: Tensor, loss: Loss) -> Step:
        """Restore a batch, float32 N x C x H x W in 0..1 each, and compute the loss to minimize."""
        output = self(degraded).float()
        return Step(output, weighed(loss, output, clean, degraded))

    def seen(self, x: Tensor) -> Tensor:
        """Return what the layers of `encoder` are given of patches, N x C x H x W in 0..1: the patches themselves."""
        return x

    def part(self, name: str) -> nn.Module:
        """Return a part that can be used alone: `encoder` (patches to codes) or `decoder` (codes to patches).

        Raises:
            ConfigError: the network has no such part.
        """
        raise ConfigError(f"{type(self).__name__.lower()} has no {name} that is useful on its own: {PARTS[name]}")

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
