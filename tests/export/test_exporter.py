"""What an export writes, proves and refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
import skimage.data
import torch
from tests.export.conftest import Command

import cae_export.exporter
from cae_export import CaeExportError, OutputExistsError, RefusedError, UsageError, export, export_part
from cae_export.evaluation_data import find
from cae_export.exporter import ExportOptions
from cae_export.frames.exporter import export_frames
from cae_runtime import ModelSpec, Restorer, Session
from cae_train import load_model
from cae_train.checkpoint import save_model
from cae_train.degradations.mask import FILL


@pytest.mark.parametrize("function", [export, partial(export_part, part="decoder")])
def test_invalid_and_missing_paths_are_refused(function: Callable[..., object], tmp_path: Path) -> None:
    for wrong in ({"model": 3}, {"model": b"m.pt"}, {"output": 3}, {"data": ["photos"]}, {"data_dir": 3}):
        (name,) = wrong
        with pytest.raises(TypeError, match=f"{name} is .*: it must be a str or an os.PathLike") as error:
            function(**{"model": "m.pt", **wrong})
        assert isinstance(error.value, CaeExportError)
    for name in ("model", "output", "data", "data_dir"):
        with pytest.raises(UsageError, match=f"{name} is empty: it must be "):
            function(**{"model": "m.pt", name: ""})
    with pytest.raises(FileNotFoundError, match=r"none\.pt' does not exist") as error:
        function(model=str(tmp_path / "none.pt"))
    assert isinstance(error.value, UsageError)


def test_the_fp32_export_equals_the_trained_network(trained: Path, tmp_path: Path) -> None:
    report = export(str(trained), str(tmp_path / "model.onnx"))
    assert [row.batch for row in report.parity] == [1, 2, 7, 64]
    assert max(row.difference for row in report.parity) <= 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = Session(report.path, provider="cpu")
    assert session.spec == report.spec
    assert session.spec == ModelSpec(
        architecture=load_model(trained).arch, degradation="gaussian:0-55", psnr_in=report.psnr_in,
        psnr_out=report.psnr_out, evaluated_on=report.patches, version=report.spec.version, license="",
        sigma_min=0.0,
    )  # fmt: skip
    patches = find(load_model(trained), None)
    with torch.inference_mode():
        torch_output = load_model(trained).network(patches.degraded[:40]).numpy()
    assert np.abs(session.run(patches.degraded[:40].numpy()) - torch_output).max() <= 1e-4


@pytest.mark.slow
def test_the_export_of_an_inpainting_model_states_its_task(
    trained_skip: Path, cae_export: Command, tmp_path: Path
) -> None:
    content = torch.load(trained_skip, weights_only=True)
    content["config"]["degrade"] = ["mask:0.2"]
    content["version"] = "0.0.1"  # of the toolkit that trained it; the file says which one exported it
    torch.save(content, tmp_path / "holes.pt")
    done = cae_export(tmp_path / "holes.pt")
    assert f"next: cae-run photos/ -o filled/ --mask masks/ -m {tmp_path / 'holes.onnx'}" in done.stderr
    spec = Session(tmp_path / "holes.onnx", provider="cpu").spec
    assert (spec.task, spec.fill, spec.sigma_min) == ("inpaint", FILL[3], None)
    assert spec.version == version("cae-toolkit")


@pytest.mark.slow
def test_int8_export_keeps_size_and_loss_within_the_promised_limits(trained_skip: Path, tmp_path: Path) -> None:
    report = export(trained_skip, tmp_path / "small.onnx", precision="int8", max_drop=3)
    assert report.bytes < 0.5 * report.fp32_bytes
    assert report.speed is not None
    assert report.spec.precision == "int8"
    assert report.spec.psnr_out == report.psnr_out < report.psnr_fp32 + 0.05
    model = onnx.load(report.path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    quantize = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert quantize
    assert all(kinds[node.input[2]] == onnx.TensorProto.UINT8 for node in quantize)
    made_of = {name: node for node in model.graph.node for name in node.output}
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    weights = [made_of[node.input[1]] for node in convs]
    assert all(kinds[node.input[0]] == onnx.TensorProto.INT8 for node in weights)
    assert report.spec.layout == "nhwc"
    for value in (*model.graph.input, *model.graph.output):
        assert [d.dim_value for d in value.type.tensor_type.shape.dim][1:] == [32, 32, 3]
    (head,) = [node for node in model.graph.node if node.op_type == "Gemm"]
    assert not any(node.input[0] == head.output[0] for node in quantize), "what the head gives stays in float"
    scales = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    assert all(
        list(scales[node.input[1]]) == [c.dims[0]] for node, c in zip(weights, stored(model, weights), strict=True)
    )
    (subtraction,) = [node for node in model.graph.node if node.op_type == "Sub"]
    assert subtraction.input[0] == "input", "the picture itself is not rounded to the network's steps"


def stored(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> list[onnx.TensorProto]:
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    return [tensors[node.input[0]] for node in nodes]


@pytest.mark.slow
def test_int8_that_loses_too_much_is_refused(
    trained_skip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "model.onnx"
    kept.write_bytes(b"an earlier file")
    monkeypatch.setattr(cae_export.exporter, "to_int8", lambda graph, *_, **_options: damaged(graph))
    with pytest.raises(RefusedError, match=r"int8 gives .* dB where fp32 gives .* dB, .* less \(at most 0.1 dB"):
        export(trained_skip, kept, precision="int8", overwrite=True)
    assert kept.read_bytes() == b"an earlier file"
    assert list(tmp_path.iterdir()) == [kept]


def test_an_export_that_differs_from_torch_is_refused(
    trained_skip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = cae_export.exporter.to_onnx  # type: ignore[attr-defined]
    monkeypatch.setattr(cae_export.exporter, "to_onnx", lambda *args: damaged(original(*args)))
    with pytest.raises(RefusedError, match="differs from the trained network by"):
        export(trained_skip, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def damaged(model: onnx.ModelProto) -> onnx.ModelProto:
    tensor = max(model.graph.initializer, key=lambda t: int(np.prod(t.dims)))
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[:] += 1
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return model


@pytest.mark.slow
def test_a_network_with_nan_weights_is_refused(
    trained_skip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = cae_export.exporter.to_onnx  # type: ignore[attr-defined]

    def poisoned(*args: object) -> onnx.ModelProto:
        model: onnx.ModelProto = original(*args)  # type: ignore[arg-type]
        tensor = max(model.graph.initializer, key=lambda t: int(np.prod(t.dims)))
        values = onnx.numpy_helper.to_array(tensor).copy()
        values.reshape(-1)[0] = np.nan
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return model

    monkeypatch.setattr(cae_export.exporter, "to_onnx", poisoned)
    with pytest.raises(RefusedError, match="hold NaN or infinity"):
        export(trained_skip, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_fp16_export_keeps_float32_input_and_output(trained_skip: Path, tmp_path: Path) -> None:
    report = export(trained_skip, tmp_path / "half.onnx", precision="fp16")
    assert report.bytes < 0.6 * report.fp32_bytes
    assert Session(report.path, provider="cpu").spec.dtype == "float32"
    assert abs(report.psnr_out - report.psnr_fp32) <= 0.01


def test_patches_come_from_the_models_own_data_apart_from_calibration(trained_skip: Path) -> None:
    model = load_model(trained_skip)
    patches = find(model, None)
    assert "held-out part of photos" in patches.source
    assert len(patches.clean) >= 128
    assert len(patches.calibration) >= 128
    assert torch.equal(patches.degraded, find(model, None).degraded)


@pytest.mark.slow
def test_packaged_patches_are_used_if_the_training_data_is_gone(trained_skip: Path, tmp_path: Path) -> None:
    model = load_model(trained_skip)
    gone = tmp_path / "gone.pt"
    config = type(model.config).from_dict(model.config.to_dict() | {"data": ["not/here"]})
    save_model(gone, model.network, config, {})
    patches = find(load_model(gone), None)
    assert "packaged" in patches.source
    assert len(patches.clean) >= 128
    assert len(patches.calibration) >= 128
    assert 0.2 < float(patches.clean.mean()) < 0.8
    report = export(gone, tmp_path / "gone.onnx")
    assert "packaged" in report.spec.evaluated_on


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"max_drop": -1.0}, "max_drop is -1.0"),
        ({"max_drop": float("nan")}, "max_drop is nan"),
        ({"overlap": 32}, "overlap is 32"),
        ({"opset": 5}, "opset is 5"),
        ({"batch": 0}, "batch is 0: 1 to 4096"),
        ({"input_name": "a b"}, "input_name is 'a b': a letter"),
        ({"input_name": "same", "output_name": "same"}, "output_name is 'same': the input has this name"),
        pytest.param(
            {"output_name": "stem.weight"},
            "output_name is 'stem.weight': a value inside the graph",
            marks=pytest.mark.slow,
        ),
        ({"layout": "hwc"}, "layout is 'hwc': choose nchw or nhwc"),
        ({"max_drop": 1.0}, "max_drop is 1.0: it is for int8"),
        ({"portable": True}, "portable=True needs precision='int8': "),
        ({"portable": True, "precision": "int8", "layout": "nhwc"}, "layout is nhwc: portable"),
        ({"data": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_invalid_settings_are_refused(
    trained_skip: Path, tmp_path: Path, settings: dict[str, object], match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        export(trained_skip, tmp_path / "model.onnx", **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "names", "match"),
    [
        (export, {"input_name": "output"}, "input_name is 'output': the output has this name"),
        (export, {"output_name": "input"}, "output_name is 'input': the input has this name"),
        (export_frames, {"input_name": "output"}, "input_name is 'output'"),
        (partial(export_part, part="encoder"), {"output_name": "input"}, "output_name is 'input'"),
        (partial(export_part, part="decoder"), {"output_name": "code"}, "output_name is 'code'"),
        (partial(export_part, part="anomaly"), {"input_name": "score"}, "input_name is 'score'"),
    ],
)
def test_equal_input_and_output_names_are_refused_before_any_work(
    call: Callable[..., object], names: dict[str, str], match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        call("no/such/model.pt", **names)


@pytest.mark.slow
def test_the_runtime_runs_the_exported_file(trained: Path, tmp_path: Path) -> None:
    report = export(trained, tmp_path / "model.onnx", overlap=12)
    restorer = Restorer(report.path, provider="cpu")
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    assert restorer.overlap == 12
    assert restorer(image).shape == image.shape


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_larger_patches_can_be_exported(trained_skip: Path, tmp_path: Path, precision: str) -> None:
    options: ExportOptions = {"precision": "int8", "max_drop": 3} if precision == "int8" else {}
    report = export(trained_skip, tmp_path / "large.onnx", patch=64, **options)
    assert (report.spec.patch, report.count) == (64, 128)
    restorer = Restorer(report.path, provider="cpu")
    assert restorer.batch == 8
    small = Restorer(export(trained_skip, tmp_path / "small.onnx").path, provider="cpu")
    image = skimage.data.astronaut()[:150, 100:233]
    off_by = restorer(image).astype(float) - small(image)
    assert np.sqrt(np.mean(off_by**2)) < 3, "the same network, but for what it sees at the edges of patches"
    assert np.abs(off_by).max() < 40
    patches = find(load_model(trained_skip), None, 128)
    assert patches.clean.shape == patches.calibration.shape == (128, 3, 128, 128)


def test_images_smaller_than_the_patch_are_mirrored(trained_skip: Path) -> None:
    loaded = load_model(trained_skip)
    here = replace(loaded, config=replace(loaded.config, data=("absent",)))
    patches = find(here, None, 64)
    clean = patches.clean
    assert clean.shape == (128, 3, 64, 64)
    assert "mirrored to 64x64" in patches.source
    assert "mirrored" not in find(here, None).source
    assert torch.equal(clean[0, :, :32, :32], clean[0, :, 32:, :32].flip(1)), "the packaged patches are of 32x32"


@pytest.mark.parametrize("patch", [0, 16, 33, 4096])
def test_an_unsupported_patch_size_is_refused(trained_skip: Path, tmp_path: Path, patch: int) -> None:
    with pytest.raises(UsageError, match=f"patch is {patch}: choose from 32, 64, 128"):
        export(trained_skip, tmp_path / "model.onnx", patch=patch)


def test_a_missing_model_is_reported_before_the_output_is_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.model\.pt' does not exist: name a model\.pt"):
        export(tmp_path / "nowhere" / "model.pt")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").touch()
    with pytest.raises(UsageError, match=r"is a folder: name the file .*run.model\.pt"):
        export(tmp_path / "run")


@pytest.mark.slow
def test_a_fixed_batch_and_custom_names_can_be_exported(trained_skip: Path, tmp_path: Path) -> None:
    report = export(trained_skip, tmp_path / "fixed.onnx", batch=8, input_name="photo", output_name="clean")
    model = onnx.load(report.path)
    (given,), (made,) = model.graph.input, model.graph.output
    assert (given.name, made.name) == ("photo", "clean")
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [8, 3, 32, 32]
    assert [row.batch for row in report.parity] == [8, 9], "the last batch is padded"
    assert not model.graph.value_info
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    dynamic = export(trained_skip, tmp_path / "dynamic.onnx")
    np.testing.assert_array_equal(Restorer(report.path)(image), Restorer(dynamic.path)(image))


@pytest.mark.slow
def test_the_nodes_of_an_fp16_file_are_in_order(trained_skip: Path, tmp_path: Path) -> None:
    report = export(trained_skip, tmp_path / "half.onnx", precision="fp16")
    onnx.checker.check_model(report.path, full_check=True)


@pytest.mark.slow
def test_fp32_can_be_exported_with_channels_last(trained_skip: Path, tmp_path: Path) -> None:
    report = export(trained_skip, tmp_path / "last.onnx", layout="nhwc")
    assert report.spec.layout == "nhwc"
    assert max(row.difference for row in report.parity) <= 1e-4


@pytest.mark.slow
def test_portable_int8_has_signed_activations_and_separate_relus(trained_skip: Path, tmp_path: Path) -> None:
    report = export(trained_skip, tmp_path / "portable.onnx", precision="int8", portable=True, max_drop=3)
    assert (report.spec.layout, report.spec.precision) == ("nchw", "int8")
    model = onnx.load(report.path)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    zeros = [values[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    network = load_model(trained_skip).network
    relus = sum(isinstance(module, torch.nn.ReLU) for module in network.modules())
    assert sum(node.op_type == "Relu" for node in model.graph.node) == relus


def test_an_existing_output_is_kept(trained_skip: Path, tmp_path: Path) -> None:
    kept = tmp_path / "model.onnx"
    kept.write_bytes(b"an earlier file")
    with pytest.raises(OutputExistsError, match=r"output .*model\.onnx' exists already") as caught:
        export(trained_skip, kept)
    assert isinstance(caught.value, FileExistsError)
    assert kept.read_bytes() == b"an earlier file"


@pytest.mark.slow
def test_an_existing_output_is_replaced_with_overwrite(trained_skip: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    report = export(trained_skip, tmp_path / "model.onnx", overwrite=True)
    assert Session(report.path).spec.architecture == "skip"
