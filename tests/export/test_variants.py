"""Every option of a network survives the export, and quantization-aware training rounds where the exporter does."""

from __future__ import annotations

import copy
import functools
import shutil
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from tests.export.test_convert import outputs
from torch import Tensor, nn

import cae_export.graphs.quantize
from cae_export.errors import RefusedError
from cae_export.graphs.channels_last import ChannelsLast
from cae_export.graphs.convert import to_onnx
from cae_export.graphs.quantize import to_int8
from cae_train.models import build
from cae_train.models.skip import Skip
from cae_train.training.optimization import qat
from cae_train.training.optimization.qat import round_weights, steps_of

pytestmark = pytest.mark.slow

SMALL = {"widths": (16, 32), "down_blocks": (1, 1), "up_blocks": (1,)}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "small": SMALL,
    "three levels": {"widths": (16, 32, 48), "down_blocks": (0, 1, 1), "up_blocks": (1, 1)},
    "plain": SMALL | {"block": "plain"},
    "residual to the end": SMALL | {"last": "residual"},
    "cells of 4x4": SMALL | {"entry": 4, "stem": 8},
    "nearest": SMALL | {"up": "nearest"},
    "no block on the way up": SMALL | {"up_blocks": (0,)},
    "branches": SMALL | {"branches": True},
    "branches, depthwise around the code": SMALL | {"branches": True, "code_block": "depthwise"},
    "no bias": SMALL | {"bias": False},
    "convolution as head": SMALL | {"head": "conv"},
    "depthwise": SMALL | {"block": "depthwise", "last": "residual"},
    "dense, depthwise around the code": SMALL | {"code_block": "depthwise", "code_kernel": 5, "last": "residual"},
    "depthwise and plain": SMALL | {"block": "depthwise", "expansion": 3},
}


def network_of(options: dict[str, Any]) -> nn.Module:
    """A network whose every part has a say: fresh ones leave blocks and head nearly out."""
    torch.manual_seed(0)
    network = build("skip", options).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("head") and parameter.ndim > 1:
                parameter.mul_(30)
            if "parametrizations" in name and not name.endswith("original"):
                parameter.normal_(0, 0.02)
    return network


def patches(count: int = 64) -> Tensor:
    """Smooth pictures with noise, in steps of 1/255."""
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(corners, size=(32, 32), mode="bilinear", align_corners=True)
    noisy = smooth + 0.1 * torch.randn(smooth.shape, generator=generator)
    return noisy.mul(255).round().clamp(0, 255).div(255)


@functools.cache
def exported(name: str) -> onnx.ModelProto:
    """The float file of a variant; tests only read it."""
    return to_onnx(network_of(VARIANTS[name]), 32)


@functools.cache
def quantized(name: str) -> onnx.ModelProto:
    """The int8 file of a variant, channels first; tests only read it."""
    return to_int8(to_onnx(network_of(VARIANTS[name]), 32, for_int8=True), patches())


def in_channels_last(network: Skip, pairs: Tensor) -> onnx.ModelProto:
    """The int8 file as the exporter makes it."""
    rearranged = ChannelsLast(network, rounded=True).eval()
    graph = to_onnx(rearranged, 32, layout="nhwc")
    return to_int8(graph, pairs.permute(0, 2, 3, 1), rearranged.stem_steps, end_in_float=True)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_of_skip_exports_to_an_equal_file(name: str) -> None:
    network, pairs = network_of(VARIANTS[name]), patches(9)
    with torch.inference_mode():
        wanted = network(pairs)
        assert float((wanted - pairs).abs().max()) > 0.01, "the network does something"
        assert torch.allclose(network.folded()(pairs), wanted, atol=1e-5)
    assert np.abs(outputs(exported(name), pairs.numpy()) - wanted.numpy()).max() < 1e-4


@pytest.mark.parametrize("name", VARIANTS)
def test_channels_last_computes_the_same(name: str) -> None:
    network, pairs = network_of(VARIANTS[name]), patches(9)
    assert isinstance(network, Skip)
    if name == "convolution as head":
        assert not ChannelsLast.fits(network, 32)
        return
    assert ChannelsLast.fits(network, 32)
    assert not ChannelsLast.fits(network, 36 if network.options.entry == 2 else 40), "rows in whole groups of pixels"
    with torch.inference_mode():
        wanted = network(pairs)
        assert torch.allclose(ChannelsLast(network)(pairs.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["default", "small", "cells of 4x4", "no bias", "branches", "depthwise"])
def test_channels_last_int8_loses_no_more_than_channels_first(name: str) -> None:
    network, pairs = network_of(VARIANTS[name]), patches()
    assert isinstance(network, Skip)
    first = quantized(name)
    last = in_channels_last(network, pairs)
    with torch.inference_mode():
        wanted = network(pairs).numpy()
    of_first = outputs(first, pairs.numpy()) - wanted
    of_last = outputs(last, np.ascontiguousarray(pairs.numpy().transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2) - wanted
    assert 0 < of_last.std() < 1.1 * of_first.std() + 1e-3
    assert abs(of_last.mean() - of_first.mean()) < 3e-3  # the head's weights are rounded too


def test_both_layouts_round_the_stem_weights_equally() -> None:
    network = network_of({})
    assert isinstance(network, Skip)
    values = [
        {name: numpy_helper.to_array(each) for name, each in ((t.name, t) for t in graph.graph.initializer)}
        for graph in (
            quantized("default"),
            in_channels_last(network, patches()),
        )
    ]
    first = next(value for name, value in values[0].items() if value.shape == (32, 3, 4, 4))
    last = next(value for name, value in values[1].items() if value.shape == (64, 12, 4, 3))
    assert first.dtype == last.dtype == np.int8
    np.testing.assert_array_equal(np.sort(first.reshape(32, -1))[:, -5:], np.sort(last.reshape(2, 32, -1)[0])[:, -5:])
    assert (first.reshape(32, -1).sum(1, dtype=int) == last.reshape(2, 32, -1).sum(2, dtype=int)).all()


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "convolution as head"])
def test_quantization_aware_training_rounds_where_the_exporter_does(name: str) -> None:
    network, pairs = network_of(VARIANTS[name]), patches()
    assert isinstance(network, Skip)
    depthwise = "depthwise" in (network.options.block, network.options.code_kind)
    graph = in_channels_last(network, pairs) if depthwise else quantized(name)
    rounding = network.folded() if VARIANTS[name].get("branches") else copy.deepcopy(network)
    places = qat.prepare(rounding)
    made_by = {node.output[0] for node in graph.graph.node if node.op_type == "QuantizeLinear"}
    read = {node.input[0] for node in graph.graph.node if node.op_type == "DequantizeLinear"}
    assert len(places) == len(made_by & read) - moves(graph)
    with torch.no_grad():
        rounding.train()(pairs)
        wanted = network(pairs)
        by_training = rounding.eval()(pairs) - wanted
    if depthwise:
        made = outputs(graph, pairs.permute(0, 2, 3, 1).contiguous().numpy()).transpose(0, 3, 1, 2)
    else:
        made = outputs(graph, pairs.numpy())
    by_export = made - wanted.numpy()
    assert 0 < by_training.std() < 0.05
    assert float(by_training.std()) == pytest.approx(float(by_export.std()), rel=0.35)


