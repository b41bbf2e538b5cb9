"""ONNX files changed field by field, and by someone who knows what a runtime does with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tests.campaign.mutations.generic import Rng, blind, number, surely
from tests.campaign.mutations.wire import fields_of, message_of
from tests.runtime.make_fixtures import endless

Hostile = Callable[[onnx.ModelProto, Rng, str], None]

_DEEP: Final = 10
_ROOT: Final = 30  # times upwards, until no folder is above
_NUMBERS: Final = (
    "0", "-1", "1", "7", "32", "33", "256", "4096", "1e9", "nan", "inf", "", "9" * 400, "0x20", "٣٢", "3.5",
)  # fmt: skip
_WORDS: Final = ("restore", "encode", "generate", "anomaly", "inpaint", "rgb", "gray", "nchw", "nhwc", "float16", "",
"\x1b[31m",
                 "a\nb", "x" * 100_000, "\ud7ff", "../../x", "%s%n")  # fmt: skip
_HUGE: Final = (0, -1, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))
_OPERATORS: Final = (
    "Identity", "Relu", "Conv", "ConvTranspose", "MatMul", "Softmax", "Resize", "Expand", "Tile", "Pad", "Reshape",
    "Gather", "GatherND", "ScatterND", "Slice", "Concat", "TopK", "NonZero", "RandomNormal", "LSTM", "Einsum", "OneHot",
    "Range", "QuantizeLinear", "DequantizeLinear", "AveragePool", "MaxPool", "Split", "Loop", "If", "Scan", "Optional",
    "StringNormalizer",
)  # fmt: skip


def field_changed(data: bytes, other: bytes, rng: Rng, depth: int = 0) -> bytes:
    """Change one field somewhere in a message; lengths are right afterwards."""
    fields = fields_of(data)
    if not fields:
        return blind(data, rng)
    at = int(rng.integers(len(fields)))
    field, wire, value = fields[at]
    if isinstance(value, bytes) and wire == 2 and depth < _DEEP and rng.random() < 0.8 and fields_of(value):
        fields[at] = (field, wire, field_changed(value, other, rng, depth + 1))
        return message_of(fields)
    kind = int(rng.integers(6))
    if kind == 0:
        del fields[at]
    elif kind == 1:
        fields[at:at] = [fields[at]] * int(rng.choice([1, 2, 300]))
    elif kind == 2:
        to = int(rng.integers(len(fields)))
        fields[at], fields[to] = fields[to], fields[at]
    elif kind == 3:
        fields[at] = (int(rng.integers(1, 26)), wire, value)
    elif isinstance(value, int):
        fields[at] = (field, wire, number(rng, 8))
    else:
        fields[at] = (field, wire, blind(value, rng)[: len(value) if wire != 2 else None])
    return message_of(fields)


def onnx_changed(data: bytes, other: bytes, rng: Rng, secret: str) -> bytes:
    """Return an ONNX file that was changed, and is not what it was.

    Args:
        data: a whole file.
        other: another one.
        rng: decides everything.
        secret: path of a file that no model may open; it lies beside the folder of the model.
    """
    return surely(lambda: _several(data, other, rng, secret), data)


def _several(data: bytes, other: bytes, rng: Rng, secret: str) -> bytes:
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        kind = rng.random()
        if kind < 0.12:
            data = blind(data, rng)
            continue
        if kind < 0.5:
            data = field_changed(data, other, rng)
            continue
        try:
            model = onnx.load_from_string(data)
            _HOSTILE[int(rng.integers(len(_HOSTILE)))](model, rng, secret)
            data = model.SerializeToString()
        except Exception:  # an earlier change left no model: protobuf and onnx raise anything
            data = field_changed(data, other, rng)
    return data


def _outside(model: onnx.ModelProto, rng: Rng, secret: str) -> None:
    """Let a weight lie in another file."""
    name = Path(secret).name
    places = (
        secret, f"./../{name}", f"../{name}", "/dev/zero", "/dev/stdin", "/proc/self/mem", "fifo", ".", "",
        "../" * _ROOT + secret.lstrip("/"), "C:\\x", "\\\\host\\x", f"file://{secret}", "/dev/null/x",
    )  # fmt: skip
    if not model.graph.initializer:
        model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "extra"))
    tensor = model.graph.initializer[int(rng.integers(len(model.graph.initializer)))]
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    keys = {"location": places[int(rng.integers(len(places)))]}
    keys |= {"offset": str(int(rng.choice([0, 4096, 2**40]))), "length": str(int(rng.choice([12, 2**40, 0])))}
    for key in ("location", *(["offset", "length"] if rng.random() < 0.5 else [])):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, keys[key]


def _metadata(model: onnx.ModelProto, rng: Rng, _: str) -> None:
    """Let the metadata lie."""
    if not model.metadata_props:
        return
    entry = model.metadata_props[int(rng.integers(len(model.metadata_props)))]
    choices = _NUMBERS if rng.random() < 0.6 else _WORDS
    entry.value = choices[int(rng.integers(len(choices)))]
    if rng.random() < 0.1:
        entry.key = _WORDS[int(rng.integers(len(_WORDS)))]


def _shapes(model: onnx.ModelProto, rng: Rng, _: str) -> None:
    """Let inputs, outputs and weights have absurd shapes."""
    infos = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    if rng.random() < 0.4 and model.graph.initializer:
        tensor = model.graph.initializer[int(rng.integers(len(model.graph.initializer)))]
        tensor.dims[:] = [int(rng.choice(_HUGE)) for _ in range(int(rng.integers(1, 6)))]
        return
    if infos:
        shape = infos[int(rng.integers(len(infos)))].type.tensor_type.shape
        sizes = [*_HUGE, 1, 2, 3, 16, 33, 4096, 100_000]
        if shape.dim:
            shape.dim[int(rng.integers(len(shape.dim)))].dim_value = int(rng.choice(sizes))
        if rng.random() < 0.2:
            shape.dim.add().dim_value = int(rng.choice(sizes))


def _weights(model: onnx.ModelProto, rng: Rng, _: str) -> None:
    """Make weights NaN, infinite, huge or of another type."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.raw_data and rng.random() < 0.5:
            values = np.frombuffer(tensor.raw_data, "<f4").copy()
            values[int(rng.integers(max(values.size, 1))) :] = rng.choice([np.nan, np.inf, 3e38, -1e30, 0, 1e-40])
            tensor.raw_data = values.tobytes()
    if model.graph.initializer and rng.random() < 0.2:
        model.graph.initializer[0].data_type = int(rng.integers(0, 25))


