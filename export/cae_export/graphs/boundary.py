"""The interface of a graph to other programs: names, batch, versions; and the check that the file is valid ONNX."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from cae_export.errors import RefusedError


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """The interface of a graph to other programs; it does not change what is computed.

    Attributes:
        batch: patches that a call takes, for engines that know no dynamic sizes; None leaves the batch dynamic.
        input_name: name of the input; None leaves it as it is.
        output_name: name of the output; None leaves it as it is.
    """

    batch: int | None = None
    input_name: str | None = None
    output_name: str | None = None


def with_boundary(graph: onnx.ModelProto, boundary: Boundary) -> onnx.ModelProto:
    """A copy of a graph as it is written: with this boundary, and without what only some engines understand.

    Shapes inside the graph are left out: engines find them by themselves, and those with a dynamic batch contradict an
    input whose size is given. `allowzero` of a Reshape is left out where no size is zero. The IR version is the lowest
    that the operator set needs, so that old engines read the file.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    del model.graph.value_info[:]
    _drop_allowzero(model.graph)
    names = {
        value.name: name
        for value, name in (
            (model.graph.input[0], boundary.input_name),
            (model.graph.output[0], boundary.output_name),
        )
        if name is not None
    }
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (model.graph.input[0], model.graph.output[0]):
        value.name = names.get(value.name, value.name)
        if boundary.batch is not None:
            value.type.tensor_type.shape.dim[0].dim_value = boundary.batch
    used = {node.domain for node in model.graph.node}
    imports = [entry for entry in model.opset_import if entry.domain in used]  # tools leave many unused ones
    del model.opset_import[:]
    model.opset_import.extend(imports)
    model.ir_version = onnx.helper.find_min_ir_version_for(imports, ignore_unknown=True)
    return model


def refuse_invalid(content: bytes) -> None:
    """Check that the content of a file is valid ONNX: its nodes are sorted, its shapes and types agree.

    Raises:
        RefusedError: it is not.
    """
    try:
        onnx.checker.check_model(content, full_check=True)
        onnx.shape_inference.infer_shapes(content, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise RefusedError(f"refused: the file is not valid ONNX: {' '.join(str(e).split())}") from e


def names_inside(graph: onnx.ModelProto) -> set[str]:
    """The names of all values that are neither the input nor the output."""
    inside = {name for node in graph.graph.node for name in (*node.input, *node.output)}
    inside |= {tensor.name for tensor in graph.graph.initializer}
    return inside - {graph.graph.input[0].name, graph.graph.output[0].name}


def _drop_allowzero(graph: onnx.GraphProto) -> None:
    """Remove `allowzero`, which small engines do not know, where it changes nothing."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        if np.all(numpy_helper.to_array(constants[node.input[1]])):
            kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)
