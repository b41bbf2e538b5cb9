from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cae_train import ConfigError
from cae_train.models import ARCHITECTURES, build, multiply_adds_per_pixel, options_of, weight_count

# The table of models/cae.py: every layer, in order, with its output for a 32x32 patch.
CAE_ENCODER = [
    ("Conv2d", (32, 32, 32)), ("ReLU", (32, 32, 32)), ("MaxPool2d", (32, 16, 16)),
    ("Conv2d", (64, 16, 16)), ("ReLU", (64, 16, 16)), ("MaxPool2d", (64, 8, 8)),
    ("Conv2d", (128, 8, 8)), ("ReLU", (128, 8, 8)), ("MaxPool2d", (128, 4, 4)),
    ("Conv2d", (128, 4, 4)), ("ReLU", (128, 4, 4)),
]  # fmt: skip
CAE_DECODER = [
    ("Upsample", (128, 8, 8)), ("Conv2d", (64, 8, 8)), ("ReLU", (64, 8, 8)),
    ("Upsample", (64, 16, 16)), ("Conv2d", (32, 16, 16)), ("ReLU", (32, 16, 16)),
    ("Upsample", (32, 32, 32)), ("Conv2d", (3, 32, 32)), ("Sigmoid", (3, 32, 32)),
]  # fmt: skip


def trace(network: nn.Module, size: int = 32) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return (name, class, C x H x W out) of every leaf layer and residual block, in the order in which they ran."""
    seen: list[tuple[str, str, tuple[int, ...]]] = []

    def note(name: str) -> Any:
        return lambda module, _, output: seen.append((name, type(module).__name__, tuple(output.shape[1:])))

    for name, module in network.named_modules():
        if not list(module.children()) or type(module).__name__ == "ResidualBlock":
            module.register_forward_hook(note(name))
    with torch.no_grad():
        network(torch.rand(2, 3, size, size))
    return seen


def test_every_layer_of_cae_is_the_reference() -> None:
    assert [(kind, shape) for _, kind, shape in trace(build("cae"))] == CAE_ENCODER + CAE_DECODER


def test_the_convolutions_of_cae_are_3x3_and_its_pooling_2x2() -> None:
    for module in build("cae").modules():
        if isinstance(module, nn.Conv2d):
            assert (module.kernel_size, module.stride, module.padding) == ((3, 3), (1, 1), (1, 1))
        if isinstance(module, nn.MaxPool2d):
            assert module.kernel_size == 2
        if isinstance(module, nn.Upsample):
            assert (module.scale_factor, module.mode) == (2.0, "nearest")


def test_the_cost_of_cae() -> None:
    cae = build("cae")
    assert weight_count(cae) == 333_955
    assert multiply_adds_per_pixel(cae) == pytest.approx(22_500, rel=0.01)


def test_cae_answers_in_0_to_1() -> None:
    output = build("cae")(torch.randn(2, 3, 32, 32) * 100)
    assert output.shape == (2, 3, 32, 32)
    assert output.min() >= 0
    assert output.max() <= 1


def test_the_levels_of_skip_are_those_of_its_table() -> None:
    shapes = [(name, shape) for name, _, shape in trace(build("skip")) if ".conv" not in name and ".relu" not in name]
    assert shapes == [
        ("stem", (32, 16, 16)),
        ("down.0.0", (32, 16, 16)),
        ("reduce.0", (48, 8, 8)),
        ("down.1.0", (48, 8, 8)),
        ("reduce.1", (96, 4, 4)),
        ("down.2.0", (96, 4, 4)),
        ("down.2.1", (96, 4, 4)),
        ("expand.1", (48, 4, 4)),
        ("up.1.0", (48, 8, 8)),
        ("expand.0", (32, 8, 8)),
        ("up.0.0", (32, 16, 16)),
        ("head", (12, 16, 16)),
        ("depth_to_space", (3, 32, 32)),
    ]


def test_the_cost_of_skip() -> None:
    assert multiply_adds_per_pixel(build("skip")) == pytest.approx(22_200, rel=0.01)


def test_multiply_adds_of_one_convolution_by_hand() -> None:
    assert multiply_adds_per_pixel(nn.Conv2d(3, 8, 3, padding=1)) == 3 * 8 * 9
    assert multiply_adds_per_pixel(nn.Conv2d(3, 8, 2, stride=2)) == 3 * 8 * 4 / 4


def test_skip_has_nothing_that_int8_or_the_blocked_layout_dislike() -> None:
    skip = build("skip")
    kinds = {type(module).__name__ for module in skip.modules()}
    assert kinds <= {"Skip", "ModuleList", "Sequential", "ResidualBlock", "Conv2d", "ReLU", "PixelShuffle"}
    inside = [module for name, module in skip.named_modules() if isinstance(module, nn.Conv2d) and name != "head"]
    assert all(conv.out_channels % 16 == 0 for conv in inside)


def test_skip_starts_near_the_identity() -> None:
    torch.manual_seed(0)
    patches = torch.rand(8, 3, 32, 32)
    with torch.no_grad():
        assert (build("skip")(patches) - patches).abs().mean() < 0.1


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_gradient_reaches_every_weight(arch: str) -> None:
    torch.manual_seed(0)
    network = build(arch)
    network(torch.rand(4, 3, 32, 32)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("size", [(64, 64), (40, 40), (32, 72)])
def test_other_sizes_than_a_patch(arch: str, size: tuple[int, int]) -> None:
    assert build(arch)(torch.rand(1, 3, *size)).shape == (1, 3, *size)


def test_options_rebuild_the_network() -> None:
    options = {"widths": [16, 32], "down_blocks": [0, 2], "up_blocks": [1]}
    network = build("skip", options)
    assert options_of(network) == options
    assert network.stride == 4
    build("skip", options_of(network)).load_state_dict(network.state_dict())
    assert options_of(build("cae")) == {}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"widths": [24, 48, 96]}, "widths"),
        ({"widths": [0, 16]}, "widths"),
        ({"widths": [16]}, "widths"),
        ({"widths": [16] * 5}, "widths"),
        ({"widths": [16, 1 << 30]}, "widths"),
        ({"widths": 32}, "widths is 32"),
        ({"widths": "32"}, "widths is '32'"),
        ({"widths": [16.0, 32.0]}, "widths"),
        ({"down_blocks": [True, 1, 1]}, "down_blocks"),
        ({"down_blocks": [1, 1]}, "down_blocks"),
        ({"up_blocks": [1, 1, 1]}, "up_blocks"),
        ({"up_blocks": [1, -1]}, "up_blocks"),
        ({"up_blocks": [1, 1000]}, "up_blocks"),
        ({"depth": 3}, "'depth'"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        build("skip", options)
    assert "\n" not in str(caught.value)


def test_names_that_are_unknown() -> None:
    with pytest.raises(ConfigError, match="'unet': choose from cae, skip"):
        build("unet")
    with pytest.raises(ConfigError, match="'cae' has no model option 'widths': it has none"):
        build("cae", {"widths": [16, 16]})
