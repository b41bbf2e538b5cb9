"""The packaged models are what `cae-export` makes of the released `model.pt` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from cae_export.evaluation_data import find
from cae_export.exporter import ExportSettings, quantized
from cae_export.graphs.convert import to_onnx
from cae_export.graphs.onnx_files import build_file
from cae_export.parity import mean_psnr, run
from cae_runtime import Session, packaged_models
from cae_train import load_model
from cae_train.data.packaged import DENOISE
from cae_train.models import multiply_adds_per_pixel

ASSETS = Path(__file__).parents[2] / "assets"
DENOISERS = ("denoise", "denoise-fast", "denoise-best")


def released(name: str) -> Path:
    return DENOISE if name == "denoise" else ASSETS / f"{name}.pt"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), [("denoise", 0.1), ("denoise-fast", 0.15), ("denoise-best", 0.25)])
def test_packaged_files_equal_torch(name: str, loss: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(released(name))
    monkeypatch.chdir(tmp_path)  # away from any data/ of this machine: the packaged patches are taken
    patches = find(model, None)
    assert "packaged" in patches.source
    with torch.inference_mode():
        trained = model.network(patches.degraded)
        tuned = load_model(released(f"{name}-int8")).network(patches.degraded)  # int8 has weights of its own
    fp32, int8 = (run(Session(file, provider="cpu"), patches.degraded) for file in (name, f"{name}-int8"))
    assert float((fp32 - trained).abs().max()) <= 1e-4
    assert mean_psnr(tuned, patches.clean) - mean_psnr(int8, patches.clean) <= loss


@pytest.mark.parametrize(
    ("name", "weights", "kmac"),
    [
        ("denoise", 169_155, 18.6),
        ("denoise-fast", 47_811, 5.7),
        ("denoise-best", 476_499, 52.6),
        ("fill", 169_155, 18.6),
        ("cae", 333_955, 22.5),
    ],
)
def test_packaged_models_have_the_documented_weights_and_cost(name: str, weights: int, kmac: float) -> None:
    network = load_model(released(name)).network
    assert sum(parameter.numel() for parameter in network.parameters()) == weights
    assert multiply_adds_per_pixel(network) / 1000 == pytest.approx(kmac, abs=0.05)


@pytest.mark.parametrize("name", [*(f"{name}{end}" for name in DENOISERS for end in ("", "-int8")), "fill", "cae"])
def test_packaged_files_contain_nothing_about_a_machine(name: str) -> None:
    config = load_model(released(name)).config
    assert not any(
        Path(source).is_absolute() or ".." in source
        for source in (*config.data, config.data_dir, config.start, config.teacher)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(f"{name}{end}" for name in DENOISERS for end in ("", "-int8")), "fill", "cae"])
def test_exporting_the_released_model_gives_the_packaged_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its graph, its weights and what it gives; bytes may differ between versions of libraries.

    Of the larger int8 files, whose calibration takes a minute, the steps of the activations are not compared.
    """
    model, int8 = load_model(released(name)), name.endswith("-int8")
    calibrated = name == "denoise-fast-int8"
    monkeypatch.chdir(tmp_path)  # away from any data/ of this machine: int8 is calibrated on the packaged patches
    if calibrated:
        monkeypatch.setattr("cae_export.evaluation_data.CALIBRATION", 512)  # as released, not the few of other tests
    settings = ExportSettings(precision="int8" if int8 else "fp32")
    patches = find(model, None)
    made = quantized(model.network, settings, patches)[0] if int8 else to_onnx(model.network, 32)
    made, kept = settings.written(made), onnx.load(packaged_models()[name])
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", 18)]
    assert (made.ir_version, made.opset_import) == (kept.ir_version, kept.opset_import)
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in kept.graph.node]
    compared = 0
    for ours, theirs in zip(made.graph.initializer, kept.graph.initializer, strict=True):
        assert (ours.data_type, ours.dims) == (theirs.data_type, theirs.dims)
        ours, theirs = (onnx.numpy_helper.to_array(tensor) for tensor in (ours, theirs))
        if not int8 or calibrated or (ours.dtype == np.int8 and ours.size > 1):
            np.testing.assert_allclose(ours.astype(np.float64), theirs, atol=1e-6)
            compared += 1
    assert compared >= 10
    if int8 and not calibrated:
        return
    some = patches.degraded[:128]
    spec = Session(name, provider="cpu").spec
    figures = [
        mean_psnr(run(file, some), patches.clean[:128]) for file in (build_file(made, spec).session, Session(name))
    ]
    assert figures[0] == pytest.approx(figures[1], abs=0.02)
