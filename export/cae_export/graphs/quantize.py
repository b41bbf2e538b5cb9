"""Converts fp32 graphs to int8 (static, QDQ, signed weights per channel) and fp16."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from cae_export.errors import RefusedError
from cae_train.training.optimization.qat import TAIL, round_weights, steps_of

CALIBRATION_BATCH = 32
PERCENTILE = 100 * (1 - 2 * TAIL)  # share of an activation's values within its 256 steps, as in training
ERRORS_ONLY = 3  # log level of onnxruntime
_PRODUCT = "Gemm"  # the matrix product x W + b; onnxruntime's int8 kernel for it returns float32
_MOVES = ("Reshape", "Transpose")


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibration patches in batches."""

    def __init__(self, patches: NDArray[np.float32], name: str) -> None:
        self._name = name
        self._batches = iter(np.array_split(patches, max(1, len(patches) // CALIBRATION_BATCH)))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: np.ascontiguousarray(batch)}


def to_int8(
    model: onnx.ModelProto,
    calibration: Tensor,
    stem_steps: Tensor | None = None,
    *,
    portable: bool = False,
    end_in_float: bool = False,
) -> onnx.ModelProto:
    """Quantize a graph to int8.

    The last convolution and everything after it stay in float32, so the picture itself is never rounded to the
    network's steps: `restored = input - noise` subtracts from the original input. If the last layer is a matrix product
    instead, it is int8 and only its output is float32, unless `end_in_float`. Sums stay in float32 too, as do matrix
    products that are added to one; only the copies that convolutions read are rounded.

    Args:
        model: the graph in float32.
        calibration: patches on which the ranges of activations are measured, float32 in the graph's layout, degraded as
            in use.
        stem_steps: steps of the first convolution if its kernels are already rounded, O x 1 x 1 x 1.
        portable: use signed activations with zero in the middle, and ReLUs as operators, as other engines need them.
            Half of the steps after a ReLU are then unused. By default activations are unsigned, and a ReLU is only
            their lower end.
        end_in_float: leave the last layer in float32 even if it is a matrix product.

    Raises:
        RefusedError: a convolution that should be int8 would run in float.
    """
    patches, given = np.ascontiguousarray(calibration.numpy()), model.graph.input[0].name
    prepared = _prepared(model)
    nodes = prepared.graph.node
    last = max(index for index, node in enumerate(nodes) if node.op_type in ("Conv", "ConvTranspose", _PRODUCT))
    last += nodes[last].op_type == _PRODUCT and not end_in_float
    in_float = nodes[last:]
    left = {node.name for node in in_float} | _moves_of_floats(nodes[:last])
    overrides = _round_weights(prepared, nodes[:last], stem_steps)
    quantized = _quantized(prepared, _Reader(patches, given), left, overrides, portable)
    subtractions = {node.name for node in in_float if node.op_type == "Sub" and node.input[0] == given}
    for node in quantized.graph.node:
        if node.name in subtractions:  # the quantizer has connected it to the rounded input
            node.input[0] = given
    _sums_in_float(quantized, left)
    if not portable:  # onnxruntime runs its ReLUs in float, and some convolutions with them
        kinds = ("Conv", _PRODUCT) if end_in_float else ("Conv",)  # linear layers of other networks may stay in float
        _refuse_floats(quantized, kinds, sum(node.op_type in kinds for node in in_float))
    return quantized


def _prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph as the quantizer takes it."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, prepared = Path(folder) / "fp32.onnx", Path(folder) / "prepared.onnx"
        onnx.save(model, source)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        return onnx.load(prepared)


def _quantized(
    prepared: onnx.ModelProto,
    reader: CalibrationDataReader,
    in_float: set[str],
    overrides: dict[str, list[dict[str, Any]]],
    portable: bool,
) -> onnx.ModelProto:
    """Round all nodes except those named `in_float`."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        onnx.save(prepared, source)
        quantize_static(
            source,
            target,
            reader,
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8 if portable else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={
                "ActivationSymmetric": portable,
                "CalibPercentile": PERCENTILE,
                "QDQKeepRemovableActivations": portable,
                "OpTypesToExcludeOutputQuantization": [_PRODUCT],
                "TensorQuantOverrides": overrides,
            },
            nodes_to_exclude=sorted(in_float),
        )
        return onnx.load(target)


def _moves_of_floats(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Nodes that only move what stays in float: what nodes in float read, and matrix products on their way to a sum.

    Args:
        nodes: those before the nodes in float, in order.
    """
    made_by = {name: node for node in nodes for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def is_product(node: onnx.NodeProto | None) -> bool:
        while node is not None and node.op_type in _MOVES:
            node = made_by.get(node.input[0])
        return node is not None and node.op_type == _PRODUCT

    moves: set[str] = set()
    for node in reversed(nodes):
        if node.op_type in _MOVES:
            others = [reader for reader in readers.get(node.output[0], []) if reader.name not in moves]
            if not others or (is_product(node) and all(reader.op_type == "Add" for reader in others)):
                moves.add(node.name)
    return moves


def _round_weights(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], stem_steps: Tensor | None
) -> dict[str, list[dict[str, Any]]]:
    """Round the kernels to their steps; return the steps by kernel, as overrides for the quantizer."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    overrides = {}
    for node in nodes:
        if node.op_type not in ("Conv", _PRODUCT) or node.input[1] not in initializers:
            continue
        tensor = initializers[node.input[1]]
        weight = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "Conv":
            steps = stem_steps if stem_steps is not None else steps_of(weight, attributes.get("group", 1) > 1)
            stem_steps = None
            weight, axis = round_weights(weight, steps), 0
        else:
            axis = 1 - int(attributes.get("transB", 0))
            steps = steps_of((weight.T if axis else weight)[:, :, None, None])
        tensor.CopyFrom(numpy_helper.from_array(weight.numpy(), tensor.name))
        zero = np.array(0, np.int8)
        overrides[tensor.name] = [
            {"axis": axis, "scale": np.array(step, np.float32), "zero_point": zero} for step in steps.flatten().tolist()
        ]
    return overrides


def _sums_in_float(model: onnx.ModelProto, in_float: set[str]) -> None:
    """Connect additions and nodes in float directly to the additions and nodes in float that they read.

    The quantizer rounds whatever an addition reads or makes, as convolutions need it.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}

    def exact(name: str) -> str:
        """The value before its rounding if it is a sum or stays in float, otherwise the value itself."""
        source = made_by.get(name)
        rounding = made_by.get(source.input[0]) if source is not None and source.op_type == "DequantizeLinear" else None
        maker = made_by.get(rounding.input[0]) if rounding is not None else None
        return rounding.input[0] if rounding and maker and (maker.op_type == "Add" or maker.name in in_float) else name

    for node in model.graph.node:
        if node.op_type == "Add" or node.name in in_float:
            node.input[:] = [exact(name) for name in node.input]
    _drop_unread(model.graph)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove the nodes and constants whose values nothing reads."""
    read = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(name in read for name in node.output):
            read.update(node.input)
            kept.append(node)
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)


def _refuse_floats(model: onnx.ModelProto, kinds: Sequence[str], expected: int) -> None:
    """Check that onnxruntime runs every node of some kinds in int8, except `expected` ones in float.

    Raises:
        RefusedError: more would run in float, so int8 would not be faster.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(path)
        # The highest level would also convert layouts to those of this CPU.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = ERRORS_ONLY
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = [node.op_type for node in onnx.load(path).graph.node]
    floats = sum(found.count(kind) + found.count(f"Fused{kind}") for kind in kinds)
    rounded = found.count("QLinearConv") + found.count("QGemm")
    if floats > expected:
        raise RefusedError(
            f"refused: {floats - expected} of {floats - expected + rounded} convolutions of the "
            "int8 file would run in float, as onnxruntime cannot fuse their rounding"
        )


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert weights and arithmetic to float16; `input` and `output` stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with _quiet():
        converted: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
        OnnxModel.graph_topological_sort(converted.graph)  # it puts its casts last
    return converted


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the quantizer's advice, which is already followed here."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.setLevel(level)
