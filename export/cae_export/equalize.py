"""Cross-layer equalisation: the same function with channels of like ranges, so that 8 bits go further.

An int8 activation tensor has one scale for all its channels, and a channel that is small beside the others keeps few
of its steps. ReLU, addition, nearest upsampling and pooling let a positive factor through, so each channel's factor can
be moved from the convolutions that write it to those that read it without changing the function.

Source: Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction" (ICCV 2019), here with
measured ranges, and over whole residual streams instead of pairs of layers.
"""

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

_LETS_THROUGH = {"Add", "MaxPool", "Relu", "Resize"}
_BATCH = 32
_LARGEST_FACTOR = 16.0

Floats = NDArray[np.float32]


def equalize(model: onnx.ModelProto, patches: Floats, power: float = 1.0) -> onnx.ModelProto:
    """A copy of `model` (convolutions and operators that let factors through) with equalised channels.

    Args:
        model: an fp32 graph; groups of tensors that touch anything else (input, output, sigmoid) are left alone.
        patches: calibration patches, float32 N x C x P x P.
        power: 1 makes the ranges of a group's channels equal, 0 leaves them.
    """
    equalized = onnx.ModelProto()
    equalized.CopyFrom(model)
    graph = equalized.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    groups = _groups(equalized, constants)
    if not groups:
        return equalized
    ranges = _ranges(equalized, [name for names in groups for name in names], patches)
    for names in groups:
        peak = np.max([ranges[name] for name in names], axis=0)  # C
        largest = max(float(peak.max()), float(np.finfo(np.float32).tiny))
        factors = (largest / np.maximum(peak, largest / _LARGEST_FACTOR)) ** power
        for node in graph.node:
            if node.op_type != "Conv":
                continue
            if node.output[0] in names:
                _scale(constants[node.input[1]], factors.reshape(-1, 1, 1, 1))
                if len(node.input) > 2:
                    _scale(constants[node.input[2]], factors)
            if node.input[0] in names:
                _scale(constants[node.input[1]], 1 / factors.reshape(1, -1, 1, 1))
    return equalized


def _groups(model: onnx.ModelProto, constants: dict[str, onnx.TensorProto]) -> list[set[str]]:
    """Tensors whose channels must share their factors, without the groups that must not be scaled."""
    group_of: dict[str, set[str]] = {}
    fixed = {value.name for value in (*model.graph.input, *model.graph.output)}
    for node in model.graph.node:
        data = [name for name in (*node.input, *node.output) if name and name not in constants]
        if node.op_type == "Conv":
            tied, single = [], data
            if any(a.name == "group" and a.i != 1 for a in node.attribute):
                fixed.update(data)
        elif node.op_type in _LETS_THROUGH:
            tied, single = data, []
            if node.op_type == "Add" and len(data) < 3:  # a constant would have to be scaled too
                fixed.update(data)
        else:
            tied, single = [], data
            fixed.update(data)
        for name in single:
            group_of.setdefault(name, {name})
        if tied:
            merged = set().union(*(group_of.get(name, {name}) for name in tied))
            group_of.update(dict.fromkeys(merged, merged))
    unique = {id(group): group for group in group_of.values()}
    return [group for group in unique.values() if not group & fixed]


def _ranges(model: onnx.ModelProto, names: list[str], patches: Floats) -> dict[str, Floats]:
    """Largest magnitude of each channel of each tensor over all patches."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    peaks: list[Floats] = []
    for start in range(0, len(patches), _BATCH):
        feed = {model.graph.input[0].name: np.ascontiguousarray(patches[start : start + _BATCH])}
        found = [np.abs(values).max(axis=(0, 2, 3)) for values in session.run(names, feed)]
        peaks = [np.maximum(*pair) for pair in zip(peaks, found, strict=True)] if peaks else found
    return dict(zip(names, peaks, strict=True))


def _scale(tensor: onnx.TensorProto, factors: Floats) -> None:
    values = numpy_helper.to_array(tensor) * factors.astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
