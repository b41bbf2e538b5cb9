"""The ONNX file: its boundary and versions, and what it must not contain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from cae_export.errors import UsageError
from cae_export.graphs.boundary import Boundary, refuse_invalid, with_boundary
from cae_export.graphs.convert import to_onnx
from cae_train.models import ARCHITECTURES, build

QUICK = ("skip",)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(ARCHITECTURES)],
)
def converted(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, onnx.ModelProto]:
    torch.manual_seed(0)
    network = build(request.param).eval()
    return network, to_onnx(network, 32)


def outputs(model: onnx.ModelProto, patches: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(["output"], {"input": patches})[0]
    return result


def test_the_graph_has_the_documented_boundary_versions_and_operators(
    converted: tuple[torch.nn.Module, onnx.ModelProto],
) -> None:
    _, model = converted
    assert model.opset_import[0].version == 18
    assert with_boundary(model, Boundary()).ir_version == 8  # both are read by onnxruntime 1.15
    for values, name in ((model.graph.input, "input"), (model.graph.output, "output")):
        (value,) = values
        shape = value.type.tensor_type.shape.dim
        assert value.name == name
        assert shape[0].dim_param
        assert [d.dim_value for d in shape[1:]] == [3, 32, 32]
    assert {node.op_type for node in model.graph.node} <= {
        "Add", "Conv", "ConvTranspose", "Div", "Gemm", "MaxPool", "Relu", "Reshape", "Resize",
        "Sigmoid", "Sub", "Transpose",
    }  # fmt: skip
    shuffles = [node for node in model.graph.node if node.op_type == "DepthToSpace"]
    assert all(onnx.helper.get_node_attr_value(node, "mode") == b"CRD" for node in shuffles)  # the mode that ncnn has
    assert not model.functions


def test_the_file_contains_no_local_paths_or_source_lines(converted: tuple[torch.nn.Module, onnx.ModelProto]) -> None:
    _, model = converted
    content = model.SerializeToString()
    for trace in (b".py", b"site-packages", str(Path.home()).encode(), str(Path.cwd()).encode(), b"stack_trace"):
        assert trace not in content


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_the_graph_equals_torch_at_any_batch_size(
    converted: tuple[torch.nn.Module, onnx.ModelProto], batch: int
) -> None:
    network, model = converted
    patches = torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))
    with torch.inference_mode():
        assert np.abs(outputs(model, patches.numpy()) - network(patches).numpy()).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("opset", "ir"), [(15, 8), (18, 8), (19, 9), (20, 9), (21, 10), (22, 10)])  # each IR's ends
def test_the_file_states_its_operator_set_and_the_lowest_ir_version(opset: int, ir: int) -> None:
    torch.manual_seed(0)
    network = build("skip").eval()
    model = with_boundary(to_onnx(network, 32, opset), Boundary())
    assert (model.opset_import[0].version, model.ir_version) == (opset, ir)
    refuse_invalid(model.SerializeToString())
    patches = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert np.abs(outputs(model, patches.numpy()) - network(patches).numpy()).max() < 1e-5


@pytest.mark.slow
def test_an_operator_set_that_torch_cannot_write_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **rest: real(*args, **rest | {"opset_version": 18}))
    with pytest.raises(UsageError, match=r"opset is 16: .* falls back to 18: take 18, or another of 15 to 22"):
        to_onnx(build("cae").eval(), 32, 16)


@pytest.mark.parametrize("opset", [0, 14, 23, 99])
def test_an_operator_set_out_of_range_is_refused(opset: int) -> None:
    with pytest.raises(UsageError, match=f"{opset}.*15 to 22"):
        to_onnx(build("cae").eval(), 32, opset)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"up": "nearest"}, {"head": "conv"}, {"bias": False}])
def test_no_tensor_has_more_than_four_dimensions(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    network = build("skip", options).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    patches = torch.rand(3, 3, 32, 32)
    for for_int8 in (False, True):
        model = onnx.shape_inference.infer_shapes(to_onnx(network, 32, for_int8=for_int8))
        assert all(len(value.type.tensor_type.shape.dim) <= 4 for value in model.graph.value_info)
        with torch.inference_mode():
            assert np.abs(outputs(model, patches.numpy()) - network(patches).numpy()).max() < 1e-5
