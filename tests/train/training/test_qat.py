"""Quantization-aware training: where it rounds, what it leaves alone, and starting from given weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from cae_train import CheckpointError, ConfigError, TrainConfig
from cae_train.checkpoint import save_model
from cae_train.models import ARCHITECTURES, build
from cae_train.training.optimization.qat import MEASURE_EVERY, ActivationRounding, prepare, round_weights, steps_of
from cae_train.training.start_weights import initial_network

DEPTHWISE = {"widths": [16, 16], "block": "depthwise", "last": "residual"}


def test_a_rounded_tensor_has_256_steps_and_keeps_zero() -> None:
    rounding = ActivationRounding()
    values = torch.linspace(-0.3, 1.7, 5000, requires_grad=True)
    rounded = rounding.round(values, training=True)
    assert len(rounded.unique()) == 256
    assert 0.0 in rounded
    assert float((rounded - values).detach().abs().max()) <= 2 / 255
    rounded.sum().backward()
    assert values.grad is not None
    assert float(values.grad[1:-1].mean()) > 0.95, "the gradient passes inside the range"


def test_the_range_is_measured_only_while_training() -> None:
    rounding = ActivationRounding()
    rounding.round(torch.tensor([0.0, 1.0]), training=True)
    assert float(rounding.round(torch.tensor([5.0]), training=False)) == pytest.approx(1.0)
    for _ in range(MEASURE_EVERY):
        rounding.round(torch.tensor([0.0, 5.0]), training=True)
    assert 1.0 < rounding.high < 1.1, "a moving average"


def test_a_rare_extreme_does_not_widen_the_range() -> None:
    rounding = ActivationRounding()
    values = torch.linspace(0, 1, 60_000)
    values[30_000] = 50.0
    rounding.round(values, training=True)
    assert rounding.high < 1.01


@pytest.mark.parametrize("shape", [(32, 3, 4, 4), (64, 64, 3, 3), (16, 32, 2, 2), (128, 64, 1, 1), (8, 3, 5, 5)])
@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_rounded_weights_keep_the_sum_of_each_kernel(shape: tuple[int, ...], offset: float) -> None:
    weight = 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0)) + offset
    step = steps_of(weight)
    steps = round_weights(weight, step) / step
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert 62 < float(steps.abs().amax(dim=(1, 2, 3)).mean()) <= 127
    off = weight / step - steps
    assert float(off.abs().max()) < 1, "to one neighbor or the other"
    assert float(off.sum(dim=(2, 3)).abs().max()) <= 0.501
    nearest = (weight / step - (weight / step).round()).square().mean()
    assert float(off.square().mean()) < 1.5 * float(nearest), "few are moved, and those that lose least"


@pytest.mark.parametrize("shape", [(64, 64, 3, 3), (64, 12, 4, 3), (32, 3, 2, 2), (128, 64, 1, 1), (32, 1, 4, 4)])
def test_two_neighboring_products_always_fit_into_16_bits(shape: tuple[int, ...]) -> None:
    """What a CPU without instructions for int8 adds in 16 bits is never cut off."""
    weight = torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.1
    step = steps_of(weight)
    line = (round_weights(weight, step) / step).round().permute(0, 2, 3, 1).flatten(1)
    pairs = line[:, :-1:2] + line[:, 1::2]
    assert 110 < float(pairs.abs().max()) <= 128
    assert 255 * 128 < 2**15
    if shape[1] % 2:
        assert float((line[:, 1:-1:2] + line[:, 2::2]).abs().max()) <= 128, "wherever the pairs begin"


def test_kernels_of_depthwise_convolutions_use_all_steps() -> None:
    weight = torch.randn(16, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    step = steps_of(weight, depthwise=True)
    assert torch.allclose(step.flatten(), weight.flatten(1).abs().amax(1) / 127)
    assert (steps_of(weight) >= step).all()
    assert (steps_of(weight) > step).any()


def test_kernels_near_the_end_of_the_range_keep_their_sum_too() -> None:
    weight = torch.full((1, 2, 3, 3), 126.6 / 127)
    weight[0, 1, 1, 1] = 1.0
    off = 127 * (weight - round_weights(weight, steps_of(weight, depthwise=True)))
    assert float(off.sum(dim=(2, 3)).abs().max()) <= 0.501
    assert float(off.abs().max()) < 1


def test_rounding_twice_changes_nothing() -> None:
    weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    once = round_weights(weight, steps_of(weight))
    assert torch.allclose(round_weights(once, steps_of(weight)), once, atol=1e-6)
    nothing = torch.zeros(4, 4, 3, 3)
    assert not round_weights(nothing, steps_of(nothing)).any()


def test_convolutions_read_rounded_sums_and_blocks_add_unrounded_ones() -> None:
    """A block adds to the sum before it as it is; the first convolution of the next block reads a rounded copy."""
    torch.manual_seed(0)
    network = build("skip", {"widths": [16, 16], "down_blocks": [2, 2], "up_blocks": [2]} | {"last": "residual"})
    prepare(network)
    seen: dict[str, torch.Tensor] = {}
    blocks = cast(Any, network).down[0]
    for name, module in (("first", blocks[0]), ("conv", blocks[1].conv1), ("second", blocks[1])):
        module.register_forward_hook(
            lambda _m, inputs, output, name=name: seen.update({f"{name} in": inputs[0], f"{name} out": output})
        )
    with torch.no_grad():
        network(torch.rand(4, 3, 32, 32))
    assert len(seen["first out"].unique()) > 5_000, "a sum stays in float"
    assert torch.equal(seen["second in"], seen["first out"])
    assert len(seen["conv in"].unique()) <= 256


@pytest.mark.parametrize(
    "arch", [pytest.param(name, marks=pytest.mark.slow if name == "vgg16" else ()) for name in sorted(ARCHITECTURES)]
)
def test_the_output_moves_a_little_and_the_weights_not_at_all(arch: str) -> None:
    torch.manual_seed(0)
    plain, rounding = build(arch), build(arch)
    rounding.load_state_dict(plain.state_dict())
    prepare(rounding)
    patches = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        rounding.train()(patches)
        difference = (rounding.eval()(patches) - plain.eval()(patches)).abs()
    assert 0 < float(difference.max()) < 0.1
    assert rounding.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(rounding.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("arch", [name for name in sorted(ARCHITECTURES) if build(name).rounds])
def test_gradients_reach_every_parameter(arch: str) -> None:
    torch.manual_seed(0)
    network = build(arch)
    prepare(network)
    patches = torch.rand(4, 3, 32, 32)
    for _ in range(2):  # the first pass only measures the ranges of what follows
        network.zero_grad()
        network(patches).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


def test_a_run_can_start_from_the_weights_of_a_model(tmp_path: Path) -> None:
    torch.manual_seed(3)
    trained, path = build("skip"), tmp_path / "model.pt"
    save_model(path, trained, TrainConfig(), {})
    network = initial_network(TrainConfig(start=str(path)))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), trained.parameters(), strict=True))
    run = initial_network(TrainConfig(start=""))
    assert not all(torch.equal(a, b) for a, b in zip(run.parameters(), trained.parameters(), strict=True))
    for other in (
        TrainConfig(arch="cae", start=str(path)),
        TrainConfig(model={"widths": [16, 32]}, start=str(path)),
    ):
        with pytest.raises(
            ConfigError, match=r"model\.pt is another network: (arch skip, here cae|widths \[32, 64\], here \[16, 32\])"
        ):
            initial_network(other)


def test_a_run_starts_from_bare_weights_only_if_all_of_them_fit(tmp_path: Path) -> None:
    torch.manual_seed(3)
    trained, path = build("skip", DEPTHWISE), tmp_path / "weights.pt"
    torch.save(trained.state_dict(), path)
    network = initial_network(TrainConfig(start=str(path), model=DEPTHWISE))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), trained.parameters(), strict=True))
    for model, wrong in ((DEPTHWISE | {"widths": [16, 32]}, "15 of 38"), ({"widths": [16, 16]}, "do not fit")):
        with pytest.raises(ConfigError, match=f"weights.pt holds the weights of another network .* {wrong}"):
            initial_network(TrainConfig(start=str(path), model=model))
    for content in ({"stem.weight": 1.0}, [1.0], {}):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=r"neither a model\.pt of cae-train nor a file of named weights"):
            initial_network(TrainConfig(start=str(path), model=DEPTHWISE))
    torch.save({name: value * float("nan") for name, value in trained.state_dict().items()}, path)
    with pytest.raises(ConfigError, match="not finite"):
        initial_network(TrainConfig(start=str(path), model=DEPTHWISE))


def test_a_run_without_branches_starts_from_the_folded_ones(tmp_path: Path) -> None:
    torch.manual_seed(3)
    trained, path = build("skip", {"branches": True}), tmp_path / "model.pt"
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.normal_(0, 0.05)
    save_model(path, trained, TrainConfig(model={"branches": True}), {})
    network = initial_network(TrainConfig(start=str(path)))
    patches = torch.rand(2, 3, 32, 32)
    assert not any("point" in name for name, _ in network.named_parameters())
    assert torch.allclose(network(patches), trained(patches), atol=1e-5)
    save_model(path, network, TrainConfig(), {})
    with pytest.raises(ConfigError, match="branches False, here True"):  # folding cannot be undone
        initial_network(TrainConfig(start=str(path), model={"branches": True}))
