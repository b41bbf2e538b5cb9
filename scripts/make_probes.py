"""Writes the small networks that `cae-run --doctor` measures half precision with: `python scripts/make_probes.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PROBES = Path(__file__).parent.parent / "runtime" / "cae_runtime" / "probes"
WIDTH = 16


def probe(element: int) -> onnx.ModelProto:
    """Return three 3x3 convolutions, N x 3 x 32 x 32 in and out, with weights of this element type."""
    dtype = helper.tensor_dtype_to_np_dtype(element)
    random = np.random.default_rng(0)
    nodes, weights, value = [], [], "input"
    for index, (given, made) in enumerate(((3, WIDTH), (WIDTH, WIDTH), (WIDTH, 3))):
        kernel = random.normal(0, (9 * given) ** -0.5, (made, given, 3, 3)).astype(dtype)
        weights.append(numpy_helper.from_array(kernel, f"weight{index}"))
        last = index == 2
        result = "output" if last else f"conv{index}"
        nodes.append(helper.make_node("Conv", [value, f"weight{index}"], [result], pads=[1, 1, 1, 1]))
        if not last:
            nodes.append(helper.make_node("Relu", [result], [f"relu{index}"]))
            value = f"relu{index}"
    shape = ["N", 3, 32, 32]
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("input", element, shape)],
        [helper.make_tensor_value_info("output", element, shape)],
        weights,
    )
    made = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    onnx.checker.check_model(made)
    return made


if __name__ == "__main__":
    PROBES.mkdir(exist_ok=True)
    onnx.save(probe(TensorProto.FLOAT), PROBES / "fp32.onnx")
    onnx.save(probe(TensorProto.FLOAT16), PROBES / "fp16.onnx")