def _operators(model: onnx.ModelProto, rng: Rng, _: str) -> None:
    """Put other operators in the place of some, with other attributes."""
    if not model.graph.node:
        return
    node = model.graph.node[int(rng.integers(len(model.graph.node)))]
    if rng.random() < 0.6:
        node.op_type = _OPERATORS[int(rng.integers(len(_OPERATORS)))]
    if rng.random() < 0.2:
        node.domain = ["com.microsoft", "ai.onnx.ml", "x.y", "ai.onnx.training"][int(rng.integers(4))]
    if node.attribute and rng.random() < 0.6:
        attribute = node.attribute[int(rng.integers(len(node.attribute)))]
        if attribute.ints:
            attribute.ints[int(rng.integers(len(attribute.ints)))] = int(rng.choice([*_HUGE, 1, 2, 100, 10_000]))
        else:
            attribute.i = int(rng.choice([*_HUGE, 1, 2, 100]))


def _endless(model: onnx.ModelProto, rng: Rng, _: str) -> None:
    """Never come to an end, in the graph or in a function."""
    loop = endless()
    loop[1].input[2], loop[1].output[0] = model.graph.input[0].name, model.graph.output[0].name
    if rng.random() < 0.3:  # so many times that it never ends either
        loop[0] = helper.make_node("Constant", [], ["true"], value=numpy_helper.from_array(np.array(True)))
        count = helper.make_node("Constant", [], ["many"], value_int=2**62)
        loop[1].input[0] = "many"
        loop.insert(0, count)
    if rng.random() < 0.2:
        loop[1].input[2] = "true"  # of a constant: may be computed when the file is opened
        loop[1].output[0] = "unused"
        model.graph.node.extend(loop)
        return
    del model.graph.node[:]
    model.graph.node.extend(loop)


