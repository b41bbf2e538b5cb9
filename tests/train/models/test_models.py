from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cae_train import ConfigError, TrainConfig, load_model
from cae_train.checkpoint import save_model
from cae_train.models import ARCHITECTURES, build, multiply_adds_per_pixel, options_of, weight_count
from cae_train.models.skip import CHOICES, Skip, SkipOptions
from cae_train.models.skip_blocks import Branches, SubPixels
from cae_train.training.optimization.losses import mse

SMALL = {"widths": (16, 32), "down_blocks": (1, 1), "up_blocks": (1,)}
OF_CODE = ("code_block", "code_kernel")  # combined with `block` alone, not with all others
COMBINATIONS: list[dict[str, Any]] = [
    dict(zip(names, values, strict=True))
    for names in ([name for name in CHOICES if name not in OF_CODE], ["block", *OF_CODE])
    for values in product(*(CHOICES[name] for name in names))
]
COMBINATIONS = [
    options
    for options in COMBINATIONS
    if options.get("stem", 4) >= options.get("entry", 2)
    and not (options["block"] == "depthwise" and options.get("branches"))
    and not (
        options.get("code_kernel") == 5
        and (options["code_block"] if options["code_block"] != "same" else options["block"]) != "depthwise"
    )
]
DEPTHWISE = {"block": "depthwise", "last": "residual"}

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
        if not list(module.children()) or type(module).__name__ in ("ResidualBlock", "PlainBlock"):
            module.register_forward_hook(note(name))
    with torch.no_grad():
        network(torch.rand(2, 3, size, size))
    return seen


def test_every_layer_of_cae_matches_the_reference() -> None:
    assert [(kind, shape) for _, kind, shape in trace(build("cae"))] == CAE_ENCODER + CAE_DECODER


def test_cae_has_3x3_convolutions_and_2x2_pooling() -> None:
    for module in build("cae").modules():
        if isinstance(module, nn.Conv2d):
            assert (module.kernel_size, module.stride, module.padding) == ((3, 3), (1, 1), (1, 1))
        if isinstance(module, nn.MaxPool2d):
            assert module.kernel_size == 2
        if isinstance(module, nn.Upsample):
            assert (module.scale_factor, module.mode) == (2.0, "nearest")


def test_cae_has_the_documented_cost() -> None:
    cae = build("cae")
    assert weight_count(cae) == 333_955
    assert multiply_adds_per_pixel(cae) == pytest.approx(22_500, rel=0.01)


def test_cae_outputs_values_in_0_to_1() -> None:
    output = build("cae")(torch.randn(2, 3, 32, 32) * 100)
    assert output.shape == (2, 3, 32, 32)
    assert output.min() >= 0
    assert output.max() <= 1


def test_skip_has_the_documented_levels() -> None:
    shapes = [(name, shape) for name, _, shape in trace(build("skip")) if ".conv" not in name and ".relu" not in name]
    assert shapes == [
        ("stem", (32, 16, 16)),
        ("down.0.0", (32, 16, 16)),
        ("reduce.0", (64, 8, 8)),
        ("down.1.0", (64, 8, 8)),
        ("down.1.1", (64, 8, 8)),
        ("expand.0", (4 * 32, 8, 8)),
        ("larger", (32, 16, 16)),
        ("join.0", (32, 16, 16)),
        ("up.0.0", (32, 16, 16)),
        ("up.0.1", (32, 16, 16)),
        ("head", (3, 32, 32)),
    ]


def test_skip_has_the_documented_cost() -> None:
    assert multiply_adds_per_pixel(build("skip")) == pytest.approx(24_500, rel=0.01)


@pytest.mark.parametrize(
    ("options", "weights", "kmac"),
    [
        ({"widths": (32, 64), "down_blocks": (3, 6), "up_blocks": (6,)}, 169_155, 18.59),
        ({"widths": (32, 32), "down_blocks": (0, 5), "up_blocks": (3,), "stem": 2}, 47_811, 5.67),
        ({"widths": (48, 96), "down_blocks": (4, 8), "up_blocks": (8,)}, 476_499, 52.56),
        ({"widths": (32, 64), "down_blocks": (3, 6), "up_blocks": (6,), "expansion": 1.5}, 131_667, 14.32),
        ({"widths": (32, 64), "down_blocks": (3, 6), "up_blocks": (6,), "code_kernel": 5}, 181_443, 19.36),
        ({"down_blocks": (1, 8), "up_blocks": (1,), "block": "residual", "code_block": "depthwise"}, 198_371, 19.49),
        ({"down_blocks": (3, 2), "up_blocks": (6,), "code_block": "residual"}, 209_731, 21.23),
    ],
)
def test_depthwise_blocks_have_the_documented_weights_and_cost(
    options: dict[str, Any], weights: int, kmac: float
) -> None:
    network = build("skip", DEPTHWISE | options)
    assert weight_count(network) == weights
    assert multiply_adds_per_pixel(network) / 1000 == pytest.approx(kmac, abs=0.005)


