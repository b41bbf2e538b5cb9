"""The networks by name. To add one, add a file here and a line in `ARCHITECTURES`."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from torch import nn

from cae_train.errors import ConfigError
from cae_train.models.base import Autoencoder
from cae_train.models.cae import Cae, CaeOptions
from cae_train.models.skip import Skip, SkipOptions
from cae_train.models.sparse import Sparse, SparseOptions
from cae_train.models.stacked import Stacked, StackedOptions
from cae_train.models.vae import Vae, VaeOptions
from cae_train.models.vgg16 import Vgg16, Vgg16Options

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "build",
    "multiply_adds",
    "multiply_adds_per_pixel",
    "options_of",
    "weight_count",
]


@dataclass(frozen=True)
class Architecture:
    """A network's class, made of its options and the number of channels; its options' class; one line for people."""

    network: Callable[[Any, int], Autoencoder]
    options: type
    summary: str


CHANNELS = (1, 3)  # gray, RGB

ARCHITECTURES: dict[str, Architecture] = {
    "skip": Architecture(Skip, SkipOptions, "skip connections around the code, predicts the noise: for denoising"),
    "cae": Architecture(Cae, CaeOptions, "the textbook's reference: everything passes a 4x4 code, so it blurs"),
    "vae": Architecture(Vae, VaeOptions, "variational: its code can generate new pictures"),
    "sparse": Architecture(Sparse, SparseOptions, "cae with a mostly inactive code: for features"),
    "stacked": Architecture(Stacked, StackedOptions, "cae trained layer by layer, then as a whole"),
    "vgg16": Architecture(Vgg16, Vgg16Options, "transfer learning: VGG16's frozen convolutions and a trained decoder"),
}


def build(name: str, options: Mapping[str, Any] | None = None, channels: int = 3) -> Autoencoder:
    """A freshly initialized network for pictures of 3 (RGB) or 1 channel (gray).

    Raises:
        ConfigError: an unknown name, other channels, or options that the architecture does not have or accept.
    """
    if name not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture {name!r}: choose from {', '.join(ARCHITECTURES)}")
    if type(channels) is not int or channels not in CHANNELS:
        raise ConfigError(f"channels is {channels!r}: choose from {', '.join(map(str, CHANNELS))}")
    architecture = ARCHITECTURES[name]
    known = [field.name for field in fields(architecture.options)]
    unknown = sorted(set(options or {}) - set(known))
    if unknown:
        raise ConfigError(f"{name!r} has no model option {unknown[0]!r}: it has {', '.join(known) or 'none'}")
    return architecture.network(architecture.options(**(options or {})), channels)


def options_of(network: nn.Module) -> dict[str, Any]:
    """The options that rebuild `network`, as plain lists and numbers."""
    options = asdict(cast(Any, network).options)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}


def weight_count(network: nn.Module) -> int:
    """How many weights and biases the network has, frozen ones included."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, patch: int = 32) -> dict[str, int]:
    """Multiply-adds of each convolution and linear layer for one patch, by its name, in the order in which they run."""
    import torch

    found: dict[str, int] = {}

    def counter(name: str) -> Any:
        def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            transposed = isinstance(module, nn.ConvTranspose2d)  # there each input meets all weights
            values = inputs[0] if transposed else output
            found[name] = values[0].numel() * cast(nn.Conv2d, module).weight[0].numel()

        return count

    convolutions = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    hooks = [m.register_forward_hook(counter(n)) for n, m in network.named_modules() if isinstance(m, convolutions)]
    try:
        with torch.no_grad():
            network(torch.zeros(1, getattr(network, "channels", 3), patch, patch))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def multiply_adds_per_pixel(network: nn.Module, patch: int = 32) -> float:
    """Multiply-adds of all convolutions and linear layers for one pixel of the patch (1000 = 1 KMAC/px)."""
    return sum(multiply_adds(network, patch).values()) / (patch * patch)
