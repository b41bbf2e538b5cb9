"""Compiles the training step: steps are faster, after a minute of compiling at the start."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cae_train.errors import ConfigError, TrainingError
from cae_train.models.base import Autoencoder, Loss, Step

StepFunction = Callable[[Tensor, Tensor, Loss], Step]


def compiled_step(network: Autoencoder, quantize_aware: bool = False, backend: Any = "inductor") -> StepFunction:
    """Return `network.step` as a function that is compiled when it is first called.

    Args:
        network: the network to train.
        quantize_aware: whether training is quantization-aware, which cannot be compiled.
        backend: as `torch.compile` takes it; "inductor" needs a C++ compiler, and Triton on a GPU.

    Raises:
        ConfigError: `quantize_aware` is set.
        TrainingError: raised by the returned function if it cannot be compiled.
    """
    if quantize_aware:
        raise ConfigError(
            "compile is True: quantization-aware training measures ranges as it goes and cannot be compiled"
        )
    from torch._dynamo.exc import TorchDynamoException  # importing it takes a second

    compiled = torch.compile(network.step, backend=backend, dynamic=False)

    def step(degraded: Tensor, clean: Tensor, loss: Loss) -> Step:
        try:
            return compiled(degraded, clean, loss)
        except TorchDynamoException as e:
            reason = " ".join(str(e).split("\n\n")[0].split())[:200] or type(e).__name__
            raise TrainingError(f"the training step cannot be compiled here: {reason}; train without compile") from e

    return step