def test_depthwise_blocks_have_the_documented_layers_and_weight_names() -> None:
    network = build("skip", SMALL | DEPTHWISE)
    assert [(name, shape) for name, _, shape in trace(network) if name.startswith("down.1.0.")] == [
        ("down.1.0.a", (64, 8, 8)), ("down.1.0.relu", (64, 8, 8)), ("down.1.0.d", (64, 8, 8)),
        ("down.1.0.relu2", (64, 8, 8)), ("down.1.0.b", (32, 8, 8)),
    ]  # fmt: skip
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if name.startswith("up.0.0.")}
    assert shapes == {
        "up.0.0.a.weight": (32, 16, 1, 1), "up.0.0.a.bias": (32,), "up.0.0.d.weight": (32, 1, 3, 3),
        "up.0.0.d.bias": (32,), "up.0.0.b.weight": (16, 32, 1, 1), "up.0.0.b.bias": (16,),
    }  # fmt: skip


@pytest.mark.parametrize("last", ["residual", "plain"])
def test_a_depthwise_block_computes_what_its_layers_say(last: str) -> None:
    torch.manual_seed(0)
    network = random_weights(build("skip", SMALL | DEPTHWISE | {"last": last}))
    block, x = network.up[0][0], torch.randn(2, 16, 9, 11)
    inside = F.conv2d(x, block.a.weight, block.a.bias).relu()
    inside = F.conv2d(inside, block.d.weight, block.d.bias, padding=1, groups=32).relu()
    change = F.conv2d(inside, block.b.weight, block.b.bias)
    assert torch.allclose(block(x), x + change if last == "residual" else change.relu(), atol=1e-5)


def test_multiply_adds_of_one_convolution_match_a_hand_calculation() -> None:
    assert multiply_adds_per_pixel(nn.Conv2d(3, 8, 3, padding=1)) == 3 * 8 * 9
    assert multiply_adds_per_pixel(nn.Conv2d(3, 8, 2, stride=2)) == 3 * 8 * 4 / 4
    assert multiply_adds_per_pixel(nn.ConvTranspose2d(3, 8, 2, stride=2)) == 3 * 8 * 4


def test_skip_has_no_layers_that_are_slow_in_int8() -> None:
    skip = build("skip")
    kinds = {type(module).__name__ for module in skip.modules()}
    blocks = {"ResidualBlock", "PlainBlock", "Join"}
    assert kinds <= {"Skip", "ModuleList", "Sequential", "Conv2d", "ReLU", "ConvTranspose2d", "SubPixels"} | blocks
    inside = [module for module in skip.modules() if isinstance(module, nn.Conv2d)]
    assert all(conv.out_channels % 16 == 0 for conv in inside)


