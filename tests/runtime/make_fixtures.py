"""Writes the tiny models of the runtime's tests: `python tests/runtime/make_fixtures.py`. Needs `onnx`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cae_runtime.inference.model_spec import ModelSpec

FIXTURES = Path(__file__).parent / "fixtures"
IR_VERSION = 10
OPSET = 20
CODE = 4  # numbers in a code of the generator


def model(
    *nodes: onnx.NodeProto,
    weight: np.ndarray | None = None,
    spec: ModelSpec | None = None,
    batch: str | int = "N",
    graph_patch: int | None = None,
    output: str = "output",
    given: str = "input",
    code: tuple[int, ...] = (),
) -> onnx.ModelProto:
    """Wrap nodes as a model whose boundary is that of the contract."""
    shape_of = spec or ModelSpec(architecture="fixture")
    patch = graph_patch or shape_of.patch
    shape_of = replace(shape_of, patch=patch)
    element = TensorProto.FLOAT16 if shape_of.dtype == "float16" else TensorProto.FLOAT
    shape = [batch, *shape_of.shape(1)[1:]]
    shapes = {
        "score": [batch, 1, patch, patch],
        "code": [batch, *(code or (shape_of.channels, patch // 8, patch // 8))],
    }
    graph = helper.make_graph(
        list(nodes),
        "fixture",
        [helper.make_tensor_value_info(given, element, [batch, CODE] if given == "code" else shape)],
        [helper.make_tensor_value_info(output, element, shapes.get(output, shape))],
        [] if weight is None else [numpy_helper.from_array(weight, "weight")],
    )
    made = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    if spec is not None:
        helper.set_model_props(made, spec.to_metadata())
    onnx.checker.check_model(made)
    return made


def endless() -> list[onnx.NodeProto]:
    """Nodes that never come to an end: a Loop without a count, whose condition stays true."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["still_going"]), helper.make_node("Identity", ["value"], ["same"])],
        "body",
        [
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still_going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, None),
        ],
    )
    true = helper.make_node("Constant", [], ["true"], value=numpy_helper.from_array(np.array(True)))
    return [true, helper.make_node("Loop", ["", "true", "input"], ["output"], body=body)]


def slow() -> list[onnx.NodeProto]:
    """Nodes that take minutes: products of large matrices, one after the other."""
    wide = helper.make_node("Constant", [], ["wide"], value_ints=[2500, 2500])
    first = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Expand", ["mean", "wide"], ["power0"]),
    ]
    powers = [helper.make_node("MatMul", [f"power{at}", "power0"], [f"power{at + 1}"]) for at in range(400)]
    last = [
        helper.make_node("ReduceMean", ["power400"], ["total"], keepdims=0),
        helper.make_node("Add", ["input", "total"], ["output"]),
    ]
    return [wide, *first, *powers, *last]


