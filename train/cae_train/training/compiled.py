"""A training step as one compiled function: fewer and larger operations on the device, for a minute at the start."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cae_train.errors import ConfigError, TrainingError
from cae_train.models.base import Autoencoder, Loss, Step

StepFunction = Callable[[Tensor, Tensor, Loss], Step]


def compiled_step(network: Autoencoder, quantize_aware: bool = False, backend: Any = "inductor") -> StepFunction:
    """`network.step`, compiled when it is first called.

    Args:
        network: what is trained.
        quantize_aware: whether its roundings are trained, which measure ranges as they go.
        backend: as `torch.compile` takes it; "inductor" needs a C++ compiler, and Triton on a GPU.

    Raises:
        ConfigError: with `quantize_aware`.
        TrainingError: when the function is called and cannot be compiled.
    """
    if quantize_aware:
        raise ConfigError("compile is True: a quantization-aware training measures ranges at each step, leave it out")
    from torch._dynamo.exc import TorchDynamoException  # takes a second

    compiled = torch.compile(network.step, backend=backend, dynamic=False)

    def step(degraded: Tensor, clean: Tensor, loss: Loss) -> Step:
        try:
            return compiled(degraded, clean, loss)
        except TorchDynamoException as e:
            reason = " ".join(str(e).split("\n\n")[0].split())[:200] or type(e).__name__
            raise TrainingError(f"the training step cannot be compiled here: {reason}; train without compile") from e

    return step