def test_skip_starts_near_the_identity() -> None:
    torch.manual_seed(0)
    patches = torch.rand(8, 3, 32, 32)
    with torch.no_grad():
        assert (build("skip")(patches) - patches).abs().mean() < 0.1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gradients_reach_every_trained_weight(arch: str, channels: int) -> None:
    torch.manual_seed(0)
    network = build(arch, channels=channels)
    patches = torch.rand(4, channels, 32, 32)
    network.step(patches, patches, mse).loss.backward()
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert len(trained) >= 10
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("size", [(64, 64), (40, 40), (32, 72)])
def test_other_sizes_than_a_patch_are_accepted(arch: str, size: tuple[int, int]) -> None:
    network = build(arch)
    if network.side is None and not any(side % network.stride for side in size):
        assert network(torch.rand(1, 3, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_patch_keeps_its_channels(arch: str, channels: int) -> None:
    network = build(arch, channels=channels)
    patches = torch.rand(2, channels, 32, 32)
    with torch.no_grad():
        output = network(patches)
    assert output.shape == patches.shape
    assert network.channels == channels
    assert not network.bounded or (float(output.min()) >= 0 and float(output.max()) <= 1)
    again = build(arch, options_of(network), channels)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(patches), network.eval()(patches))


def test_options_rebuild_the_network() -> None:
    options = {"widths": [16, 32], "down_blocks": [0, 2], "up_blocks": [1]}
    network = build("skip", options)
    assert options_of(network) == {
        **options, "block": "residual", "code_block": "same", "code_kernel": 3, "last": "plain", "expansion": 2.0,
        "entry": 2, "stem": 4, "up": "subpixel", "head": "transposed", "branches": False, "bias": True,
    }  # fmt: skip
    assert network.stride == 4
    build("skip", options_of(network)).load_state_dict(network.state_dict())
    assert options_of(build("cae")) == {"down": "max", "up": "nearest", "batch_norm": False, "code": 128}


def test_only_levels_with_depthwise_blocks_need_channels_for_the_expansion() -> None:
    network = build("skip", {"widths": (16, 32), "code_block": "depthwise", "expansion": 1.5})
    assert network.state_dict()["down.1.0.d.weight"].shape == (48, 1, 3, 3)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"widths": [24, 48, 96]}, "widths"),
        ({"widths": [0, 16]}, "widths"),
        ({"widths": [16]}, "widths"),
        ({"widths": [16] * 5}, "widths"),
        ({"widths": [16, 1 << 30]}, "widths"),
        ({"widths": 32}, "widths is 32"),
        ({"widths": "32,64"}, r"widths is '32,64': a list of whole numbers is needed, such as \[32, 64\]"),
        ({"widths": [16.0, 32.0]}, "widths"),
        ({"down_blocks": [True, 1]}, "down_blocks"),
        ({"down_blocks": [1, 1, 1]}, "down_blocks"),
        ({"up_blocks": [1, 1, 1]}, "up_blocks"),
        ({"up_blocks": [-1]}, "up_blocks"),
        ({"up_blocks": [1000]}, "up_blocks"),
        ({"depth": 3}, "'depth'"),
        ({"block": "dense"}, "block is 'dense': choose from residual, plain, depthwise"),
        ({"block": ["plain"]}, "block is "),
        ({"code_block": "dense"}, "code_block is 'dense': choose from same, residual, plain, depthwise"),
        ({"block": "depthwise", "code_kernel": 7}, "code_kernel is 7: choose from 3, 5"),
        ({"code_kernel": 5}, "code_kernel is 5: it needs depthwise blocks around the code"),
        (
            {"block": "depthwise", "code_block": "plain", "code_kernel": 5},
            "code_kernel is 5: it needs depthwise blocks around the code",
        ),
        ({"last": "first"}, "last is 'first': choose from plain, residual"),
        ({"entry": 3}, "entry is 3: choose from 2, 4"),
        ({"entry": 2.0}, "entry is 2.0: choose from 2, 4"),
        ({"entry": "2"}, "entry is '2'"),
        ({"stem": 3}, "stem is 3: choose from 2, 4, 6, 8"),
        ({"stem": True}, "stem is True"),
        ({"entry": 4, "stem": 2}, "stem is 2: 4 or more are needed with entry 4"),
        ({"up": "bilinear"}, "up is 'bilinear': choose from subpixel, nearest"),
        ({"head": "linear"}, "head is 'linear': choose from transposed, conv"),
        ({"branches": 1}, "branches is 1: choose from False, True"),
        ({"bias": "no"}, "bias is 'no': choose from True, False"),
        ({"expansion": 3}, "expansion is 3: it needs depthwise blocks"),
        ({"widths": (16, 32), "block": "depthwise", "code_block": "plain", "expansion": 1.5}, "widths 16$"),
        ({"block": "depthwise", "expansion": 5}, "expansion is 5: 1 to 4 is needed"),
        ({"block": "depthwise", "expansion": 1.2}, "expansion is 1.2: 1 to 4 is needed, and multiples of 16 channels"),
        ({"block": "depthwise", "expansion": float("nan")}, "expansion is nan: 1 to 4"),
        ({"block": "depthwise", "expansion": True}, "expansion is True: a number"),
        ({"block": "depthwise", "branches": True}, "branches is True: it needs dense blocks"),
    ],
)
def test_invalid_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        build("skip", options)
    assert "\n" not in str(caught.value)


def test_unknown_networks_and_options_are_named() -> None:
    with pytest.raises(ConfigError, match="'unet': choose from skip, cae, vae, sparse, stacked, vgg16"):
        build("unet")
    with pytest.raises(ConfigError, match="'cae' has no model option 'widths': it has down, up, batch_norm, code"):
        build("cae", {"widths": [16, 16]})