def main() -> None:
    """Write every fixture."""
    spec = ModelSpec(architecture="fixture", degradation="gaussian:0-55", evaluated_on="nothing", license="MIT")
    fp16 = replace(spec, dtype="float16", precision="fp16", degradation="", evaluated_on="")
    gray = replace(spec, channels=1, color="gray", degradation="", evaluated_on="")
    last = replace(spec, layout="nhwc")
    encoder = replace(spec, task="encode", degradation="", evaluated_on="")
    identity = helper.make_node("Identity", ["input"], ["output"])
    renamed = helper.make_node("Identity", ["photo"], ["clean"])
    multiply = helper.make_node("Mul", ["input", "weight"], ["output"])
    pool = helper.make_node(
        "AveragePool", ["input"], ["output"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=0
    )
    first = helper.make_node("Transpose", ["input"], ["first"], perm=[0, 3, 1, 2])
    pool_first = helper.make_node(
        "AveragePool", ["first"], ["pooled"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=0
    )
    back = helper.make_node("Transpose", ["pooled"], ["output"], perm=[0, 2, 3, 1])
    encode = helper.make_node("AveragePool", ["input"], ["code"], kernel_shape=[8, 8], strides=[8, 8])
    left_half = helper.make_node("Compress", ["input", "weight"], ["output"], axis=3)  # its shape shows when it runs
    anomaly = replace(
        encoder,
        task="anomaly",
        overlap=16,
        threshold=0.02,
        threshold_pixel=0.05,
        false_alarms=0.05,
        threshold_size=6144,
        threshold_images=40,
    )
    good = tuple(round(0.0005 * 1.1**step, 6) for step in range(40))  # the highest are 0.0205 and 0.0187
    score = [  # the squared distance from mid-gray, the mean of the colors
        helper.make_node("Sub", ["input", "weight"], ["apart"]),
        helper.make_node("ReduceSumSquare", ["apart", "axis"], ["total"], keepdims=1),
        helper.make_node("Mul", ["total", "third"], ["score"]),
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
        helper.make_node("Constant", [], ["third"], value_float=1 / 3),
    ]
    score = [*score[3:], *score[:3]]
    generator = replace(encoder, task="generate")
    generate = [
        helper.make_node("Constant", [], ["shape"], value_ints=[-1, 3, 32, 32]),
        helper.make_node("MatMul", ["code", "weight"], ["values"]),
        helper.make_node("Sigmoid", ["values"], ["bounded"]),
        helper.make_node("Reshape", ["bounded", "shape"], ["output"]),
    ]
    half_red = np.array([0.5, 1, 1], np.float32).reshape(1, 3, 1, 1)
    box = np.full((3, 3, 3, 3), 1 / 27, np.float32)
    models = {
        "identity": model(identity, spec=spec),
        "identity_gray": model(identity, spec=gray),
        "blur_gray": model(pool, spec=gray),
        "identity_fp16": model(identity, spec=fp16),
        "half_red": model(multiply, weight=half_red, spec=spec),
        "blur": model(pool, spec=spec),
        "half_red_nhwc": model(multiply, weight=half_red.reshape(1, 1, 1, 3), spec=last),
        "blur_nhwc": model(first, pool_first, back, spec=last),
        "nan": model(multiply, weight=half_red * np.float32("nan"), spec=spec),
        "nan_rounded": model(  # int8 arithmetic makes finite numbers of NaN
            helper.make_node("Constant", [], ["scale"], value_float=1 / 255),
            helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.array(0, np.uint8))),
            helper.make_node("Mul", ["input", "weight"], ["values"]),
            helper.make_node("QuantizeLinear", ["values", "scale", "zero"], ["rounded"]),
            helper.make_node("DequantizeLinear", ["rounded", "scale", "zero"], ["output"]),
            weight=half_red * np.float32("nan"),
            spec=replace(spec, precision="int8"),
        ),
        "endless": model(*endless(), spec=spec),
        "slow": model(*slow(), spec=spec),
        "narrow": model(left_half, weight=np.arange(32) < 16, spec=spec),
        "no_metadata": model(identity),
        "fixed_batch": model(identity, spec=spec, batch=4),
        "huge_batch": model(identity, spec=spec, batch=1_000_000),
        "vast_batch": model(identity, spec=replace(spec, patch=256), batch=4096),
        "other_names": model(renamed, spec=spec, given="photo", output="clean"),
        "other_patch": model(identity, spec=spec, graph_patch=16),
        "encode": model(encode, spec=encoder, output="code"),
        "encode_flat": model(  # the means of the quarters of a patch, as codes of the generator
            helper.make_node("Constant", [], ["shape"], value_ints=[-1, CODE]),
            helper.make_node("Constant", [], ["channels"], value_ints=[1]),
            helper.make_node("AveragePool", ["input"], ["quarters"], kernel_shape=[16, 16], strides=[16, 16]),
            helper.make_node("ReduceMean", ["quarters", "channels"], ["means"]),
            helper.make_node("Reshape", ["means", "shape"], ["code"]),
            spec=encoder,
            output="code",
            code=(CODE,),
        ),
        "anomaly": model(*score, weight=np.array(0.5, np.float32), spec=anomaly, output="score"),
        "anomaly_scores": model(
            *score,
            weight=np.array(0.5, np.float32),
            spec=replace(anomaly, good_scores=good),
            output="score",
        ),
        "generate": model(
            *generate,
            weight=np.random.default_rng(1).normal(0, 1, (CODE, 3 * 32 * 32)).astype(np.float32),
            spec=generator,
            given="code",
        ),
        "inpaint": model(pool, spec=replace(spec, task="inpaint", fill=(1, 0, 1), degradation="mask:0.2")),
        "fill": model(pool, spec=spec),
    }
    wrong_schema = model(identity, spec=spec)
    helper.set_model_props(wrong_schema, spec.to_metadata() | {"schema": "99"})
    models["wrong_schema"] = wrong_schema
    first = spec.to_metadata() | {"schema": "1", "degradation": "mask:0.2"}  # where the degradation says it
    helper.set_model_props(models["fill"], first)
    FIXTURES.mkdir(exist_ok=True)
    for name, made in models.items():
        onnx.save(made, FIXTURES / f"{name}.onnx")
    convolve = helper.make_node("Conv", ["input", "weight"], ["output"], pads=[1, 1, 1, 1])
    (FIXTURES / "external.bin").unlink(missing_ok=True)
    onnx.save(
        model(convolve, weight=box, spec=spec),
        FIXTURES / "external.onnx",
        save_as_external_data=True,
        location="external.bin",
        size_threshold=0,
    )


if __name__ == "__main__":
    main()
