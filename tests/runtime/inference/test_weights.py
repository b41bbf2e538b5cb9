"""NaN and infinity among the weights are found anywhere in the file before anything runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cae_runtime import ModelError, Session, packaged_models
from cae_runtime.inference.untrusted.refusals import refuse_not_finite

onnx = pytest.importorskip("onnx", reason="the runtime does without onnx, its tests too")


@pytest.mark.parametrize("name", ["denoise-fast", "denoise-fast-int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_with_nan_or_infinity_are_refused_by_name(name: str, value: float) -> None:
    file = onnx.load(packaged_models()[name])
    refuse_not_finite(Path(name), file.SerializeToString())
    of_floats = [tensor for tensor in file.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    assert len(of_floats) > 15
    for tensor in of_floats:
        whole, values = tensor.SerializeToString(), onnx.numpy_helper.to_array(tensor).copy()
        values.reshape(-1)[values.size // 2] = value
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        with pytest.raises(ModelError, match=re.escape(f"its weights {tensor.name!r} hold NaN or infinity")):
            refuse_not_finite(Path(name), file.SerializeToString())
        tensor.ParseFromString(whole)
    of_floats[-1].CopyFrom(onnx.helper.make_tensor(of_floats[-1].name, 1, [1], [value]))
    with pytest.raises(ModelError, match="NaN or infinity"):
        Session(file.SerializeToString(), provider="cpu")


@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "DOUBLE"])
def test_weights_in_attributes_and_of_other_types_are_checked(kind: str) -> None:
    def model(value: float) -> bytes:
        tensor = onnx.helper.make_tensor("inner", onnx.TensorProto.FLOAT, [2], [1, value])
        if kind != "DOUBLE":
            raw = np.array([1, value], np.float32).view(np.uint16)[1::2]  # the upper halves are bfloat16
            raw = raw if kind == "BFLOAT16" else np.array([1, value], np.float16).view(np.uint16)
            tensor = onnx.helper.make_tensor(
                "inner", onnx.TensorProto.DataType.Value(kind), [2], raw.tobytes(), raw=True
            )
        node = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
        branch = onnx.helper.make_graph([node], "branch", [], [])
        outer = onnx.helper.make_node("If", ["flag"], ["output"], then_branch=branch, else_branch=branch)
        file: bytes = onnx.helper.make_model(onnx.helper.make_graph([outer], "graph", [], [])).SerializeToString()
        return file

    refuse_not_finite(Path("a.onnx"), model(3e4))
    with pytest.raises(ModelError, match="its weights 'inner' hold NaN or infinity"):
        refuse_not_finite(Path("a.onnx"), model(np.nan))


@pytest.mark.parametrize("value", [1.5, -1.5, np.nan, -np.nan, np.inf])
@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "value_float", "value_floats"])
def test_values_without_raw_data_are_checked(kind: str, value: float) -> None:
    if kind.startswith("value"):
        node = onnx.helper.make_node("Constant", [], ["c"], **{kind: [0.0, value, 1.0] if kind[-1] == "s" else value})
    else:
        tensor = onnx.helper.make_tensor("value", onnx.TensorProto.DataType.Value(kind), [3], [0.0, value, 1.0])
        assert tensor.int32_data
        node = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
    file = onnx.helper.make_model(onnx.helper.make_graph([node], "graph", [], [])).SerializeToString()
    if np.isfinite(value):
        refuse_not_finite(Path("a.onnx"), file)
    else:
        with pytest.raises(ModelError, match=r"its weights 'value.*' hold NaN or infinity"):
            refuse_not_finite(Path("a.onnx"), file)