def random_weights(network: nn.Module) -> nn.Module:
    """Return the network with nothing left at the zeros that it starts from."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.1)
    return network


@pytest.mark.slow
def test_every_combination_of_options_starts_near_the_identity() -> None:
    torch.manual_seed(0)
    patches = torch.rand(4, 3, 32, 24)
    for options in COMBINATIONS:
        network = build("skip", SMALL | options)
        with torch.no_grad():
            output = network(patches)
        assert output.shape == patches.shape, options
        assert (output - patches).abs().mean() < 0.15, options
        assert options_of(network).items() >= options.items()
        build("skip", options_of(network)).load_state_dict(network.state_dict())


@pytest.mark.parametrize(("entry", "levels", "stride"), [(2, 2, 4), (2, 3, 8), (4, 2, 8), (4, 3, 16)])
def test_sizes_must_be_multiples_of_the_stride(entry: int, levels: int, stride: int) -> None:
    options = {"widths": [16] * levels, "down_blocks": [0] * levels, "up_blocks": [0] * (levels - 1), "entry": entry}
    network = build("skip", options)
    assert network.stride == stride
    assert network(torch.rand(1, 3, stride, 3 * stride)).shape == (1, 3, stride, 3 * stride)


@given(
    count=st.integers(1, 3), channels=st.integers(1, 5), height=st.integers(1, 6), width=st.integers(1, 6),
    last=st.booleans(),
)  # fmt: skip
def test_sub_pixels_are_placed_correctly(count: int, channels: int, height: int, width: int, last: bool) -> None:
    x = torch.randn(count, 4 * channels, height, width)
    by_hand = torch.empty(count, channels, 2 * height, 2 * width)
    for row, column in product(range(2), range(2)):
        first = (2 * row + column) * channels
        by_hand[:, :, row::2, column::2] = x[:, first : first + channels]
    placed = SubPixels()(x.to(memory_format=torch.channels_last) if last else x)
    assert torch.equal(placed, by_hand)
    grouped = x.view(count, 4, channels, height, width).transpose(1, 2).reshape(x.shape)  # as PixelShuffle has them
    assert torch.equal(placed, nn.PixelShuffle(2)(grouped))


def test_sub_pixels_start_as_nearest_neighbor_upsampling() -> None:
    torch.manual_seed(0)
    network = Skip(SkipOptions(**SMALL))  # type: ignore[arg-type]
    larger = SubPixels()(network.expand[0](torch.rand(2, 32, 8, 8)))
    assert torch.allclose(larger, F.interpolate(larger[:, :, ::2, ::2], scale_factor=2.0, mode="nearest"), atol=1e-6)


def test_branches_fold_into_one_kernel() -> None:
    torch.manual_seed(0)
    branches, weight = random_weights(Branches(16)), torch.randn(16, 16, 3, 3)
    assert isinstance(branches, Branches)
    x = torch.randn(2, 16, 9, 11)
    apart: Tensor = F.conv2d(x, weight, padding=1) + F.conv2d(x, branches.point)
    apart = apart + F.conv2d(F.conv2d(x, branches.first[:, :, None, None]), branches.second, padding=1)
    assert torch.allclose(F.conv2d(x, branches(weight), padding=1), apart, atol=1e-4)


def test_branches_add_no_cost_and_start_as_the_network_without_them() -> None:
    networks = []
    for branches in (False, True):
        torch.manual_seed(0)
        networks.append(build("skip", {"branches": branches}))
    plain, branched = networks
    patches = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(plain(patches), branched(patches))
    assert multiply_adds_per_pixel(plain) == multiply_adds_per_pixel(branched)


def test_branches_learn_and_survive_saving(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = random_weights(build("skip", {"branches": True}))
    patches = torch.rand(2, 3, 32, 32)
    network(patches).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())
    save_model(tmp_path / "model.pt", network, TrainConfig(model={"branches": True}), {})
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "model.pt").network(patches), network.eval()(patches))


@pytest.mark.parametrize("block", CHOICES["block"])
@pytest.mark.parametrize("head", CHOICES["head"])
@pytest.mark.parametrize("branches", CHOICES["branches"])
def test_without_biases_the_output_scales_with_the_input(block: str, head: str, branches: bool) -> None:
    torch.manual_seed(0)
    if block == "depthwise" and branches:
        return
    options = {"block": block, "head": head, "branches": branches, "bias": False}
    network = random_weights(build("skip", SMALL | options))
    assert not any(name.endswith("bias") for name in network.state_dict())
    patches = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        for factor in (0.0, 0.1, 7.0):
            assert torch.allclose(network(factor * patches), factor * network(patches), rtol=1e-4, atol=1e-3)
        with_biases = random_weights(build("skip", SMALL | options | {"bias": True}))
        assert not torch.allclose(with_biases(7 * patches), 7 * with_biases(patches), rtol=1e-2)
