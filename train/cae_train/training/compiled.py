"""A training step as one compiled function: fewer and larger operations on the device, for a minute at the start."""

from collections.abc import Callable

import torch
from torch import Tensor

from cae_train.errors import ConfigError, TrainingError
from cae_train.models.base import Autoencoder, Loss, Step

StepFunction = Callable[[Tensor, Tensor, Loss], Step]


def compiled_step(network: Autoencoder, quantize_aware: bool = False, backend: str = "inductor") -> StepFunction:
    """`network.step`, compiled when it is first called.

    Args:
        network: what is trained.
        quantize_aware: whether its roundings are trained, which measure ranges as they go.
        backend: of `torch.compile`; "inductor" needs a C++ compiler, and Triton on a GPU.

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
            reason = (str(e).strip().splitlines() or [type(e).__name__])[0][:200]
            raise TrainingError(f"the training step cannot be compiled here: {reason}; train without compile") from e

    return step
