"""Modules in forms that every engine has as an operator, and that compute the same.

torch's exporter writes a shuffle of sub-pixels as five operators, with tensors of five dimensions. Two forms have none:

    float    a 1x1 convolution and the shuffle after it are one transposed convolution, 2x2 with stride 2; as each
             sub-pixel has a bias of its own, the biases are added as a picture
    int8     DepthToSpace, so that the convolution stays one that is rounded
"""

import copy
from collections import Counter

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from cae_train.models.skip import Skip
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


class _Enlarged(nn.Module):
    """A 1x1 convolution to four sub-pixels, and their shuffle: N x A x S/2 x S/2 -> N x C x S x S.

    Args:
        convolution: its channels are ordered (row, column, C).
        side: S.
    """

    def __init__(self, convolution: nn.Conv2d, side: int) -> None:
        super().__init__()
        inputs, channels = convolution.in_channels, convolution.out_channels // 4
        weight = convolution.weight.detach().view(2, 2, channels, inputs)
        self.enlarge = nn.ConvTranspose2d(inputs, channels, 2, stride=2, bias=False)
        self.enlarge.weight = nn.Parameter(weight.permute(3, 2, 0, 1).contiguous())
        self.bias = None
        if convolution.bias is not None:
            of_four = convolution.bias.detach().view(2, 2, channels).permute(2, 0, 1)
            self.bias = nn.Parameter(of_four.repeat(1, side // 2, side // 2)[None])

    def forward(self, x: Tensor) -> Tensor:
        """N x A x S/2 x S/2 -> N x C x S x S."""
        larger: Tensor = self.enlarge(x)
        return larger if self.bias is None else larger + self.bias


def with_onnx_operators(network: nn.Module, patch: int, *, for_int8: bool = False) -> nn.Module:
    """A copy of a network in the form for the exporter.

    Args:
        network: takes N x C x P x P.
        patch: P.
        for_int8: whether the graph will be quantized.
    """
    changed = copy.deepcopy(network)
    if isinstance(changed, Skip) and isinstance(changed.larger, SubPixels) and not for_int8:
        for level, convolution in enumerate(changed.expand):
            assert isinstance(convolution, nn.Conv2d)  # noqa: S101 - nothing else is in there
            changed.expand[level] = _Enlarged(convolution, patch // (changed.options.entry * 2**level))
        changed.set_submodule("larger", nn.Identity())
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
        if source is None or source.op_type != "Conv" or readers[node.input[0]] > 1:
            continue
        grouped = any(item.name == "group" and item.i != 1 for item in source.attribute)
        if grouped or "mode" not in options or options["mode"].s != b"DCR":
            continue
        kernels = source.input[1:]
        if any(name not in constants or readers[name] > 1 for name in kernels):
            continue
        for name in kernels:
            value = numpy_helper.to_array(constants[name])
            ordered = value.reshape(options["blocksize"].i ** 2, -1, *value.shape[1:]).swapaxes(0, 1)
            constants[name].CopyFrom(numpy_helper.from_array(ordered.reshape(value.shape), name))
        options["mode"].s = b"CRD"
