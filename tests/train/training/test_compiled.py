"""A compiled training step: the same loss and gradients, and a clear message if compiling fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.train.conftest import TINY_SKIP

from cae_train import ConfigError, TrainingError
from cae_train.models import build
from cae_train.models.base import Autoencoder, Loss
from cae_train.training.compiled import compiled_step
from cae_train.training.optimization.losses import blended, relative


def network() -> Autoencoder:
    torch.manual_seed(0)
    return build("skip", TINY_SKIP | {"block": "depthwise"}, 3)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [relative, blended])
def test_a_compiled_step_learns_the_same(loss: Loss) -> None:
    plain, other = network(), network()
    clean = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    degraded = (clean + 0.1).clamp(0, 1)
    for step in (plain.step, compiled_step(other, backend="aot_eager")):
        step(degraded, clean, loss).loss.backward()
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(two.grad, one.grad)


def test_a_network_that_cannot_be_compiled_is_reported() -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no compiler here")

    patches = torch.rand(2, 3, 32, 32)
    with pytest.raises(TrainingError, match=r"cannot be compiled here: .*no compiler here"):
        compiled_step(network(), backend=broken)(patches, patches, relative)
    with pytest.raises(ConfigError, match="quantization-aware"):
        compiled_step(network(), quantize_aware=True)
