"""fp32 -> int8 (static, QDQ, unsigned activations, signed weights per channel) and fp16."""

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
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from cae_export.convert import INPUT
from cae_train.qat import round_weights

CALIBRATION_BATCH = 32
PERCENTILE = 99.99  # of each activation's values that its 256 steps span; the rarest at both ends are clipped
_PRODUCT = "Gemm"  # x W + b: onnxruntime's int8 kernel gives float32


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibration patches, a batch at a time."""

    def __init__(self, patches: NDArray[np.float32]) -> None:
        self._batches = iter(np.array_split(patches, max(1, len(patches) // CALIBRATION_BATCH)))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: np.ascontiguousarray(batch)}


def to_int8(model: onnx.ModelProto, calibration: Tensor) -> onnx.ModelProto:
    """Quantise a graph on `calibration`, float32 patches in the graph's layout, degraded as in use.

    The last convolution (of a matrix product in its place: what it gives) and what follows stay in float32, a
    subtraction from the untouched input (restored = input - noise) above all: the picture itself is never rounded to
    the network's steps.
    """
    patches = np.ascontiguousarray(calibration.numpy())
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, prepared, target = (Path(folder) / name for name in ("fp32.onnx", "prepared.onnx", "int8.onnx"))
        onnx.save(model, source)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared)
        nodes = graph.graph.node
        last = max(index for index, node in enumerate(nodes) if node.op_type in ("Conv", "ConvTranspose", _PRODUCT))
        in_float = nodes[last + 1 :] if nodes[last].op_type == _PRODUCT else nodes[last:]
        _round_weights(graph, nodes[:last])
        onnx.save(graph, prepared)
        quantize_static(
            prepared,
            target,
            _Reader(patches),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE, "OpTypesToExcludeOutputQuantization": [_PRODUCT]},
            nodes_to_exclude=[node.name for node in in_float],
        )
        quantised = onnx.load(target)
    subtractions = {node.name for node in in_float if node.op_type == "Sub" and node.input[0] == INPUT}
    for node in quantised.graph.node:
        if node.name in subtractions:  # the quantiser hands it the rounded input
            node.input[0] = INPUT
    return quantised


def _round_weights(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Put the convolutions' kernels on their grid of steps, so that the quantiser has nothing left to round."""
    kernels = {node.input[1] for node in nodes if node.op_type == "Conv"}
    for tensor in model.graph.initializer:
        if tensor.name in kernels:
            rounded = round_weights(torch.from_numpy(numpy_helper.to_array(tensor).copy()))
            tensor.CopyFrom(numpy_helper.from_array(rounded.numpy(), tensor.name))


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and arithmetic in float16; `input` and `output` stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        converted: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
    return converted


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's remarks and advice from the user: what it advises is done here already."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.setLevel(level)
