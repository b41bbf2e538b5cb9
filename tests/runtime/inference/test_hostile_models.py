"""Untrusted model files: names that are not text, endless recursion, too much memory."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import Command

from cae_runtime import ModelError, ProviderError, Restorer, Session
from cae_runtime.inference.untrusted.messages import readable
from cae_runtime.inference.untrusted.refusals import refuse_unsafe

Model = Callable[[str], Path]
BOUNDED = """
import sys
from cae_runtime.inference import cpu_limits
cpu_limits.usable_memory = lambda: int(sys.argv[2])
from cae_runtime.io.stderr import own_stderr
with own_stderr():
    import numpy as np
    from cae_runtime import ProviderError, Session
    session = Session(sys.argv[1], provider="cpu")
    patches = np.zeros((512, 3, 32, 32), np.float32)
    try:
        print(session.run(patches).shape)
    except ProviderError as e:
        print(e)
"""


@pytest.mark.parametrize("place", [b"fixture", b"output", b"input"])
def test_names_and_metadata_that_are_not_text_are_a_one_line_error(
    fixture_model: Model, cae_run: Command, tmp_path: Path, place: bytes
) -> None:
    data = fixture_model("identity").read_bytes()
    for other in (b"\xff" * len(place), b"\xc3" + place[1:]):
        spoiled = data.replace(place, other)
        with pytest.raises(ModelError, match="not text in UTF-8"):
            Session(spoiled)
    (tmp_path / "a.onnx").write_bytes(spoiled)
    (tmp_path / "a.png").write_bytes(b"")
    done = cae_run(tmp_path / "a.png", "-o", tmp_path / "out", model=tmp_path / "a.onnx")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("before", "why"),
    [(b"\x72\0" * (2**17 + 1), "checked for loops: it has more"), (b"\xa3\x06\xa4\x06", "not an ONNX model")],
    ids=["many", "group"],
)
def test_no_parts_before_it_hide_a_loop(fixture_model: Model, before: bytes, why: str) -> None:
    """onnxruntime reads empty metadata in any number, and skips a group: a field of an unknown, old kind."""
    with pytest.raises(ModelError, match=why):
        Session(before + fixture_model("endless").read_bytes())


def test_a_model_with_functions_is_refused(fixture_model: Model) -> None:
    """1.5 KB of functions, each of which calls the one before twice, keep onnxruntime busy without end."""
    with pytest.raises(ModelError, match="has functions"):
        Session(fixture_model("identity").read_bytes() + b"\xca\x01\x03\x0a\x01f")


@pytest.mark.parametrize("number", [2**62, 2**64 + 5])
def test_an_operator_that_is_a_number_is_no_operator(number: int) -> None:
    """As bytes, that many zeros would be made of it."""
    digits = [number >> shift & 127 | 128 for shift in range(0, 70, 7)]
    node = bytes([0x20, *digits[:-1], digits[-1] & 127])
    graph = bytes([0x0A, len(node)]) + node
    with pytest.raises(ModelError, match=r"onnxruntime|ONNX"):
        Session(bytes([0x3A, len(graph)]) + graph)


def test_a_model_that_was_compiled_for_a_provider_is_refused(fixture_model: Model) -> None:
    """Such a node may name a file that TensorRT or OpenVINO opens."""
    node = b"\x22\x09EPContext"
    graph = bytes([0x0A, len(node)]) + node
    with pytest.raises(ModelError, match="was compiled for one execution provider"):
        Session(fixture_model("identity").read_bytes() + bytes([0x3A, len(graph)]) + graph)


def test_a_model_that_has_run_is_not_blamed(fixture_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(fixture_model("identity"), provider="cpu")
    patches = np.zeros((2, 3, 32, 32), np.float32)

    class Full:
        def run(self, *_: object) -> None:
            raise RuntimeError("bad allocation")

    monkeypatch.setattr(session, "_session", Full())
    with pytest.raises(ProviderError, match="failed on a batch of shape"):
        session.run(patches)


def test_a_model_that_contains_itself_is_refused(fixture_model: Model, cae_run: Command, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    done = cae_run(tmp_path / "a.png", "-o", tmp_path / "out", model="endless")
    assert (done.returncode, b"has the operator Loop" in done.stderr) == (2, True)
    loop = fixture_model("endless").read_bytes()
    for name in (b"Scan", b"Loop"):
        with pytest.raises(ModelError, match=f"has the operator {name.decode()}"):
            Session(loop.replace(b"Loop", name))
    named = fixture_model("identity").read_bytes().replace(b"fixture", b"Loop123")  # in another place it is a name
    assert Session(named).run(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("key", ["schema", "color", "task", "patch"])
def test_long_metadata_gives_a_short_message(fixture_model: Model, key: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(fixture_model("identity").read_bytes())
    for entry in model.metadata_props:
        entry.value = "x" * 100_000 if entry.key == key else entry.value
    with pytest.raises(ModelError, match="xxx") as refused:
        Session(model.SerializeToString())
    assert len(str(refused.value)) < 400


def test_a_long_error_of_onnxruntime_is_shortened(fixture_model: Model) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(fixture_model("blur").read_bytes())
    model.graph.node[0].input[:] = ["input"] * 1000
    with pytest.raises(ModelError, match="cannot be run by onnxruntime") as refused:
        Session(model.SerializeToString())
    assert len(str(refused.value)) < 800


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    """Return a model that a function has changed."""
    model = pytest.importorskip("onnx").load_from_string(data)
    change(model)
    content: bytes = model.SerializeToString()
    return content


def asks_for_memory(model: Any) -> None:
    """Let a graph make a constant of 4 PiB."""
    onnx = pytest.importorskip("onnx")
    node, graph = onnx.helper.make_node, model.graph
    shape = onnx.numpy_helper.from_array(np.array([2**25, 2**25], np.int64), "shape")
    graph.initializer.append(shape)
    (result,) = graph.node[-1].output
    graph.node[-1].output[0] = "before"
    graph.node.append(node("ConstantOfShape", ["shape"], ["constant"]))
    graph.node.append(node("ReduceMax", ["constant"], ["most"], keepdims=0))
    graph.node.append(node("Add", ["before", "most"], [result]))


@pytest.mark.parametrize(("fixture", "out"), [("identity", "out"), ("encode", "out.csv")])
def test_a_model_that_asks_for_too_much_memory_is_blamed_itself(
    fixture_model: Model, cae_run: Command, tmp_path: Path, fixture: str, out: str
) -> None:
    (tmp_path / "a.onnx").write_bytes(changed(fixture_model(fixture).read_bytes(), asks_for_memory))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((32, 32, 3), np.uint8))
    done = cae_run(tmp_path / "a.png", "-o", tmp_path / out, model=tmp_path / "a.onnx")
    told = done.stderr.decode()
    assert (done.returncode, len(told.splitlines())) == (2, 1), told
    assert "a.onnx' cannot be run by onnxruntime" in told
    assert "operator ConstantOfShape: it asks for 4,503,599,627,370,496 bytes of memory at once" in told
    assert ".cc" not in told
    assert not (tmp_path / out).exists()


def test_a_batch_that_fails_alone_is_not_the_models_fault(
    fixture_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Session(fixture_model("identity"), provider="cpu")
    run = opened._session.run

    class Full:
        def run(self, names: Any, feed: dict[str, Any]) -> Any:
            if len(next(iter(feed.values()))) > 1:
                raise RuntimeError("x.cc:3 void f(int) Failed to allocate memory for requested buffer of size 7000")
            return run(names, feed)

    monkeypatch.setattr(opened, "_session", Full())
    with pytest.raises(ProviderError, match=r"failed on a batch of shape \(2, 3, 32, 32\): it asks for 7,000 bytes"):
        opened.run(np.zeros((2, 3, 32, 32), np.float32))


@pytest.mark.parametrize("place", ["/etc/hostname", "other.bin", "*/_ORT_MEM_ADDR_/*"])
@pytest.mark.parametrize("where", ["initializer", "t", "tensors", "g", "graphs"])
def test_values_outside_the_file_are_refused_wherever_they_are_named(
    fixture_model: Model, place: str, where: str
) -> None:
    onnx = pytest.importorskip("onnx")

    def name_a_file(model: Any) -> None:
        tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "outside")
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
        if where == "initializer":
            model.graph.initializer.append(tensor)
            return
        attribute = onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR)
        inner = onnx.helper.make_graph([], "inner", [], [], [tensor])
        of_one = {"t": tensor, "g": inner}
        if where in of_one:
            getattr(attribute, where).CopyFrom(of_one[where])
        else:
            getattr(attribute, where).append(of_one[where[0]])
        model.graph.node.append(onnx.NodeProto(op_type="Constant", output=["unused"], attribute=[attribute]))

    with pytest.raises(ModelError, match="keeps its weights in another file"):
        refuse_unsafe(Path("a.onnx"), changed(fixture_model("identity").read_bytes(), name_a_file))


def test_sparse_weights_are_refused(fixture_model: Model) -> None:
    with pytest.raises(ModelError, match="has sparse weights"):
        Session(fixture_model("identity").read_bytes() + b"\x3a\x02\x7a\x00")  # a graph (7) with one (15), empty


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("ir_version", "its file format, IR version 999, is not read; IR versions up to"),
        ("opset", "its opset 999 is not"),
    ],
)
def test_files_of_later_versions_are_named_in_plain_words(fixture_model: Model, version: str, told: str) -> None:
    def later(model: Any) -> None:
        if version == "opset":
            model.opset_import[0].version = 999
        else:
            model.ir_version = 999

    with pytest.raises(ModelError) as refused:
        Session(changed(fixture_model("identity").read_bytes(), later))
    assert told in str(refused.value)
    assert not re.search(r"\.(cc|h):|ONNXRuntimeError|onnxruntime::", str(refused.value))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Range node. Name:'a b' Status "
            "Message: /onnxruntime_src/core/op_kernel.cc:87 virtual OrtValue* ort::A::B(int, const ort::C&) const "
            "[with T = float] [ONNXRuntimeError] : 1 : FAIL : Calculation for Tensor storage size overflowed",
            "operator Range: it asks for more memory than any machine has",
        ),
        (
            '[ONNXRuntimeError] : 10 : INVALID_GRAPH : This is an invalid model. In Node, ("n", Einsum, "", -1) : '
            '("in": tensor(float),) -> ("out": tensor(float),) , Error Unrecognized attribute: pad for operator Einsum',
            "operator Einsum: Unrecognized attribute: pad for operator Einsum",
        ),
        ("/a/graph.cc:1 A::A(const B&, std::function<void(int)>) !has(t) was false. Tensor is bad.", "Tensor is bad"),
        ("a.h:5 f::g()(int) No Op registered for Foo with domain_version of 9", "there is no operator Foo in opset 9"),
        ("Node (n) Op (Sub) [ShapeInferenceError] Incompatible dimensions", "operator Sub: Incompatible dimensions"),
        ("Type Error: Type 'tensor(float)' is invalid.", "Type 'tensor(float)' is invalid"),
        ("std::bad_alloc", "there is not enough memory"),
        ("a.cc:1 never(closed", "never(closed"),
        ("any other text (of a driver): 7", "any other text (of a driver): 7"),
        ("", ""),
    ],
)  # fmt: skip
def test_messages_keep_what_can_be_read(said: str, told: str) -> None:
    assert readable(said) == told


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_overflowing_values_are_refused_without_a_warning(fixture_model: Model, value: float) -> None:
    one = np.array([0.5], np.float32).tobytes()
    data = fixture_model("half_red").read_bytes()
    assert data.count(one) == 1
    spoiled = data.replace(one, np.array([value], np.float32).tobytes())
    with pytest.raises(ModelError, match="not finite"):  # a warning is an error here
        Restorer(spoiled)(np.full((64, 64, 3), 255, np.uint8))


@pytest.mark.slow
def test_commands_limit_the_memory_of_a_model(fixture_model: Model) -> None:
    model = fixture_model("half_red")
    words = [sys.executable, "-c", BOUNDED, str(model)]
    enough, little = (
        subprocess.run([*words, str(memory)], capture_output=True, text=True, check=True).stdout
        for memory in (2**30, 2**22)
    )
    assert enough.strip() == "(512, 3, 32, 32)"
    assert "failed on a batch" in little