def test_exported_int8_weights_equal_those_of_quantization_aware_training() -> None:
    network, pairs = network_of({}), patches()
    with torch.no_grad():
        network.stem.weight.add_(0.05)  # as in a trained one: every kernel sees the picture's brightness
    graph = to_int8(to_onnx(network, 32, for_int8=True), pairs).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    stem = next(node for node in graph.node if node.op_type == "Conv").input[1]
    steps, scale, _zero = (values[name] for name in next(n for n in graph.node if n.output[0] == stem).input)
    stored = steps * scale.reshape(-1, 1, 1, 1)
    weight = network.stem.weight.detach()
    assert np.abs(stored - round_weights(weight, steps_of(weight)).numpy()).max() < 1e-6
    assert np.abs((stored - weight.numpy()).sum((2, 3))).max() <= 0.501 * scale.max()


@pytest.mark.parametrize("name", ["small", "depthwise"])
def test_an_int8_file_gives_the_same_output_on_every_cpu(name: str) -> None:
    """CPUs without instructions for int8 cut off sums of two products that 16 bits do not hold: none occurs."""
    network = network_of(VARIANTS[name])
    assert isinstance(network, Skip)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * parameter.std() if parameter.numel() > 1 else 0)
    graph = in_channels_last(network, patches())
    inputs = np.ascontiguousarray(patches(9).permute(0, 2, 3, 1).numpy())
    results = []
    for exact in ("0", "1"):
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", exact)  # heeded by such CPUs alone
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results.append(np.asarray(session.run(None, {"input": inputs})[0]))
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)


def test_int8_keeps_sums_in_float_and_convolutions_in_int8() -> None:
    network = network_of(VARIANTS["depthwise"])
    assert isinstance(network, Skip)
    graph = in_channels_last(network, patches()).graph
    maker = {name: node for node in graph.node for name in node.output}
    sums = [node for node in graph.node if node.op_type == "Add"]
    assert len(sums) == 3 + 1, "three blocks and a skip"
    for node in sums:
        for name in node.input:
            source = maker[name]
            if source.op_type == "DequantizeLinear":
                assert maker[maker[source.input[0]].input[0]].op_type != "Add", "a sum that was rounded before the next"
    assert sum(any(maker[name].op_type == "Add" for name in node.input) for node in sums) == 2
    products = [node for node in graph.node if node.op_type == "Gemm"]
    assert len(products) == 3 + 1, "three blocks and the head"
    readers = {name: node for node in graph.node for name in node.input}
    for product in products:
        node = product
        while node.op_type not in ("Add", "Sub"):
            node = readers[node.output[0]]
            assert node.op_type != "QuantizeLinear", "what a block adds is not rounded"
    head = maker[products[-1].input[0]]
    while head.op_type in ("Reshape", "Transpose"):
        head = maker[head.input[0]]
    assert head.op_type == "Add", "the head reads the sum as it is"


def test_an_int8_file_with_float_convolutions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cae_export.graphs.quantize, "quantize_static", lambda source, target, *_, **__: shutil.copy(source, target)
    )
    with pytest.raises(
        RefusedError, match=r"refused: [1-9]\d* of \d+ convolutions of the int8 file would run in float"
    ):
        to_int8(to_onnx(network_of(SMALL), 32, for_int8=True), patches())


def moves(graph: onnx.ModelProto) -> int:
    """Roundings of what was only moved since it was rounded: they change nothing."""
    maker = {name: node for node in graph.graph.node for name in node.output}
    quantize = [node for node in graph.graph.node if node.op_type == "QuantizeLinear"]
    moved = [maker[node.input[0]] for node in quantize if node.input[0] in maker]
    return sum(
        node.op_type in ("DepthToSpace", "Reshape", "Transpose", "Resize")
        and node.input[0] in maker
        and maker[node.input[0]].op_type == "DequantizeLinear"
        for node in moved
    )