def _grown(model: onnx.ModelProto, rng: Rng, _: str) -> None:
    """Grow far beyond the file: by Expand, Tile, ConstantOfShape or Range, or a chain that doubles."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        for at, name in enumerate(node.output):
            if name == output:
                node.output[at] = "before"
    given = "before" if model.graph.node else model.graph.input[0].name
    size = int(rng.choice([2**10, 2**20, 2**26, 2**31, 2**40, 2**62]))
    kind = int(rng.integers(4))
    if kind == 0:
        shape = helper.make_node("Constant", [], ["vast"], value_ints=[size])
        made = helper.make_node("ConstantOfShape", ["vast"], ["zeros"])
        total = helper.make_node("ReduceMean", ["zeros"], ["mean"], keepdims=0)
        nodes = [shape, made, total, helper.make_node("Add", [given, "mean"], [output])]
    elif kind == 1:
        shape = helper.make_node("Constant", [], ["vast"], value_ints=[size, 1, 1, 1, 1])
        nodes = [shape, helper.make_node("Expand", [given, "vast"], ["many"]),
                 helper.make_node("ReduceMean", ["many"], [output], keepdims=0)]  # fmt: skip
    elif kind == 2:
        steps = int(rng.choice([10, 20, 40, 2000]))
        names = [given, *(f"step{at}" for at in range(steps)), output]
        nodes = [helper.make_node("Concat", [a, a], [b], axis=0) for a, b in itertools.pairwise(names)]
    else:
        parts = [helper.make_node("Constant", [], [name], value_int=value) for name, value in
                 (("start", 0), ("limit", size), ("one", 1))]  # fmt: skip
        nodes = [*parts, helper.make_node("Range", ["start", "limit", "one"], ["all"]),
                 helper.make_node("Size", ["all"], ["count"]), helper.make_node("Cast", ["count"], ["float"], to=1),
                 helper.make_node("Mul", [given, "float"], [output])]  # fmt: skip
    model.graph.node.extend(nodes)


def _many(model: onnx.ModelProto, rng: Rng, _: str) -> None:
    """Have very many nodes, metadata or names, or nodes that need each other."""
    kind = int(rng.integers(4))
    if kind == 0 and model.graph.node:
        model.graph.node.extend([model.graph.node[0]] * 5000)
    elif kind == 1:
        for at in range(20_000):
            entry = model.metadata_props.add()
            entry.key = entry.value = str(at)
    elif kind == 2 and model.graph.node:
        node = model.graph.node[0]
        node.input[:1] = [node.output[0]]
    else:
        model.graph.name = "x" * 1_000_000
        model.opset_import[0].version = int(rng.choice([0, -1, 5, 99, 2**31 - 1]))
        model.ir_version = int(rng.choice([0, -1, 3, 99, 2**40]))


def _function(model: onnx.ModelProto, rng: Rng, _: str) -> None:
    """Call a function that calls itself, or another that calls it."""
    operators = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    calls = helper.make_node("f" if rng.random() < 0.5 else "g", ["x"], ["y"], domain="own")
    model.functions.append(helper.make_function("own", "f", ["x"], ["y"], [calls], operators))
    back = helper.make_node("f", ["x"], ["y"], domain="own")
    model.functions.append(helper.make_function("own", "g", ["x"], ["y"], [back], operators))
    model.opset_import.append(helper.make_opsetid("own", 1))
    if model.graph.node:
        model.graph.node[0].op_type, model.graph.node[0].domain = "f", "own"


_HOSTILE: Final[tuple[Hostile, ...]] = (
    _outside, _outside, _metadata, _metadata, _shapes, _weights, _operators, _operators, _endless, _grown, _many,
    _function,
)  # fmt: skip
