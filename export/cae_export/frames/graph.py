"""The graph of a network for whole frames: padded to what the network takes, and cut back, inside the graph."""

import copy
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows

from cae_export.graphs.convert import INPUT, OUTPUT, convert_frames


class WholeFrame(nn.Module):
    """A network that takes frames of any size: float32 N x C x H x W in 0..1 in, the same out, clipped to 0..1.

    Networks are trained on patches. Two passes, the second moved by half a stride, are averaged: that makes up for what
    the overlap of sliding patches is worth, and costs about as much.

    Args:
        network: takes heights and widths that are multiples of its `stride`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.stride = network, cast(int, network.stride)

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x H x W: rows and columns at the edges are repeated up to a multiple of the stride."""
        height, width = x.shape[-2:]
        half = self.stride // 2
        right, below = ((-side - half) % self.stride for side in (width, height))
        both = [
            F.pad(x, (start, half - start + right, start, half - start + below), mode="replicate")
            for start in (0, half)
        ]
        first, second = cast(Tensor, self.network(torch.cat(both))).chunk(2)
        moved = second[..., half : half + height, half : half + width]
        return ((first[..., :height, :width] + moved) * 0.5).clamp(0, 1)


def frame_graph(network: nn.Module, opset: int) -> onnx.ModelProto:
    """Convert `WholeFrame(network)` to an ONNX graph with dynamic N, H and W.

    Raises:
        UsageError: see `convert_frames`.
    """
    graph = convert_frames(copy.deepcopy(network), opset, given="padded", made="restored")
    _set_ends(graph, cast(int, network.channels), cast(int, network.stride))
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _set_ends(model: onnx.ModelProto, channels: int, stride: int) -> None:
    """Put the padding before the network and the average after it; the ends get their names and sizes."""
    graph, half = model.graph, stride // 2
    constants: dict[str, NDArray[Any]] = {
        "n": np.array([0]), "hw": np.array([2, 3]), "nhw": np.array([0, 2, 3]), "stride": np.array([stride]),
        "half": np.array([half, half]), "six": np.zeros(6, np.int64), "zeros": np.zeros(3, np.int64),
        "begin": np.array([0, 0, half, half, 0, 0]),
        "mean": np.array(0.5, np.float32), "low": np.array(0, np.float32), "high": np.array(1, np.float32),
    }  # fmt: skip
    for name, value in constants.items():
        value = value if value.dtype == np.float32 else value.astype(np.int64)
        graph.initializer.append(numpy_helper.from_array(value, f"frame_{name}"))

    def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        """A node; a name with a # is that of a constant."""
        return helper.make_node(kind, inputs.replace("#", "frame_").split(), [output], **attributes)

    before = [
        node("Shape", INPUT, "shape"),
        node("Gather", "shape #n", "count"),
        node("Gather", "shape #hw", "size"),
        node("Gather", "shape #nhw", "ends"),
        node("Add", "size #half", "least"),
        node("Neg", "least", "negative"),
        node("Mod", "negative #stride", "missing"),
        node("Add", "missing #half", "more"),
        node("Concat", "#six more", "pads", axis=0),
        node("Concat", "#begin missing", "moved_pads", axis=0),
        node("Pad", f"{INPUT} pads", "first", mode="edge"),
        node("Pad", f"{INPUT} moved_pads", "second", mode="edge"),
        node("Concat", "first second", "padded", axis=0),
    ]
    after = [
        node("Concat", "count #half", "moved", axis=0),
        node("Add", "ends moved", "moved_ends"),
        node("Slice", "restored #zeros ends #nhw", "first_part"),
        node("Slice", "restored moved moved_ends #nhw", "second_part"),
        node("Add", "first_part second_part", "sum"),
        node("Mul", "sum #mean", "average"),
        node("Clip", "average #low #high", OUTPUT),
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    shape: list[str | int | None] = ["N", channels, "H", "W"]
    for values, name in ((graph.input, INPUT), (graph.output, OUTPUT)):
        values[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def random_frame(channels: int, size: tuple[int, int], seed: int) -> Tensor:
    """A frame of random values, 1 x C x H x W in 0..1."""
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(seed))
