"""Modules that become one ONNX operator where torch's exporter would write several that small engines do not have."""

import copy
from collections import Counter

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from cae_train.models.skip_blocks import SubPixels

_NEW_IN = 13  # operator set that last changed DepthToSpace


class _DepthToSpace(nn.Module):
    """ONNX's DepthToSpace, N x C K^2 x H x W -> N x C x K H x K W; can be exported, but not run.

    Args:
        side: K.
        mode: order of the channels: "DCR" for (row, column, C), "CRD" for (C, row, column).
    """

    def __init__(self, side: int, mode: str) -> None:
        super().__init__()
        self.side, self.mode = side, mode

    def forward(self, x: Tensor) -> Tensor:
        """N x C K^2 x H x W -> N x C x K H x K W."""
        count, channels, height, width = x.shape
        side = self.side
        return torch.onnx.ops.symbolic(
            "DepthToSpace",
            [x],
            {"blocksize": side, "mode": self.mode},
            dtype=x.dtype,
            shape=(count, channels // side**2, side * height, side * width),
            version=_NEW_IN,
        )


def with_onnx_operators(network: nn.Module) -> nn.Module:
    """A copy of a network for the exporter: each shuffle of sub-pixels is one DepthToSpace, not five operators."""
    changed = copy.deepcopy(network)
    for name, module in list(changed.named_modules()):
        if isinstance(module, SubPixels):
            changed.set_submodule(name, _DepthToSpace(2, "DCR"))
        elif isinstance(module, nn.PixelShuffle):
            changed.set_submodule(name, _DepthToSpace(module.upscale_factor, "CRD"))
    return changed


def channels_first_in_shuffles(graph: onnx.GraphProto) -> None:
    """Let each DepthToSpace that follows a convolution read (C, row, column), the only order that ncnn has.

    The kernels of the convolution change places instead; the result is the same.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        options = {item.name: item for item in node.attribute}
        source = made_by.get(node.input[0]) if node.op_type == "DepthToSpace" else None
        if source is None or source.op_type != "Conv" or options["mode"].s != b"DCR" or readers[node.input[0]] > 1:
            continue
        kernels = source.input[1:]
        if any(name not in constants or readers[name] > 1 for name in kernels):
            continue
        for name in kernels:
            value = numpy_helper.to_array(constants[name])
            ordered = value.reshape(options["blocksize"].i ** 2, -1, *value.shape[1:]).swapaxes(0, 1)
            constants[name].CopyFrom(numpy_helper.from_array(ordered.reshape(value.shape), name))
        options["mode"].s = b"CRD"
